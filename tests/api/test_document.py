"""The document says what is: its examples are read by what reads requests, and written by what writes answers."""

from __future__ import annotations

import re

import jsonschema_rs
import pytest
from pydantic import BaseModel

from outdial.api.app import create_app
from outdial.api.error_catalogue import catalogue
from outdial.api.native import bodies
from outdial.api.problems import parse
from outdial.api.refusals import SENTENCES
from outdial.core import errors
from outdial.core.errors import OutdialError
from outdial.core.model import Scope

MODELS = [
    model
    for model in vars(bodies).values()
    if isinstance(model, type) and issubclass(model, BaseModel) and model not in (BaseModel, bodies.Body)
]


@pytest.fixture
def document(parts) -> dict:
    return create_app(parts).openapi()


def everything(document) -> dict[str, dict]:
    return {
        f"{method.upper()} {path}": operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def own(document) -> dict[tuple[str, str], dict]:
    return {
        (method, path): operation
        for path, operations in document["paths"].items()
        if path.startswith("/api/outdial/")
        for method, operation in operations.items()
    }


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_examples_are_what_is_read(model):
    for example in model.model_json_schema().get("examples", []):
        parsed = parse(model, example)
        given = {field.alias for name, field in model.model_fields.items() if name in parsed.model_fields_set}
        assert given == set(example)


async def test_every_endpoint_has_an_example_a_tag_and_a_scope(document):
    found = own(document)
    assert len(found) >= 35
    for (method, path), operation in found.items():
        where = f"{method} {path}"
        assert len(operation["tags"]) == 1, where
        scope = re.search(rf"Scope: `({'|'.join(Scope)})`", operation["description"])
        assert bool(scope) != operation["description"].endswith("With the operator's token."), where
        content = operation["responses"]["200"]["content"]
        if "application/json" in content:
            answer = content["application/json"]
            schema = answer["schema"]
            name = schema["$ref"].rpartition("/")[2]
            required = document["components"]["schemas"][name]["required"]
            assert set(answer["example"]) == set(required), where
        else:
            ends = (".csv", ".txt", ".jsonl", ".tar", "/events", "/files")
            assert path.endswith(ends) or "audio/wav" in content, where
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body:
            # a body that may be left out may be null too
            named = body["schema"]["anyOf"][0] if "anyOf" in body["schema"] else body["schema"]
            shape = document["components"]["schemas"][named["$ref"].rpartition("/")[2]]
            assert shape.get("examples") or not shape["properties"], where
        keyed = "Idempotency-Key" in {one["name"] for one in operation["parameters"]}
        stops = path.endswith(("/stop", "/pause")) or "/stops/" in path or "/emergency-stop" in path
        # a file that is sent again adds nothing, and one that broke off has to be
        stops |= path.endswith(("/opt-outs", "/dnc-lists/{dncListId}/files"))
        # what would be kept of the answer is what goes; whoever asks again has the same one finished
        erases = path.endswith("/erasures")
        assert keyed == (method != "get" and not stops and not erases), where


async def test_passwords_and_secrets_are_in_requests_only(document):
    schemas = document["components"]["schemas"]
    holding = {name for name, schema in schemas.items() if "password" in schema.get("properties", {})}
    assert holding == {"NewTrunkBody", "TrunkBody"}
    assert {name for name, schema in schemas.items() if "secret" in schema.get("properties", {})} == {
        "ClientSecretView",
        "WebhookSecretView",
    }


async def test_changes_have_no_defaults(document):
    for name in ("TrunkBody", "ClientBody", "ApplicationBody", "WebhookBody"):
        for field in document["components"]["schemas"][name]["properties"].values():
            assert "default" not in field


async def test_the_catalogue_is_in_the_document_and_on_the_page(http, document):
    entries = document["x-error-catalogue"]
    assert entries == catalogue()
    codes = [entry["errorCode"] for entry in entries]
    assert len(codes) == len(set(codes))
    assert {"not_found", "stop_not_proven", "key_reused", "key_busy", "answer_lost", "rate_limited"} <= set(codes)
    shown = (await http.get("/docs")).text
    for code in codes:
        assert f"<code>{code}</code>" in shown


async def test_the_page_shows_examples(http):
    shown = (await http.get("/docs")).text
    assert "asked by phone" in shown
    assert "neverReachedCount" in shown


async def test_every_operation_has_a_tag_a_summary_and_an_example_of_each_answer(document):
    for where, operation in everything(document).items():
        assert len(operation["tags"]) == 1, where
        assert operation["summary"], where
        done = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
        assert len(done) == 1, where
        for content in done[0]["content"].values():
            examples = [content["example"]] if "example" in content else content["examples"].values()
            shapes = content["schema"].get("anyOf", [content["schema"]])
            assert len(examples) >= len(shapes), where


async def test_examples_of_answers_are_what_their_schemas_say(document):
    answers = [*document["components"]["responses"].items()]
    answers += [
        (f"{where}: {status}", answer)
        for where, operation in everything(document).items()
        for status, answer in operation["responses"].items()
        if "$ref" not in answer
    ]
    found = 0
    schemas = {"schemas": document["components"]["schemas"]}
    for where, answer in answers:
        for content in (one for kind, one in answer["content"].items() if kind == "application/json"):
            validator = jsonschema_rs.validator_for({**content["schema"], "components": schemas}, validate_formats=True)
            examples = [{"value": content["example"]}] if "example" in content else content["examples"].values()
            for example in examples:
                assert [error.message for error in validator.iter_errors(example["value"])] == [], where
                found += 1
    assert found > 130


async def test_every_failure_is_listed_with_its_shape_and_with_examples(document):
    responses = document["components"]["responses"]
    for where, operation in everything(document).items():
        listed = {status: answer for status, answer in operation["responses"].items() if not status.startswith("2")}
        if operation["tags"] == ["System"]:
            continue
        assert {"401", "500", "503"} <= set(listed), where
        assert "default" not in listed, where
        kind = "Native" if "/api/outdial/" in where else "Vendor"
        for status, answer in listed.items():
            assert answer == {"$ref": f"#/components/responses/{kind}{status}"}, where
            content = responses[f"{kind}{status}"]["content"]["application/json"]
            assert content["schema"] == {"$ref": f"#/components/schemas/{'Failure' if kind == 'Native' else 'Errors'}"}
            assert content["examples"]
        if "requestBody" in operation:
            assert {"400", "412", "413"} <= set(listed), where
        if any(parameter["name"] == "Idempotency-Key" for parameter in operation["parameters"]):
            assert {"400", "409", "422"} <= set(listed), where


def test_each_code_an_answer_can_name_has_a_sentence():
    # made before anything answers; and the router's own, which belongs to no operation
    elsewhere = {"startup", "method_not_allowed"}
    declared = {
        kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, OutdialError)
    }
    assert set(SENTENCES) == declared - elsewhere


async def test_links_lead_to_operations_and_give_parameters_they_have(document):
    by_id = {operation["operationId"]: operation for operation in everything(document).values()}
    led = 0
    for where, operation in everything(document).items():
        for link in operation["responses"]["200"].get("links", {}).values():
            target = by_id[link["operationId"]]
            known = {f"{one['in']}.{one['name']}" for one in target["parameters"]}
            assert set(link["parameters"]) <= known, (where, link)
            paths = {name for name in known if name.startswith("path.")}
            assert paths <= set(link["parameters"]), (where, link)
            assert ("requestBody" in link) <= ("requestBody" in target), (where, link)
            led += 1
    assert led > 80

"""The document says what is: its examples are read by what reads requests, and written by what writes answers."""

from __future__ import annotations

import re

import pytest
from pydantic import BaseModel

from outdial.api.app import create_app
from outdial.api.error_catalogue import catalogue
from outdial.api.native import bodies
from outdial.api.problems import parse
from outdial.core.model import Scope

MODELS = [
    model
    for model in vars(bodies).values()
    if isinstance(model, type) and issubclass(model, BaseModel) and model not in (BaseModel, bodies.Body)
]


@pytest.fixture
def document(parts) -> dict:
    return create_app(parts).openapi()


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
            assert path.endswith((".csv", "/events"))
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body:
            shape = document["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]
            assert shape.get("examples") or not shape["properties"], where
        keyed = "Idempotency-Key" in {one["name"] for one in operation["parameters"]}
        stops = path.endswith("/stop") or "/stops/" in path or "/emergency-stop" in path
        assert keyed == (method != "get" and not stops), where


async def test_passwords_and_secrets_are_in_requests_only(document):
    schemas = document["components"]["schemas"]
    holding = {name for name, schema in schemas.items() if "password" in schema.get("properties", {})}
    assert holding == {"NewTrunkBody", "TrunkBody"}
    assert {name for name, schema in schemas.items() if "secret" in schema.get("properties", {})} == {
        "ClientSecretView"
    }


async def test_changes_have_no_defaults(document):
    for name in ("TrunkBody", "ClientBody", "ApplicationBody"):
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

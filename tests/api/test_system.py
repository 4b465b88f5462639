"""What machines ask, and what the document says about it all."""

from __future__ import annotations

import json
import re

import jwt
import pytest

import outdial
from outdial.api.app import ApiParts, create_app
from outdial.api.docs_page import page
from outdial.core.errors import DatabaseUnavailableError
from outdial.services import campaigns
from outdial.store.database import Database
from support.wire import errors, ever_open


@pytest.fixture
async def no_database(parts, dsn):
    """The parts of a process whose database is gone."""
    gone = await Database.open(dsn, pool_size=1)
    await gone.close()
    return gone


async def test_health(http):
    answer = await http.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "version": outdial.__version__}


async def test_not_ready_without_a_dialer_node(http):
    answer = await http.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["status"] == "not_ready"
    assert "outdial dialer" in answer.json()["problems"][0]


async def test_ready_with_one(http, database):
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO engines (id, kind) VALUES ('e', 'simulated')")
        await connection.execute(
            "INSERT INTO nodes (id, name, host, pid, stasis_app, engine_id, lease_until, engine_up) "
            "VALUES ('n', 'n', 'h', 1, 'a', 'e', clock_timestamp() + interval '1 minute', true)"
        )
    answer = await http.get("/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})
    async with database.transaction() as connection:
        await connection.execute("UPDATE nodes SET engine_up = false")
    assert (await http.get("/ready")).status_code == 503


async def metrics(http) -> dict[str, float]:
    answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


async def test_metrics_tell_what_is_live(tenant):
    campaign_id = await tenant.create_campaign(ever_open(1))
    assert (await metrics(tenant.http))['outdial_runs{state="active"}'] == 0
    await tenant.trigger(campaign_id, "play")
    found = await metrics(tenant.http)
    assert found['outdial_runs{state="active"}'] == 1
    assert found['outdial_attempts_live{state="ringing"}'] == 0
    assert found["outdial_nodes"] == 0
    assert found["outdial_database_up"] == 1
    await tenant.trigger(campaign_id, "stop")
    assert (await metrics(tenant.http))['outdial_runs{state="active"}'] == 0


async def test_requests_are_counted_by_route_not_by_path(tenant):
    for number in range(3):
        await tenant.ask("GET", f"/cd-{number}")
        await tenant.http.get(f"/nowhere/{number}")
    found = await metrics(tenant.http)
    route = "/campaign/api/v1/public/{iid}/campaign/{campaignId}"
    assert found[f'outdial_http_requests_total{{method="GET",route="{route}",status="404"}}'] == 3
    assert found['outdial_http_requests_total{method="GET",route="unmatched",status="404"}'] == 3
    assert found[f'outdial_http_request_seconds_count{{method="GET",route="{route}"}}'] == 3


async def test_metrics_hold_no_personal_data(tenant):
    campaign_id = await tenant.create_campaign(ever_open(1))
    await tenant.trigger(campaign_id, "play")
    text = (await tenant.http.get("/metrics")).text
    assert not re.search(r"1555010|cd-|st-|cs-|Product", text)


class TestWithoutDatabase:
    @pytest.fixture
    def parts(self, parts, no_database) -> ApiParts:
        return ApiParts(parts.settings, no_database, parts.secrets, parts.engines)

    async def test_health_is_about_the_process_alone(self, http):
        assert (await http.get("/health")).status_code == 200

    async def test_not_ready(self, http):
        answer = await http.get("/ready")
        assert answer.status_code == 503
        assert len(answer.json()["problems"]) == 1

    async def test_metrics_say_so(self, http):
        found = await metrics(http)
        assert found["outdial_database_up"] == 0
        assert 'outdial_runs{state="active"}' not in found

    async def test_requests_are_asked_to_come_again(self, http):
        token = jwt.encode({"appId": "cs-1"}, "k" * 40)
        answer = await http.get("/api/v1/public/st-1/campaign/cd-1", headers={"auth": token})
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["errors"][0]["code"] == DatabaseUnavailableError.wire_code


async def test_what_nobody_foresaw_is_no_traceback(tenant, monkeypatch):
    async def broken(*_args):
        raise ZeroDivisionError("secret +15550100101")

    monkeypatch.setattr(campaigns, "get_campaign", broken)
    answer = await tenant.ask("GET", "/cd-1")
    assert answer.status_code == 500
    assert answer.json()["errors"][0]["code"] == 500
    assert "secret" not in answer.text
    assert errors(answer) == ["outdial failed to answer this; its log says why."]
    found = await metrics(tenant.http)
    route = "/campaign/api/v1/public/{iid}/campaign/{campaignId}"
    assert found[f'outdial_http_requests_total{{method="GET",route="{route}",status="500"}}'] == 1


async def test_the_document_describes_every_endpoint(http):
    answer = await http.get("/openapi.json")
    assert answer.status_code == 200
    document = answer.json()
    schemas = document["components"]["schemas"]
    references = re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document))
    assert set(references) <= set(schemas)
    ids = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            ids.append(operation["operationId"])
            if "/public/" not in path:
                continue
            assert operation["security"] == [{"token": []}]
            named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path)), (method, path)
            assert {"200", "401", "404", "429", "500", "503"} <= set(operation["responses"])
            assert operation["summary"]
    assert len(ids) == len(set(ids))
    stop = document["paths"]["/campaign/api/v1/public/{iid}/campaign/{campaignId}"]["post"]
    shapes = stop["responses"]["200"]["content"]["application/json"]["schema"]["anyOf"]
    assert {"$ref": "#/components/schemas/StoppedShape"} in shapes
    assert list(schemas["StoppedShape"]["properties"]) == ["status", "message", "updatedAt", "campaignInstanceId"]
    assert schemas["AgentlessV2"]["properties"]["name"]["maxLength"] == 48
    assert document["components"]["securitySchemes"]["token"]["name"] == "auth"


async def test_the_document_is_the_same_each_time(parts):
    assert create_app(parts).openapi() == create_app(parts).openapi()


async def test_docs_are_a_page(http):
    answer = await http.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    document = (await http.get("/openapi.json")).json()
    for path in document["paths"]:
        assert f"<code>{path}</code>" in answer.text
    anchors = set(re.findall(r'id="([^"]+)"', answer.text))
    assert {*document["components"]["schemas"], *document["components"]["responses"]} == anchors
    assert set(re.findall(r'href="#([^"]+)"', answer.text)) <= anchors
    # nothing from elsewhere, and nothing that runs
    assert not re.search(r"<script|src=|href=.https?:", answer.text)


def test_docs_show_markup_as_it_is_written():
    described = {"tags": ["<b>"], "summary": "<i>", "responses": {"200": {"description": "<u>"}}}
    shown = page(
        {
            "info": {"title": "<t>", "version": "1", "description": "<p> `<x>`"},
            "paths": {"/<y>": {"get": described}},
            "components": {"schemas": {"S": {"description": "<script>"}}},
        }
    )
    for written in ("<h2><b>", "<i>", "<u>", "<t>", "<x>", "<y>", "<script>"):
        assert written not in shown
    assert "<code>&lt;x&gt;</code>" in shown

"""The short way to an endpoint is FastAPI's choice of route, taken for every documented operation and nothing else."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Match

from outdial.api.app import create_app
from outdial.api.dispatch import Dispatch
from outdial.api.metrics import Metrics
from outdial.services import campaigns
from outdial.services.webhook_keeper import WebhookCounts


class LongWayError(Exception):
    """The request was left to FastAPI."""


async def left_to_fastapi(scope, receive, send) -> None:
    raise LongWayError


@pytest.fixture
def app(parts):
    return create_app(parts)


@pytest.fixture
def routes(app) -> list[APIRoute]:
    return list(app.short_way.routes)


async def ask(routes, method: str, path: str, **more) -> tuple[APIRoute, int]:
    """Which route was taken, and the answer's status."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [],
        **more,
    }
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    dispatch = Dispatch(left_to_fastapi, routes, Metrics(WebhookCounts()))
    await dispatch(scope, receive, send)
    return dispatch.route_of(method, path), sent[0]["status"]


def first_that_fits(routes, method: str, path: str) -> APIRoute:
    scope = {"type": "http", "method": method, "path": path, "root_path": ""}
    return next(route for route in routes if route.matches(scope)[0] is Match.FULL)


async def test_every_documented_operation_takes_it_and_is_fastapis_choice(app, routes):
    operations = [(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods]
    own = [(method, path) for method, path in operations if path not in {"/health", "/ready", "/metrics"}]
    assert len(own) > 70
    for method, path in own:
        filled = re.sub(r"\{\w+\}", "x-1", path)
        taken, status = await ask(routes, method, filled)
        # nobody is let in without a token; fixed words come before ids
        assert status == 401, path
        assert taken is first_that_fits(routes, method, filled)
        assert taken.path == path


async def test_every_spelling_of_a_path_takes_it(routes):
    taken, status = await ask(routes, "POST", "/api/v1/public//st-1/campaign/cd-1/status/")
    assert status == 401
    assert taken.path == "/campaign/api/v1/public/{iid}/campaign/{campaignId}/status"


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [
        ("GET", "/nowhere", {}),
        ("PUT", "/campaign/api/v1/public/st-1/campaign/getAllCampaignDetails", {}),
        ("POST", "/campaign/api/v1/public/st-1/campaign/trigger", {}),
        ("PATCH", "/campaign/api/v1/public/st-1/campaign/cd-1/status", {}),
        ("GET", "/campaign/api/v1/public/st-1/campaign/cd-1/status/more", {}),
        ("GET", "/mounted/api/outdial/application", {"root_path": "/mounted"}),
    ],
)
async def test_what_is_refused_or_unknown_is_left_to_fastapi(routes, method, path, more):
    with pytest.raises(LongWayError):
        await ask(routes, method, path, **more)


async def test_a_failure_that_nobody_foresaw_is_answered_counted_and_raised(app, tenant, monkeypatch):
    async def broken(*_args):
        raise ZeroDivisionError

    monkeypatch.setattr(campaigns, "find_status", broken)
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": tenant.url("/cd-1/status"),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in tenant.headers().items()],
    }
    # the server needs it, for its log
    with pytest.raises(ZeroDivisionError):
        await app(scope, receive, send)
    begin, body = sent
    assert begin["status"] == 500
    assert b"its log says why" in body["body"]
    assert [name for name, _ in begin["headers"]].count(b"x-request-id") == 1
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        metrics = (await client.get("/metrics")).text
    assert 'route="/campaign/api/v1/public/{iid}/campaign/{campaignId}/status",status="500"} 1.0' in metrics


async def test_what_fails_after_it_has_begun_to_answer_is_not_answered_twice(routes):
    async def pieces():
        yield b"a"
        raise ZeroDivisionError

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(pieces())

    router = APIRouter()
    router.add_api_route("/pieces", endpoint, response_model=None)
    sent = []

    async def receive():
        # the client stays
        await asyncio.get_running_loop().create_future()

    async def send(message):
        sent.append(message)

    dispatch = Dispatch(left_to_fastapi, router.routes, Metrics(WebhookCounts()))
    scope = {"type": "http", "method": "GET", "path": "/pieces", "query_string": b"", "headers": []}
    with pytest.raises(ZeroDivisionError):
        await dispatch(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 200
    assert b"x-request-id" in dict(sent[0]["headers"])

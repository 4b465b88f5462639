"""The short way to an endpoint is FastAPI's choice of route, taken for every documented operation and nothing else."""

from __future__ import annotations

import re

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Match

from outdial.api.app import create_app
from outdial.api.dispatch import Dispatch


class LongWayError(Exception):
    """The request was left to FastAPI."""


async def left_to_fastapi(scope, receive, send) -> None:
    raise LongWayError


@pytest.fixture
def app(parts):
    return create_app(parts)


@pytest.fixture
def routes(app) -> list[APIRoute]:
    (middleware,) = (one for one in app.user_middleware if one.cls is Dispatch)
    return middleware.kwargs["routes"]


async def ask(routes, method: str, path: str, **more) -> tuple[APIRoute, int]:
    """Which route was taken, and the answer's status."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "outdial.request_id": "1",
        **more,
    }
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    await Dispatch(left_to_fastapi, routes)(scope, receive, send)
    return scope["route"], sent[0]["status"]


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


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [
        ("GET", "/nowhere", {}),
        ("PUT", "/campaign/api/v1/public/st-1/campaign/getAllCampaignDetails", {}),
        ("POST", "/campaign/api/v1/public/st-1/campaign/trigger", {}),
        ("PATCH", "/campaign/api/v1/public/st-1/campaign/cd-1/status", {}),
        ("GET", "/campaign/api/v1/public/st-1/campaign/cd-1/status/more", {}),
        ("GET", "/campaign/api/v1/public/st-1/campaign//status", {}),
        ("GET", "/mounted/api/outdial/application", {"root_path": "/mounted"}),
    ],
)
async def test_what_is_refused_or_unknown_is_left_to_fastapi(routes, method, path, more):
    with pytest.raises(LongWayError):
        await ask(routes, method, path, **more)

"""The short way from a request to its endpoint.

FastAPI tries one route after the other and then works out each endpoint's parameters; a hundred routes whose endpoints
take the request as it is need neither, and both together cost more than all of outdial's own work on a status request,
as do the wrappers around them, each of which hands on every message (docs/explanation/performance.md). So here is done
at once what they do one after the other: one spelling, the request's id, the count, the log line and the header of
ignored fields. What is not found here, every refusal above all, goes FastAPI's way, through all of them.
"""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import structlog
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from outdial.api import ignored, request_ids
from outdial.api.errors import reply_to, unforeseen
from outdial.api.json_reply import JsonReply
from outdial.api.kore.paths import canonical_path, canonical_query
from outdial.api.metrics import Metrics
from outdial.core.errors import OutdialError
from outdial.logs import log_request

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class _Known:
    """A route, taken apart."""

    route: APIRoute
    pattern: re.Pattern[str]
    endpoint: Endpoint | None
    """None: FastAPI's to answer."""


class Dispatch:
    """ASGI application in front of FastAPI's that answers with the first of the routes that fits, as FastAPI would."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute], metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self.routes = tuple(routes)
        # by verb and number of slashes: no parameter of these paths holds one
        self._known: dict[tuple[str, int], list[_Known]] = {}
        for route in self.routes:
            if not isinstance(route, APIRoute) or ":" in route.path:
                raise TypeError(f"{route} is no plain route")
            known = _Known(route, route.path_regex, route.endpoint if _is_plain(route) else None)
            for method in route.methods or ():
                self._known.setdefault((method, route.path.count("/")), []).append(known)

    def route_of(self, method: str, path: str) -> APIRoute | None:
        """Return the route that answers here; None where FastAPI does."""
        found = self._find(method, canonical_path(path))
        return None if found is None else found[0]

    def _find(self, method: str, path: str) -> tuple[APIRoute, Endpoint, dict[str, str]] | None:
        for known in self._known.get((method, path.count("/")), ()):
            found = known.pattern.match(path)
            if found is not None:
                return None if known.endpoint is None else (known.route, known.endpoint, found.groupdict())
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope.get("root_path"):
            path = canonical_path(scope["path"])
            found = self._find(scope["method"], path)
            if found is not None:
                route, endpoint, parameters = found
                request_id = request_ids.chosen(scope)
                asked = {
                    **scope,
                    "path": path,
                    "query_string": canonical_query(scope["query_string"]),
                    "path_params": parameters,
                    "route": route,
                    request_ids.IN_SCOPE: request_id,
                }
                await self._answer(endpoint, request_id, asked, receive, send)
                return
        await self._app(scope, receive, send)

    async def _answer(self, endpoint: Endpoint, request_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.monotonic()
        # never taken back, see request_ids
        structlog.contextvars.bind_contextvars(request_id=request_id)
        unread: list[str] = []
        token = ignored.found.set(unread)
        # what an exception becomes
        status, started = 500, False

        async def mark(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                message = {**message, "headers": [*message.get("headers", ()), *_marks(request_id, unread)]}
            await send(message)

        request = Request(scope, receive, mark)
        try:
            try:
                answer = await endpoint(request)
            except OutdialError as error:
                answer = reply_to(request, error)
            if type(answer) is JsonReply:
                # as its own __call__ does, without a wrapper around each message
                status, started = answer.status_code, True
                headers = [*answer.raw_headers, *_marks(request_id, unread)]
                await send({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body", "body": answer.body})
            else:
                await answer(scope, receive, mark)
        except Exception as error:
            if not started:
                unread.clear()
                await (await unforeseen(request, error))(scope, receive, mark)
            # the server writes the traceback to the log
            raise
        finally:
            ignored.found.reset(token)
            seconds, route = time.monotonic() - begun, scope["route"].path_format
            self._metrics.answered(scope["method"], route, status, seconds)
            log_request(scope["method"], route, status, round(seconds, 4), request_id)


def _marks(request_id: str, unread: list[str]) -> list[tuple[bytes, bytes]]:
    """Return the headers that every answer gets."""
    marks = [(request_ids.HEADER, request_id.encode("ascii"))]
    if unread:
        marks.append((ignored.HEADER.lower().encode(), ignored.told(unread).encode("ascii")))
    return marks


def _is_plain(route: APIRoute) -> bool:
    """Whether the endpoint takes the request and nothing else, and is one of the document: what refuses is not."""
    return route.include_in_schema and [
        parameter.annotation for parameter in inspect.signature(route.endpoint).parameters.values()
    ] in ([Request], ["Request"])

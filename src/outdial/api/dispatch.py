"""The short way from a request to its endpoint.

FastAPI tries one route after the other and then works out each endpoint's parameters; a hundred routes whose endpoints
take the request as it is need neither, and both together cost more than all of outdial's own work on a status request
(docs/explanation/performance.md). What is not found here, every refusal above all, goes FastAPI's way.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from outdial.api.errors import reply_to
from outdial.core.errors import OutdialError


@dataclass(frozen=True, slots=True)
class _Known:
    """A route, taken apart."""

    route: APIRoute
    pattern: re.Pattern[str]
    endpoint: Callable[[Request], Awaitable[Response]] | None
    """None: FastAPI's to answer."""


class Dispatch:
    """ASGI middleware, the innermost, that answers with the first of the routes that fits, as FastAPI would."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        # by verb and number of slashes: no parameter of these paths holds one
        self._known: dict[tuple[str, int], list[_Known]] = {}
        for route in routes:
            if not isinstance(route, APIRoute) or ":" in route.path:
                raise TypeError(f"{route} is no plain route")
            known = _Known(route, route.path_regex, route.endpoint if _is_plain(route) else None)
            for method in route.methods or ():
                self._known.setdefault((method, route.path.count("/")), []).append(known)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope.get("root_path"):
            path = scope["path"]
            for known in self._known.get((scope["method"], path.count("/")), ()):
                found = known.pattern.match(path)
                if found is not None:
                    if known.endpoint is None:
                        break
                    scope["path_params"] = found.groupdict()
                    scope["route"] = known.route
                    answer = await _answered(known.endpoint, Request(scope, receive, send))
                    await answer(scope, receive, send)
                    return
        await self._app(scope, receive, send)


async def _answered(endpoint: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
    try:
        return await endpoint(request)
    except OutdialError as error:
        return reply_to(request, error)


def _is_plain(route: APIRoute) -> bool:
    """Whether the endpoint takes the request and nothing else, and is one of the document: what refuses is not."""
    return route.include_in_schema and [
        parameter.annotation for parameter in inspect.signature(route.endpoint).parameters.values()
    ] in ([Request], ["Request"])

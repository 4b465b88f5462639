"""Every failure becomes ``{"errors":[{"msg":…,"code":…}]}``: one entry per thing that is wrong, never a traceback."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute, Match

from outdial.api.json_reply import JsonReply
from outdial.api.request_ids import request_id
from outdial.core.errors import OutdialError, RateLimitedError

RETRY_AFTER_SECONDS: Final = 1
"""``Retry-After`` where waiting helps but how long is not known: a stop not proven yet, a database that restarts."""


VERBS: Final = ("DELETE", "GET", "PATCH", "POST", "PUT")
"""Those that any endpoint has."""

NATIVE: Final = "/api/outdial/"
"""Where outdial's own surface begins: its failures say more."""


def error_reply(
    request: Request,
    status: int,
    messages: Iterable[str],
    code: int,
    *,
    error_code: str,
    retryable: bool = False,
    headers: Mapping[str, str] | None = None,
) -> JsonReply:
    """Return the answer of a failure."""
    body: dict[str, Any] = {"errors": [{"msg": message, "code": code} for message in messages]}
    if request.url.path.startswith(NATIVE):
        body |= {"errorCode": error_code, "retryable": retryable, "requestId": request_id(request)}
    return JsonReply(body, status_code=status, headers=headers)


def install(app: FastAPI) -> None:
    """Make the application answer failures in this shape only."""
    app.add_exception_handler(OutdialError, _named)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, unforeseen)


async def _named(request: Request, error: Exception) -> JsonReply:
    if not isinstance(error, OutdialError):
        raise error
    return reply_to(request, error)


def reply_to(request: Request, error: OutdialError) -> JsonReply:
    """Return the answer of a named failure."""
    headers = {}
    if isinstance(error, RateLimitedError):
        headers["Retry-After"] = str(error.retry_after_seconds)
    elif error.retryable:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return error_reply(
        request,
        error.status,
        error.messages,
        error.wire_code,
        error_code=error.code,
        retryable=error.retryable,
        headers=headers,
    )


async def _http(request: Request, error: Exception) -> JsonReply:
    if not isinstance(error, HTTPException):
        raise error
    status = error.status_code
    if status == HTTPStatus.NOT_FOUND:
        message = f"There is nothing at {request.method} {request.url.path}; /docs lists what there is."
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        message = "Method Not Allowed"
    else:
        message = str(error.detail)
    headers = error.headers
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {**(headers or {}), "Allow": ", ".join(_verbs_at(request))}
    code = HTTPStatus(status).name.lower()
    return error_reply(request, status, [message], status, error_code=code, headers=headers)


def _verbs_at(request: Request) -> list[str]:
    """Return the verbs there are endpoints for at the request's path; the router knows those of one route only."""
    routes: list[BaseRoute] = []
    for route in request.app.router.routes:
        # FastAPI keeps what it includes as a router of its own
        included = getattr(route, "original_router", None)
        routes += [route] if included is None else included.routes
    found = []
    for verb in VERBS:
        asked = {**request.scope, "method": verb}
        first = next((route for route in routes if route.matches(asked)[0] is Match.FULL), None)
        # a route that is kept out of the document refuses
        if getattr(first, "include_in_schema", False):
            found.append(verb)
    return found


async def unforeseen(request: Request, _error: Exception) -> JsonReply:
    """Return the answer of what nobody foresaw."""
    # the server above writes the traceback to the log once this answer is out
    message = "outdial failed to answer this; its log says why."
    return error_reply(request, 500, [message], 500, error_code=OutdialError.code)

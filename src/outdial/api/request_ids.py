"""Each request's id: in its answer, and in every line that is logged on its behalf."""

from __future__ import annotations

import re
import secrets as randomness
from typing import Any, Final

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID: Final = "X-Request-Id"

_ACCEPTABLE: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
"""What a client may choose: nothing that could forge a log line or a header."""
HEADER: Final = REQUEST_ID.lower().encode()
"""As ASGI has names of headers."""
IN_SCOPE: Final = "outdial.request_id"


class RequestIds:
    """ASGI wrapper around the whole application: also the answer to what nobody foresaw has the id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        own = chosen(scope)
        marked = (HEADER, own.encode("ascii"))

        async def mark(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), marked]
            await send(message)

        # never taken back: the server logs failures after this returns, and gives each request a task of its own
        structlog.contextvars.bind_contextvars(request_id=own)
        await self._app({**scope, IN_SCOPE: own}, receive, mark)


def chosen(scope: Scope) -> str:
    """Return the id that a request is given: the one its client has chosen, where that will do."""
    given = [value for name, value in scope["headers"] if name == HEADER]
    if len(given) == 1 and _ACCEPTABLE.fullmatch(given[0]):
        own: bytes = given[0]
        return own.decode("ascii")
    return randomness.token_hex(16)


def request_id(request: Request) -> str:
    """Return the id of a request."""
    own: Any = request.scope[IN_SCOPE]
    return str(own)

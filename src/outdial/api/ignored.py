"""Fields of a request that nobody reads: kept out, as the vendor does, and named in the answer, as it does not.

A client that misspells an optional field would otherwise never learn why it does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Final

from pydantic import BaseModel
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from outdial.api.body import join

HEADER: Final = "X-Outdial-Ignored"

MOST_NAMED: Final = 20
LONGEST_NAME: Final = 100
"""Characters of a path that are shown."""

found: Final[ContextVar[list[str] | None]] = ContextVar("ignored_fields", default=None)
"""Where those of the request under way are gathered."""


class IgnoredFields:
    """ASGI wrapper that names them in the answer's header ``X-Outdial-Ignored``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        unread: list[str] = []

        async def name(message: Message) -> None:
            if message["type"] == "http.response.start" and unread:
                MutableHeaders(scope=message)[HEADER] = told(unread)
            await send(message)

        token = found.set(unread)
        try:
            await self._app(scope, receive, name)
        finally:
            found.reset(token)


def note(read: BaseModel | list[BaseModel], document: Any, at: str) -> None:
    """Note what of the document, which was read as that value, nobody reads. ``at`` is its path in the body."""
    unread = found.get()
    if unread is not None:
        unread += _unread(read, document, at)


def _unread(read: Any, document: Any, at: str) -> Iterator[str]:
    if isinstance(read, list) and isinstance(document, list):
        for index, (item, given) in enumerate(zip(read, document, strict=False)):
            yield from _unread(item, given, join(at, index))
    elif isinstance(read, BaseModel) and isinstance(document, dict):
        fields = {field.alias or name: name for name, field in type(read).model_fields.items()}
        keeps = read.model_config.get("extra") == "allow"
        for key, given in document.items():
            if key in fields:
                yield from _unread(getattr(read, fields[key]), given, join(at, key))
            elif not keeps:
                yield join(at, key)


def told(unread: list[str]) -> str:
    """Return the header's value."""
    names = [_visible(path) for path in unread]
    more = [] if len(names) <= MOST_NAMED else [f"and {len(names) - MOST_NAMED} more"]
    return ", ".join([*names[:MOST_NAMED], *more])


def _visible(path: str) -> str:
    """Return a path as visible characters: whatever a client calls a field, it is one header, and one part of it."""
    # HTTP has no value that begins or ends with a blank, and a blank name would be none
    escaped = path.encode("unicode_escape").decode("ascii").replace(",", "\\x2c").replace(" ", "\\x20")
    return escaped[:LONGEST_NAME] or '""'

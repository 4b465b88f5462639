"""One spelling for the many: the vendor's documents write the same endpoint with and without a service prefix, with
doubled slashes, and with a backslash before each ``&``. All are rewritten to the one the routes know."""

from __future__ import annotations

import re
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_PUBLIC: Final = re.compile(r"^(?:/(?:campaign|agentassist))?/api/(v1|v2|1\.1)/public/")
_ANALYTICS: Final = re.compile(r"^(?:/(?:campaign|agentassist))?/api/public/analytics/")
_CANONICAL: Final = re.compile("/campaign/api/v[12]/public(?:/[^/\0]+)+")
"""Nothing of it would be rewritten."""
_SLASHES: Final = re.compile("//+")
_ESCAPED_AMPERSAND: Final = re.compile(rb"(?:\\|%5C)&", re.IGNORECASE)


def canonical_path(path: str) -> str:
    """Return ``/campaign/api/v1|v2/public/…``, ``/api/1.1/public/…`` or ``/agentassist/api/public/analytics/…`` for any
    documented spelling of it."""
    return path if _CANONICAL.fullmatch(path) else rewritten(path)


def rewritten(path: str) -> str:
    """The same, the long way."""
    # no PostgreSQL text holds a NUL: an id with one is an id nobody has
    path = _SLASHES.sub("/", path.replace("\0", "\ufffd"))
    if len(path) > 1:
        path = path.removesuffix("/")
    path = _ANALYTICS.sub("/agentassist/api/public/analytics/", path)
    # 1.1 is documented without a service prefix, the others mostly with this one
    return _PUBLIC.sub(lambda found: f"{'' if found[1] == '1.1' else '/campaign'}/api/{found[1]}/public/", path)


def canonical_query(query: bytes) -> bytes:
    """Return the query with plain ampersands."""
    return _ESCAPED_AMPERSAND.sub(b"&", query)


class OneSpelling:
    """ASGI middleware that rewrites each request's path and query."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {
                **scope,
                "path": canonical_path(scope["path"]),
                "query_string": canonical_query(scope["query_string"]),
            }
        await self._app(scope, receive, send)

"""Headers of requests, read from what the server has parsed."""

from __future__ import annotations

from starlette.requests import Request


def header(request: Request, name: bytes) -> list[str]:
    """Return every value of a header, in the order in which they came; ``name`` in small letters, as ASGI has them.

    Starlette's own reading decodes the names of all headers each time one is asked for.
    """
    return [value.decode("latin-1") for found, value in request.scope["headers"] if found == name]

"""Documented endpoints that outdial does not offer yet: each says so, and what to do instead."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from outdial.api.kore.door import Door
from outdial.api.kore.endpoints import Endpoint, Endpoints, Operation
from outdial.api.kore.wire import Errors
from outdial.core.errors import NotBuiltError

_NOT_BUILT: Final = (("POST", "/{campaignInstanceId}/callContactAt", "Call-backs are not offered yet.", False),)


def add_not_built(endpoints: Endpoints, door: Door) -> None:
    """Add the endpoints; credentials are asked for first, as everywhere."""
    for method, path, sentence, only in _NOT_BUILT:
        operation = Operation(f"Not offered yet: {path.removeprefix('/')}", (Errors,))
        endpoints.add(method, path, _refusal(door, sentence), operation, only=only)


def _refusal(door: Door, sentence: str) -> Endpoint:
    async def refuse(request: Request) -> Response:
        await door.admit(request)
        raise NotBuiltError(sentence)

    return refuse

"""Adds the vendor's endpoints to a router, described, with every other verb refused as documented."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from outdial.api.kore.door import Door
from outdial.api.kore.wire import Errors
from outdial.api.openapi import IDEMPOTENCY, Catalog

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

VERBS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})

_PATH: Final = {
    "iid": "The application, `st-…`.",
    "accountId": "The account, 24 hex digits.",
    "campaignId": "The campaign, `cd-…`.",
    "contactListId": "The contact list, `cl-…`.",
    "campaignInstanceId": "The run, `cid-…`.",
}
_HEADERS: Final = {
    "iid": "The application once more: equal to the path's and the token's, or left out.",
    "accountId": "The account. May come as a query parameter instead; where both are given they must agree.",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """What OpenAPI says about an endpoint."""

    summary: str
    answers: Sequence[Any]
    """Types of the answer."""
    bodies: Sequence[type[BaseModel]] = ()
    """Types of the body, one of which it must be."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Query parameters and what they mean."""
    reads: bool = False
    """Changes nothing although its verb says so."""
    always: Callable[[Request], bool] | None = None
    """Tells requests that are carried out whatever their ``Idempotency-Key`` says."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """One version's endpoints below ``…/public/{iid}/campaign``, or below another router's prefix."""

    router: APIRouter
    catalog: Catalog
    version: str
    door: Door

    def add(self, method: str, path: str, endpoint: Endpoint, operation: Operation, *, only: bool = False) -> None:
        """Add an endpoint. ``only``: its last word could be taken for an id by another, so other verbs are refused
        here; elsewhere the router does that by itself."""
        changes = method != "GET" and not operation.reads
        names = re.findall(r"\{(\w+)\}", f"{self.router.prefix}{path}")
        parameters = [
            *(_parameter("path", name, _PATH[name], required=True) for name in names),
            *(_parameter("header", name, text, required=False) for name, text in _HEADERS.items()),
            *([_parameter("header", "Idempotency-Key", IDEMPOTENCY, required=False)] if changes else []),
            *(_parameter("query", name, text, required=False) for name, text in operation.query.items()),
        ]
        described = self.catalog.operation(
            parameters=parameters, bodies=operation.bodies, answers=operation.answers, failure=Errors
        )
        self.router.add_api_route(
            path,
            self._once(endpoint, operation.always) if changes else endpoint,
            description=inspect.getdoc(endpoint),
            methods=[method],
            summary=operation.summary,
            response_class=Response,
            response_model=None,
            operation_id=re.sub(r"\W+", "_", f"{method.lower()}{path}_{self.version}"),
            openapi_extra={**described, "security": [{"token": []}]},
        )
        if only:
            self._refuse(path, VERBS - {method})

    def _once(self, endpoint: Endpoint, always: Callable[[Request], bool] | None) -> Endpoint:
        async def once(request: Request) -> Response:
            if always is not None and always(request):
                return await endpoint(request)
            return await self.door.once(request, endpoint)

        return once

    def refuse_word(self, path: str) -> None:
        """Refuse every verb at a word that is no id."""
        self._refuse(path, VERBS)

    def _refuse(self, path: str, verbs: frozenset[str]) -> None:
        allowed = ", ".join(sorted(VERBS - verbs))

        async def refuse(_request: Request) -> Response:
            raise HTTPException(405, headers={"Allow": allowed})

        self.router.add_api_route(path, refuse, methods=sorted(verbs), include_in_schema=False, response_model=None)


def _parameter(place: str, name: str, text: str, *, required: bool) -> dict[str, Any]:
    return {"in": place, "name": name, "required": required, "description": text, "schema": {"type": "string"}}

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

from outdial.api import links
from outdial.api.errors import VERBS
from outdial.api.kore.door import Door
from outdial.api.links import Link
from outdial.api.openapi import JSON, Catalog
from outdial.api.parameters import KEY, Parameter, account, free_text, identifier, in_path
from outdial.api.refusals import Refusals

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

_PATH: Final = {
    "iid": identifier("The application", "st"),
    "accountId": account("The account, 24 hex digits."),
    "campaignId": identifier("The campaign", "cd"),
    "contactListId": identifier("The contact list", "cl"),
    "campaignInstanceId": identifier("The run", "cid"),
}
# whose they are decides, not how they look
_IID: Final = free_text(
    "The application once more: equal to the path's and the token's, or left out.", example=_PATH["iid"].example
)
_ACCOUNT: Final = free_text(
    "The account. May come as a query parameter instead; where both are given they must agree.",
    example=_PATH["accountId"].example,
)
_ACCOUNT_IN_QUERY: Final = free_text(
    "The account, as v2 and the older documents of v1 have it; may be left out.", example=_PATH["accountId"].example
)

_ALWAYS: Final = frozenset({401, 404, 429, 500, 503})
"""No credentials, nothing at this address, too fast, a fault of ours, the database away."""
_WITH_BODY: Final = frozenset({400, 412, 413})
_WITH_KEY: Final = frozenset({400, 409, 413, 422})


@dataclass(frozen=True, slots=True)
class Operation:
    """What OpenAPI says about an endpoint."""

    summary: str
    answers: Sequence[Any]
    """Types of the answer."""
    examples: Mapping[str, Any] = field(default_factory=dict)
    """An answer of each, by a word for it."""
    bodies: Sequence[type[BaseModel]] = ()
    """Types of the body, one of which it must be."""
    must_have_body: bool = False
    """Whether it cannot do without one."""
    query: Mapping[str, Parameter] = field(default_factory=dict)
    """Query parameters."""
    refused: frozenset[int] = frozenset()
    """Statuses of failures beside those that its body, its query and its verb bring."""
    links: Sequence[Link] = ()
    """What can be asked next."""
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
    refusals: Refusals

    def add(self, method: str, path: str, endpoint: Endpoint, operation: Operation, *, only: bool = False) -> None:
        """Add an endpoint. ``only``: its last word could be taken for an id by another, so other verbs are refused
        here; elsewhere the router does that by itself."""
        changes = method != "GET" and not operation.reads
        operation_id = re.sub(r"\W+", "_", f"{method.lower()}{path}_{self.version}")
        self.router.add_api_route(
            path,
            self._once(endpoint, operation.always) if changes else endpoint,
            description=inspect.getdoc(endpoint),
            methods=[method],
            summary=operation.summary,
            response_class=Response,
            response_model=None,
            operation_id=operation_id,
            openapi_extra=self._described(operation_id, path, operation, changes=changes),
        )
        if only:
            self._refuse(path, frozenset(VERBS) - {method})

    def _described(self, operation_id: str, path: str, operation: Operation, *, changes: bool) -> dict[str, Any]:
        whole = f"{self.router.prefix}{path}"
        below_application = "{iid}" in whole
        query = {**({"accountId": _ACCOUNT_IN_QUERY} if below_application else {}), **operation.query}
        refused = _ALWAYS | operation.refused
        refused |= _WITH_BODY if operation.bodies else frozenset()
        refused |= _WITH_KEY if changes else frozenset()
        refused |= {400} if operation.query else frozenset()
        described = self.catalog.operation(
            operation_id,
            parameters=[
                *in_path(whole, _PATH),
                _IID.described("header", "iid"),
                _ACCOUNT.described("header", "accountId"),
                *([KEY.described("header", "Idempotency-Key")] if changes else []),
                *(parameter.described("query", name) for name, parameter in query.items()),
            ],
            bodies=operation.bodies,
            answer={JSON: {"schema": self.catalog.answer(operation.answers)}},
            examples=operation.examples,
            refused=self.refusals.references(refused),
            must_have_body=operation.must_have_body,
            keyed=changes,
            links=links.described(
                operation.links, self.version, {"path.iid": "$request.path.iid"} if below_application else None
            ),
        )
        return {**described, "security": [{"token": []}]}

    def _once(self, endpoint: Endpoint, always: Callable[[Request], bool] | None) -> Endpoint:
        async def once(request: Request) -> Response:
            if always is not None and always(request):
                return await endpoint(request)
            return await self.door.once(request, endpoint)

        return once

    def refuse_word(self, path: str) -> None:
        """Refuse every verb at a word that is no id."""
        self._refuse(path, frozenset(VERBS))

    def _refuse(self, path: str, verbs: frozenset[str]) -> None:
        async def refuse(_request: Request) -> Response:
            raise HTTPException(405)

        self.router.add_api_route(path, refuse, methods=sorted(verbs), include_in_schema=False, response_model=None)

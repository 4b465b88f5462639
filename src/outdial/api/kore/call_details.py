"""Call details on the vendor's wire: each call of an account's application, with its campaign."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from outdial.api.body import read_json
from outdial.api.json_reply import JsonReply
from outdial.api.kore.call_detail_requests import CallDetailsBody, call_details_body
from outdial.api.kore.call_detail_shapes import CallsShape, calls_shape
from outdial.api.kore.door import Door
from outdial.api.kore.endpoints import Endpoints, Operation
from outdial.api.kore.examples import CALLS
from outdial.api.openapi import Catalog
from outdial.api.parameters import number
from outdial.api.parts import ApiParts
from outdial.api.query import query_number
from outdial.api.refusals import Refusals
from outdial.services import call_details

PREFIX: Final = "/agentassist/api/public/analytics/account/{accountId}"
LARGEST_PAGE: Final = 100
LAST_PAGE: Final = 10
"""Both documented."""

# the second is the documented alias, the third how its sample spells it
_NAMES: Final = ("interactionDetails", "calldetails", "callDetails")
_PAGING: Final = {
    "offset": number("Which page, 0 unless told.", least=0, most=LAST_PAGE),
    "limit": number(f"Calls in a page, {LARGEST_PAGE} unless told.", least=1, most=LARGEST_PAGE),
}


class CallDetailRoutes:
    """The call details endpoint, by all its names."""

    def __init__(self, parts: ApiParts, door: Door) -> None:
        self._database = parts.database
        self._door = door

    def router(self, catalog: Catalog, refusals: Refusals) -> APIRouter:
        """Return its router."""
        router = APIRouter(prefix=PREFIX, tags=["Call details v2"])
        endpoints = Endpoints(router, catalog, version="v2", door=self._door, refusals=refusals)
        operation = Operation(
            "Get call details",
            (CallsShape,),
            {"calls": CALLS},
            (CallDetailsBody,),
            must_have_body=True,
            query=_PAGING,
            reads=True,
        )
        for name in _NAMES:
            endpoints.add("POST", f"/v2/{name}", self.calls, operation)
        return router

    async def calls(self, request: Request) -> Response:
        """Return the application's calls of at most seven days that are over, oldest first; local times are those of
        `timeZoneOffset`. `selectedFields` says which of the groups `skills`, `customerinfo`, `userleveltags`,
        `sessionleveltags` and `campaigninfo` each call has."""
        caller = await self._door.admit_to_account(request)
        page = query_number(request, "offset", default=0, least=0, most=LAST_PAGE)
        limit = query_number(request, "limit", default=LARGEST_PAGE, least=1, most=LARGEST_PAGE)
        body, window = call_details_body(await read_json(request))
        found = []
        if not body.none_fits:
            found = await call_details.calls(
                self._database,
                account_id=caller.account_id,
                iid=caller.iid,
                window=window,
                skip=page * limit,
                limit=limit,
            )
        return JsonReply(calls_shape(found, iid=caller.iid, groups=body.groups, offset=body.offset))

"""The pre-call fetch of a campaign."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import Caller
from outdial.api.body import read_json
from outdial.api.json_reply import JsonReply
from outdial.api.native.bodies import PreCallFetchBody
from outdial.api.native.routes import Operation, Routes
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.core.model import Scope
from outdial.services import pre_calls
from outdial.services.pre_calls import PreCallView


class PreCallFetchView(msgspec.Struct, frozen=True, rename="camel"):
    """Where a campaign's contacts are asked about; values of headers are never shown."""

    url: str
    header_names: list[str]


_FETCH: Final = PreCallFetchView(url="https://crm.example.net/pre-call", header_names=["Authorization"])


class PreCallRoutes:
    """Pre-call fetches."""

    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        scope = Scope.CAMPAIGN_MANAGEMENT
        path = "/campaigns/{campaignId}/pre-call-fetch"
        for method, endpoint, operation in (
            ("GET", self.show, Operation("Get a campaign's pre-call fetch", scope, PreCallFetchView, _FETCH)),
            (
                "PUT",
                self.put,
                Operation("Set a campaign's pre-call fetch", scope, PreCallFetchView, _FETCH, PreCallFetchBody),
            ),
            (
                "DELETE",
                self.remove,
                Operation("Remove a campaign's pre-call fetch", scope, PreCallFetchView, _FETCH),
            ),
        ):
            routes.add(method, path, endpoint, operation)

    async def show(self, request: Request, caller: Caller) -> Response:
        """Return where the campaign's contacts are asked about, and the names of the headers sent."""
        found = await pre_calls.show_fetch(
            self._parts.database,
            self._parts.secrets,
            iid=caller.iid,
            campaign_id=request.path_params["campaignId"],
        )
        return JsonReply(_view(found))

    async def put(self, request: Request, caller: Caller) -> Response:
        """Have an address asked about each contact right before it is dialed, from the next run on; refused while a run
        is live.

        It gets `{"CampaignName","CampaignId","DialingId","contactData"}` by POST and has two seconds to answer 200 with
        `{"contactHandling":{"handle":"CALL"}}` or `"SKIP"`, a `reason` if it likes, and `detailedContactData`, which is
        kept with the attempt. Everything else, and no answer, skips the contact in this run.
        """
        body = parse(PreCallFetchBody, await read_json(request))
        made = await pre_calls.set_fetch(
            self._parts.database,
            self._parts.secrets,
            iid=caller.iid,
            campaign_id=request.path_params["campaignId"],
            url=body.url,
            headers=body.headers,
            actor=caller.client_id,
        )
        return JsonReply(_view(made))

    async def remove(self, request: Request, caller: Caller) -> Response:
        """Have the campaign's contacts dialed without asking, from the next run on, and return the fetch as it was;
        refused while a run is live."""
        removed = await pre_calls.remove_fetch(
            self._parts.database,
            self._parts.secrets,
            iid=caller.iid,
            campaign_id=request.path_params["campaignId"],
            actor=caller.client_id,
        )
        return JsonReply(_view(removed))


def _view(found: PreCallView) -> PreCallFetchView:
    return PreCallFetchView(url=found.url, header_names=list(found.header_names))

"""The courtesy message of a campaign."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import Caller
from outdial.api.body import read_json
from outdial.api.json_reply import JsonReply
from outdial.api.native.bodies import CourtesyMessageBody
from outdial.api.native.routes import Operation, Routes
from outdial.api.native.views import FlowView, flow_view
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.core.model import Scope
from outdial.services import courtesy, flows

_FLOW: Final = FlowView(
    id="cf-1111111-2222-4333-8444-555555555555", name="Sorry", duration_seconds=6.5, document=flows.MESSAGE
)


class CourtesyRoutes:
    """Courtesy messages."""

    def __init__(self, parts: ApiParts) -> None:
        self._database = parts.database

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        scope = Scope.CAMPAIGN_MANAGEMENT
        path = "/campaigns/{campaignId}/courtesy-message"
        for method, endpoint, operation in (
            ("GET", self.show, Operation("Get a campaign's courtesy message", scope, FlowView, _FLOW)),
            (
                "PUT",
                self.put,
                Operation("Set a campaign's courtesy message", scope, FlowView, _FLOW, CourtesyMessageBody),
            ),
            ("DELETE", self.remove, Operation("Remove a campaign's courtesy message", scope, FlowView, _FLOW)),
        ):
            routes.add(method, path, endpoint, operation)

    async def show(self, request: Request, caller: Caller) -> Response:
        """Return the flow that is the campaign's courtesy message."""
        found = await courtesy.show_courtesy(
            self._database, iid=caller.iid, campaign_id=request.path_params["campaignId"]
        )
        return JsonReply(flow_view(found))

    async def put(self, request: Request, caller: Caller) -> Response:
        """Name a flow, by its name or its id, that whoever answers a call hears although it was being cancelled, from
        the next run on; refused while a run is live.

        It is heard by who answers after the stop was committed and before the engine has cancelled the call, and the
        call is ended then; the stop does not wait for it. An answer that crosses the cancellation on its way is ended
        by the engine at once, and a stop whose `connected` is `hang_up` ends every conversation. The reason of the
        attempt tells what was heard.
        """
        body = parse(CourtesyMessageBody, await read_json(request))
        made = await courtesy.set_courtesy(
            self._database,
            iid=caller.iid,
            campaign_id=request.path_params["campaignId"],
            flow=body.flow,
            actor=caller.client_id,
        )
        return JsonReply(flow_view(made))

    async def remove(self, request: Request, caller: Caller) -> Response:
        """Have whoever answers a cancelled call hung up on at once, from the next run on, and return the flow that was
        heard; refused while a run is live."""
        removed = await courtesy.remove_courtesy(
            self._database, iid=caller.iid, campaign_id=request.path_params["campaignId"], actor=caller.client_id
        )
        return JsonReply(flow_view(removed))

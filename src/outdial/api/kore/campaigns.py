"""Campaigns on the vendor's wire: create, get, delete, start, stop, status."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import Caller
from outdial.api.body import read_json
from outdial.api.json_reply import JsonReply
from outdial.api.kore import examples
from outdial.api.kore.campaign_shapes import (
    CampaignShape,
    CreatedCampaign,
    CreatedPreviewV1,
    ListedCampaign,
    PreviewId,
    UpdatedAnswer,
    UpdatedCampaign,
    campaign_shape,
    created_campaign,
    listed_campaign,
    updated_campaign,
)
from outdial.api.kore.door import KINDS, Door, is_stop, require_voice
from outdial.api.kore.drafts import campaign_draft, campaign_search, updated_draft
from outdial.api.kore.endpoints import Endpoints, Operation
from outdial.api.kore.next_requests import AFTER_CREATION, AFTER_TRIGGER, SAME_CAMPAIGN
from outdial.api.kore.requests import (
    AgentlessUpdateV2,
    AgentlessV1,
    AgentlessV2,
    CampaignBody,
    CampaignsBody,
    EmptyBody,
    PreviewV1,
    PreviewV2,
    ProgressiveV1,
    ProgressiveV2,
    RunContactsBody,
    StopBody,
)
from outdial.api.kore.run_shapes import (
    RunContactsShape,
    StartedShape,
    StatusShape,
    StoppedShape,
    run_contacts,
    started,
    status_shape,
    stopped,
)
from outdial.api.kore.wire import Found, PageShape, Success, found, page_shape, success
from outdial.api.parameters import choice
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.api.query import query_choice, query_choices, query_value
from outdial.api.stops import Stops
from outdial.core.model import ConnectedCalls, DialingMode, RingingCalls
from outdial.services import campaigns, runs
from outdial.services import stop as stop_service

_TYPE: Final = {"campaignType": choice("`voice`; `sms` answers 501.", "voice", "sms", required=True)}
_UPDATE_TYPE: Final = {
    "campaignType": choice(
        "`voice`; v2 takes `sms` too, as its documented address has it.", "voice", "sms", required=True
    )
}
_TRIGGER: Final = {
    "campaignType": choice(
        "`voice`; a stop takes `sms` too, as v2's table of it has it, a start answers 501.",
        "voice",
        "sms",
        required=True,
    ),
    "trigger": choice("`play` starts the campaign, `stop` stops it.", "play", "stop", required=True),
}
_VIEW: Final = {"view": choice("`status` (also when left out) or `contacts`.", "status", "contacts")}


class CampaignRoutes:
    """The campaign endpoints of one version of the wire."""

    def __init__(self, parts: ApiParts, door: Door, stops: Stops, *, version: int) -> None:
        self._parts = parts
        self._door = door
        self._stops = stops
        self._version = version

    def add_to(self, endpoints: Endpoints) -> None:
        """Add them."""
        version = self._version
        both: dict[str, Any] = {"created": examples.created_campaign(version)}
        if version == 1:
            bodies: tuple[type[CampaignBody], ...] = (AgentlessV1, ProgressiveV1, PreviewV1)
            answers: tuple[Any, ...] = (Success[CreatedCampaign], CreatedPreviewV1)
            both = {**both, "preview": examples.CREATED_PREVIEW_V1}
        else:
            bodies, answers = (AgentlessV2, ProgressiveV2, PreviewV2), (Success[CreatedCampaign],)
        updates = bodies if version == 1 else (AgentlessUpdateV2, ProgressiveV2, PreviewV2)
        create = Operation(
            "Create a voice campaign",
            answers,
            both,
            bodies,
            must_have_body=True,
            query=_TYPE,
            refused=frozenset({501}),
            links=AFTER_CREATION,
        )
        update = replace(
            create,
            summary="Update a campaign",
            answers=(UpdatedAnswer[UpdatedCampaign] if version == 1 else UpdatedAnswer[CampaignShape],),
            examples={"updated": examples.updated_campaign(version)},
            bodies=updates,
            query=_UPDATE_TYPE,
            links=SAME_CAMPAIGN,
        )
        trigger = Operation(
            "Start or stop a campaign",
            (StartedShape, StoppedShape),
            {"started": examples.STARTED, "stopped": examples.STOPPED},
            (StopBody,),
            query=_TRIGGER,
            refused=frozenset({501}),
            links=AFTER_TRIGGER,
            always=is_stop,
        )
        status = Operation(
            "What a campaign does, or its contacts' progress",
            (Found[StatusShape], Found[RunContactsShape]),
            examples.status_answers(),
            (RunContactsBody,),
            query=_VIEW,
            links=SAME_CAMPAIGN,
            reads=True,
        )
        whole = (Success[CampaignShape],)
        listing = Operation(
            "Get all campaigns",
            (Success[PageShape[ListedCampaign]],),
            {"page": examples.campaigns(version)},
            (CampaignsBody,),
            must_have_body=True,
            refused=frozenset({501}),
            reads=True,
        )
        get = Operation(
            "Get a campaign", whole, {"campaign": examples.campaign(version, "retrieved")}, links=SAME_CAMPAIGN
        )
        delete = Operation(
            "Delete a campaign",
            whole,
            {"campaign": examples.campaign(version, "deleted")},
            query=_TYPE,
            refused=frozenset({501}),
        )
        endpoints.refuse_word("/trigger")
        endpoints.add("POST", "/getAllCampaignDetails", self.get_all, listing, only=True)
        endpoints.add("PUT", "/{campaignId}", self.update, update)
        endpoints.add("POST", "", self.create, create)
        endpoints.add("POST", "/trigger/{campaignId}", self.trigger, trigger)
        endpoints.add("GET", "/{campaignId}", self.get, get)
        endpoints.add("DELETE", "/{campaignId}", self.delete, delete)
        endpoints.add("POST", "/{campaignId}", self.trigger, trigger)
        endpoints.add("POST", "/{campaignId}/status", self.status, status)
        # an older page of the reference lists it so
        endpoints.add("GET", "/{campaignId}/status", self.status, replace(status, bodies=()))

    async def create(self, request: Request) -> Response:
        """Create a campaign, agentless, progressive or preview; it is ready to be started when this answers."""
        caller = await self._door.admit(request)
        require_voice(request)
        draft = campaign_draft(
            await read_json(request), version=self._version, region=self._parts.settings.default_region
        )
        campaign = await campaigns.create_campaign(
            self._parts.database, iid=caller.iid, account_id=caller.account_id, draft=draft, actor=caller.client_id
        )
        message = f"Campaign {campaign.name} creation in progress"
        if self._version == 1 and campaign.mode is DialingMode.PREVIEW:
            return JsonReply(CreatedPreviewV1("success", message, campaign.id, PreviewId(campaign.id)))
        return JsonReply(success(message, created_campaign(campaign, self._version)))

    async def get(self, request: Request) -> Response:
        """Return a campaign's definition, its status and the id of its latest run."""
        caller = await self._door.admit(request)
        campaign = await campaigns.get_campaign(self._parts.database, caller.iid, request.path_params["campaignId"])
        return JsonReply(
            success(f"Campaign {campaign.name} retrieved successfully", campaign_shape(campaign, self._version))
        )

    async def get_all(self, request: Request) -> Response:
        """Return the application's campaigns, filtered, sorted and page by page; newest first unless told."""
        caller = await self._door.admit(request)
        search = campaign_search(await read_json(request))
        page = await campaigns.search_campaigns(self._parts.database, caller.iid, search)
        # two spaces, as documented
        results = [listed_campaign(campaign, self._version) for campaign in page.items]
        return JsonReply(success("Campaign  retrieved successfully", page_shape(page, results)))

    async def update(self, request: Request) -> Response:
        """Give a campaign another definition, whole, while no run of it is live; its dialing mode may change too. Its
        schedule stays as it is, and so, in v2, does what is done about answering machines where `enableMachineDetect`
        is left out."""
        caller = await self._door.admit(request)
        # the documented address of v2 says sms for voice campaigns too; the body says which is meant
        if self._version == 1:
            require_voice(request)
        else:
            query_choice(request, "campaignType", KINDS)
        document, region = await read_json(request), self._parts.settings.default_region
        campaign = await campaigns.update_campaign(
            self._parts.database,
            iid=caller.iid,
            campaign_id=request.path_params["campaignId"],
            read=lambda present: updated_draft(document, version=self._version, region=region, present=present),
            actor=caller.client_id,
        )
        return JsonReply(updated_campaign(campaign, self._version))

    async def delete(self, request: Request) -> Response:
        """Delete a campaign that is not running; its attempts and history stay."""
        caller = await self._door.admit(request)
        require_voice(request)
        campaign = await campaigns.delete_campaign(
            self._parts.database,
            iid=caller.iid,
            campaign_id=request.path_params["campaignId"],
            actor=caller.client_id,
        )
        return JsonReply(
            success(f"Campaign {campaign.name} deleted successfully", campaign_shape(campaign, self._version))
        )

    async def trigger(self, request: Request) -> Response:
        """Start a campaign (`trigger=play`) or stop it (`trigger=stop`).

        A stop answers 200 only once no further call can leave for the run; 503 means that this is not shown yet, and
        asking again resumes the wait. Stopping a stopped campaign answers the same again. A stop is never refused by
        the rate limit, and goes on when its client hangs up. As an extension its body may say
        `{"ringing": "cancel" | "let_ring", "connected": "keep" | "hang_up", "keepSchedule": true | false}`; without,
        ringing calls are cancelled, connected ones go on, and the campaign's schedule is switched off with its run.
        """
        caller = await self._door.admit(request, limited=not is_stop(request))
        if is_stop(request):
            # the documented table of v2 says sms for voice campaigns too: whoever follows it must be able to stop
            query_choices(request, "campaignType", KINDS)
            return await self._stop(request, caller)
        require_voice(request)
        query_choice(request, "trigger", ("play", "stop"))
        return await self._start(request, caller)

    async def _start(self, request: Request, caller: Caller) -> Response:
        parse(EmptyBody, await read_json(request))
        run = await runs.start(
            self._parts.database,
            self._parts.secrets,
            iid=caller.iid,
            campaign_id=request.path_params["campaignId"],
            actor=caller.client_id,
        )
        return JsonReply(started(run))

    async def _stop(self, request: Request, caller: Caller) -> Response:
        body = parse(StopBody, await read_json(request))
        campaign_id = request.path_params["campaignId"]
        stop = stop_service.stop(
            self._parts.database,
            self._parts.engines,
            iid=caller.iid,
            campaign_id=campaign_id,
            actor=caller.client_id,
            options=stop_service.StopOptions(
                ringing=RingingCalls(body.ringing), connected=ConnectedCalls(body.connected)
            ),
            keep_schedule=body.keep_schedule,
        )
        return JsonReply(stopped(await self._stops.run(stop, campaign_id=campaign_id)))

    async def status(self, request: Request) -> Response:
        """Return what a campaign does (`view=status`) or how its contacts fare in its latest run (`view=contacts`)."""
        caller = await self._door.admit(request)
        campaign_id = request.path_params["campaignId"]
        if query_value(request, "view") is not None:
            view = query_choice(request, "view", ("status", "contacts"))
        else:
            view = "status"
        document = await read_json(request)
        if view == "status":
            parse(EmptyBody, document)
            stands = await campaigns.find_status(self._parts.database, caller.iid, campaign_id)
            return JsonReply(found(status_shape(stands)))
        page = parse(RunContactsBody, document)
        return JsonReply(
            found(
                run_contacts(
                    await runs.run_contacts(
                        self._parts.database,
                        iid=caller.iid,
                        campaign_id=campaign_id,
                        page=page.page,
                        limit=page.limit,
                    )
                )
            )
        )

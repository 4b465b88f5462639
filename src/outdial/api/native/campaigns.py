"""What campaigns can do beyond the vendor's surface: pause, resume, clone, a stop with options, their schedule."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import Caller
from outdial.api.body import read_json
from outdial.api.json_reply import JsonReply
from outdial.api.links import Link
from outdial.api.native.bodies import CloneBody, NoBody, StopOptionsBody
from outdial.api.native.routes import Operation, Routes
from outdial.api.native.views import (
    CampaignScheduleView,
    CampaignView,
    EngineStopView,
    NodeStopView,
    OccurrenceView,
    RunSummary,
    ScrubView,
    StopReportView,
    StopView,
    campaign_view,
    run_summary,
    schedule_view,
    stop_view,
)
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.api.stops import Stops
from outdial.core.model import ConnectedCalls, RingingCalls, Scope
from outdial.services import campaigns, runs, schedules
from outdial.services import stop as stop_service
from outdial.services.acknowledging import NodeOutcome

_AT: Final = datetime(2026, 3, 1, 10, tzinfo=UTC)
_CAMPAIGN_ID: Final = "cd-1111111-2222-4333-8444-555555555555"
_INSTANCE_ID: Final = "cid-1111111-2222-4333-8444-555555555555"
_CAMPAIGN: Final = CampaignView(
    id=_CAMPAIGN_ID,
    name="Spring",
    state="ready",
    mode="agentless",
    instance_id=None,
    created_at=_AT,
    updated_at=_AT,
)
_RUN: Final = RunSummary(
    instance_id=_INSTANCE_ID,
    campaign_id=_CAMPAIGN_ID,
    state="paused",
    epoch=2,
    started_at=_AT,
    updated_at=_AT,
    ended_at=None,
)
REPORT: Final = StopReportView(
    instance_id=_INSTANCE_ID,
    campaign_id=_CAMPAIGN_ID,
    requested_at=_AT,
    requested_by="cs-22222222-2222-4333-8444-555555555555",
    stopped_at=_AT,
    latency_seconds=0.18,
    ringing=RingingCalls.CANCEL,
    connected=ConnectedCalls.KEEP,
    engines=[EngineStopView(engine_id="asterisk", fenced_at=_AT, quiesced_at=_AT, cancelled=12, hung_up=0)],
    nodes=[NodeStopView(node_id="8f14e45f", name="dialer-1", outcome=NodeOutcome.ACKNOWLEDGED, at=_AT)],
    cancelled_count=12,
    retries_cancelled_count=40,
    never_reached_count=931,
    connected_count=3,
)
_STOPPED: Final = StopView(instance_id=_INSTANCE_ID, state="stopped", stopped_at=_AT, report=REPORT)
_SCHEDULE: Final = CampaignScheduleView(
    enabled=True,
    zone="Europe/Paris",
    start="2026-03-01 09:00:00",
    end="2026-06-01 00:00:00",
    recurrence="weekly",
    every=1,
    weekdays=[0, 2],
    next_at=_AT,
    stopped_at=None,
    occurrences=[OccurrenceView(due_at=_AT, outcome="started", instance_id=_INSTANCE_ID, reason="", at=_AT)],
    scrub=ScrubView(at=_AT, contacts_count=1000, dnc_count=14),
)


_CONFLICT: Final = frozenset({409})
_CLONE: Final = {"path.campaignId": "$response.body#/id"}
_AFTER_CLONE: Final = (
    Link("get_campaigns_campaignId", "The clone, in short.", _CLONE),
    Link("get_campaigns_campaignId_runs", "Its runs: none yet.", _CLONE),
    Link("get_campaigns_campaignId_schedule", "Its schedule: none.", _CLONE),
)


class CampaignActions:
    """Campaigns."""

    def __init__(self, parts: ApiParts, stops: Stops) -> None:
        self._parts = parts
        self._database = parts.database
        self._stops = stops

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        scope = Scope.CAMPAIGN_MANAGEMENT
        one = "/campaigns/{campaignId}"
        for method, path, endpoint, operation in (
            ("GET", one, self.get, Operation("Get a campaign, in short", scope, CampaignView, _CAMPAIGN)),
            (
                "POST",
                f"{one}/pause",
                self.pause,
                # as a stop: done again by whoever asks again
                Operation("Pause a campaign", scope, RunSummary, _RUN, NoBody, refused=_CONFLICT, stops=True),
            ),
            ("POST", f"{one}/resume", self.resume, Operation("Resume a campaign", scope, RunSummary, _RUN, NoBody)),
            (
                "POST",
                f"{one}/stop",
                self.stop,
                Operation("Stop a campaign", scope, StopView, _STOPPED, StopOptionsBody, refused=_CONFLICT, stops=True),
            ),
            (
                "POST",
                f"{one}/clone",
                self.clone,
                Operation("Clone a campaign", scope, CampaignView, _CAMPAIGN, CloneBody, links=_AFTER_CLONE),
            ),
            (
                "GET",
                f"{one}/schedule",
                self.schedule,
                Operation("Get a campaign's schedule", scope, CampaignScheduleView, _SCHEDULE),
            ),
        ):
            routes.add(method, path, endpoint, operation)

    async def get(self, request: Request, caller: Caller) -> Response:
        """Return a campaign's name and state; here one that is being stopped is `stopping`."""
        found = await campaigns.get_campaign(self._database, caller.iid, request.path_params["campaignId"])
        return JsonReply(campaign_view(found))

    async def pause(self, request: Request, caller: Caller) -> Response:
        """Pause the campaign's run. When this answers 200 no new call leaves; what rings or is connected goes on. 503
        means that the run is paused and this is not shown yet: asking again waits again. Pausing a paused one changes
        nothing. It is never refused by the rate limit and ignores `Idempotency-Key`."""
        parse(NoBody, await read_json(request))
        run = await runs.pause(
            self._database,
            self._parts.engines,
            iid=caller.iid,
            campaign_id=request.path_params["campaignId"],
            actor=caller.client_id,
        )
        return JsonReply(run_summary(run))

    async def resume(self, request: Request, caller: Caller) -> Response:
        """Go on with a paused run."""
        parse(NoBody, await read_json(request))
        run = await runs.resume(
            self._database, iid=caller.iid, campaign_id=request.path_params["campaignId"], actor=caller.client_id
        )
        return JsonReply(run_summary(run))

    async def stop(self, request: Request, caller: Caller) -> Response:
        """Stop the campaign's run and return the whole report.

        It answers 200 only once no further call can leave; 503 means that this is not shown yet, and asking again
        resumes the wait. Stopping a stopped campaign answers the same again. It is never refused by the rate limit,
        ignores `Idempotency-Key`, and goes on when its client hangs up. Ringing calls are cancelled unless `ringing` is
        `let_ring`, connected ones go on unless `connected` is `hang_up`, and the schedule is switched off with the run
        unless `keepSchedule` is true.
        """
        body = parse(StopOptionsBody, await read_json(request))
        campaign_id = request.path_params["campaignId"]
        stop = stop_service.stop(
            self._database,
            self._parts.engines,
            iid=caller.iid,
            campaign_id=campaign_id,
            actor=caller.client_id,
            options=stop_service.StopOptions(ringing=body.ringing, connected=body.connected),
            keep_schedule=body.keep_schedule,
        )
        return JsonReply(stop_view(await self._stops.run(stop, campaign_id=campaign_id)))

    async def clone(self, request: Request, caller: Caller) -> Response:
        """Make another campaign of the same definition, ready to be started, without runs and without a schedule."""
        body = parse(CloneBody, await read_json(request))
        made = await campaigns.clone_campaign(
            self._database,
            iid=caller.iid,
            campaign_id=request.path_params["campaignId"],
            name=body.name,
            actor=caller.client_id,
        )
        return JsonReply(campaign_view(made))

    async def schedule(self, request: Request, caller: Caller) -> Response:
        """Return a campaign's schedule, what became of its last fifty occurrences, and how many of its contacts were on
        a do-not-call list when that was looked at last."""
        found = await schedules.show(self._database, iid=caller.iid, campaign_id=request.path_params["campaignId"])
        return JsonReply(schedule_view(found))

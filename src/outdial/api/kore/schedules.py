"""Schedules on the vendor's wire: enable daily and weekly ones, disable them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import Caller
from outdial.api.body import read_json
from outdial.api.json_reply import JsonReply
from outdial.api.kore.door import Door
from outdial.api.kore.endpoints import Endpoints, Operation
from outdial.api.kore.requests import EmptyBody, ScheduleBody
from outdial.api.parameters import choice, free_text
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.api.query import query_choice, query_value
from outdial.core.errors import BadRequestError
from outdial.core.schedule import Recurrence
from outdial.services import schedules
from outdial.services.schedules import SchedulePlan

_QUERY: Final = {
    "enableSchedule": choice("`true` sets a schedule, `false` switches it off.", "true", "false", required=True),
    "campaignName": free_text("The campaign, by its exact name.", required=True, example="Spring Calls"),
    "campaignId": free_text("Which one, where several bear the name; an extension."),
}
_RECURRENCES: Final = {"Daily": Recurrence.DAILY, "Weekly": Recurrence.WEEKLY}
_WEEKDAYS: Final = {name: number for number, name in enumerate(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"))}


class ScheduledShape(msgspec.Struct, frozen=True):
    """The answer of both."""

    status: str
    message: str
    id: str


_CAMPAIGN_ID: Final = "cd-1111111-2222-4333-8444-555555555555"
_ENABLED: Final = ScheduledShape("success", "Campaign Spring Calls scheduled successfully", _CAMPAIGN_ID)
_DISABLED: Final = ScheduledShape(
    "success", "Campaign Spring Calls schedule has been disabled successfully", _CAMPAIGN_ID
)


class ScheduleRoutes:
    """The one schedule endpoint."""

    def __init__(self, parts: ApiParts, door: Door) -> None:
        self._database = parts.database
        self._door = door

    def add_to(self, endpoints: Endpoints) -> None:
        """Add it."""
        operation = Operation(
            "Enable or disable a campaign's schedule",
            (ScheduledShape,),
            {"enabled": _ENABLED, "disabled": _DISABLED},
            (ScheduleBody, EmptyBody),
            query=_QUERY,
        )
        endpoints.add("POST", "/schedule", self.schedule, operation, only=True)

    async def schedule(self, request: Request) -> Response:
        """Let a campaign run by itself, daily or weekly, or let it no longer.

        Times are the wall clock of the campaign's calling hours' zone. The end is exclusive: no occurrence at or after
        it, and a run that the schedule began is stopped then. Without `recurrenceObject` it runs once, at its start. An
        occurrence more than two minutes late is reported as missed, not started.
        """
        caller = await self._door.admit(request)
        enabling = query_choice(request, "enableSchedule", ("true", "false")) == "true"
        campaign_id = await self._campaign_id(request, caller)
        document = await read_json(request)
        if not enabling:
            parse(EmptyBody, document)
            campaign = await schedules.disable(
                self._database, iid=caller.iid, campaign_id=campaign_id, actor=caller.client_id
            )
            message = f"Campaign {campaign.name} schedule has been disabled successfully"
            return JsonReply(ScheduledShape("success", message, campaign.id))
        campaign = await schedules.enable(
            self._database,
            iid=caller.iid,
            campaign_id=campaign_id,
            plan=_plan(parse(ScheduleBody, document)),
            actor=caller.client_id,
        )
        return JsonReply(ScheduledShape("success", f"Campaign {campaign.name} scheduled successfully", campaign.id))

    async def _campaign_id(self, request: Request, caller: Caller) -> str:
        name = query_value(request, "campaignName")
        if not name:
            raise BadRequestError("`campaignName` is missing from the query; it must be the campaign's exact name.")
        return await schedules.require_named(
            self._database, caller.iid, name, query_value(request, "campaignId") or None
        )


def _plan(body: ScheduleBody) -> SchedulePlan:
    rule = body.recurrence_object
    if rule is None:
        return SchedulePlan(body.start_date_time, body.end_date_time, Recurrence.ONCE, 1, ())
    every: int = 1
    days: Sequence[str] = ()
    if rule.daily_details is not None and rule.recur_type == "Daily":
        every = rule.daily_details.once_every_ndays
    if rule.weekly_details is not None and rule.recur_type == "Weekly":
        every, days = rule.weekly_details.once_every_nweeks, rule.weekly_details.which_days
    return SchedulePlan(
        start=body.start_date_time,
        end=body.end_date_time,
        recurrence=_RECURRENCES[rule.recur_type],
        every=every,
        weekdays=tuple(sorted({_WEEKDAYS[day] for day in days})),
    )

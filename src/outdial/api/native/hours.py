"""A campaign's calling hours, with what the vendor's wire cannot say."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from outdial import rule_data
from outdial.api.auth import Caller
from outdial.api.body import read_json
from outdial.api.json_reply import JsonReply
from outdial.api.native.bodies import Body, example, told
from outdial.api.native.routes import Operation, Routes
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.api.texts import ZONE, line
from outdial.core.model import AtClosing, CallingHours, Scope
from outdial.services import calling_hours as service
from outdial.services.calling_hours import ExceptionDraft, HoursDraft, WindowDraft

_Start = Annotated[str, told(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]
_End = Annotated[str, told(pattern="^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]
_Day = Annotated[str, told(enum=list(service.DAYS))]
_Zone = Annotated[str, told(**ZONE)]
_PACKS: Final = sorted({word for name in rule_data.pack_names() for word in (name, name.partition("@")[0])})
_Calendar = Annotated[str, told(pattern="^[A-Z]{2}(-[A-Z0-9]{1,3})?$")]


class DayWindowBody(Body):
    """One window of a date."""

    start: _Start
    end: _End
    """24:00 is the end of the day; a time before `start` is on the next day."""


class WindowBody(DayWindowBody):
    """One weekly window; one that ends on the next day belongs to the day it begins on."""

    days: Annotated[list[_Day], Field(min_length=1)] | None = None
    """null: every day."""


class ExceptionBody(Body):
    """What holds on one date instead of the weekly windows, whether it is a holiday or not."""

    date: Annotated[str, told(format="date")]
    windows: list[DayWindowBody] = Field(default_factory=list)
    """Empty: closed. Nothing else reaches into the date, also no window of the evening before."""
    note: Annotated[str, told(**line(service.LONGEST_NOTE))] = ""


class CallingHoursBody(Body):
    """Set a campaign's calling hours, whole."""

    model_config = example(
        zone="America/New_York",
        windows=[
            {"days": ["MO", "TU", "WE", "TH", "FR"], "start": "09:00", "end": "12:30"},
            {"days": ["MO", "TU", "WE", "TH", "FR"], "start": "13:30", "end": "19:00"},
        ],
        exceptions=[{"date": "2026-12-24", "windows": [{"start": "09:00", "end": "12:00"}], "note": "Christmas Eve"}],
        holidays=["US"],
        rulePack="us",
        atClosing="hold",
    )

    zone: _Zone
    """Whose clock counts for people of whom neither their list nor their number says a zone."""
    windows: Annotated[list[WindowBody], told(maxItems=service.MOST_WINDOWS)]
    exceptions: Annotated[list[ExceptionBody], told(maxItems=service.MOST_EXCEPTIONS)] = Field(default_factory=list)
    holidays: Annotated[list[_Calendar], told(maxItems=service.MOST_CALENDARS)] = Field(default_factory=list)
    """Calendars on whose dates nobody is called: a country of ISO 3166, or a part of one."""
    rule_pack: Annotated[str, told(enum=_PACKS)] | None = None
    """`outdial rules list` shows them; a run keeps to the version it began with. null: these hours alone."""
    at_closing: Annotated[AtClosing, Field(strict=False)] = AtClosing.HOLD
    """What becomes of those not reached when the hours close for the day: they wait, the run pauses, they are done."""


class DayWindowView(msgspec.Struct, frozen=True, rename="camel"):
    """One window of a date."""

    start: str
    end: str


class WindowView(msgspec.Struct, frozen=True, rename="camel"):
    """One weekly window."""

    days: list[str]
    start: str
    end: str


class ExceptionView(msgspec.Struct, frozen=True, rename="camel"):
    """What holds on one date."""

    date: str
    windows: list[DayWindowView]
    note: str


class CallingHoursView(msgspec.Struct, frozen=True, rename="camel"):
    """A campaign's calling hours."""

    zone: str
    frequency: str
    """The vendor's word: `DAILY`, `WEEKLY`, `CUSTOM`."""
    windows: list[WindowView]
    exceptions: list[ExceptionView]
    holidays: list[str]
    rule_pack: str | None
    at_closing: AtClosing


_HOURS: Final = CallingHoursView(
    zone="America/New_York",
    frequency="CUSTOM",
    windows=[WindowView(["MO", "TU", "WE", "TH", "FR"], "09:00", "19:00")],
    exceptions=[ExceptionView("2026-12-24", [DayWindowView("09:00", "12:00")], "Christmas Eve")],
    holidays=["US"],
    rule_pack="us",
    at_closing=AtClosing.HOLD,
)


class HoursRoutes:
    """Calling hours."""

    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        scope = Scope.CAMPAIGN_MANAGEMENT
        path = "/campaigns/{campaignId}/calling-hours"
        routes.add("GET", path, self.show, Operation("Get a campaign's calling hours", scope, CallingHoursView, _HOURS))
        routes.add(
            "PUT",
            path,
            self.put,
            Operation("Set a campaign's calling hours", scope, CallingHoursView, _HOURS, CallingHoursBody),
        )

    async def show(self, request: Request, caller: Caller) -> Response:
        """Return when the campaign's people may be called."""
        found = await service.show_hours(
            self._parts.database, iid=caller.iid, campaign_id=request.path_params["campaignId"]
        )
        return JsonReply(_view(found))

    async def put(self, request: Request, caller: Caller) -> Response:
        """Set when the campaign's people may be called, from the next run on; refused while a run is live.

        Somebody is called only when it is open by the clock of every zone they may be in, by these hours and by every
        rule of the pack for every place they may be in. The vendor's wire shows and changes the windows, the zone and
        the frequency alone; an update by it keeps the rest.
        """
        body = parse(CallingHoursBody, await read_json(request))
        made = await service.set_hours(
            self._parts.database,
            iid=caller.iid,
            campaign_id=request.path_params["campaignId"],
            hours=service.read_hours(_draft(body)),
            actor=caller.client_id,
        )
        return JsonReply(_view(made))


def _draft(body: CallingHoursBody) -> HoursDraft:
    return HoursDraft(
        zone=body.zone,
        windows=tuple(
            WindowDraft(window.start, window.end, None if window.days is None else tuple(window.days))
            for window in body.windows
        ),
        exceptions=tuple(
            ExceptionDraft(one.date, tuple((window.start, window.end) for window in one.windows), one.note)
            for one in body.exceptions
        ),
        holidays=tuple(body.holidays),
        rule_pack=body.rule_pack,
        at_closing=body.at_closing,
    )


def _view(hours: CallingHours) -> CallingHoursView:
    return CallingHoursView(
        zone=hours.zone,
        frequency=hours.frequency,
        windows=[
            WindowView(list(window.days or ()), window.start, window.end) for window in service.by_days(hours.windows)
        ],
        exceptions=[
            ExceptionView(
                one.on.isoformat(),
                [
                    DayWindowView(service.write_clock(window.start), service.write_clock(window.end))
                    for window in one.windows
                ],
                one.note,
            )
            for one in hours.exceptions
        ],
        holidays=list(hours.holidays),
        rule_pack=hours.rule_pack,
        at_closing=hours.at_closing,
    )

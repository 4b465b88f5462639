"""Stops of more than one campaign: a caller ID, a contact list, a number, an account."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import Caller
from outdial.api.body import read_json
from outdial.api.json_reply import JsonReply
from outdial.api.native.campaigns import REPORT
from outdial.api.native.routes import Operation, Routes
from outdial.api.native.stop_bodies import (
    AccountStopBody,
    CallerIdStopBody,
    ContactListStopBody,
    NumberStopBody,
    StopChoice,
)
from outdial.api.native.views import Some, StopReportView, View
from outdial.api.parameters import number
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.api.query import query_number
from outdial.api.stops import Stops
from outdial.core.model import Scope
from outdial.core.wide_stop import StopScope
from outdial.services import wide_stops
from outdial.services.stop import StopOptions
from outdial.services.wide_stops import WideStop

LARGEST_PAGE: Final = 100


class RunStopView(View, frozen=True):
    """One run of a stop."""

    instance_id: str
    campaign_id: str
    state: str
    """`stopped`, or `stopping` while that is not proven."""
    report: StopReportView | None


class NumberStopView(View, frozen=True):
    """What a number's stop did beside putting it on the account's do-not-call list."""

    cancelled: int
    hung_up: int
    connected: int
    """Conversations that go on."""
    contacts_removed: int
    """Contacts of live runs that waited to be called."""


class WideStopView(View, frozen=True):
    """A stop of more than one campaign."""

    id: str
    scope: StopScope
    value: str | None
    """The caller ID, the contact list's id or the number."""
    state: str
    """`stopped`, or `stopping` while that is not proven."""
    requested_at: datetime
    requested_by: str
    stopped_at: datetime | None
    latency_seconds: float | None
    runs: list[RunStopView]
    schedules_off: list[str]
    """Campaigns whose schedules were switched off with it."""
    number: NumberStopView | None


LARGEST_SKIP: Final = 1_000_000
_PAGING: Final = {
    "skip": number("How many to pass over, 0 unless told.", least=0, most=LARGEST_SKIP),
    "limit": number("At most so many, 50 unless told.", least=1, most=LARGEST_PAGE),
}
_UNKNOWN_LIST: Final = frozenset({404})
_AT: Final = datetime(2026, 3, 1, 10, tzinfo=UTC)
EXAMPLE: Final = WideStopView(
    id="sp-11111111-2222-4333-8444-555555555555",
    scope=StopScope.CALLER_ID,
    value="+15550100999",
    state="stopped",
    requested_at=_AT,
    requested_by="cs-22222222-2222-4333-8444-555555555555",
    stopped_at=_AT,
    latency_seconds=0.19,
    runs=[RunStopView(instance_id=REPORT.instance_id, campaign_id=REPORT.campaign_id, state="stopped", report=REPORT)],
    schedules_off=[],
    number=None,
)
_NUMBER: Final = msgspec.structs.replace(
    EXAMPLE,
    scope=StopScope.NUMBER,
    value="+15550100001",
    runs=[],
    number=NumberStopView(cancelled=1, hung_up=0, connected=0, contacts_removed=2),
)
_PAGE: Final = Some[WideStopView](results=[EXAMPLE], skip=0, limit=50, total=1)


class WideStopRoutes:
    """Stops of more than one campaign."""

    def __init__(self, parts: ApiParts, stops: Stops) -> None:
        self._parts = parts
        self._stops = stops

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        campaigns, numbers, account = Scope.CAMPAIGN_MANAGEMENT, Scope.DO_NOT_CALL, Scope.ACCOUNT_STOP
        for method, path, endpoint, operation in (
            (
                "POST",
                "/stops/caller-id",
                self.caller_id,
                Operation(
                    "Stop what calls from a number", campaigns, WideStopView, EXAMPLE, CallerIdStopBody, stops=True
                ),
            ),
            (
                "POST",
                "/stops/contact-list",
                self.contact_list,
                Operation(
                    "Stop what dials a contact list",
                    campaigns,
                    WideStopView,
                    EXAMPLE,
                    ContactListStopBody,
                    refused=_UNKNOWN_LIST,
                    stops=True,
                ),
            ),
            (
                "POST",
                "/stops/number",
                self.number,
                Operation("Stop one number", numbers, WideStopView, _NUMBER, NumberStopBody, stops=True),
            ),
            (
                "POST",
                "/stops/account",
                self.account,
                Operation("Stop the whole account", account, WideStopView, EXAMPLE, AccountStopBody, stops=True),
            ),
            (
                "GET",
                "/stops",
                self.get_all,
                Operation(
                    "List stops",
                    campaigns,
                    Some[WideStopView],
                    _PAGE,
                    query=_PAGING,
                ),
            ),
            (
                "GET",
                "/stops/{stopId}",
                self.get,
                Operation("Get a stop and how far it is", campaigns, WideStopView, EXAMPLE),
            ),
        ):
            routes.add(method, path, endpoint, operation)
            if method == "POST":
                routes.only(method, path)

    async def caller_id(self, request: Request, caller: Caller) -> Response:
        """Stop every campaign of the application that calls from a number, and switch their schedules off.

        As every stop it answers 200 only once no further call can leave, 503 while that is not shown, is never refused
        by the rate limit, and goes on when its client hangs up. Nothing to stop is no error.
        """
        body = parse(CallerIdStopBody, await read_json(request))
        stop = wide_stops.stop_caller_id(
            self._parts.database,
            self._parts.engines,
            account_id=caller.account_id,
            iid=caller.iid,
            caller_id=body.caller_id,
            actor=caller.client_id,
            options=options(body),
        )
        return JsonReply(stop_view(await self._stops.run(stop, campaign_id="caller ID")))

    async def contact_list(self, request: Request, caller: Caller) -> Response:
        """Stop every campaign of the application that dials a contact list, and switch their schedules off."""
        body = parse(ContactListStopBody, await read_json(request))
        stop = wide_stops.stop_contact_list(
            self._parts.database,
            self._parts.engines,
            account_id=caller.account_id,
            iid=caller.iid,
            list_id=body.contact_list_id,
            actor=caller.client_id,
            options=options(body),
        )
        return JsonReply(stop_view(await self._stops.run(stop, campaign_id="contact list")))

    async def number(self, request: Request, caller: Caller) -> Response:
        """Stop one number in the whole account, for good: it goes on the account's do-not-call list and out of
        everything pending, and a call to it that is not answered is cancelled. To allow it again take it off the
        list."""
        body = parse(NumberStopBody, await read_json(request))
        stop = wide_stops.stop_number(
            self._parts.database,
            self._parts.engines,
            account_id=caller.account_id,
            phone=body.phone_number,
            actor=caller.client_id,
            reason=body.reason,
            connected=body.connected,
            default_region=self._parts.settings.default_region,
        )
        return JsonReply(stop_view(await self._stops.run(stop, campaign_id="number")))

    async def account(self, request: Request, caller: Caller) -> Response:
        """Stop every campaign of the account, its other applications' too, and switch their schedules off."""
        body = parse(AccountStopBody, await read_json(request))
        stop = wide_stops.stop_account(
            self._parts.database,
            self._parts.engines,
            account_id=caller.account_id,
            actor=caller.client_id,
            options=options(body),
        )
        return JsonReply(stop_view(await self._stops.run(stop, campaign_id="account")))

    async def get_all(self, request: Request, caller: Caller) -> Response:
        """Return the application's stops of more than one campaign, newest first; with the scope `account_stop` those
        of numbers and of the whole account too."""
        page = await wide_stops.list_wide_stops(
            self._parts.database,
            account_id=caller.account_id,
            iid=_only(caller),
            skip=query_number(request, "skip", default=0, least=0, most=LARGEST_SKIP),
            limit=query_number(request, "limit", default=50, least=1, most=LARGEST_PAGE),
        )
        return JsonReply(
            Some[WideStopView](
                results=[stop_view(each) for each in page.items],
                skip=page.skip,
                limit=page.limit,
                total=page.total,
            )
        )

    async def get(self, request: Request, caller: Caller) -> Response:
        """Return one stop, with the report of each run that is proven to be stopped."""
        found = await wide_stops.wide_stop(
            self._parts.database, request.path_params["stopId"], account_id=caller.account_id, iid=_only(caller)
        )
        return JsonReply(stop_view(found))


def _only(caller: Caller) -> str | None:
    """Return the application whose stops the caller may see; None: all of the account's."""
    return None if Scope.ACCOUNT_STOP in caller.scopes else caller.iid


def options(body: StopChoice) -> StopOptions:
    """Return what the body says of calls under way."""
    return StopOptions(ringing=body.ringing, connected=body.connected)


def stop_view(stop: WideStop) -> WideStopView:
    """Return a stop's view."""
    return WideStopView(
        id=stop.id,
        scope=stop.target.scope,
        value=stop.target.value,
        state="stopping" if stop.stopped_at is None else "stopped",
        requested_at=stop.requested_at,
        requested_by=stop.requested_by,
        stopped_at=stop.stopped_at,
        latency_seconds=stop.latency_seconds,
        runs=[msgspec.convert(run, RunStopView, from_attributes=True) for run in stop.runs],
        schedules_off=list(stop.schedules_off),
        number=None if stop.number is None else msgspec.convert(stop.number, NumberStopView, from_attributes=True),
    )

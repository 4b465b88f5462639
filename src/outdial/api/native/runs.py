"""Runs: which there were, what became of each, attempt by attempt, and as files."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from outdial.api.auth import Caller
from outdial.api.json_reply import JsonReply
from outdial.api.native.campaigns import REPORT
from outdial.api.native.routes import Operation, Routes
from outdial.api.native.views import (
    AttemptView,
    MoveView,
    Part,
    RunDetail,
    RunSummary,
    Some,
    attempt_view,
    run_detail,
    run_summary,
)
from outdial.api.parameters import Parameter, number
from outdial.api.parts import ApiParts
from outdial.api.query import query_number, query_value
from outdial.core.errors import BadRequestError
from outdial.core.model import Scope
from outdial.services import exports, run_views

DEFAULT_PAGE: Final = 50
LARGEST_PAGE: Final = 1000
LARGEST_SKIP: Final = 10**9

_SKIPPING: Final = {
    "skip": number("How many to leave out at the beginning, 0 unless told.", least=0, most=LARGEST_SKIP),
    "limit": number(f"How many, {DEFAULT_PAGE} unless told.", least=1, most=LARGEST_PAGE),
}
_FOLLOWING: Final = {
    "after": Parameter(
        "The `next` of the page before; left out: from the beginning.",
        {"type": "string", "pattern": "^([0-9a-f]{32})?$"},
    ),
    "limit": number(f"How many, {DEFAULT_PAGE} unless told.", least=1, most=LARGEST_PAGE),
}
_ATTEMPT_ID: Final = re.compile("[0-9a-f]{32}")
_AT: Final = datetime(2026, 3, 1, 10, tzinfo=UTC)
_RUN: Final = RunSummary(
    instance_id="cid-1111111-2222-4333-8444-555555555555",
    campaign_id="cd-1111111-2222-4333-8444-555555555555",
    state="stopped",
    epoch=2,
    started_at=_AT,
    updated_at=_AT,
    ended_at=_AT,
)
_DETAIL: Final = RunDetail(
    run=_RUN,
    contacts={"pending": 931, "done": 69},
    done={"reached": 29, "retry_cancelled": 40},
    dispositions={"answered_human": 29, "busy": 28, "cancelled": 12},
    live_attempts={},
    placed_count=69,
    answered_count=29,
    held_by=None,
    history=[MoveView(at=_AT, before=None, after="active", epoch=1, actor="cs-…", reason="start")],
    stop_report=REPORT,
)
_ATTEMPT: Final = AttemptView(
    id="0123456789abcdef0123456789abcdef",
    contact_id="cc-11111111-2222-5333-8444-555555555555",
    phone_number="+15550100101",
    caller_id="+15550100001",
    number=1,
    state="ended",
    disposition="busy",
    cause=17,
    sip_code=486,
    reserved_at=_AT,
    dialed_at=_AT,
    ringing_at=None,
    answered_at=None,
    ended_at=_AT,
    machine_detection=None,
)

_CONTACTS_CSV: Final = (
    ",".join(exports.CONTACT_COLUMNS)
    + "\r\ncc-11111111-2222-5333-8444-555555555555,'+15550100101,,done,reached,answered_human,1,"
    + "0123456789abcdef0123456789abcdef,{}\r\n"
)
_ATTEMPTS_CSV: Final = (
    ",".join(exports.ATTEMPT_COLUMNS)
    + "\r\n0123456789abcdef0123456789abcdef,cc-11111111-2222-5333-8444-555555555555,'+15550100101,'+15550100001,1,"
    + "ended,busy,17,486,2026-03-01T10:00:00Z,2026-03-01T10:00:00Z,,,2026-03-01T10:00:04Z,,,\r\n"
)


class RunRoutes:
    """Runs."""

    def __init__(self, parts: ApiParts) -> None:
        self._database = parts.database

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        scope = Scope.CAMPAIGN_MANAGEMENT
        one = "/runs/{instanceId}"
        for path, endpoint, operation in (
            (
                "/campaigns/{campaignId}/runs",
                self.runs,
                Operation(
                    "List the runs of a campaign",
                    scope,
                    Some[RunSummary],
                    Some(results=[_RUN], skip=0, limit=50, total=1),
                    query=_SKIPPING,
                ),
            ),
            (one, self.run, Operation("Get a run, whole", scope, RunDetail, _DETAIL)),
            (
                f"{one}/attempts",
                self.attempts,
                Operation(
                    "List the attempts of a run",
                    scope,
                    Part[AttemptView],
                    Part(results=[_ATTEMPT], next=None),
                    query=_FOLLOWING,
                ),
            ),
            (
                f"{one}/contacts.csv",
                self.contacts_csv,
                Operation("Export the contacts of a run", scope, None, _CONTACTS_CSV),
            ),
            (
                f"{one}/attempts.csv",
                self.attempts_csv,
                Operation("Export the attempts of a run", scope, None, _ATTEMPTS_CSV),
            ),
        ):
            routes.add("GET", path, endpoint, operation)

    async def runs(self, request: Request, caller: Caller) -> Response:
        """Return the runs of a campaign, latest first, page by page."""
        page = await run_views.list_runs(
            self._database,
            iid=caller.iid,
            campaign_id=request.path_params["campaignId"],
            skip=query_number(request, "skip", default=0, least=0, most=LARGEST_SKIP),
            limit=query_number(request, "limit", default=DEFAULT_PAGE, least=1, most=LARGEST_PAGE),
        )
        results = [run_summary(run) for run in page.items]
        return JsonReply(Some(results=results, skip=page.skip, limit=page.limit, total=page.total))

    async def run(self, request: Request, caller: Caller) -> Response:
        """Return a run with its progress, everything that happened to it, and the report of its stop. Also those of
        deleted campaigns."""
        found = await run_views.view_run(self._database, iid=caller.iid, instance_id=request.path_params["instanceId"])
        return JsonReply(run_detail(found))

    async def attempts(self, request: Request, caller: Caller) -> Response:
        """Return the attempts of a run in the order they were made, page by page."""
        limit = query_number(request, "limit", default=DEFAULT_PAGE, least=1, most=LARGEST_PAGE)
        found = await run_views.attempts_page(
            self._database,
            iid=caller.iid,
            instance_id=request.path_params["instanceId"],
            after=_after(request),
            limit=limit,
        )
        following = found[-1].id if len(found) == limit else None
        return JsonReply(Part(results=[attempt_view(attempt) for attempt in found], next=following))

    async def contacts_csv(self, request: Request, caller: Caller) -> Response:
        """Return the contacts of a run, each with its progress and everything that came with it, as a CSV file. A cell
        that a spreadsheet would take for a formula begins with an apostrophe, phone numbers too."""
        run = await run_views.get_run(self._database, iid=caller.iid, instance_id=request.path_params["instanceId"])
        return _file(f"contacts-{run.instance_id}.csv", exports.contacts_csv(self._database, run))

    async def attempts_csv(self, request: Request, caller: Caller) -> Response:
        """Return the attempts of a run, as a CSV file like that of its contacts."""
        run = await run_views.get_run(self._database, iid=caller.iid, instance_id=request.path_params["instanceId"])
        return _file(f"attempts-{run.instance_id}.csv", exports.attempts_csv(self._database, run))


def _after(request: Request) -> str | None:
    """Return the attempt after which a page begins, None for the first; raise BadRequestError."""
    after = query_value(request, "after")
    if after and not _ATTEMPT_ID.fullmatch(after):
        raise BadRequestError("`after` must be the id of an attempt, as `next` of the page before says.")
    return after or None


def _file(name: str, chunks: AsyncIterator[bytes]) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(chunks, media_type="text/csv; charset=utf-8", headers=headers)

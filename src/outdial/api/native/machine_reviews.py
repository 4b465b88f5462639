"""Verdicts about who has answered that are kept for review, and what the reviews come to."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import Caller
from outdial.api.body import read_json
from outdial.api.json_reply import JsonReply
from outdial.api.native.bodies import MachineReviewBody
from outdial.api.native.detection_views import (
    KeptVerdictView,
    ReviewTableView,
    kept_verdict_view,
    review_table_view,
)
from outdial.api.native.routes import Operation, Routes
from outdial.api.native.runs import DEFAULT_PAGE, LARGEST_PAGE
from outdial.api.native.views import Part
from outdial.api.parameters import Parameter, choice, identifier, number
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.api.query import query_choice, query_instant, query_number, query_value
from outdial.core.errors import BadRequestError
from outdial.core.machine import USUAL_TIMINGS, Detection, MachineVerdict, Sample
from outdial.core.machine_review import Actual, Reviewed, review_table
from outdial.core.model import Scope
from outdial.services import explanations, machine_reviews
from outdial.services.machine_reviews import KeptVerdict, PeriodReviews

WAITING: Final = "waiting"
REVIEWED: Final = "reviewed"
ALL: Final = "all"

_REVIEWED: Final = {WAITING: False, REVIEWED: True, ALL: None}
_ATTEMPT_ID: Final = re.compile("[0-9a-f]{32}")
_ANY_CAMPAIGN: Final = identifier("The campaign; left out: all of the application's", "cd")


def _period(text: str) -> Parameter:
    return Parameter(text, {"type": "string", "format": "date-time"}, example="2026-03-02T12:30:00Z")


_LISTED: Final = {
    "campaignId": _ANY_CAMPAIGN,
    "state": choice(f"Which of them, `{WAITING}` unless told.", *_REVIEWED),
    "after": Parameter(
        "The `next` of the page before; left out: from the beginning.",
        {"type": "string", "pattern": "^([0-9a-f]{32})?$"},
    ),
    "limit": number(f"How many, {DEFAULT_PAGE} unless told.", least=1, most=LARGEST_PAGE),
}
_TABULATED: Final = {
    "campaignId": _ANY_CAMPAIGN,
    "begin": _period("Calls that were answered then or later, ISO 8601 with a zone; left out: 30 days before `end`."),
    "end": _period("And before then, at most 366 days later; left out: now."),
}
_AT: Final = datetime(2026, 3, 1, 10, tzinfo=UTC)
_KEPT: Final = KeptVerdict(
    attempt_id="0123456789abcdef0123456789abcdef",
    campaign_id="cd-1111111-2222-4333-8444-555555555555",
    run_instance_id="cid-1111111-2222-4333-8444-555555555555",
    account_id="",
    answered_at=_AT,
    detection=Detection(MachineVerdict.MACHINE, "LONGGREETING-2520-2500", 3.02, USUAL_TIMINGS, Sample()),
    recording_id="rc-11111111-2222-5333-8444-555555555555",
    actual=Actual.PERSON,
    reviewed_by="cs-11111111-2222-4333-8444-555555555555",
    reviewed_at=_AT,
)
_TABLE: Final = PeriodReviews(
    None,
    datetime(2026, 2, 1, tzinfo=UTC),
    _AT,
    review_table(
        {
            MachineVerdict.MACHINE: Reviewed(MachineVerdict.MACHINE, 1000, 110, 1, person=4, machine=98, unclear=3),
            MachineVerdict.HUMAN: Reviewed(MachineVerdict.HUMAN, 9000, 180, 2, person=160, machine=15, unclear=5),
        }
    ),
)


class MachineReviewRoutes:
    """Reviews of verdicts."""

    def __init__(self, parts: ApiParts) -> None:
        self._database = parts.database

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        scope, one = Scope.CAMPAIGN_MANAGEMENT, "/attempts/{attemptId}/machine-review"
        kept, unknown = kept_verdict_view(_KEPT), frozenset({404})
        for method, path, endpoint, operation in (
            (
                "GET",
                "/machine-reviews",
                self.listed,
                Operation(
                    "List the verdicts kept for review",
                    scope,
                    Part[KeptVerdictView],
                    Part(results=[kept], next=None),
                    query=_LISTED,
                    refused=unknown,
                ),
            ),
            (
                "GET",
                "/machine-reviews/table",
                self.table,
                Operation(
                    "Get what the reviews come to",
                    scope,
                    ReviewTableView,
                    review_table_view(_TABLE),
                    query=_TABULATED,
                    refused=unknown | {412},
                ),
            ),
            ("GET", one, self.show, Operation("Get a verdict kept for review", scope, KeptVerdictView, kept)),
            (
                "PUT",
                one,
                self.enter,
                Operation("Review a verdict", scope, KeptVerdictView, kept, MachineReviewBody),
            ),
        ):
            routes.add(method, path, endpoint, operation)

    async def listed(self, request: Request, caller: Caller) -> Response:
        """Return the verdicts that are kept for review, those that were answered latest first, page by page. What was
        recorded of one is downloaded as `/recordings/{recordingId}`."""
        limit = query_number(request, "limit", default=DEFAULT_PAGE, least=1, most=LARGEST_PAGE)
        after = query_value(request, "after")
        if after and not _ATTEMPT_ID.fullmatch(after):
            raise BadRequestError("`after` must be the id of an attempt, as `next` of the page before says.")
        given = query_value(request, "state") is not None
        state = query_choice(request, "state", tuple(_REVIEWED)) if given else WAITING
        found = await machine_reviews.list_kept(
            self._database,
            iid=caller.iid,
            campaign_id=query_value(request, "campaignId"),
            reviewed=_REVIEWED[state],
            after=after or None,
            limit=limit,
        )
        following = found[-1].attempt_id if len(found) == limit else None
        return JsonReply(Part(results=[kept_verdict_view(each) for each in found], next=following))

    async def show(self, request: Request, caller: Caller) -> Response:
        """Return one verdict that is kept for review, with what was said of it."""
        found = await machine_reviews.get_kept(
            self._database, iid=caller.iid, attempt_id=request.path_params["attemptId"]
        )
        return JsonReply(kept_verdict_view(found))

    async def enter(self, request: Request, caller: Caller) -> Response:
        """Say who had really answered, in place of what was said before; history keeps both, and who said it."""
        body = parse(MachineReviewBody, await read_json(request))
        made = await machine_reviews.enter_review(
            self._database,
            iid=caller.iid,
            attempt_id=request.path_params["attemptId"],
            actual=body.actual,
            actor=caller.client_id,
        )
        return JsonReply(kept_verdict_view(made))

    async def table(self, request: Request, caller: Caller) -> Response:
        """Return what was found, against what it really was, and how often the detector is wrong: each share with the
        interval in which it lies with 95 % confidence."""
        found = await machine_reviews.tabulate(
            self._database,
            iid=caller.iid,
            campaign_id=query_value(request, "campaignId"),
            begin=_instant(request, "begin"),
            end=_instant(request, "end"),
        )
        return JsonReply(review_table_view(found))


def _instant(request: Request, name: str) -> datetime | None:
    at = query_instant(request, name)
    if at is not None and not explanations.may_be_asked_about(at):
        raise BadRequestError(f"`{name}` must lie between 2000-01-01 and a year from now, not at {at.isoformat()}.")
    return at

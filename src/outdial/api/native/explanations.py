"""Why a contact is called, why not, and when next; and a run's contacts, down to whoever may be dialed now."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import Caller
from outdial.api.json_reply import JsonReply
from outdial.api.native.explanation_views import (
    ChangeView,
    ExplanationStepView,
    ExplanationView,
    FallView,
    PastStepView,
    WaterfallView,
)
from outdial.api.native.routes import Operation, Routes
from outdial.api.parameters import Parameter
from outdial.api.parts import ApiParts
from outdial.api.places import Places
from outdial.api.query import query_instant
from outdial.core.errors import BadRequestError
from outdial.core.model import Scope
from outdial.services import explanations, run_views
from outdial.services.explanation_text import explained_document, waterfall_document

AT_ONCE: Final = 2
"""Explanations and waterfalls this process makes at a time: each holds a database connection, of which the dialer needs
the others."""

WAIT_SECONDS: Final = 10.0
"""How long a further one waits for its turn."""

STATEMENT_SECONDS: Final = 10.0
"""How long a statement of one may take; counting a run of a million contacts takes some seconds."""

_INSTANCE_ID: Final = "cid-1111111-2222-4333-8444-555555555555"
_WAIT: Final = ChangeView(
    kind="wait",
    sentence="Wait until 09:00 on Monday 2026-03-02 in America/Chicago (2026-03-02 15:00:00 UTC).",
    at="2026-03-02T15:00:00.000000Z",
    choices=[],
)
_CLOSED: Final = "Monday 2026-03-02 06:30 in America/Chicago: outside the campaign's calling hours, …"
_EXPLANATION: Final = ExplanationView(
    campaign_id="cd-1111111-2222-4333-8444-555555555555",
    instance_id=_INSTANCE_ID,
    contact_id="cc-11111111-2222-5333-8444-555555555555",
    dialing_list_id="cdl-11111111-2222-5333-8444-555555555555",
    phone_number="+13125550101",
    now="2026-03-02T12:30:00.000000Z",
    at="2026-03-02T12:30:00.000000Z",
    dialable=False,
    decided_by="calling_hours",
    sentence=f"{_CLOSED} The gate lets it through at 09:00 on Monday 2026-03-02 in America/Chicago …",
    next_at="2026-03-02T15:00:00.000000Z",
    ahead_count=None,
    changes=[_WAIT],
    steps=[
        ExplanationStepView(
            code="calling_hours",
            says="waits",
            sentence=_CLOSED,
            inputs={"zones": ["America/Chicago"], "zonesFrom": ["number"]},
            versions={"tzdata": "2026b"},
            until="2026-03-02T15:00:00.000000Z",
            changes=[_WAIT],
        )
    ],
    past=[
        PastStepView(
            at="2026-03-02T12:00:00.000000Z",
            action="run_contact",
            before="pending",
            after="waiting",
            by="8f14e45f",
            reason="",
            attempt_id=None,
            phone_number=None,
            disposition=None,
            decision={"rule": "calling_hours", "until": "2026-03-02T15:00:00.000000Z", "sentence": _CLOSED},
        )
    ],
)
_WATERFALL: Final = WaterfallView(
    instance_id=_INSTANCE_ID,
    at="2026-03-02T12:30:00.000000Z",
    sentence="Nothing is dialing because nobody may be dialed now: 11250 are outside calling hours, …",
    blocked_by="calling_hours",
    total_count=12_000,
    dialable_count=0,
    estimate=False,
    free_lines=50,
    live_calls=0,
    steps=[
        FallView(
            "invalid_number", 600, 11_400, "600 have a number that does not exist, says the carrier.", estimate=False
        ),
        FallView("do_not_call", 150, 11_250, "150 are on a do-not-call list now.", estimate=False),
        FallView("calling_hours", 11_250, 0, "11250 are outside calling hours, the first until …", estimate=False),
    ],
)
_AT: Final = {
    "at": Parameter(
        "The instant, ISO 8601 with a zone, from 2000-01-01 to a year from now; absent: now. What is to come is told "
        "by what holds now; what has passed by what was decided then.",
        {"type": "string", "format": "date-time"},
        example="2026-03-02T12:30:00Z",
    )
}
_CONFLICT: Final = frozenset({409, 412})


class ExplanationRoutes:
    """Explanations."""

    def __init__(self, parts: ApiParts) -> None:
        self._database = parts.database
        self._places = Places(AT_ONCE, what="explanations", wait_seconds=WAIT_SECONDS)

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        scope = Scope.CAMPAIGN_MANAGEMENT
        told: dict[str, Any] = {"query": _AT, "refused": _CONFLICT}
        for path, endpoint, operation in (
            (
                "/runs/{instanceId}/contacts/{contact}/explain",
                self.in_run,
                Operation("Explain a contact of a run", scope, ExplanationView, _EXPLANATION, **told),
            ),
            (
                "/campaigns/{campaignId}/contacts/{contact}/explain",
                self.in_campaign,
                Operation("Explain a contact of a campaign", scope, ExplanationView, _EXPLANATION, **told),
            ),
            (
                "/runs/{instanceId}/waterfall",
                self.waterfall,
                Operation("Explain a run", scope, WaterfallView, _WATERFALL),
            ),
        ):
            routes.add("GET", path, endpoint, operation)

    async def in_run(self, request: Request, caller: Caller) -> Response:
        """Return why a contact is called in the run at an instant, why not, and when next: every rule with what it
        looked at and the versions of its data, what alone would alter its answer, and what was decided before.

        The rules are those that let each call through, asked anew. 409 `conflict`: several contacts of the run have the
        number; the sentence names their ids.
        """
        at = _instant(request)
        async with self._places.one():
            found = await explanations.explain_in_run(
                self._database,
                iid=caller.iid,
                instance_id=request.path_params["instanceId"],
                contact=request.path_params["contact"],
                at=at,
                statement_seconds=STATEMENT_SECONDS,
            )
        return JsonReply(explained_document(found))

    async def in_campaign(self, request: Request, caller: Caller) -> Response:
        """Return why a contact is called in the campaign's latest run at an instant, why not, and when next; also of a
        campaign that has never run, and of contacts that are in its lists only."""
        at = _instant(request)
        async with self._places.one():
            found = await explanations.explain_in_campaign(
                self._database,
                iid=caller.iid,
                campaign_id=request.path_params["campaignId"],
                contact=request.path_params["contact"],
                at=at,
                statement_seconds=STATEMENT_SECONDS,
            )
        return JsonReply(explained_document(found))

    async def waterfall(self, request: Request, caller: Caller) -> Response:
        """Return how many of a run's contacts may be dialed now, step by step from all of them, and in one sentence why
        nothing is dialing where nothing is. Where many are due the gate is asked about 2,000 of them, and those steps
        are estimates."""
        instance_id = request.path_params["instanceId"]
        run = await run_views.get_run(self._database, iid=caller.iid, instance_id=instance_id)
        async with self._places.one():
            found = await explanations.waterfall_of(self._database, run, statement_seconds=STATEMENT_SECONDS)
        return JsonReply(waterfall_document(instance_id, found))


def _instant(request: Request) -> datetime | None:
    """Return the instant asked about; None for now. Raises BadRequestError."""
    at = query_instant(request, "at")
    if at is not None and not explanations.may_be_asked_about(at):
        raise BadRequestError(f"`at` must lie between 2000-01-01 and a year from now, not at {at.isoformat()}.")
    return at

"""Dialing rules of a campaign beyond what the vendor's wire can say."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import Caller
from outdial.api.body import read_json
from outdial.api.json_reply import JsonReply
from outdial.api.native.bodies import DialingRulesBody
from outdial.api.native.detection_views import TimingsView, timings_view
from outdial.api.native.routes import Operation, Routes
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.core.machine import USUAL_TIMINGS, DetectionTimings
from outdial.core.machine_review import ReviewShares
from outdial.core.model import Breaker, OwnRules, RetryRule, Scope
from outdial.services import dialing_rules


class RetryRuleView(msgspec.Struct, frozen=True, rename="camel"):
    """What follows an attempt that ended in one way."""

    disposition: str
    most: int | None
    seconds: int | None
    next_window: bool
    other_number: bool


class BreakerView(msgspec.Struct, frozen=True, rename="camel"):
    """When a run pauses itself."""

    attempts: int
    share: float


class ReviewSharesView(msgspec.Struct, frozen=True, rename="camel"):
    """Which share of verdicts is kept for review, in percent."""

    machines: float
    people: float
    seconds: float


class DialingRulesView(msgspec.Struct, frozen=True, rename="camel"):
    """A campaign's dialing rules."""

    retry_rules: list[RetryRuleView]
    retry_order: str
    breaker: BreakerView | None
    detection: TimingsView
    review: ReviewSharesView


_RULES: Final = DialingRulesView(
    retry_rules=[RetryRuleView("busy", 2, 300, next_window=False, other_number=True)],
    retry_order="when_due",
    breaker=BreakerView(40, 0.8),
    detection=timings_view(USUAL_TIMINGS),
    review=ReviewSharesView(10, 2, 10),
)


class DialingRulesRoutes:
    """Dialing rules."""

    def __init__(self, parts: ApiParts) -> None:
        self._database = parts.database

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        scope = Scope.CAMPAIGN_MANAGEMENT
        path = "/campaigns/{campaignId}/dialing-rules"
        for method, endpoint, operation in (
            ("GET", self.show, Operation("Get a campaign's dialing rules", scope, DialingRulesView, _RULES)),
            (
                "PUT",
                self.put,
                Operation("Set a campaign's dialing rules", scope, DialingRulesView, _RULES, DialingRulesBody),
            ),
        ):
            routes.add(method, path, endpoint, operation)

    async def show(self, request: Request, caller: Caller) -> Response:
        """Return what the campaign does after an attempt by how it ended, which retries come first, when a run pauses
        itself, by what answering machines are told from people, and which share of those verdicts is kept for
        review."""
        found = await dialing_rules.show_rules(
            self._database, iid=caller.iid, campaign_id=request.path_params["campaignId"]
        )
        return JsonReply(_view(found))

    async def put(self, request: Request, caller: Caller) -> Response:
        """Set them, whole, from the campaign's next run on; refused while a run is live. Endings without a rule of
        their own are tried again as the campaign's `dialingStrategy` says, which always says how many attempts there
        are at most. A change by the vendor's API leaves them as they are."""
        body = parse(DialingRulesBody, await read_json(request))
        rules = OwnRules(
            retry_rules=tuple(
                RetryRule(one.disposition, one.most, one.seconds, one.next_window, one.other_number)
                for one in body.retry_rules
            ),
            retry_order=body.retry_order,
            breaker=None if body.breaker is None else Breaker(body.breaker.attempts, body.breaker.share),
            detection=DetectionTimings(**body.detection.model_dump()),
            review=ReviewShares(**body.review.model_dump()),
        )
        made = await dialing_rules.set_rules(
            self._database,
            rules,
            iid=caller.iid,
            campaign_id=request.path_params["campaignId"],
            actor=caller.client_id,
        )
        return JsonReply(_view(made))


def _view(rules: OwnRules) -> DialingRulesView:
    return DialingRulesView(
        retry_rules=[
            RetryRuleView(
                one.disposition, one.most, one.seconds, next_window=one.next_window, other_number=one.other_number
            )
            for one in rules.retry_rules
        ],
        retry_order=rules.retry_order,
        breaker=None if rules.breaker is None else BreakerView(rules.breaker.attempts, rules.breaker.share),
        detection=timings_view(rules.detection),
        review=ReviewSharesView(**asdict(rules.review)),
    )

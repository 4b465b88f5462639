"""How often one number may be called."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import Caller
from outdial.api.body import read_json
from outdial.api.json_reply import JsonReply
from outdial.api.links import Link
from outdial.api.native.bodies import Body, Name, example
from outdial.api.native.routes import Operation, Routes
from outdial.api.native.views import All
from outdial.api.numbers import Whole
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.core.attempt_limits import (
    LARGEST_COUNT,
    LONGEST_WINDOW_SECONDS,
    PRESETS,
    SHORTEST_WINDOW_SECONDS,
    AttemptLimit,
    Counted,
    LimitRule,
)
from outdial.core.model import Scope
from outdial.services import attempt_limits

CountedName = Annotated[Counted, Field(strict=False)]


class LimitScope(Body):
    """Whose calls a limit holds back: the application's, unless told otherwise."""

    account_wide: bool = False
    """Those of every application of the account."""
    campaign_id: str | None = None
    """Those of this campaign only; not with accountWide."""


class NewAttemptLimitBody(LimitScope):
    """No further call while so many calls of the number lie within the window."""

    model_config = example(count=3, windowSeconds=86400, counts="attempts")

    count: Annotated[int, Field(ge=1, le=LARGEST_COUNT), Whole]
    window_seconds: Annotated[int, Field(ge=SHORTEST_WINDOW_SECONDS, le=LONGEST_WINDOW_SECONDS), Whole]
    counts: CountedName
    matter: Name | None = None
    """Name of the contacts' attribute that says what a call is about; left out, all calls count."""


class LimitPresetBody(LimitScope):
    """The limits that a rule-maker's text asks for."""

    model_config = example(preset="us-regulation-f", matter="debt")

    preset: Name
    matter: Name | None = None


class AttemptLimitView(msgspec.Struct, frozen=True, rename="camel"):
    """An attempt limit."""

    id: str
    scope: str
    """Whose calls it holds back: account, application or campaign."""
    campaign_id: str | None
    count: int
    window_seconds: int
    counts: str
    matter: str | None
    preset: str | None
    created_at: datetime
    created_by: str


class LimitPresetView(msgspec.Struct, frozen=True, rename="camel"):
    """Limits that can be added by name."""

    name: str
    source: str
    summary: str
    by_matter: bool


_LIMIT: Final = AttemptLimitView(
    id="al-11111111-2222-4333-8444-555555555555",
    scope="application",
    campaign_id=None,
    count=3,
    window_seconds=86400,
    counts="attempts",
    matter=None,
    preset=None,
    created_at=datetime(2026, 3, 1, 10, tzinfo=UTC),
    created_by="cs-22222222-2222-4333-8444-555555555555",
)
_PRESETS: Final = [LimitPresetView(one.name, one.source, one.summary, one.by_matter) for one in PRESETS.values()]
_NEW: Final = {"path.limitId": "$response.body#/id"}


class AttemptLimitRoutes:
    """Attempt limits."""

    def __init__(self, parts: ApiParts) -> None:
        self._database = parts.database

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        scope = Scope.DO_NOT_CALL
        every, example_of_all = All[AttemptLimitView], All(results=[_LIMIT])
        for method, path, endpoint, operation in (
            ("GET", "/attempt-limits", self.limits, Operation("List attempt limits", scope, every, example_of_all)),
            (
                "POST",
                "/attempt-limits",
                self.add,
                Operation(
                    "Add an attempt limit",
                    scope,
                    AttemptLimitView,
                    _LIMIT,
                    NewAttemptLimitBody,
                    links=(Link("delete_attempt_limits_limitId", "Remove it.", _NEW),),
                ),
            ),
            (
                "DELETE",
                "/attempt-limits/{limitId}",
                self.remove,
                Operation("Remove an attempt limit", scope, AttemptLimitView, _LIMIT),
            ),
            (
                "GET",
                "/attempt-limit-presets",
                self.presets,
                Operation("List presets of attempt limits", scope, All[LimitPresetView], All(results=_PRESETS)),
            ),
            (
                "POST",
                "/attempt-limit-presets",
                self.add_preset,
                Operation("Add the limits of a preset", scope, every, example_of_all, LimitPresetBody),
            ),
        ):
            routes.add(method, path, endpoint, operation)

    async def limits(self, _request: Request, caller: Caller) -> Response:
        """Return the limits that hold calls of the application back: the account's, its own and its campaigns'."""
        found = await attempt_limits.list_limits(self._database, account_id=caller.account_id, iid=caller.iid)
        return JsonReply(All(results=[_view(one) for one in found]))

    async def add(self, request: Request, caller: Caller) -> Response:
        """Let no number be called more often than that. It holds for every call that is reserved from now on, of live
        runs too; all limits hold at once. All calls of the account to the number count, whichever application or
        campaign made them. Refused with `attempts_kept_too_briefly` where it would look back further than the account
        keeps attempts."""
        body = parse(NewAttemptLimitBody, await read_json(request))
        made = await attempt_limits.add_limit(
            self._database,
            LimitRule(body.count, body.window_seconds, body.counts, body.matter),
            account_id=caller.account_id,
            iid=_iid(body, caller),
            campaign_id=body.campaign_id,
            actor=caller.client_id,
        )
        return JsonReply(_view(made))

    async def add_preset(self, request: Request, caller: Caller) -> Response:
        """Add the limits of a preset, as they are listed there. No legal advice: read the text it names."""
        body = parse(LimitPresetBody, await read_json(request))
        made = await attempt_limits.add_preset(
            self._database,
            body.preset,
            matter=body.matter,
            account_id=caller.account_id,
            iid=_iid(body, caller),
            campaign_id=body.campaign_id,
            actor=caller.client_id,
        )
        return JsonReply(All(results=[_view(one) for one in made]))

    async def presets(self, _request: Request, _caller: Caller) -> Response:
        """Return the presets there are, each with the text it is made from."""
        return JsonReply(All(results=_PRESETS))

    async def remove(self, request: Request, caller: Caller) -> Response:
        """Remove a limit of the account, the application or one of its campaigns, and return it as it was."""
        removed = await attempt_limits.remove_limit(
            self._database,
            request.path_params["limitId"],
            account_id=caller.account_id,
            iid=caller.iid,
            actor=caller.client_id,
        )
        return JsonReply(_view(removed))


def _iid(body: LimitScope, caller: Caller) -> str | None:
    # with a campaign, which no account-wide limit has, the service refuses
    return None if body.account_wide else caller.iid


def _view(limit: AttemptLimit) -> AttemptLimitView:
    scope = "account" if limit.iid is None else "application" if limit.campaign_id is None else "campaign"
    rule = limit.rule
    return AttemptLimitView(
        id=limit.id,
        scope=scope,
        campaign_id=limit.campaign_id,
        count=rule.count,
        window_seconds=rule.window_seconds,
        counts=rule.counts,
        matter=rule.matter,
        preset=limit.preset,
        created_at=limit.created_at,
        created_by=limit.created_by,
    )

"""Calls by hand: one contact of an active run, before all others."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import Caller
from outdial.api.json_reply import JsonReply
from outdial.api.native.routes import Operation, Routes
from outdial.api.native.views import View
from outdial.api.parts import ApiParts
from outdial.core.model import Scope
from outdial.services import manual_calls
from outdial.services.manual_call_text import manual_call_document


class ManualCallView(View, frozen=True):
    """What became of the wish to have a contact called now."""

    instance_id: str
    contact_id: str | None
    """null: the contact is not in the run."""
    dialing_list_id: str | None
    phone_number: str
    answer: str
    """`allowed`: it is called as soon as a line is free, before all others; `put_off`: not now; `denied`: not in this
    run. The last two leave the contact as it is, and stand in the history."""
    sentence: str
    decided_by: str | None
    """Code of what does not allow it, as explanations name it; null: it is allowed."""
    inputs: dict[str, Any]
    """What that looked at."""
    versions: dict[str, str]
    """Of the rule data it read that with."""
    until: str | None
    """Until when that puts it off, where that is known."""
    next_at: str | None
    """First instant at which the gate lets it through when nothing else changes; null: never in this run, or nobody can
    tell."""
    ahead_count: int | None
    """Contacts that come before it; null where it is not allowed."""


_CALL: Final = ManualCallView(
    instance_id="cid-1111111-2222-4333-8444-555555555555",
    contact_id="cc-11111111-2222-5333-8444-555555555555",
    dialing_list_id="cdl-11111111-2222-5333-8444-555555555555",
    phone_number="+13125550101",
    answer="put_off",
    sentence="Monday 2026-03-02 06:30 in America/Chicago: outside the campaign's calling hours, …",
    decided_by="calling_hours",
    inputs={"zones": ["America/Chicago"], "zonesFrom": ["number"]},
    versions={"tzdata": "2026b"},
    until="2026-03-02T15:00:00.000000Z",
    next_at="2026-03-02T15:00:00.000000Z",
    ahead_count=None,
)


class ManualCallRoutes:
    """The endpoint."""

    def __init__(self, parts: ApiParts) -> None:
        self._database = parts.database

    def add_to(self, routes: Routes) -> None:
        """Add it."""
        routes.add(
            "POST",
            "/runs/{instanceId}/contacts/{contact}/call",
            self.call,
            Operation(
                "Call a contact of a run now",
                Scope.CAMPAIGN_MANAGEMENT,
                ManualCallView,
                _CALL,
                refused=frozenset({409, 412}),
            ),
        )

    async def call(self, request: Request, caller: Caller) -> Response:
        """Have a contact of an active run called before all others, where the gate lets it through now; else say what
        does not, and until when.

        Nothing is let through that would not be otherwise: it is no attempt beyond those the campaign allows, and
        rates, caps and the stop hold as ever. Asked twice, it is called once. 409 `conflict`: the run is not active, or
        several of its contacts have the number; the sentence names their ids.
        """
        found = await manual_calls.call_now(
            self._database,
            iid=caller.iid,
            instance_id=request.path_params["instanceId"],
            contact=request.path_params["contact"],
            actor=caller.client_id,
        )
        return JsonReply(manual_call_document(found))

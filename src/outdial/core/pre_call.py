"""The pre-call fetch: right before a contact is dialed the operator's own system is asked whether to, and what to know.

The question and the reply are those of the vendor's "pre-call contact fetch": field names are its.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from outdial.core.json_reply import MalformedReplyError, object_of

FETCH_SECONDS: Final = 2.0
"""How long the whole exchange may take; the vendor names no limit."""

LARGEST_REPLY: Final = 32 * 1024
"""Bytes."""

LONGEST_REASON: Final = 200
"""Characters of the reply's reason that are kept."""

_OK: Final = 200


class PreCallProblem(StrEnum):
    """Why a reply is none."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    """No connection, or it broke off."""
    PRIVATE_ADDRESS = "private_address"
    """The host is an address of a private network that the operator has not allowed."""
    STATUS = "status"
    """Another HTTP status than 200; redirects are not followed."""
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    """No JSON object with ``contactHandling.handle`` ``CALL`` or ``SKIP``, or text no database can hold."""


@dataclass(frozen=True, slots=True)
class PreCallFetch:
    """Where a campaign's contacts are asked about."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    """Sent with each question; they may hold credentials."""
    campaign_id: str
    campaign_name: str


@dataclass(frozen=True, slots=True)
class PreCallAnswer:
    """What came back, and after how long. Kept with the attempt."""

    call: bool
    """False: the contact is skipped in this run."""
    seconds: float
    problem: PreCallProblem | None = None
    status: int | None = None
    """HTTP."""
    reason: str = ""
    """As the reply gives it, shortened; of a problem what it was."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """``detailedContactData``, without what the contact's own record says already: the record wins."""


@dataclass(frozen=True, slots=True)
class PreCallContact:
    """The contact that is asked about, with everything its list knows."""

    phone: str
    time_zone: str | None = None
    unique_id: str | None = None
    priority: int = 0
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """Return its fields by the names they have on the wire; attributes never over a field of that name."""
        named = {
            "phoneNumber": self.phone,
            "timeZone": self.time_zone,
            "uniqueId": self.unique_id,
            "contactPriority": self.priority,
        }
        kept = {name: value for name, value in named.items() if value is not None}
        return {**kept, **{name: value for name, value in self.attributes.items() if name not in named}}


def question(fetch: PreCallFetch, contact: PreCallContact, dialing_list_id: str) -> dict[str, Any]:
    """Return the body of the question; ``DialingId`` is the id call-backs and call details know the contact by."""
    return {
        "CampaignName": fetch.campaign_name,
        "CampaignId": fetch.campaign_id,
        "DialingId": dialing_list_id,
        "contactData": contact.data(),
    }


def no_reply(problem: PreCallProblem, reason: str, *, seconds: float, status: int | None = None) -> PreCallAnswer:
    """Return the answer where there was none that can be used: the contact is skipped, as the vendor has it."""
    return PreCallAnswer(call=False, seconds=seconds, problem=problem, status=status, reason=reason[:LONGEST_REASON])


def read_reply(contact: PreCallContact, *, status: int, body: bytes, seconds: float) -> PreCallAnswer:
    """Read a reply; whatever is no clear ``CALL`` skips the contact."""
    if status != _OK:
        return no_reply(PreCallProblem.STATUS, f"HTTP status {status}", seconds=seconds, status=status)
    if len(body) > LARGEST_REPLY:
        return no_reply(
            PreCallProblem.TOO_LARGE, f"the reply is larger than {LARGEST_REPLY} bytes", seconds=seconds, status=status
        )
    try:
        handling, data = _parts(body)
        call = _is_call(handling)
        reason = handling.get("reason", "")
    except MalformedReplyError as error:
        return no_reply(PreCallProblem.MALFORMED, str(error), seconds=seconds, status=status)
    own = contact.data()
    return PreCallAnswer(
        call=call,
        seconds=seconds,
        status=status,
        reason=reason[:LONGEST_REASON] if isinstance(reason, str) else "",
        data={name: value for name, value in data.items() if name not in own},
    )


def skip_reason(answer: PreCallAnswer) -> str:
    """Return why the contact is skipped, for the attempt's history."""
    if answer.problem is not None:
        return f"the pre-call fetch failed: {answer.reason}"
    return "the pre-call fetch said to skip" + (f": {answer.reason}" if answer.reason else "")


LEAD: Final = timedelta(seconds=FETCH_SECONDS)
"""How much later than its turn each call of a run with a fetch leaves, whatever the reply took: turns that are shifted
alike keep the rates of runs and trunks, replies of different length would bunch."""


def _parts(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    document = object_of(body)
    handling, data = document.get("contactHandling"), document.get("detailedContactData")
    if not isinstance(handling, dict):
        raise MalformedReplyError("the reply has no `contactHandling`")
    if not isinstance(data, dict | None):
        raise MalformedReplyError("`detailedContactData` is no object")
    return handling, data or {}


def _is_call(handling: Mapping[str, Any]) -> bool:
    handle = handling.get("handle")
    if handle not in ("CALL", "SKIP"):
        raise MalformedReplyError("`contactHandling.handle` is neither CALL nor SKIP")
    return bool(handle == "CALL")

"""One gate for every call: may this contact be dialed now, later, or never, and why.

Order of the rules: do-not-call lists, attempts used, retry period, calling hours. Concurrency and rates come after, in
``core.pacing``: they concern the run, not the person.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from outdial.core.calling_hours import Timetable, opening, plain
from outdial.core.closing import expired
from outdial.core.model import DialingRules, DoneReason, RunState
from outdial.core.whereabouts import whereabouts

NEVER_OPEN_RETRY: Final = timedelta(days=1)
"""When to look again at a contact whose calling hours do not open at all: closed, but nobody is lost."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run contact that may be due, with what the rules ask about it."""

    contact_id: int
    phone: str
    contact_zone: str | None
    """IANA zone stored with the contact, wins over the number's."""
    number_zones: tuple[str, ...]
    """Every zone plausible for the number; empty when none is known."""
    attempts_count: int
    """Attempts of which something has left."""
    not_before: datetime | None
    on_account_dnc: bool
    on_campaign_dnc: bool
    is_callback: bool = False
    """Asked to be called then: the one attempt beyond those the campaign allows."""
    contact_state: str | None = None
    """What the contact's list says of its state or province, for rule packs."""


class WaitReason(StrEnum):
    """Why a contact has to wait."""

    CALLING_HOURS = "calling_hours"
    RETRY_PERIOD = "retry_period"
    NUMBER_BUSY_ELSEWHERE = "number_busy_elsewhere"
    """Another live call of the account goes to the number."""


@dataclass(frozen=True, slots=True)
class Allow:
    """May be dialed now."""


@dataclass(frozen=True, slots=True)
class Deny:
    """May never be dialed in this run."""

    reason: DoneReason
    sentence: str


@dataclass(frozen=True, slots=True)
class NotBefore:
    """May not be dialed before an instant."""

    at: datetime
    reason: WaitReason
    sentence: str


Verdict = Allow | Deny | NotBefore


def screen(
    candidate: Candidate,
    rules: DialingRules,
    *,
    now: datetime,
    until: datetime | None = None,
    timetable: Timetable | None = None,
    since: datetime | None = None,
) -> Verdict:
    """Return whether the contact may be dialed at ``now``, and, as its call may leave a moment later, until then.

    ``timetable`` is that of the rules' calling hours; without it, hours that refer to a rule pack or to holidays are
    closed. ``since`` is when the run began: contacts can expire only where it is given.
    """
    if candidate.on_account_dnc or candidate.on_campaign_dnc:
        whose = "account" if candidate.on_account_dnc else "campaign"
        return Deny(DoneReason.DNC, f"The number is on the {whose}'s do-not-call list.")
    if candidate.attempts_count >= rules.max_attempts and not candidate.is_callback:
        return Deny(DoneReason.ATTEMPTS_USED, f"All {rules.max_attempts} attempts have been used.")
    if candidate.not_before is not None and candidate.not_before > now:
        return NotBefore(candidate.not_before, WaitReason.RETRY_PERIOD, "The next attempt is not due yet.")
    hours = plain(rules.calling_hours) if timetable is None else timetable
    within = _within_hours(candidate, hours, now, since)
    if until is None or not isinstance(within, Allow):
        return within
    return _within_hours(candidate, hours, until, since)


def _within_hours(candidate: Candidate, timetable: Timetable, now: datetime, since: datetime | None) -> Verdict:
    where = whereabouts(
        timetable.pack,
        phone=candidate.phone,
        contact_zone=candidate.contact_zone,
        contact_state=candidate.contact_state,
        number_zones=candidate.number_zones,
        campaign_zone=timetable.hours.zone,
    )
    # an instant somebody asked for is not the campaign's to let pass
    if since is not None and not candidate.is_callback:
        closed = expired(timetable, where, since=since, at=now)
        if closed is not None:
            return Deny(DoneReason.EXPIRED, f"Its calling hours closed at {closed:%Y-%m-%d %H:%M:%S} UTC.")
    found = opening(timetable, where, now)
    if found.is_open:
        return Allow()
    why = found.closed_by[0].sentence if found.closed_by else "Calling hours never open in all zones at once."
    if found.opens_at is None:
        sentence = f"Calling hours never open within 14 days. {why}"
        return NotBefore(now + NEVER_OPEN_RETRY, WaitReason.CALLING_HOURS, sentence)
    return NotBefore(found.opens_at, WaitReason.CALLING_HOURS, why)


def run_may_dial(state: RunState, epoch: int, wanted_epoch: int) -> bool:
    """Whether a run found in this state and epoch may be dialed by somebody who knows it at ``wanted_epoch``."""
    return state is RunState.ACTIVE and epoch == wanted_epoch

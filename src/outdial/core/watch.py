"""What the watchdog makes of an INVITE it has seen: was there leave for it? Pure, and apart from what dials.

Nothing here is shared with the code that decides who may dial (``core.permit``, ``core.screening``); the promises are
stated a second time, from the database's rows and the instant at which the engine says the INVITE left. Every rule is
made so that what outdial does in order never breaks it; where something cannot be told the INVITE is *uncertain*.

Instants are the engine's (the INVITE's) and the database's (everything else's): on one machine they are one clock.
Where they are not, ``tolerance`` is how far they may differ; a breach that is younger than that is not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from outdial.core.ids import parse_permit_name
from outdial.core.model import NumberFormat, RunState

LONGEST_WAY: Final = timedelta(seconds=60)
"""From an attempt's reservation to its INVITE, at most: calls are reserved for a fifth of a second ahead, wait two
seconds for a pre-call fetch and one for their turn, and a permit lives for thirty at most."""

AFTER_THE_END: Final = timedelta(seconds=1)
"""An engine may tell that a call is over a moment before its INVITE leaves (3 ms were measured)."""

PERMIT_SLACK: Final = timedelta(seconds=0.6)
"""A permit's life is counted in the engine's clock, which may be half a second off, and in its milliseconds."""

SETTLES: Final = timedelta(seconds=5)
"""How long an addition to a do-not-call list waits for calls that were being placed already."""

REPEATS: Final = timedelta(seconds=40)
"""An INVITE that nobody answers is repeated for 32 s (RFC 3261 §17.1.1.2, 64 × T1)."""

FRESH: Final = timedelta(seconds=30)
"""Notes of permits that are no longer of use are kept for a minute; what is judged within this has seen them."""

_LARGEST_ID: Final = 2**63 - 1


class Breach(StrEnum):
    """What an INVITE should not have been, gravest first; part of the public contract, like the codes of errors."""

    RUN_STOPPED = "run_stopped"
    """It left after its run was stopped."""
    DNC_NUMBER = "dnc_number"
    """Its number was on a do-not-call list of its run before it was reserved, or long before it left."""
    NO_PERMIT = "no_permit"
    """It went through no permit at all: something else than outdial placed it."""
    UNKNOWN_PERMIT = "unknown_permit"
    """The permit it went through was never noted in the database."""
    OLD_EPOCH = "old_epoch"
    """The permit it went through was for an epoch that had ended so long ago that it must have run out."""
    NO_ATTEMPT = "no_attempt"
    """No attempt of its run was under way to this number."""
    DIALED_AGAIN = "dialed_again"
    """Its attempt had made a call before: one attempt, two calls."""


@dataclass(frozen=True, slots=True)
class Permission:
    """A permit's name, taken apart."""

    name: str
    run_id: int
    epoch: int
    key: str


@dataclass(frozen=True, slots=True)
class Sighting:
    """An INVITE for a new call that left an engine."""

    call_id: str
    number: str
    """As the trunk wants it."""
    caller: str
    permission: Permission | None
    """What it went through; None = no permit."""
    sent_at: datetime
    """By the engine's clock, taken just before it left."""
    engine_name: str
    """What the engine calls itself; empty when it does not."""
    source: str
    destination: str
    may_repeat: bool = False
    """Packets before it may have been missed, so that it may be the repetition of an earlier one."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the database says of a run."""

    id: int
    account_id: str
    campaign_id: str
    state: RunState
    epoch: int
    moved_at: datetime
    """When its state or epoch changed last."""
    ended_at: datetime | None
    number_format: NumberFormat
    number_prefix: str
    permit_life: timedelta
    """Of the longest permits of its nodes."""


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """What it says of an attempt."""

    id: str
    epoch: int
    engine_id: str
    reserved_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class DncFacts:
    """What it says of a number's entry on a list."""

    added_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known where one INVITE is judged, read after it was seen."""

    read_at: datetime
    run: RunFacts | None
    """None = there is no such run."""
    permit_known: bool
    phone: str | None
    """The number called, E.164; None when the trunk writes none so."""
    attempts: tuple[AttemptFacts, ...] = ()
    """Those of the run to that number, oldest first."""
    dnc: tuple[DncFacts, ...] = ()
    """Entries of that number on the run's lists."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one INVITE."""

    breaches: tuple[Breach, ...]
    """Gravest first; none = it had leave."""
    attempt: AttemptFacts | None
    """The attempt that it was, where there was one."""
    uncertain: bool = False
    """It may be the repetition of one that was in order: nothing can be said."""


def read_permission(session: str) -> Permission | None:
    """Return the permit whose name stands in an INVITE's session line, None when none does."""
    found = parse_permit_name(session)
    if found is None or found[0] > _LARGEST_ID:
        return None
    run_id, epoch, key = found
    return Permission(session, run_id, epoch, key)


def phone_of(number: str, number_format: NumberFormat, prefix: str) -> str | None:
    """Return the E.164 number that a trunk of that format and prefix writes so, None when it writes none so."""
    if not number.startswith(prefix):
        return None
    bare = number.removeprefix(prefix)
    phone = bare if number_format is NumberFormat.E164_PLUS else f"+{bare}"
    return phone if phone[:1] == "+" and phone[1:].isascii() and phone[1:].isdigit() else None


def judge(
    seen: Sighting, facts: Facts, *, tolerance: timedelta = timedelta(), calls: Mapping[str, str] | None = None
) -> Verdict:
    """Say what an INVITE was. ``calls`` holds the Call-ID that each attempt was seen to make, by the attempt's id."""
    permission, run = seen.permission, facts.run
    if permission is None:
        return Verdict((Breach.NO_PERMIT,), None)
    if run is None:
        return Verdict((Breach.UNKNOWN_PERMIT,), None)
    left = seen.sent_at
    # a call whose end was booked while its engine was frozen can leave until its permit runs out
    late = AFTER_THE_END + run.permit_life + tolerance
    fitting = [
        attempt
        for attempt in facts.attempts
        if attempt.epoch == permission.epoch
        and left - LONGEST_WAY <= attempt.reserved_at <= left + tolerance
        and (attempt.ended_at is None or attempt.ended_at >= left - late)
    ]
    # the first that has made no call yet: INVITEs are judged in the order in which they left
    known = calls or {}
    attempt = next((one for one in fitting if known.get(one.id, seen.call_id) == seen.call_id), None)
    found = {
        Breach.RUN_STOPPED: _over(run, left, tolerance),
        Breach.DNC_NUMBER: _listed(left, attempt, facts.dnc, run, tolerance),
        Breach.UNKNOWN_PERMIT: not facts.permit_known and facts.read_at - left <= FRESH,
        Breach.OLD_EPOCH: run.epoch > permission.epoch
        and run.state is not RunState.STOPPED
        and left > run.moved_at + run.permit_life + PERMIT_SLACK + tolerance,
        Breach.NO_ATTEMPT: not fitting,
        Breach.DIALED_AGAIN: bool(fitting) and attempt is None,
    }
    breaches = tuple(breach for breach in Breach if found.get(breach))
    if breaches and seen.may_repeat and _may_repeat(seen, facts.attempts, tolerance):
        return Verdict((), attempt, uncertain=True)
    return Verdict(breaches, attempt)


def _over(run: RunFacts, left: datetime, tolerance: timedelta) -> bool:
    """Whether the run had been stopped: ``stopped`` is committed when every engine has been shown to be silent."""
    return run.state is RunState.STOPPED and run.ended_at is not None and left > run.ended_at + tolerance


def _listed(
    left: datetime,
    attempt: AttemptFacts | None,
    entries: Sequence[DncFacts],
    run: RunFacts,
    tolerance: timedelta,
) -> bool:
    """Whether a list forbade it. What was reserved before its number was added may leave for a moment more."""
    return any(
        left > entry.added_at + tolerance
        and (entry.expires_at is None or left < entry.expires_at - tolerance)
        and (
            attempt is None
            # both are of the database's clock, and no attempt is reserved while numbers are added
            or attempt.reserved_at > entry.added_at
            or left > entry.added_at + SETTLES + run.permit_life + PERMIT_SLACK + tolerance
        )
        for entry in entries
    )


def _may_repeat(seen: Sighting, attempts: Sequence[AttemptFacts], tolerance: timedelta) -> bool:
    """Whether an attempt of lately may have sent it for the first time unseen."""
    return any(
        attempt.reserved_at <= seen.sent_at + tolerance
        and attempt.reserved_at >= seen.sent_at - REPEATS - LONGEST_WAY
        and (attempt.ended_at is None or attempt.ended_at >= seen.sent_at - REPEATS)
        for attempt in attempts
    )


SENTENCES: Final[Mapping[Breach, str]] = {
    Breach.RUN_STOPPED: "A call left an engine after its run was stopped: the stop's promise is broken.",
    Breach.DNC_NUMBER: "A call left an engine for a number on a do-not-call list of its run.",
    Breach.NO_PERMIT: "A call left an engine without any permit: something else than outdial's dialer placed it there. "
    "Find out who may command that Asterisk; outdial has nothing to fence.",
    Breach.UNKNOWN_PERMIT: "A call left an engine through a permit that the database does not know: somebody put it "
    "there by hand, or the engine serves another database.",
    Breach.OLD_EPOCH: "A call left an engine through a permit of an epoch that had ended: it should have run out.",
    Breach.NO_ATTEMPT: "A call left an engine through a permit of its run, to a number for which no attempt was "
    "reserved.",
    Breach.DIALED_AGAIN: "An attempt that had made its call has made another: the person may have been dialed twice.",
}
"""What people read of each."""

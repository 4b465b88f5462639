"""What the facts about a call make of its attempt and its contact: pure, each ending decided in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from outdial.core.disposition import disposition_of
from outdial.core.machine import Detection, MachineDetection, MachineVerdict
from outdial.core.model import AttemptState, DialingRules, Disposition, DoneReason, RunContactState
from outdial.core.pre_call import PreCallAnswer, skip_reason
from outdial.core.retry import Finish, PutBack, TryAgain, after_attempt
from outdial.store.attempts import AttemptNews, ContactNews
from outdial.telephony.engine import CallRecord

NORMAL_CLEARING: Final = 16
"""Q.850: the cause of an unanswered call that our side ended (measured); no carrier's final answer maps to it."""


COURTESY_SLACK_SECONDS: Final = 0.1
"""By how much the engine's instants of an answer and an end may be nearer than the message is long."""

STOPPED: Final = "stop"
"""Why a call was cancelled: a stop of its run."""

EMERGENCY: Final = "its node cancelled it: an emergency stop was asked for"

# Such a call has left, and a phone may have rung: for the law, which counts how often a person is called, that was an
# attempt, so it counts here too, whoever is to blame for the database. Nobody was reached and nobody has stopped the
# run: what is left of the contact's attempts follows, after the usual pause.
AWAY: Final = (
    "its node cancelled it: it could not reach the database for the time of a lease, so no stop could have been heard; "
    "the phone may have rung, so it counts as an attempt, and the contact is tried again as after any other"
)
LEAVING: Final = "its node cancelled it: it was asked to end"

CONGESTION: Final = 34
"""Q.850: the cause of a call that the engine gave up as its connection broke, and of one for which the carrier has no
circuit (measured)."""
MADE_UP: Final = frozenset({422, 503})
"""SIP statuses the engine gives such a call; 422 where it had sent the INVITE once more for other session timers (RFC
4028 section 7.4), and heard nothing since (measured)."""
LINE_LOST: Final = "the connection to the carrier broke before it was answered, and a phone may have rung on"

HUNG_UP_ON: Final = "an answering machine: hung up on"
NO_MESSAGE: Final = "an answering machine: the call ended before its message"
UNDECIDED: Final = "the call ended before it was known who had answered"

_CROSSED: Final = "answered as it was cancelled"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known so far about an attempt that has not ended."""

    attempt_id: str
    number: int
    """Which try of its contact it is; 1 = the first."""
    rules: DialingRules
    by: str
    """Who books it: the node."""
    state: AttemptState = AttemptState.RESERVED
    dialed_at: datetime | None = None
    permit: str | None = None
    """Name of the permit it was dialed by."""
    ringing_at: datetime | None = None
    answered_at: datetime | None = None
    pre_call: PreCallAnswer | None = None
    """What was said before the call, where that was asked for."""
    unheard: str = ""
    """Why whoever answered heard nothing; empty when there was nothing in the way."""
    cancelled: str = ""
    """Why we are cancelling it, or were when it was answered; empty while we are not."""
    courtesy_seconds: float | None = None
    """How long the courtesy message sounds that whoever answered hears; None: it is none, but the flow."""
    detection: Detection | None = None
    """Who has answered, once it is known, where that is to be found out."""
    message_left: bool = False
    """The flow of an answering machine's call has begun, or may have."""
    over_connection: bool = False
    """Its trunk is reached over a connection (TCP, TLS), which may break."""

    @property
    def is_machine(self) -> bool:
        """Whether an answering machine was found to have answered."""
        return self.detection is not None and self.detection.verdict is MachineVerdict.MACHINE

    @property
    def undecided(self) -> bool:
        """Whether it was answered, and is still to be found out by whom: nothing is heard until then."""
        return (
            self.answered_at is not None
            and self.rules.machine_detection is not MachineDetection.NO
            and self.detection is None
            and self.courtesy_seconds is None
        )


def progress(known: Known) -> AttemptNews:
    """Return the news that an attempt has come as far as it is known to."""
    return AttemptNews(
        id=known.attempt_id,
        state=known.state,
        by=known.by,
        permit=known.permit,
        dialed_at=known.dialed_at,
        ringing_at=known.ringing_at,
        answered_at=known.answered_at,
        reason="" if known.courtesy_seconds is None else f"{_CROSSED} ({known.cancelled}): hears the courtesy message",
        pre_call=known.pre_call,
        detection=known.detection,
        contact=ContactNews(RunContactState.DIALING),
    )


def ended(
    known: Known,
    *,
    at: datetime,
    cause: int | None,
    sip_code: int | None,
    by_carrier: bool | None = None,
    cancelled_by_us: bool = False,
    reason: str = "",
) -> AttemptNews:
    """Return the end of an attempt whose call the engine has given up; ``by_carrier`` as in ``CallEnded``."""
    if known.over_connection and known.answered_at is None and not by_carrier and looks_lost(cause, sip_code):
        # the cause stays, for the breaker: many such calls are a trunk that fails
        return replace(unknown(known, at=at, reason=LINE_LOST), cause=CONGESTION)
    if not known.unheard and known.undecided:
        known = replace(known, unheard=UNDECIDED)
    disposition = disposition_of(
        answered=known.answered_at is not None,
        heard=not known.unheard,
        machine=known.is_machine,
        cause=cause,
        sip_code=sip_code,
        cancelled_by_us=cancelled_by_us,
    )
    return _final(
        known, disposition, at=at, cause=cause, sip_code=sip_code, reason=reason or _reason(known, disposition, at=at)
    )


def looks_lost(cause: int | None, sip_code: int | None) -> bool:
    """Whether that is what an engine says of an unanswered call whose connection broke; it says 503 of a carrier's
    refusal, too.

    Nobody has cancelled such a call: a phone may ring on, or be answered. To dial it again might be to call somebody
    twice.
    """
    return sip_code in MADE_UP or (sip_code is None and cause == CONGESTION)


def _reason(known: Known, disposition: Disposition, *, at: datetime) -> str:
    """Return what there is to say of an end beyond its disposition."""
    if known.courtesy_seconds is not None and known.answered_at is not None:
        if known.unheard:
            return f"{_CROSSED} ({known.cancelled}): {known.unheard}"
        heard = max((at - known.answered_at).total_seconds(), 0.0)
        # what has sounded is known by the clock alone: an engine tells the end of a message and of its call alike
        whole = heard >= known.courtesy_seconds - COURTESY_SLACK_SECONDS
        told = "heard the courtesy message" if whole else f"ended {heard:.1f} s into the courtesy message"
        return f"{_CROSSED} ({known.cancelled}): {told}"
    if known.is_machine and not known.message_left:
        return known.unheard or NO_MESSAGE
    return known.unheard or (known.cancelled if disposition is Disposition.CANCELLED else "")


def crossed(known: Known, *, at: datetime, courtesy_seconds: float | None) -> Known:
    """Return what is known after the engine says that a call is up which we are cancelling: there is a courtesy message
    of so many seconds, or whoever answered hears nothing and is hung up on."""
    known = replace(known, answered_at=at, courtesy_seconds=courtesy_seconds)
    return known if courtesy_seconds is not None else replace(known, unheard=f"{_CROSSED} ({known.cancelled})")


def failed(known: Known, *, at: datetime) -> AttemptNews:
    """Return the end of an attempt the engine would not place for another reason than a missing permit.

    It counts: an engine that will not dial this number would otherwise be asked for ever.
    """
    return _final(known, Disposition.FAILED, at=at, cause=None, sip_code=None, reason="the engine refused the call")


def never_sent(known: Known, *, at: datetime, reason: str) -> AttemptNews:
    """Return the end of an attempt of which nothing has ever left: its contact may be dialed as if it had not been."""
    news = _final(known, Disposition.CANCELLED, at=at, cause=None, sip_code=None, reason=reason, sent=False)
    return replace(news, dialed_at=None)


def skipped(known: Known, *, at: datetime) -> AttemptNews:
    """Return the end of an attempt that the pre-call fetch has prevented: nothing left, and the contact is done."""
    assert known.pre_call is not None  # noqa: S101 - it said so
    news = never_sent(known, at=at, reason=skip_reason(known.pre_call))
    return replace(news, contact=ContactNews(RunContactState.DONE, done_reason=DoneReason.SKIPPED, uncounted=True))


def unknown(known: Known, *, at: datetime, reason: str) -> AttemptNews:
    """Return the end of an attempt nobody can tell the outcome of; its contact is never dialed again by itself."""
    news = _final(known, Disposition.UNKNOWN, at=at, cause=None, sip_code=None, reason=reason)
    return replace(news, state=AttemptState.UNKNOWN)


def from_record(known: Known, record: CallRecord | None, *, at: datetime, placed: bool) -> AttemptNews:
    """Return the end of an attempt whose call is not at the engine any more and whose events were missed.

    ``record`` is what the engine wrote down. ``placed`` False says that the engine would know of it if the call had
    ever been placed, and that nobody is left who could still place it.
    """
    if record is None:
        if known.answered_at is not None:
            return ended(known, at=at, cause=None, sip_code=None, reason="its end was missed")
        if not placed:
            return never_sent(known, at=at, reason="its node was gone before the call was placed")
        return unknown(known, at=at, reason="its node was gone and the engine knows nothing of the call")
    if known.answered_at is None and record.answered_at is not None:
        # whoever does not hear of an answer plays nothing
        known = replace(known, answered_at=record.answered_at, unheard="answered while its node heard no events")
    known = replace(known, dialed_at=known.dialed_at or record.started_at)
    if record.ended_at is None and known.answered_at is None:
        return unknown(known, at=at, reason="the engine was killed before the call was answered or ended")
    return ended(
        known,
        at=record.ended_at or at,
        cause=record.cause,
        sip_code=None,
        cancelled_by_us=record.cause == NORMAL_CLEARING,
        reason="" if record.ended_at else "the engine was killed during the call",
    )


def _final(
    known: Known,
    disposition: Disposition,
    *,
    at: datetime,
    cause: int | None,
    sip_code: int | None,
    reason: str,
    sent: bool = True,
) -> AttemptNews:
    decided = after_attempt(
        disposition,
        sent=sent,
        attempts_count=known.number,
        rules=known.rules,
        run_stopping=False,
        message_left=known.message_left and not known.unheard,
    )
    return AttemptNews(
        id=known.attempt_id,
        state=AttemptState.ENDED,
        by=known.by,
        disposition=disposition,
        cause=cause,
        sip_code=sip_code,
        dialed_at=known.dialed_at,
        ringing_at=known.ringing_at,
        answered_at=known.answered_at,
        ended_at=at,
        reason=reason,
        pre_call=known.pre_call,
        detection=known.detection,
        permit=known.permit,
        contact=_contact(decided),
    )


def _contact(decided: Finish | TryAgain | PutBack) -> ContactNews:
    match decided:
        case Finish(reason=done):
            return ContactNews(RunContactState.DONE, done_reason=done)
        case TryAgain(after_seconds=after_seconds, other_number=other, otherwise=otherwise):
            return ContactNews(RunContactState.WAITING, after_seconds=after_seconds, done_reason=otherwise, other=other)
        case PutBack():
            return ContactNews(RunContactState.PENDING, uncounted=True)


def answered(known: Known, *, at: datetime) -> Known:
    """Return what is known after the engine says that the call is up."""
    return replace(known, state=AttemptState.ANSWERED, dialed_at=known.dialed_at or at, answered_at=at)

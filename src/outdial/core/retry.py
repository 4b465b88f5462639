"""What becomes of a contact after an attempt.

How an attempt ended may have a retry rule of its own. How long to wait is decided when the attempt ends, and stored as
an instant; how often, and for which window, when the contact is looked at again, by the same gate as all else
(``core.screening``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from outdial.core.calling_hours import Timetable, next_begin
from outdial.core.model import DialingRules, Disposition, DoneReason, RetryRule
from outdial.core.whereabouts import Whereabouts


@dataclass(frozen=True, slots=True)
class Finish:
    """The contact is done."""

    reason: DoneReason


@dataclass(frozen=True, slots=True)
class TryAgain:
    """The contact is tried again, not before so many seconds from when that is written down: whoever writes has the
    clock by which it comes due."""

    after_seconds: float
    other_number: bool = False
    """At another of its numbers, where it has one."""
    otherwise: DoneReason | None = None
    """Without another number it is done, for this reason; None: it is called at the same again."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """Nothing was sent: the contact is as if it had not been claimed, and the attempt does not count."""


_FINAL: Final = {
    Disposition.ANSWERED_HUMAN: DoneReason.REACHED,
    Disposition.ABANDONED: DoneReason.REACHED,
    Disposition.INVALID_NUMBER: DoneReason.INVALID_NUMBER,
    # never dialed again by itself: it may have been a conversation
    Disposition.UNKNOWN: DoneReason.UNKNOWN,
}
"""Endings after which nothing is tried again, whatever the rules say."""


def after_attempt(
    disposition: Disposition,
    *,
    sent: bool,
    attempts_count: int,
    rules: DialingRules,
    run_stopping: bool,
    message_left: bool = True,
) -> Finish | TryAgain | PutBack:
    """Return what becomes of the contact.

    ``sent`` False: nothing ever left for the carrier. ``attempts_count`` includes this attempt. ``run_stopping``: the
    run is stopping or stopped, so what would be tried again is done. ``message_left``: where an answering machine has
    answered, whether it was told anything; one that was hung up on is tried again as any other call.
    """
    if not sent:
        return PutBack()
    if disposition in _FINAL:
        return _elsewhere(disposition, attempts_count, rules, run_stopping=run_stopping)
    if disposition is Disposition.ANSWERED_MACHINE and message_left:
        return Finish(DoneReason.REACHED)
    if run_stopping:
        cancelled = disposition is Disposition.CANCELLED
        return Finish(DoneReason.STOPPED if cancelled else DoneReason.RETRY_CANCELLED)
    if attempts_count >= rules.max_attempts:
        return Finish(DoneReason.ATTEMPTS_USED)
    return _by_rule(rules.own.after(disposition), rules)


def _by_rule(rule: RetryRule | None, rules: DialingRules) -> Finish | TryAgain:
    if rule is None:
        return TryAgain(rules.retry_seconds)
    if rule.most == 0:
        return Finish(DoneReason.ATTEMPTS_USED)
    if rule.seconds is not None:
        return TryAgain(rule.seconds, rule.other_number)
    return TryAgain(0 if rule.next_window else rules.retry_seconds, rule.other_number)


def after_number_stopped(*, attempts_count: int, rules: DialingRules) -> Finish | TryAgain:
    """Return what becomes of a contact whose call was cancelled since its number is not to be called any more: where it
    has another, that is tried as after any call that was cancelled. ``attempts_count`` includes this attempt."""
    if attempts_count >= rules.max_attempts:
        return Finish(DoneReason.DNC)
    decided = _by_rule(rules.own.after(Disposition.CANCELLED), rules)
    if isinstance(decided, Finish):
        return Finish(DoneReason.DNC)
    return replace(decided, other_number=True, otherwise=DoneReason.DNC)


def _elsewhere(
    disposition: Disposition, attempts_count: int, rules: DialingRules, *, run_stopping: bool
) -> Finish | TryAgain:
    """Return what follows an ending after which the same number is never tried again."""
    done = _FINAL[disposition]
    rule = rules.own.after(disposition)
    if disposition not in ELSEWHERE_DISPOSITIONS or rule is None or not rule.other_number:
        return Finish(done)
    if run_stopping or attempts_count >= rules.max_attempts:
        return Finish(done)
    decided = _by_rule(rule, rules)
    return Finish(done) if isinstance(decided, Finish) else replace(decided, otherwise=done)


FINAL_DISPOSITIONS: Final = frozenset(_FINAL)
"""Those after which the same number is never tried again: they can have no retry rule."""

ELSEWHERE_DISPOSITIONS: Final = frozenset({Disposition.INVALID_NUMBER})
"""Of those, the ones that say nothing of the person: they can have one that turns to another number."""

NO_WINDOW: Final = timedelta(days=1)
"""What stands for the next window where calling hours never end."""


def next_window(timetable: Timetable, where: Whereabouts, at: datetime) -> datetime:
    """Return when calling hours begin the next time after having been closed, ``at`` or later."""
    return next_begin(timetable, where, at) or at + NO_WINDOW

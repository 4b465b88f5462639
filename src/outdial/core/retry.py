"""What becomes of a contact after an attempt.

How an attempt ended may have a retry rule of its own. How long to wait is decided when the attempt ends, and stored as
an instant; how often, and for which window, when the contact is looked at again, by the same gate as all else
(``core.screening``).
"""

from __future__ import annotations

from dataclasses import dataclass
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
        return Finish(_FINAL[disposition])
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
        return TryAgain(rule.seconds)
    return TryAgain(0 if rule.next_window else rules.retry_seconds)


FINAL_DISPOSITIONS: Final = frozenset(_FINAL)
"""Those that can have no retry rule."""

NO_WINDOW: Final = timedelta(days=1)
"""What stands for the next window where calling hours never end."""


def next_window(timetable: Timetable, where: Whereabouts, at: datetime) -> datetime:
    """Return when calling hours begin the next time after having been closed, ``at`` or later."""
    return next_begin(timetable, where, at) or at + NO_WINDOW

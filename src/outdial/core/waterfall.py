"""From everybody in a run to whoever may be dialed now, step by step, and why nothing is dialing where nothing is.

Counts of states are exact. What only the gate can say is asked of a part of those who are due where they are many, by
the same function that asks for each call, and scaled up: such a step says that it is an estimate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from outdial.core.canonical import instant
from outdial.core.explanation import Beside, Says, Situation, Step, lines_step, nodes_step, rate_step, run_steps
from outdial.core.model import DoneReason
from outdial.core.pacing import room
from outdial.core.screening import CHECKS, Rule

LARGEST_SAMPLE: Final = 2_000
"""Due contacts of whom each is asked about; of more, one in so many is."""

MOST_FREE: Final = 1_000_000
"""Free lines are counted up to here."""


@dataclass(frozen=True, slots=True)
class PutOff:
    """Contacts that wait for an instant."""

    rule: str
    """Whoever put them off: a rule of the gate, ``retry_period`` for retries and call-backs."""
    count: int
    first_at: datetime
    """When the first of them comes due."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A run's contacts by where they stand, each in one place."""

    total: int
    done: Mapping[DoneReason, int]
    in_calls: int
    """Claimed or being called."""
    listed: int
    """Open, their number on a do-not-call list of the run."""
    put_off: Sequence[PutOff]
    number_busy: int
    """Due, while a call of the account goes to their number, or one was lost so lately that its phone may ring."""
    due: int
    """The others: those the gate is asked about."""


@dataclass(frozen=True, slots=True)
class Fall:
    """One step of a waterfall."""

    code: str
    lost: int
    left: int
    sentence: str
    estimate: bool = False


@dataclass(frozen=True, slots=True)
class Waterfall:
    """A run's contacts, step by step, and what it comes to."""

    at: datetime
    falls: tuple[Fall, ...]
    dialable: int
    """Contacts the gate lets through now."""
    estimate: bool
    """``dialable`` is one."""
    free_lines: int
    live_calls: int
    blocked_by: str | None
    """Code of what keeps calls from leaving; None: they may."""
    sentence: str


_DONE: Final[Mapping[DoneReason, str]] = MappingProxyType(
    {
        DoneReason.INVALID_NUMBER: "have a number that does not exist, says the carrier",
        DoneReason.DNC: "were on a do-not-call list",
        DoneReason.REACHED: "were reached",
        DoneReason.ATTEMPTS_USED: "have used their attempts",
        DoneReason.RETRY_CANCELLED: "waited for a retry that a stop cancelled",
        DoneReason.STOPPED: "had a call that a stop cancelled",
        DoneReason.SKIPPED: "were skipped by the pre-call fetch",
        DoneReason.EXPIRED: "have expired: their calling hours closed for the day",
        DoneReason.UNKNOWN: "had a call whose outcome cannot be established",
    }
)
"""What is said of those that are done, in the order of the steps."""

_RULES: Final[Mapping[Rule, str]] = MappingProxyType(
    {
        Rule.ACCOUNT_DNC: "are on the account's do-not-call list",
        Rule.CAMPAIGN_DNC: "are on the campaign's do-not-call list",
        Rule.CONTACT_ATTEMPTS: "have used all attempts",
        Rule.RETRY_COUNT: "have used the retries that a retry rule allows",
        Rule.RETRY_PERIOD: "wait until their next attempt is due",
        Rule.RETRY_WINDOW: "wait for the next calling hours after an attempt",
        Rule.NUMBER_LIMITS: "have a number that has been called as often as a limit allows",
        Rule.CALLING_HOURS: "are outside calling hours",
    }
)
"""What is said of those whom a rule of the gate does not allow."""


def waterfall(
    counted: Counted, asked: Sequence[Rule | None], situation: Situation, *, live_calls: int, at: datetime
) -> Waterfall:
    """Return a run's waterfall.

    ``asked`` has, of each contact of a sample of those that are due (all of them, where they are few), the rule that
    does not allow it, None where all do.
    """
    falls = list(_falls(counted, asked))
    dialable = falls[-1].left if falls else counted.total
    estimate = any(fall.estimate for fall in falls)
    beyond = [
        *run_steps(situation),
        nodes_step(ready=situation.nodes_ready),
        lines_step(situation.caps),
        rate_step(situation.slot_at, at=at),
    ]
    blocking = _blocking(beyond, falls, dialable)
    return Waterfall(
        at=at,
        falls=tuple(falls),
        dialable=dialable,
        estimate=estimate,
        free_lines=room(situation.caps, wanted=MOST_FREE),
        live_calls=live_calls,
        blocked_by=None if blocking is None else blocking[0],
        sentence=_sentence(counted, blocking, dialable, live_calls, estimate=estimate),
    )


def _falls(counted: Counted, asked: Sequence[Rule | None]) -> Iterator[Fall]:
    left = counted.total
    for reason, said in _DONE.items():
        lost = counted.done.get(reason, 0)
        if lost:
            left -= lost
            yield Fall(reason.value, lost, left, f"{lost} {said}.")
    if counted.in_calls:
        left -= counted.in_calls
        yield Fall(Beside.CONTACT_STATE, counted.in_calls, left, f"{counted.in_calls} are being called.")
    if counted.listed:
        left -= counted.listed
        yield Fall("do_not_call", counted.listed, left, f"{counted.listed} are on a do-not-call list now.")
    for one in counted.put_off:
        left -= one.count
        said = _RULES[Rule(one.rule)]
        yield Fall(one.rule, one.count, left, f"{one.count} {said}, the first until {instant(one.first_at)}.")
    if counted.number_busy:
        left -= counted.number_busy
        sentence = (
            f"{counted.number_busy} have a number to which another call of the account goes, or was lost a moment ago."
        )
        yield Fall(Beside.LIVE_CALL, counted.number_busy, left, sentence)
    yield from _asked(asked, left)


def _asked(asked: Sequence[Rule | None], due: int) -> Iterator[Fall]:
    """Yield what the gate says of those that are due, scaled up from those that were asked about."""
    found, left = Counter(asked), len(asked)
    estimate = len(asked) < due

    def scaled(number: int) -> int:
        return round(number * due / len(asked)) if asked else 0

    for rule in CHECKS:
        if found[rule]:
            before, left = left, left - found[rule]
            lost = scaled(before) - scaled(left)
            about = "About " if estimate else ""
            yield Fall(rule.value, lost, scaled(left), f"{about}{lost} {_RULES[rule]}.", estimate)


def _blocking(beyond: Sequence[Step], falls: Sequence[Fall], dialable: int) -> tuple[str, str] | None:
    """Return the code and the words of what keeps calls from leaving: first what holds for the run as a whole."""
    whole = {Beside.EMERGENCY_STOP, Beside.RUN_STATE, Beside.DIALER_NODES}
    for step in beyond:
        if step.code in whole and step.says is not Says.ALLOWS:
            return step.code, _lowered(step.sentence)
    if dialable == 0:
        most = max(falls, key=lambda fall: fall.lost, default=None)
        return ("contacts", "nobody is in the run") if most is None else (most.code, _nobody(falls))
    for step in beyond:
        if step.says is not Says.ALLOWS:
            return step.code, _lowered(step.sentence)
    return None


def _nobody(falls: Sequence[Fall]) -> str:
    """Say why nobody is left, the largest parts first."""
    parts = [_lowered(fall.sentence).removesuffix(".") for fall in sorted(falls, key=lambda fall: -fall.lost)]
    return f"nobody may be dialed now: {', '.join(parts)}"


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:].removesuffix(".")


def _sentence(
    counted: Counted, blocking: tuple[str, str] | None, dialable: int, live_calls: int, *, estimate: bool
) -> str:
    about = "about " if estimate else ""
    if blocking is None:
        return f"{live_calls} calls are live, and {about}{dialable} of {counted.total} contacts may be dialed now."
    if live_calls:
        return f"{live_calls} calls are live; no other leaves because {blocking[1]}."
    return f"Nothing is dialing because {blocking[1]}."

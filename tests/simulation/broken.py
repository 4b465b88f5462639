"""The day with one guard taken out, for the checker to find. Guards are taken out here, in the tests; the product has
no switch for any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

from outdial.core import calling_hours, retry, screening
from outdial.core.attempt_limits import standing
from outdial.core.model import Disposition
from outdial.core.retry import TryAgain, after_attempt
from outdial.core.screening import ALLOWED, Decision, Moment, Rule
from simulation.desk import Desk
from simulation.engine import Engine
from simulation.referee import Referee

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _nothing(*args: Any, **named: Any) -> Iterator[float]:
    yield from ()


def _standing(rule: Any, *rest: Any) -> Any:
    return standing(replace(rule, count=rule.count + 1), *rest)


def _one_more(disposition: Disposition, *, rules: Any, **named: Any) -> Any:
    return after_attempt(disposition, rules=replace(rules, max_attempts=rules.max_attempts + 1), **named)


def _at_once(disposition: Disposition, **named: Any) -> Any:
    decided = after_attempt(disposition, **named)
    return TryAgain(0.0) if isinstance(decided, TryAgain) else decided


def _message_counts_for_nothing(disposition: Disposition, **named: Any) -> Any:
    return after_attempt(disposition, **{**named, "message_left": False})


def _one_more_screened(candidate: Any, policy: Any, moment: Any) -> Any:
    rules = replace(policy.rules, max_attempts=policy.rules.max_attempts + 1)
    return screening.contact_attempts(candidate, replace(policy, rules=rules), moment)


def _one_stretch(zone: ZoneInfo, day: date) -> tuple[tuple[int, int, int], ...]:
    """A zone whose clocks are never changed."""
    first = datetime.combine(day, time.min, tzinfo=UTC) - calling_hours.LOOK_BACK
    last = datetime.combine(day, time.min, tzinfo=UTC) + calling_hours.HORIZON + timedelta(days=2)
    begin, end = ((at - _EPOCH) // timedelta(microseconds=1) for at in (first, last))
    return ((begin, end, (first.astimezone(zone).utcoffset() or timedelta()) // timedelta(microseconds=1)),)


def _start_in_any_case(start: Callable[..., Any]) -> Callable[..., Any]:
    def begin(self: Referee, campaign: Any) -> Any:
        with patch.object(self, "emergency", new=False):
            return start(self, campaign)

    return begin


def _past_of_one(past: Callable[..., Any]) -> Callable[..., Any]:
    """Count calls to a contact's first number alone."""
    return lambda self, phones, limits: past(self, tuple(phones)[:1], limits)


def _replaced(*places: tuple[object, str, object]) -> list[Any]:
    return [patch.object(owner, name, new) for owner, name, new in places]


def _allowed(*_: object, now: datetime, until: datetime) -> Decision:
    return Decision(ALLOWED, None, {}, {}, Moment(now, until))


def _guards() -> Mapping[str, list[Any]]:
    from outdial.dialer import claim, outcomes  # noqa: PLC0415 - what is patched is looked up by these names
    from simulation import node, referee  # noqa: PLC0415

    without_unknown = {key: reason for key, reason in retry._FINAL.items() if key is not Disposition.UNKNOWN}
    checks = {**screening.CHECKS, Rule.CONTACT_ATTEMPTS: _one_more_screened}
    return {
        "screening": _replaced((claim, "screen", _allowed)),
        "permit": _replaced((Engine, "lets_through", lambda self, permit: True)),
        "quiesce": _replaced((Desk, "quiesce", _nothing)),
        "list_at_reservation": _replaced((Referee, "may_be_called", lambda self, run, phone: True)),
        "claimed_calls_of_a_number": _replaced((Desk, "settle_number", _nothing)),
        "one_call_to_a_number": _replaced((Referee, "number_is_live", lambda self, phone: False)),
        "limit": _replaced((screening, "standing", _standing), (referee, "limit_standing", _standing)),
        "changes_of_clocks": _replaced((calling_hours, "_stretches", _one_stretch)),
        "unknown_is_final": _replaced((retry, "_FINAL", without_unknown)),
        "message_is_final": _replaced((outcomes, "after_attempt", _message_counts_for_nothing)),
        "attempts": _replaced((outcomes, "after_attempt", _one_more), (screening, "CHECKS", checks)),
        "retry_period": _replaced((outcomes, "after_attempt", _at_once)),
        "caps": _replaced(
            (Referee, "free", lambda self, run, wish: len(wish.wanted)),
            (node, "room", lambda limits, *, wanted: wanted),
        ),
        "turning": _replaced((referee, "after", lambda phones, phone, invalid: None)),
        "limits_of_a_person": _replaced((Referee, "past", _past_of_one(Referee.past))),
        "emergency": _replaced((Referee, "start", _start_in_any_case(Referee.start))),
    }


NAMES = tuple(_guards())


@contextmanager
def without(name: str) -> Iterator[None]:
    """Take a guard out for as long as this lasts."""
    with ExitStack() as stack:
        for one in _guards()[name]:
            stack.enter_context(one)
        _forget()
        try:
            yield
        finally:
            _forget()


def _forget() -> None:
    """Forget spans that were computed with or without the guard."""
    for cached in (calling_hours._opening, calling_hours._spans, calling_hours._plan_spans):
        cached.cache_clear()

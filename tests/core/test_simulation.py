"""A campaign played through: who is called, when, how often, and why not; every contact is accounted for."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialing import ALWAYS, with_rules
from outdial import rule_data
from outdial.core.attempt_limits import AttemptLimit, Counted, LimitRule, PastAttempt
from outdial.core.errors import SimulationEndedError, SimulationTooLongError
from outdial.core.model import (
    AtClosing,
    CallingHours,
    CallingWindow,
    DateException,
    Disposition,
    DoneReason,
    OwnRules,
    RetryOrder,
    RetryRule,
)
from outdial.core.simulation import Conditions, People, simulate
from outdial.core.simulation_calls import Assumptions, Endings, MachineCalls, draw
from outdial.core.steps import Steps
from outdial.core.whereabouts import Origin, Whereabouts

D = Disposition
BEGIN = datetime(2026, 3, 27, 8, 20, tzinfo=UTC)
"""A Friday; Europe's clocks are changed on Sunday."""
PARIS = Whereabouts(("Europe/Paris",), (Origin.CONTACT_ZONE,))
TOKYO = Whereabouts(("Asia/Tokyo",), (Origin.CONTACT_ZONE,))
SHARES = {D.ANSWERED_HUMAN: 0.3, D.NO_ANSWER: 0.4, D.BUSY: 0.15, D.INVALID_NUMBER: 0.05, D.CONGESTION: 0.1}
USUAL = Assumptions(shares=SHARES, ring_seconds=8.0, talk_seconds=40.0, refusal_seconds=2.0)
OFFICE = CallingHours(tuple(CallingWindow(day, time(9), time(17)) for day in range(5)), "Europe/Paris")


def certain(disposition: Disposition) -> Assumptions:
    return replace(USUAL, shares={disposition: 1.0})


def conditions(*, hours=ALWAYS, limits=(), **changes) -> Conditions:
    named = {name: changes.pop(name) for name in ("lines", "per_second", "days", "begin", "seed") if name in changes}
    usual = {"lines": 5, "per_second": 10.0, "days": 60, "begin": BEGIN, "seed": 1} | named
    return Conditions(
        rules=with_rules(calling_hours=hours, **changes),
        limits=limits,
        timetable=lambda at: rule_data.timetable(hours, at),
        ahead_seconds=1.2,
        **usual,
    )


def people(*counts: tuple[Whereabouts, int]) -> People:
    return People(
        places=[where for where, _ in counts], of=array("I", [p for p, (_, n) in enumerate(counts) for _ in range(n)])
    )


def limit(count: int, hours: float, counts: Counted = Counted.ATTEMPTS) -> AttemptLimit:
    rule = LimitRule(count, int(hours * 3600), counts)
    return AttemptLimit("l", "a", None, None, rule, None, BEGIN, "test")


def whole(outcome) -> None:
    """Nobody is lost and nobody counted twice."""
    settled = sum(outcome.done.values()) + sum(one.count for one in outcome.never) + outcome.left_count
    assert settled == outcome.contacts == sum(outcome.attempts.values())
    assert outcome.calls == sum(count * many for count, many in outcome.attempts.items())
    assert outcome.calls == sum(hour.calls for hour in outcome.hours.values())
    answered = sum(outcome.dispositions.get(way, 0) for way in (D.ANSWERED_HUMAN, D.ANSWERED_MACHINE))
    assert answered == sum(hour.answered for hour in outcome.hours.values())
    assert outcome.finished == (outcome.left_count == 0)


def test_one_line_places_one_call_after_the_other():
    found = simulate(people((PARIS, 3)), conditions(lines=1, max_attempts=1), certain(D.NO_ANSWER))
    assert found.last_call_at == BEGIN + timedelta(seconds=90)
    assert found.done == {DoneReason.ATTEMPTS_USED: 3}
    assert (found.lines, found.calls) == (1, 3)
    whole(found)


def answered_by_machines(seconds: float, *, message_left: bool) -> Assumptions:
    return replace(certain(D.ANSWERED_MACHINE), machines=MachineCalls(seconds, message_left))


def test_a_machine_that_is_hung_up_on_frees_its_line_early_and_is_tried_again():
    found = simulate(
        people((PARIS, 1)),
        conditions(lines=1, max_attempts=3, retry_seconds=600),
        answered_by_machines(4.0, message_left=False),
    )
    assert found.dispositions == {D.ANSWERED_MACHINE: 3}
    assert found.done == {DoneReason.ATTEMPTS_USED: 1}
    # ringing and the verdict, each time
    assert found.last_call_at == BEGIN + timedelta(seconds=3 * (8 + 4) + 2 * 600)
    whole(found)


def test_by_a_rule_of_its_own_where_there_is_one():
    rule = RetryRule(D.ANSWERED_MACHINE, most=1, seconds=7200)
    found = simulate(
        people((PARIS, 1)),
        conditions(max_attempts=5, own=OwnRules(retry_rules=(rule,))),
        answered_by_machines(4.0, message_left=False),
    )
    assert found.attempts == {2: 1}
    assert found.last_call_at == BEGIN + timedelta(seconds=2 * (8 + 4) + 7200)


def test_one_that_hears_its_message_takes_its_time_and_is_done():
    found = simulate(
        people((PARIS, 2)), conditions(lines=1, max_attempts=5), answered_by_machines(30.0, message_left=True)
    )
    assert found.done == {DoneReason.REACHED: 2}
    assert found.last_call_at == BEGIN + timedelta(seconds=2 * (8 + 30))
    whole(found)


def test_of_machines_something_must_be_supposed():
    with pytest.raises(ValueError, match="machines answer"):
        Endings(certain(D.ANSWERED_MACHINE), ring_seconds=30, seed=1)


def test_machines_change_nothing_for_calls_that_nobody_answers():
    """The same try of the same contact ends alike."""
    split = {
        D.ANSWERED_HUMAN: 0.2,
        D.ANSWERED_MACHINE: 0.1,
        **{way: one for way, one in SHARES.items() if way != D.ANSWERED_HUMAN},
    }
    without = Endings(USUAL, ring_seconds=30, seed=7)
    beside = Endings(
        replace(USUAL, shares=split, machines=MachineCalls(4.0, message_left=False)), ring_seconds=30, seed=7
    )
    seen = set()
    for contact in range(300):
        before, after = without.of(contact, 1), beside.of(contact, 1)
        seen.add(after[0])
        if after[0] is D.ANSWERED_MACHINE:
            assert (before[0], after[1]) == (D.ANSWERED_HUMAN, 12.0)
        else:
            assert after == before
    assert D.ANSWERED_MACHINE in seen


def test_the_rate_spaces_calls():
    found = simulate(people((PARIS, 5)), conditions(per_second=0.5, lines=100, max_attempts=1), certain(D.BUSY))
    assert found.last_call_at == BEGIN + timedelta(seconds=4 * 2 + 2)


def test_retries_wait_their_period_and_end_with_the_attempts():
    found = simulate(people((PARIS, 1)), conditions(max_attempts=3, retry_seconds=600), certain(D.BUSY))
    assert found.attempts == {3: 1}
    assert found.last_call_at == BEGIN + timedelta(seconds=3 * 2 + 2 * 600)


def test_nobody_is_called_outside_their_hours_also_over_a_change_of_clocks():
    found = simulate(people((PARIS, 40)), conditions(hours=OFFICE, lines=1, max_attempts=8), certain(D.NO_ANSWER))
    whole(found)
    assert len(found.hours) > 2
    for hour in found.hours:
        local = hour.astimezone(ZoneInfo("Europe/Paris"))
        assert local.minute == 0
        assert local.weekday() < 5
        assert 9 <= local.hour < 17
    later = simulate(
        people((PARIS, 1)), conditions(hours=OFFICE, begin=datetime(2026, 3, 28, tzinfo=UTC)), certain(D.BUSY)
    )
    # Monday, nine o'clock in summer time
    assert min(later.hours) == datetime(2026, 3, 30, 7, tzinfo=UTC)


def test_people_of_another_zone_are_called_in_theirs():
    found = simulate(people((PARIS, 2), (TOKYO, 2)), conditions(hours=OFFICE, max_attempts=1), certain(D.BUSY))
    # 8:20 UTC is 17:20 in Tokyo, on a Friday
    assert sorted(found.hours) == [datetime(2026, 3, 27, 8, tzinfo=UTC), datetime(2026, 3, 30, 0, tzinfo=UTC)]
    assert [hour.calls for hour in found.hours.values()] == [2, 2]


def test_who_can_never_be_called_is_told_why():
    nowhere = Whereabouts(("Europe/Paris", "Pacific/Auckland"), (Origin.NUMBER,))
    found = simulate(people((PARIS, 1), (nowhere, 3)), conditions(hours=OFFICE), certain(D.ANSWERED_HUMAN))
    (never,) = found.never
    assert (never.count, found.done) == (3, {DoneReason.REACHED: 1})
    assert "do not open" in never.why
    assert found.finished
    whole(found)


def test_who_can_be_called_after_the_days_played_is_left():
    found = simulate(people((TOKYO, 3)), conditions(hours=OFFICE, days=1), certain(D.ANSWERED_HUMAN))
    assert (found.left_count, found.never, found.finished) == (3, (), False)
    whole(found)


def test_lists_that_deny_are_counted():
    those = people((PARIS, 1))
    those.denied.update({"account's": 2, "campaign's": 1})
    found = simulate(those, conditions(), certain(D.ANSWERED_HUMAN))
    assert [(one.why, one.count) for one in found.never] == [
        ("On the account's do-not-call list.", 2),
        ("On the campaign's do-not-call list.", 1),
    ]
    whole(found)


@pytest.mark.parametrize(
    ("rule", "attempts", "seconds"),
    [
        (RetryRule(D.BUSY, 0), 1, 2),
        (RetryRule(D.BUSY, 2, 60), 3, 3 * 2 + 2 * 60),
        (RetryRule(D.BUSY, None, 10), 5, 5 * 2 + 4 * 10),
    ],
)
def test_an_ending_may_have_a_rule_of_its_own(rule, attempts, seconds):
    own = OwnRules((rule,))
    found = simulate(people((PARIS, 1)), conditions(max_attempts=5, own=own), certain(D.BUSY))
    assert found.attempts == {attempts: 1}
    assert found.done == {DoneReason.ATTEMPTS_USED: 1}
    assert found.last_call_at == BEGIN + timedelta(seconds=seconds)


def test_a_retry_may_wait_for_the_next_window():
    own = OwnRules((RetryRule(D.BUSY, next_window=True),))
    found = simulate(people((PARIS, 1)), conditions(hours=OFFICE, max_attempts=3, own=own), certain(D.BUSY))
    assert [hour.astimezone(ZoneInfo("Europe/Paris")).date() for hour in found.hours] == [
        date(2026, 3, 27),
        date(2026, 3, 30),
        date(2026, 3, 31),
    ]


def test_whoever_is_not_reached_by_closing_time_expires():
    hours = replace(OFFICE, at_closing=AtClosing.EXPIRE)
    found = simulate(people((PARIS, 2000), (TOKYO, 3)), conditions(hours=hours, lines=1), certain(D.NO_ANSWER))
    assert found.finished
    assert found.done[DoneReason.EXPIRED] > 500
    assert found.last_call_at < datetime(2026, 3, 28, tzinfo=UTC) + timedelta(days=3)
    whole(found)


@pytest.mark.parametrize("order", RetryOrder)
def test_retries_wait_for_first_tries_or_do_not(order):
    rules = {"max_attempts": 2, "retry_seconds": 60, "own": OwnRules(retry_order=order)}
    found = simulate(people((PARIS, 100)), conditions(lines=1, days=1, **rules), certain(D.NO_ANSWER))
    early = simulate(people((PARIS, 4000)), conditions(lines=1, days=1, **rules), certain(D.NO_ANSWER))
    assert found.attempts == {2: 100}
    # a day is too short for all: either everybody was tried first, or those who were tried were tried again
    assert (early.attempts.get(2, 0) > 1000) is (order is RetryOrder.WHEN_DUE)
    assert not early.finished
    whole(early)


def test_limits_of_a_number_hold_and_count_what_was_before():
    those = people((PARIS, 2))
    hour_ago = BEGIN - timedelta(hours=1)
    those.past[1] = (PastAttempt(hour_ago, hour_ago, D.BUSY), PastAttempt(hour_ago, hour_ago, D.BUSY))
    rules = {"max_attempts": 3, "retry_seconds": 60}
    found = simulate(those, conditions(limits=(limit(2, 24),), **rules), certain(D.BUSY))
    whole(found)
    assert found.attempts == {3: 2}
    # the first one twice now and once a day later; the other not before its past is a day old, and then likewise
    assert {hour.isoformat()[8:16]: one.calls for hour, one in found.hours.items()} == {
        "27T08:00": 2,
        "28T07:00": 2,
        "28T08:00": 1,
        "29T07:00": 1,
    }


def test_who_shares_a_number_shares_its_limits():
    those = people((PARIS, 3))
    those.numbers = array("Q", [7, 8, 7])
    found = simulate(those, conditions(limits=(limit(1, 24),), max_attempts=1), certain(D.ANSWERED_HUMAN))
    whole(found)
    # a contact who was reached counts for the other one
    assert [hour.calls for hour in found.hours.values()] == [2, 1]
    assert found.last_call_at > BEGIN + timedelta(hours=24)


def test_past_calls_are_those_of_the_number():
    those = people((PARIS, 2))
    those.numbers = array("Q", [15550000001, 15550000002])
    those.past[15550000002] = (PastAttempt(BEGIN - timedelta(hours=1), BEGIN - timedelta(hours=1), D.BUSY),)
    found = simulate(those, conditions(limits=(limit(1, 24),), max_attempts=1), certain(D.BUSY))
    assert [hour.isoformat()[8:13] for hour in found.hours] == ["27T08", "28T07"]


@pytest.mark.parametrize("order", RetryOrder)
def test_a_number_is_on_one_call_at_a_time(order):
    those = people((PARIS, 4))
    those.numbers = array("Q", [7, 7, 7, 8])
    rules = {"max_attempts": 1, "own": OwnRules(retry_order=order)}
    found = simulate(those, conditions(lines=4, **rules), certain(D.NO_ANSWER))
    whole(found)
    assert (found.calls, found.lines) == (4, 2)
    assert found.last_call_at == BEGIN + timedelta(seconds=3 * 30)


def test_a_play_that_takes_too_many_steps_is_refused():
    busy = conditions(max_attempts=100, retry_seconds=60, days=366)
    taken = Steps(10**9)
    simulate(people((PARIS, 50)), busy, certain(D.BUSY), steps=taken)
    assert taken.taken >= 50 * 100
    with pytest.raises(SimulationTooLongError, match="fewer days"):
        simulate(people((PARIS, 50)), busy, certain(D.BUSY), steps=Steps(taken.taken - 1))


def test_to_hold_calls_against_limits_takes_steps():
    alone, held = Steps(), Steps()
    rules = {"max_attempts": 40, "retry_seconds": 60}
    simulate(people((PARIS, 5)), conditions(**rules), certain(D.BUSY), steps=alone)
    limits = tuple(limit(100, 24) for _ in range(20))
    simulate(people((PARIS, 5)), conditions(limits=limits, **rules), certain(D.BUSY), steps=held)
    assert held.taken > 10 * alone.taken


def test_to_find_calling_hours_takes_steps():
    places = [(Whereabouts((zone,), (Origin.NUMBER,)), 1) for zone in ("Europe/Paris", "Asia/Tokyo", "Europe/Berlin")]
    never = CallingHours((), "Europe/Paris")
    with pytest.raises(SimulationTooLongError):
        simulate(people(*places), conditions(hours=never, days=366), certain(D.BUSY), steps=Steps(500))


def test_a_play_ends_when_nobody_waits_for_it():
    looks = []

    def ended() -> bool:
        looks.append(1)
        return len(looks) == 3

    with pytest.raises(SimulationEndedError):
        simulate(people((PARIS, 20_000)), conditions(), certain(D.BUSY), steps=Steps(ended=ended))
    assert len(looks) == 3


def test_the_days_played_may_be_too_few():
    found = simulate(people((PARIS, 5000)), conditions(lines=1, days=1), certain(D.NO_ANSWER))
    assert not found.finished
    assert found.left_count > 2000
    whole(found)


def test_a_date_without_hours_is_left_out():
    hours = replace(OFFICE, exceptions=(DateException(date(2026, 3, 30)),))
    found = simulate(people((TOKYO, 1)), conditions(hours=hours, max_attempts=1), certain(D.BUSY))
    assert min(found.hours) == datetime(2026, 3, 31, 0, tzinfo=UTC)


def test_calls_end_as_often_as_is_assumed():
    endings = Endings(USUAL, ring_seconds=30, seed=7)
    drawn = [endings.of(contact, attempt) for contact in range(5000) for attempt in (1, 2)]
    counts = Counter(disposition for disposition, _ in drawn)
    for disposition, share in SHARES.items():
        assert abs(counts[disposition] / len(drawn) - share) < 0.02
    talk = [seconds - 8.0 for disposition, seconds in drawn if disposition is D.ANSWERED_HUMAN]
    assert abs(sum(talk) / len(talk) - 40.0) < 3.0
    assert {seconds for disposition, seconds in drawn if disposition is D.NO_ANSWER} == {30.0}


def test_luck_depends_on_the_seed_the_contact_and_the_try_alone():
    drawn = {draw(seed, contact, attempt) for seed in range(10) for contact in range(100) for attempt in range(1, 6)}
    assert len(drawn) == 5000
    assert draw(3, 4, 5) == draw(3, 4, 5)
    assert all(0 <= one < 1 and 0 <= other < 1 for one, other in drawn)


@settings(deadline=None, max_examples=40)
@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    lines=st.integers(1, 6),
    attempts=st.integers(1, 4),
    retry=st.sampled_from([60, 3600, 100_000]),
    at_closing=st.sampled_from(AtClosing),
    most=st.sampled_from([None, 0, 1]),
    limited=st.booleans(),
    seed=st.integers(0, 1 << 31),
)
def test_everybody_is_accounted_for(counts, lines, attempts, retry, at_closing, most, limited, seed):
    zones = ("Europe/Paris", "Asia/Tokyo", "America/New_York")
    those = people(*((Whereabouts((zone,), (Origin.NUMBER,)), n) for zone, n in zip(zones, counts, strict=False)))
    found = simulate(
        those,
        conditions(
            hours=replace(OFFICE, at_closing=at_closing),
            limits=(limit(2, 24), limit(1, 48, Counted.CONVERSATIONS)) if limited else (),
            lines=lines,
            max_attempts=attempts,
            retry_seconds=retry,
            seed=seed,
            own=OwnRules((RetryRule(D.BUSY, most), RetryRule(D.NO_ANSWER, next_window=True))),
        ),
        USUAL,
    )
    whole(found)
    assert found.lines <= lines
    assert max(found.attempts) <= attempts
    if limited:
        assert found.calls <= 2 * len(those.of) * (1 + len(found.hours))

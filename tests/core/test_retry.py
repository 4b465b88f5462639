from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial import rule_data
from outdial.core.calling_hours import is_open, plain
from outdial.core.model import CallingHours, CallingWindow, Disposition, DoneReason, OwnRules, RetryRule
from outdial.core.retry import (
    ELSEWHERE_DISPOSITIONS,
    FINAL_DISPOSITIONS,
    NO_WINDOW,
    Finish,
    PutBack,
    TryAgain,
    after_attempt,
    after_number_stopped,
)
from outdial.core.retry import next_window as next_window_of
from outdial.core.whereabouts import Origin, Whereabouts
from runs import RULES as PLAIN

RULES = replace(PLAIN, max_attempts=3, retry_seconds=600)
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
D = Disposition

FINAL = {
    D.ANSWERED_HUMAN: DoneReason.REACHED,
    D.ANSWERED_MACHINE: DoneReason.REACHED,
    D.ABANDONED: DoneReason.REACHED,
    D.INVALID_NUMBER: DoneReason.INVALID_NUMBER,
    D.UNKNOWN: DoneReason.UNKNOWN,
}
AGAIN = set(Disposition) - set(FINAL)


def next_window(hours: CallingHours, zones: Sequence[str], at: datetime) -> datetime:
    return next_window_of(plain(hours), Whereabouts(tuple(zones), (Origin.CONTACT_ZONE,)), at)


def after(disposition, *, count=1, sent=True, stopping=False, rules=RULES):
    return after_attempt(disposition, sent=sent, attempts_count=count, rules=rules, run_stopping=stopping)


@pytest.mark.parametrize("disposition", FINAL)
@pytest.mark.parametrize("stopping", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_some_endings_are_final(disposition, stopping, count):
    assert after(disposition, count=count, stopping=stopping) == Finish(FINAL[disposition])


@pytest.mark.parametrize("disposition", sorted(AGAIN))
def test_the_others_are_tried_again_after_the_period_while_attempts_are_left(disposition):
    assert after(disposition, count=2) == TryAgain(600)
    assert after(disposition, count=3) == Finish(DoneReason.ATTEMPTS_USED)


@pytest.mark.parametrize("disposition", sorted(AGAIN))
def test_a_stopping_run_tries_nothing_again(disposition):
    reason = DoneReason.STOPPED if disposition is D.CANCELLED else DoneReason.RETRY_CANCELLED
    assert after(disposition, stopping=True) == Finish(reason)


@given(disposition=st.sampled_from(list(Disposition)), count=st.integers(0, 9), stopping=st.booleans())
def test_what_was_never_sent_is_put_back(disposition, count, stopping):
    assert after(disposition, count=count, sent=False, stopping=stopping) == PutBack()


@given(disposition=st.sampled_from(list(Disposition)), count=st.integers(1, 9), stopping=st.booleans())
def test_nobody_is_tried_more_often_than_allowed(disposition, count, stopping):
    if isinstance(after(disposition, count=count, stopping=stopping), TryAgain):
        assert count < RULES.max_attempts
        assert not stopping
        assert disposition is not D.UNKNOWN


class TestMachines:
    """A machine that was told its message was reached; one that was hung up on is tried again."""

    def after(self, *, message_left, count=1, stopping=False, rules=RULES):
        return after_attempt(
            D.ANSWERED_MACHINE,
            sent=True,
            attempts_count=count,
            rules=rules,
            run_stopping=stopping,
            message_left=message_left,
        )

    def test_one_that_was_told_is_done(self):
        rules = replace(RULES, own=OwnRules(retry_rules=(RetryRule(D.ANSWERED_MACHINE, seconds=1),)))
        assert self.after(message_left=True, rules=rules) == Finish(DoneReason.REACHED)

    def test_one_that_was_hung_up_on_is_tried_again_by_rule(self):
        assert self.after(message_left=False) == TryAgain(600)
        assert self.after(message_left=False, count=3) == Finish(DoneReason.ATTEMPTS_USED)
        assert self.after(message_left=False, stopping=True) == Finish(DoneReason.RETRY_CANCELLED)
        for rule, decided in (
            (RetryRule(D.ANSWERED_MACHINE, seconds=7200), TryAgain(7200)),
            (RetryRule(D.ANSWERED_MACHINE, most=0), Finish(DoneReason.ATTEMPTS_USED)),
        ):
            assert self.after(message_left=False, rules=replace(RULES, own=OwnRules((rule,)))) == decided


class TestRules:
    """What a disposition has a rule for."""

    def after(self, rule, disposition=D.BUSY, count=1):
        return after(disposition, count=count, rules=replace(RULES, own=OwnRules(retry_rules=(rule,))))

    @pytest.mark.parametrize(
        ("rule", "decided"),
        [
            (RetryRule(D.BUSY, seconds=30), TryAgain(30)),
            (RetryRule(D.BUSY, most=2), TryAgain(600)),
            (RetryRule(D.BUSY, most=0), Finish(DoneReason.ATTEMPTS_USED)),
            # the gate waits for the window
            (RetryRule(D.BUSY, next_window=True), TryAgain(0)),
            (RetryRule(D.BUSY, seconds=30, next_window=True), TryAgain(30)),
            (RetryRule(D.NO_ANSWER, seconds=30), TryAgain(600)),
        ],
    )
    def test_the_interval_is_the_rules_own(self, rule, decided):
        assert self.after(rule) == decided

    def test_no_rule_gives_more_attempts_than_there_are(self):
        assert self.after(RetryRule(D.BUSY, most=99, seconds=1), count=3) == Finish(DoneReason.ATTEMPTS_USED)

    @pytest.mark.parametrize("disposition", Disposition)
    def test_final_endings_stay_final(self, disposition):
        found = self.after(RetryRule(disposition, seconds=1), disposition)
        assert isinstance(found, Finish) is (disposition in FINAL)
        assert set(FINAL) - {D.ANSWERED_MACHINE} == FINAL_DISPOSITIONS


class TestOtherNumbers:
    """A rule may turn to another number of the contact, and of a number that nobody has it must."""

    RULE = RetryRule(D.INVALID_NUMBER, 2, 30, other_number=True)

    def after(self, rule, disposition, **more):
        return after(disposition, rules=replace(RULES, own=OwnRules((rule,))), **more)

    def test_it_turns_where_the_rule_says_so(self):
        rule = RetryRule(D.BUSY, seconds=30, other_number=True)
        assert self.after(rule, D.BUSY) == TryAgain(30, other_number=True)
        assert self.after(rule, D.BUSY, count=3) == Finish(DoneReason.ATTEMPTS_USED)
        assert self.after(rule, D.BUSY, stopping=True) == Finish(DoneReason.RETRY_CANCELLED)
        assert self.after(rule, D.NO_ANSWER) == TryAgain(600)
        assert self.after(replace(rule, seconds=None, next_window=True), D.BUSY) == TryAgain(0, other_number=True)

    def test_after_a_number_that_nobody_has_only_another_is_tried(self):
        assert self.after(self.RULE, D.INVALID_NUMBER) == TryAgain(30, True, DoneReason.INVALID_NUMBER)
        done = Finish(DoneReason.INVALID_NUMBER)
        assert self.after(replace(self.RULE, other_number=False), D.INVALID_NUMBER) == done
        assert self.after(replace(self.RULE, most=0), D.INVALID_NUMBER) == done
        assert self.after(self.RULE, D.INVALID_NUMBER, count=3) == done
        assert self.after(self.RULE, D.INVALID_NUMBER, stopping=True) == done

    def test_after_the_stop_of_a_number_another_is_tried_while_attempts_are_left(self):
        assert after_number_stopped(attempts_count=1, rules=RULES) == TryAgain(600, True, DoneReason.DNC)
        assert after_number_stopped(attempts_count=3, rules=RULES) == Finish(DoneReason.DNC)
        never = replace(RULES, own=OwnRules((RetryRule(D.CANCELLED, most=0),)))
        assert after_number_stopped(attempts_count=1, rules=never) == Finish(DoneReason.DNC)

    @given(disposition=st.sampled_from(list(Disposition)), count=st.integers(1, 9), stopping=st.booleans())
    def test_who_was_reached_or_may_have_been_is_called_nowhere_else(self, disposition, count, stopping):
        rule = RetryRule(disposition, other_number=True)
        found = self.after(rule, disposition, count=count, stopping=stopping)
        if disposition in {D.ANSWERED_HUMAN, D.ANSWERED_MACHINE, D.ABANDONED, D.UNKNOWN}:
            assert isinstance(found, Finish)
        if isinstance(found, TryAgain):
            assert found.other_number
            assert count < RULES.max_attempts
            assert not stopping
            assert (found.otherwise is not None) is (disposition in ELSEWHERE_DISPOSITIONS)


class TestNextWindow:
    WEEKDAYS = CallingHours(tuple(CallingWindow(day, time(9), time(18)) for day in range(5)), zone="UTC")

    @pytest.mark.parametrize(
        ("at", "begins"),
        [
            # Wednesday 25 November 2026
            (NOW, datetime(2026, 11, 26, 9, tzinfo=UTC)),
            (NOW.replace(hour=20), datetime(2026, 11, 26, 9, tzinfo=UTC)),
            (NOW.replace(hour=3), datetime(2026, 11, 25, 9, tzinfo=UTC)),
            (datetime(2026, 11, 27, 17, 59, tzinfo=UTC), datetime(2026, 11, 30, 9, tzinfo=UTC)),
        ],
    )
    def test_it_is_the_next_opening_after_a_closing(self, at, begins):
        assert next_window(self.WEEKDAYS, ("UTC",), at) == begins

    def test_two_windows_a_day_are_two(self):
        hours = CallingHours((CallingWindow(2, time(9), time(13)), CallingWindow(2, time(14), time(18))), zone="UTC")
        assert next_window(hours, ("UTC",), NOW) == NOW.replace(hour=14)

    def test_windows_that_touch_are_one(self):
        hours = CallingHours((CallingWindow(2, time(9), time(13)), CallingWindow(2, time(13), time(18))), zone="UTC")
        assert next_window(hours, ("UTC",), NOW) == NOW.replace(hour=9) + timedelta(days=7)

    def test_a_window_across_midnight_is_one(self):
        hours = CallingHours((CallingWindow(0, time(22), time(2)), CallingWindow(1, time(10), time(12))), zone="UTC")
        monday_night = datetime(2026, 11, 23, 23, tzinfo=UTC)
        assert next_window(hours, ("UTC",), monday_night) == datetime(2026, 11, 24, 10, tzinfo=UTC)

    def test_holidays_are_closed(self):
        hours = CallingHours(
            tuple(CallingWindow(day, time(0), time.max) for day in range(5)), zone="UTC", holidays=("US",)
        )
        timetable = rule_data.timetable(hours, NOW)
        monday = datetime(2026, 11, 23, 10, tzinfo=UTC)
        where = Whereabouts(("UTC",), (Origin.CONTACT_ZONE,))
        # Thanksgiving ends the window that Monday began
        assert next_window_of(timetable, where, monday) == datetime(2026, 11, 27, tzinfo=UTC)

    def test_hours_that_never_end_wait_a_day(self):
        always = CallingHours(tuple(CallingWindow(day, time(0), time.max) for day in range(7)), zone="UTC")
        assert next_window(always, ("UTC",), NOW) == NOW + NO_WINDOW

    @given(
        zones=st.lists(st.sampled_from(["UTC", "Europe/Berlin", "America/Chicago", "Asia/Kolkata"]), min_size=1),
        hour=st.integers(0, 24 * 14),
    )
    def test_between_the_two_hours_were_closed(self, zones, hour):
        at = NOW + timedelta(hours=hour)
        begins = next_window(self.WEEKDAYS, zones, at)
        assert begins > at or not is_open(self.WEEKDAYS, zones, at)
        if is_open(self.WEEKDAYS, zones, begins):
            quarters = int((begins - at) / timedelta(minutes=15))
            assert not all(is_open(self.WEEKDAYS, zones, at + timedelta(minutes=15 * n)) for n in range(quarters + 1))

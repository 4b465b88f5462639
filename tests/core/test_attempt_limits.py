"""Rolling windows: what each limit counts, when a number is free again, and that nobody ever gets more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.core.attempt_limits import (
    COUNTED_DISPOSITIONS,
    PRESETS,
    AttemptLimit,
    Counted,
    LimitRule,
    PastAttempt,
    looked_at,
    standing,
    window_text,
)
from outdial.core.model import Disposition
from outdial.core.screening import Candidate, NotBefore, Policy, Rule, screen
from runs import RULES

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
D = Disposition


def call(at, disposition=D.NO_ANSWER, *, seconds=30, **matters):
    return PastAttempt(at, at + timedelta(seconds=seconds), disposition, matters)


def free_at(rule, past, now=NOW, **matters):
    return standing(rule, past, matters, now).free_at


calls_before = st.lists(
    st.builds(
        lambda minutes, disposition, debt: call(
            NOW - timedelta(minutes=minutes), disposition, **({"debt": debt} if debt else {})
        ),
        st.integers(1, 6000),
        st.sampled_from([D.NO_ANSWER, D.ANSWERED_HUMAN, D.ABANDONED, D.UNKNOWN]),
        st.sampled_from(["a", "b", None]),
    ),
    max_size=30,
    unique_by=lambda one: one.at,
)
some_rules = st.lists(
    st.builds(
        LimitRule,
        st.integers(1, 4),
        st.sampled_from([3600, 86400, 4 * 86400]),
        st.sampled_from(Counted),
        st.sampled_from([None, "debt"]),
    ),
    min_size=1,
    max_size=3,
)


class TestWhatIsLookedAt:
    @given(past=calls_before, rules=some_rules, debt=st.sampled_from(["a", "b", "c", None]))
    def test_the_rest_of_the_past_decides_nothing(self, past, rules, debt):
        newest_first = sorted(past, key=lambda one: one.ended_at, reverse=True)
        kept = looked_at(rules, newest_first)
        matters = {"debt": debt} if debt else {}
        for rule in rules:
            assert free_at(rule, kept, **matters) == free_at(rule, past, **matters)
        # what was kept once can be gone on with
        assert looked_at(rules, [*looked_at(rules, newest_first[:9]), *newest_first[9:]]) == kept

    def test_no_more_is_kept_than_limits_count(self):
        past = [call(NOW - timedelta(hours=hours)) for hours in range(1, 500)]
        rules = [LimitRule(3, 86400, Counted.ATTEMPTS), LimitRule(7, 86400, Counted.CONVERSATIONS)]
        assert looked_at(rules, past) == past[:3]


class TestStanding:
    THREE = LimitRule(3, 86400, Counted.ATTEMPTS)

    def test_the_third_is_the_last_until_the_first_leaves_the_window(self):
        past = [call(NOW - timedelta(hours=hours)) for hours in (20, 10, 1)]
        assert free_at(self.THREE, past[1:]) is None
        assert free_at(self.THREE, past) == NOW + timedelta(hours=4)
        assert free_at(self.THREE, past, NOW + timedelta(hours=4)) is None

    def test_where_more_were_made_before_the_limit_was_set_all_but_two_must_leave(self):
        past = [call(NOW - timedelta(hours=hours)) for hours in (5, 4, 3, 2, 1)]
        assert free_at(self.THREE, past) == NOW + timedelta(hours=21)

    def test_attempts_count_from_their_beginning_the_others_from_their_end(self):
        past = [call(NOW - DAY, D.ANSWERED_HUMAN, seconds=600)]
        assert free_at(LimitRule(1, 86400, Counted.ATTEMPTS), past) is None
        assert free_at(LimitRule(1, 86400, Counted.CONVERSATIONS), past) == NOW + timedelta(seconds=600)

    @pytest.mark.parametrize("counted", Counted)
    @pytest.mark.parametrize("disposition", Disposition)
    def test_each_counts_its_own_endings(self, counted, disposition):
        held = free_at(LimitRule(1, 86400, counted), [call(NOW - SECOND, disposition)]) is not None
        assert held is (disposition in COUNTED_DISPOSITIONS[counted])

    @pytest.mark.parametrize(
        ("theirs", "ours", "held"),
        [
            ({"debt": "1"}, {"debt": "1"}, True),
            ({"debt": "1"}, {"debt": "2"}, False),
            ({}, {"debt": "2"}, True),
            ({"debt": "1"}, {}, True),
            ({"other": "1"}, {"debt": "2"}, True),
        ],
    )
    def test_only_what_is_known_to_be_about_something_else_does_not_count(self, theirs, ours, held):
        rule = LimitRule(1, 86400, Counted.ATTEMPTS, "debt")
        assert (free_at(rule, [call(NOW - SECOND, **theirs)], **ours) is not None) is held


calls = st.lists(
    st.tuples(
        st.integers(1, 90_000),
        st.sampled_from([D.NO_ANSWER, D.ANSWERED_HUMAN, D.ABANDONED, D.BUSY]),
        st.sampled_from(["1", "2", None]),
    ),
    max_size=40,
)
rules = st.builds(
    LimitRule,
    st.integers(1, 5),
    st.integers(60, 400_000),
    st.sampled_from(Counted),
    st.sampled_from([None, "debt"]),
)


@given(wishes=calls, held_by=st.lists(rules, min_size=1, max_size=3))
def test_whatever_is_asked_for_no_window_ever_holds_more(wishes, held_by):
    """Calls are placed whenever every limit allows; then each window is counted by hand."""
    now, past = NOW, []
    for gap, disposition, debt in wishes:
        now += timedelta(seconds=gap)
        matters = {} if debt is None else {"debt": debt}
        if all(standing(rule, past, matters, now).free_at is None for rule in held_by):
            past.append(call(now, disposition, **matters))
            now += timedelta(seconds=30)
    for rule in held_by:
        for index, one in enumerate(past):
            before = [
                other
                for other in past[:index]
                if other.disposition in COUNTED_DISPOSITIONS[rule.counts]
                and (other.at if rule.counts is Counted.ATTEMPTS else other.ended_at)
                > one.at - timedelta(seconds=rule.window_seconds)
                and (rule.matter is None or len({*other.matters.values(), *one.matters.values()}) < 2)
            ]
            assert len(before) < rule.count


@given(rule=rules, ages=st.lists(st.integers(0, 500_000), max_size=12))
def test_the_instant_told_is_the_first_at_which_it_is_free(rule, ages):
    past = [call(NOW - timedelta(seconds=age), D.ANSWERED_HUMAN) for age in ages]
    at = free_at(rule, past)
    if at is not None:
        assert at > NOW
        assert free_at(rule, past, at) is None
        assert free_at(rule, past, at - SECOND) == at


class TestPresets:
    """One worked example each; the page says the same."""

    def by(self, name):
        return PRESETS[name].rules

    def test_regulation_f(self):
        calls_a, talks = self.by("us-regulation-f")
        week = [call(NOW - timedelta(hours=24 * 6 - hours)) for hours in range(7)]
        assert free_at(calls_a, week[:6]) is None
        assert free_at(calls_a, week) == NOW + DAY
        talked = [call(NOW - DAY, D.ANSWERED_HUMAN, seconds=60)]
        assert free_at(talks, talked) == NOW + 6 * DAY + timedelta(seconds=60)

    def test_florida(self):
        (rule,) = self.by("us-florida")
        day = [call(NOW - timedelta(hours=hours)) for hours in (6, 4, 2)]
        assert free_at(rule, day) == NOW + timedelta(hours=18)

    def test_ofcom(self):
        (rule,) = self.by("gb-ofcom-abandoned")
        assert free_at(rule, [call(NOW - DAY, D.NO_ANSWER)]) is None
        assert free_at(rule, [call(NOW - DAY, D.ABANDONED, seconds=0)]) == NOW + 2 * DAY


class TestTheRule:
    """In the gate, every limit at once."""

    SOMEBODY = Candidate(
        contact_id=1,
        phone="+15550100001",
        contact_zone="UTC",
        number_zones=(),
        attempts_count=0,
        not_before=None,
        on_account_dnc=False,
        on_campaign_dnc=False,
    )

    def policy(self, *held_by):
        return Policy(RULES, tuple(AttemptLimit(f"al-{n}", "a", None, None, r, None, NOW, "me") for n, r in held_by))

    def test_the_latest_instant_decides_and_all_are_told(self):
        policy = self.policy((1, LimitRule(1, 3600, Counted.ATTEMPTS)), (2, LimitRule(2, 7200, Counted.ATTEMPTS)))
        past = tuple(call(NOW - timedelta(minutes=minutes)) for minutes in (90, 10))
        found = screen(replace(self.SOMEBODY, past=past), policy, now=NOW)
        assert found.rule is Rule.NUMBER_LIMITS
        assert found.verdict == NotBefore(
            NOW + timedelta(minutes=50), "The number has had 1 attempts within 60 minutes; the limit is 1."
        )
        assert found.inputs == {
            "limits": [{"limit": "al-1", "counted": 1, "most": 1}, {"limit": "al-2", "counted": 2, "most": 2}]
        }

    def test_a_call_back_is_held_back_too(self):
        policy = self.policy((1, LimitRule(1, 3600, Counted.ATTEMPTS)))
        asks = replace(self.SOMEBODY, past=(call(NOW - SECOND),), is_callback=True)
        assert screen(asks, policy, now=NOW).rule is Rule.NUMBER_LIMITS


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(604800, "7 days"), (86400, "24 hours"), (7200, "2 hours"), (120, "2 minutes"), (61, "61 seconds")],
)
def test_windows_are_told_in_their_largest_unit(seconds, text):
    assert window_text(seconds) == text

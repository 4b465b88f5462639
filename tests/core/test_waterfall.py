"""A waterfall adds up, says what is an estimate, and names what keeps calls from leaving."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outdial.core.explanation import Situation
from outdial.core.model import DoneReason, RunState
from outdial.core.pacing import Limit
from outdial.core.screening import CHECKS, Rule
from outdial.core.waterfall import Counted, PutOff, waterfall

AT = datetime(2026, 11, 25, 12, tzinfo=UTC)
CLEAR = Situation(RunState.ACTIVE, caps=(Limit("run", None, 0), Limit("trunk", 10, 4)))
NOBODY = Counted(0, {}, 0, 0, (), 0, 0)

counts = st.integers(0, 9)


@st.composite
def crowds(draw):
    done = {reason: draw(counts) for reason in draw(st.sets(st.sampled_from(DoneReason)))}
    put_off = tuple(
        PutOff(rule.value, draw(st.integers(1, 9)), AT + timedelta(hours=1))
        for rule in draw(st.sets(st.sampled_from([Rule.RETRY_PERIOD, Rule.CALLING_HOURS, Rule.NUMBER_LIMITS])))
    )
    in_calls, listed, busy, due = (draw(counts) for _ in range(4))
    total = sum(done.values()) + sum(one.count for one in put_off) + in_calls + listed + busy + due
    return Counted(total, done, in_calls, listed, put_off, busy, due)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(crowd=crowds(), data=st.data())
def test_every_step_takes_from_what_the_one_before_left(crowd, data):
    size = crowd.due if data.draw(st.booleans()) else data.draw(st.integers(min(1, crowd.due), crowd.due))
    asked = data.draw(st.lists(st.none() | st.sampled_from(list(CHECKS)), min_size=size, max_size=size))
    found = waterfall(crowd, asked, CLEAR, live_calls=4, at=AT)
    left = crowd.total
    for fall in found.falls:
        assert fall.lost >= 0
        assert fall.left == left - fall.lost
        left = fall.left
    assert found.dialable == left
    assert 0 <= found.dialable <= crowd.due
    if size == crowd.due:
        assert found.dialable == asked.count(None)
        assert not found.estimate
    else:
        assert found.estimate is any(one is not None for one in asked)


def test_a_sample_is_scaled_up_and_says_so():
    crowd = replace(NOBODY, total=10_000, due=10_000)
    asked = [Rule.CALLING_HOURS] * 300 + [None] * 100
    found = waterfall(crowd, asked, CLEAR, live_calls=0, at=AT)
    assert (found.dialable, found.estimate, found.falls[0].lost) == (2_500, True, 7_500)
    assert found.falls[0].sentence == "About 7500 are outside calling hours."
    assert "about 2500 of 10000 contacts" in found.sentence


@pytest.mark.parametrize(
    ("situation", "code"),
    [
        (replace(CLEAR, emergency="wrong recording"), "emergency_stop"),
        (replace(CLEAR, run_state=RunState.PAUSED, moved_by="breaker", move_reason="most fail"), "run_state"),
        (replace(CLEAR, nodes_ready=False), "dialer_nodes"),
        (replace(CLEAR, caps=(Limit("trunk", 4, 4),)), "free_lines"),
        (replace(CLEAR, slot_at=AT + timedelta(seconds=9)), "rate"),
    ],
)
def test_what_keeps_calls_from_leaving_is_one_sentence(situation, code):
    crowd = replace(NOBODY, total=3, due=3)
    found = waterfall(crowd, [None] * 3, situation, live_calls=0, at=AT)
    assert found.blocked_by == code
    assert found.sentence.startswith("Nothing is dialing because ")
    assert found.sentence.count(".") == 1
    live = waterfall(crowd, [None] * 3, situation, live_calls=2, at=AT)
    assert live.sentence.startswith("2 calls are live; no other leaves because ")


def test_where_nobody_may_be_dialed_the_largest_part_comes_first():
    put_off = (PutOff("calling_hours", 7, AT + timedelta(hours=3)),)
    crowd = Counted(12, {DoneReason.REACHED: 3}, 0, 2, put_off, 0, 0)
    found = waterfall(crowd, [], CLEAR, live_calls=0, at=AT)
    assert (found.dialable, found.blocked_by) == (0, "calling_hours")
    assert found.sentence.startswith(
        "Nothing is dialing because nobody may be dialed now: 7 are outside calling hours, the first until "
        "2026-11-25T15:00:00.000000Z, 3 were reached, 2 are on a do-not-call list now"
    )


def test_an_empty_run_says_so():
    found = waterfall(NOBODY, [], CLEAR, live_calls=0, at=AT)
    assert (found.blocked_by, found.falls) == ("contacts", ())
    assert found.sentence == "Nothing is dialing because nobody is in the run."


def test_lines_that_are_free_are_counted():
    assert waterfall(NOBODY, [], CLEAR, live_calls=4, at=AT).free_lines == 6

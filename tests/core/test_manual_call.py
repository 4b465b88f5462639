"""A call by hand is allowed by nothing but what allows every other call."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.test_explanation import CLEAR, NOON, POLICIES, SOMEBODY, WITHIN, candidates, instants, told
from outdial.core.explanation import Beside, LiveCall, Says
from outdial.core.manual_call import ManualAnswer, manual_answer
from outdial.core.model import AttemptState, DoneReason, RunContactState, RunState
from outdial.core.pacing import Limit
from outdial.core.screening import Allow, Deny, screen

FULL = Limit("trunk", 1, 1)


@settings(deadline=None)
@given(
    candidate=candidates,
    name=st.sampled_from(sorted(POLICIES)),
    at=instants,
    caps=st.sampled_from([(), (FULL,)]),
    nodes_ready=st.booleans(),
)
def test_the_answer_is_the_gate_s_whether_or_not_there_is_a_line(candidate, name, at, caps, nodes_ready):
    situation = replace(CLEAR, caps=caps, nodes_ready=nodes_ready)
    answer, step = manual_answer(told(candidate, POLICIES[name], situation, at=at))
    decision = screen(candidate, POLICIES[name], now=at, until=at + WITHIN)
    if isinstance(decision.verdict, Allow):
        assert (answer, step) == (ManualAnswer.ALLOWED, None)
        return
    assert answer is (ManualAnswer.DENIED if isinstance(decision.verdict, Deny) else ManualAnswer.PUT_OFF)
    assert (step.code, step.sentence, step.inputs) == (decision.rule.value, decision.verdict.sentence, decision.inputs)
    assert step.until == getattr(decision.verdict, "at", None)


@pytest.mark.parametrize(
    ("changes", "answer", "code"),
    [
        ({"run_state": RunState.PAUSED}, ManualAnswer.PUT_OFF, Beside.RUN_STATE),
        ({"run_state": RunState.STOPPING}, ManualAnswer.DENIED, Beside.RUN_STATE),
        ({"run_state": RunState.STOPPED}, ManualAnswer.DENIED, Beside.RUN_STATE),
        ({"emergency": "wrong recording"}, ManualAnswer.DENIED, Beside.EMERGENCY_STOP),
        ({"contact_state": RunContactState.DIALING}, ManualAnswer.PUT_OFF, Beside.CONTACT_STATE),
        (
            {"contact_state": RunContactState.DONE, "done_reason": DoneReason.REACHED},
            ManualAnswer.DENIED,
            Beside.CONTACT_STATE,
        ),
        ({"contact_state": None}, ManualAnswer.DENIED, Beside.CONTACT_STATE),
        (
            {"live_call": LiveCall(None, None, AttemptState.RINGING, of_contact=False)},
            ManualAnswer.PUT_OFF,
            Beside.LIVE_CALL,
        ),
    ],
)
def test_what_decides_beside_the_gate_holds_too(changes, answer, code):
    found, step = manual_answer(told(SOMEBODY, situation=replace(CLEAR, **changes)))
    assert (found, step.code) == (answer, code)
    assert step.says is not Says.ALLOWS


def test_a_line_that_is_not_free_and_a_rate_are_waited_for():
    later = NOON.replace(hour=13)
    found = told(SOMEBODY, situation=replace(CLEAR, caps=(FULL,), nodes_ready=False, slot_at=later))
    assert {step.code for step in found.steps if step.says is Says.WAITS} == {
        Beside.DIALER_NODES,
        Beside.FREE_LINES,
        Beside.RATE,
    }
    assert manual_answer(found) == (ManualAnswer.ALLOWED, None)

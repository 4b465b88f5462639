"""The checker about the trunk whose line can fail: each excuse, and what lies next to it and is none."""

from __future__ import annotations

import json

import pytest

from nemesis.checks import check
from nemesis.evidence import SECOND, Evidence, Injected
from nemesis.found import Found
from nemesis.plan import TCP_LINE
from nemesis.ringing import RINGS_ON, one_live_call_per_number
from nemesis.test_checks import (
    a_503_for_nothing,
    a_call_after_its_attempts_end,
    a_process_that_fell,
    at,
    dialed_though_listed,
    dialed_while_paused,
    late_call,
    right,
    ringing_at_the_200,
    rings_on,
    two_live_calls,
)

LINE_FAULTS = ("cut-line", "stall-line", "mute-line", "deaf-line")


def over_tcp(evidence: Evidence) -> None:
    """All of it is of the campaign whose trunk is the one over TCP."""
    for ask in evidence.asks:
        ask.line = TCP_LINE
    for one in evidence.calls:
        one.tcp = True


@pytest.mark.parametrize("kind", LINE_FAULTS)
def test_a_fault_of_the_line_excuses_a_503_there_soon_after_and_of_no_other_trunk(kind):
    evidence = right()
    a_503_for_nothing(evidence)
    evidence.faults = [Injected(kind, "line", at(-2), at(-0.5))]
    assert {one.rule for one in check(evidence)} == {6}
    over_tcp(evidence)
    assert check(evidence) == []
    evidence.faults[0].end = at(-1.5)
    assert {one.rule for one in check(evidence)} == {6}


@pytest.mark.parametrize("kind", LINE_FAULTS)
def test_an_invite_may_have_waited_for_its_line_and_still_not_until_after_the_200(kind):
    evidence = right()
    over_tcp(evidence)
    a_call_after_its_attempts_end(evidence)
    evidence.calls[0].invites[0] = at(1.2)
    evidence.faults = [Injected(kind, "line", at(1.05), at(1.19))]
    assert check(evidence) == []
    # not over UDP; nor by what was over before the attempt, or came after the call
    evidence.calls[0].tcp = False
    assert {one.rule for one in check(evidence)} == {9}
    evidence.calls[0].tcp = True
    for begin, end in ((0.5, 0.9), (1.3, 1.5)):
        evidence.faults = [Injected(kind, "line", at(begin), at(end))]
        assert {one.rule for one in check(evidence)} == {9}


@pytest.mark.parametrize("kind", LINE_FAULTS)
@pytest.mark.parametrize(("rule", "spoil"), [(1, late_call), (7, dialed_though_listed), (8, dialed_while_paused)])
def test_no_fault_of_the_line_excuses_a_call_that_was_not_to_leave(kind, rule, spoil):
    evidence = right()
    spoil(evidence)
    over_tcp(evidence)
    evidence.faults = [Injected(kind, "line", at(0.5), at(3.5))]
    assert rule in {one.rule for one in check(evidence)}


def test_nobody_can_cancel_a_call_whose_connection_was_cut():
    evidence = right()
    over_tcp(evidence)
    rings_on(evidence)
    evidence.faults = [Injected("cut-line", "line", at(1.5), at(1.7))]
    assert check(evidence) == []
    # nor one that did not ring yet
    evidence.calls[0].responded_at = at(2.0)
    assert check(evidence) == []
    what = ["a call rang on after the 200 of its run's stop"]
    for spared in ("stall-line", "mute-line", "deaf-line"):
        evidence.faults[0].kind = spared
        assert [one.what for one in check(evidence)] == what
    # it was placed after that; or not over TCP
    evidence.faults[0] = Injected("cut-line", "line", at(0.5), at(0.9))
    assert [one.what for one in check(evidence)] == what
    evidence.faults[0] = Injected("cut-line", "line", at(1.5), at(1.7))
    evidence.calls[0].tcp = False
    assert [one.what for one in check(evidence)] == what


def test_a_call_whose_connection_was_cut_is_live_until_somebody_ended_it():
    evidence = right()
    over_tcp(evidence)
    evidence.faults = [Injected("cut-line", "line", at(1.2), at(1.3))]
    two_live_calls(evidence)
    assert {one.rule for one in check(evidence)} == {2}
    # over, by outdial's word, before it rang, and no CANCEL came: over UDP one would have followed the ringing
    evidence.calls[0].responded_at, evidence.calls[0].ended_at = at(1.4), None
    for row in evidence.history:
        if row["attempt_id"] == "a1" and row["to_state"] == "ended":
            row["at"] = at(1.3)
    assert {one.rule for one in check(evidence)} == {2}
    evidence.calls[0].cancelled_at = at(1.41)
    assert check(evidence) == []
    evidence.calls[0].cancelled_at, evidence.calls[0].tcp = None, False
    assert 2 not in {one.rule for one in check(evidence)}


@pytest.mark.parametrize("run_id", [None, 99])
def test_a_number_whose_connection_was_cut_is_left_alone_for_as_long_as_its_phone_may_ring(run_id):
    evidence = right()
    over_tcp(evidence)
    two_live_calls(evidence)
    evidence.calls[0].ended_at = None
    if run_id is not None:
        # whoever starts another run dials it neither
        evidence.attempts[-1]["run_id"] = run_id
    evidence.faults = [Injected("cut-line", "line", at(1.2), at(1.3))]
    assert [one.rule for one in one_live_call_per_number(Found(evidence))] == [2]
    began = evidence.calls[-1].at
    for later, rules in ((RINGS_ON - SECOND // 2, [2]), (RINGS_ON, [])):
        evidence.calls[-1].invites[0] = began + later
        assert [one.rule for one in one_live_call_per_number(Found(evidence))] == rules
    # it was cut before that call, or not at all
    for kind, begin in (("cut-line", 0.2), ("stall-line", 1.2)):
        evidence.faults = [Injected(kind, "line", at(begin), at(begin + 0.1))]
        assert [one.rule for one in one_live_call_per_number(Found(evidence))] == [2]


def test_a_fault_of_the_line_is_no_fault_of_an_engine_or_a_database():
    evidence = right()
    over_tcp(evidence)
    a_process_that_fell(evidence)
    evidence.faults.append(Injected("cut-line", "line", at(0.5), at(1)))
    assert {one.rule for one in check(evidence)} == {10}
    evidence = right()
    over_tcp(evidence)
    ringing_at_the_200(evidence)
    evidence.faults.append(Injected("cut-line", "line", at(0.5), at(0.9)))
    assert {one.rule for one in check(evidence)} == {6}


def test_evidence_of_before_there_was_a_line_is_read(tmp_path):
    evidence = right()
    evidence.write(tmp_path)
    for name, field in (("calls", "tcp"), ("asks", "line")):
        path = tmp_path / f"{name}.jsonl"
        rows = [json.loads(row) for row in path.read_text().splitlines()]
        assert all(field in row for row in rows)
        old = [{key: value for key, value in row.items() if key != field} for row in rows]
        path.write_text("".join(json.dumps(row) + "\n" for row in old))
    assert Evidence.read(tmp_path) == evidence

"""Answering machines: verdicts, what follows from them, and how often they are wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.core.machine import (
    AfterVerdict,
    DetectionTimings,
    MachineDetection,
    MachineVerdict,
    after_verdict,
    verdict_of_amd,
    wilson,
)

V, M, A = MachineVerdict, MachineDetection, AfterVerdict


@pytest.mark.parametrize(
    ("status", "cause", "verdict"),
    [
        ("HUMAN", "HUMAN-820-800", V.HUMAN),
        ("MACHINE", "LONGGREETING-3020-3000", V.MACHINE),
        ("MACHINE", "MAXWORDS-12-12", V.MACHINE),
        # Asterisk's own word for who says nothing is MACHINE
        ("MACHINE", "INITIALSILENCE-2520-2500", V.NO_SPEECH),
        ("NOTSURE", "TOOLONG-5000", V.NOT_SURE),
        ("HANGUP", "", V.FAILED),
        ("", "", V.FAILED),
    ],
)
def test_what_asterisk_says(status, cause, verdict):
    assert verdict_of_amd(status, cause) is verdict


@pytest.mark.parametrize("mode", M)
@pytest.mark.parametrize("verdict", V)
@pytest.mark.parametrize("has_machine_start", [True, False])
def test_only_a_certain_machine_does_not_hear_what_people_hear(mode, verdict, has_machine_start):
    found = after_verdict(mode, verdict, has_machine_start=has_machine_start)
    if verdict is not V.MACHINE or mode is M.NO:
        assert found is A.PLAY
    elif mode is M.DETECT and has_machine_start:
        assert found is A.AWAIT_BEEP
    else:
        assert found is A.HANG_UP


def test_the_usual_timings_do_not_keep_people_waiting_for_longer_than_a_machine_takes():
    usual = DetectionTimings()
    assert max(usual.no_speech_seconds, usual.speech_seconds) < usual.decision_seconds
    assert usual.pause_seconds < 2.0, "16 CFR 310.4(b)(4)(iii): a message within two seconds of the greeting"


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_the_published_one(hits, of, low, high):
    found = wilson(hits, of)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_nothing_is_estimated_from_nothing():
    assert wilson(0, 0) is None


@pytest.mark.parametrize(("hits", "of"), [(2, 1), (-1, 5)])
def test_no_sample_is_like_that(hits, of):
    with pytest.raises(ValueError, match="of"):
        wilson(hits, of)


@given(st.integers(1, 100_000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_the_share_lies_in_its_interval(sample):
    found = wilson(*sample)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    other = wilson(sample[1] - sample[0], sample[1])
    assert other.low == pytest.approx(1 - found.high)

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from outdial.core.permit import CLOCK_SKEW_SECONDS, Gate, gate_until, may_dial, silent_after

seconds = st.floats(0, 1e6)
ttls = st.floats(0.5, 30)


def test_a_shut_gate_lets_nothing_through():
    assert not may_dial(None, epoch=1, now=0)


def test_an_open_gate_serves_one_epoch_until_its_end():
    gate = Gate(run_id=1, epoch=3, until=10.0)
    assert may_dial(gate, epoch=3, now=9.99)
    assert not may_dial(gate, epoch=4, now=9.99)
    assert not may_dial(gate, epoch=3, now=10.0)


@given(t0=seconds, ttl=ttls)
def test_the_gate_shuts_before_the_permit_ends(t0, ttl):
    assert gate_until(t0, ttl_seconds=ttl) < t0 + ttl


@given(read=seconds, delay=st.floats(0, 100), ttl=ttls, skew=st.floats(-CLOCK_SKEW_SECONDS, CLOCK_SKEW_SECONDS))
def test_what_was_granted_before_a_commit_has_ended_when_silence_is_claimed(read, delay, ttl, skew):
    """A look that found the run active began before the commit, so its permit ends before the claim, by any clock."""
    commit = read + delay
    assert read + ttl + skew < silent_after(commit, ttl_seconds=ttl)
    assert gate_until(read, ttl_seconds=ttl) < silent_after(commit, ttl_seconds=ttl)

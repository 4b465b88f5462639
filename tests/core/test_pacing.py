from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.core.pacing import Limit, room, slots

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
MICRO = timedelta(microseconds=1)


class TestRoom:
    def test_the_tightest_limit_decides(self):
        assert room([Limit("run", 10, 4), Limit("trunk", 5, 4), Limit("application", None, 99)], wanted=16) == 1

    def test_no_limit_gives_what_is_wanted(self):
        assert room([Limit("run", None, 7)], wanted=3) == 3
        assert room([], wanted=3) == 3

    @given(
        st.lists(st.builds(Limit, st.just("x"), st.none() | st.integers(0, 50), st.integers(0, 60)), max_size=4),
        st.integers(0, 30),
    )
    def test_no_limit_is_ever_passed(self, limits, wanted):
        found = room(limits, wanted=wanted)
        assert 0 <= found <= wanted
        for limit in limits:
            if limit.cap is not None and found:
                assert limit.live + found <= limit.cap


class TestSlots:
    def test_evenly_spaced_from_the_first_instant_allowed(self):
        found, next_at = slots(NOW, now=NOW, per_second=10, count=3, horizon_seconds=1)
        assert found == (NOW, NOW + timedelta(seconds=0.1), NOW + timedelta(seconds=0.2))
        assert next_at == NOW + timedelta(seconds=0.3)

    def test_idling_earns_no_burst(self):
        found, _ = slots(NOW - timedelta(hours=1), now=NOW, per_second=2, count=5, horizon_seconds=1)
        assert found == (NOW, NOW + timedelta(seconds=0.5), NOW + timedelta(seconds=1))

    def test_beyond_the_horizon_nothing(self):
        later = NOW + timedelta(seconds=5)
        assert slots(later, now=NOW, per_second=2, count=5, horizon_seconds=1) == ((), later)

    def test_without_a_rate_all_at_once(self):
        found, next_at = slots(NOW, now=NOW, per_second=None, count=3, horizon_seconds=1)
        assert found == (NOW, NOW, NOW)
        assert next_at == NOW

    @pytest.mark.parametrize("count", [0, -1])
    def test_nothing_wanted(self, count):
        assert slots(NOW, now=NOW, per_second=1, count=count, horizon_seconds=1)[0] == ()

    @given(
        rate=st.floats(0.1, 200),
        steps=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 16)), min_size=1, max_size=30),
    )
    def test_however_it_is_asked_the_rate_is_kept(self, rate, steps):
        next_at, now = NOW, NOW
        sent = []
        for milliseconds, count in steps:
            now += timedelta(milliseconds=milliseconds)
            found, next_at = slots(next_at, now=now, per_second=rate, count=count, horizon_seconds=0.2)
            assert all(now <= at <= now + timedelta(seconds=0.2) for at in found)
            sent += found
        gap = timedelta(seconds=1 / rate)
        for before, after in pairwise(sent):
            # datetimes have microseconds: each instant is rounded once
            assert after - before >= gap - 2 * MICRO

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.core.pacing import BACKOFF_MEMORY, MOST_HALVINGS, Limit, full, halvings, room, slots, slowed

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
MICRO = timedelta(microseconds=1)


class TestRoom:
    def test_the_tightest_limit_decides(self):
        assert room([Limit("run", 10, 4), Limit("trunk", 5, 4), Limit("application", None, 99)], wanted=16) == 1

    def test_the_first_limit_without_room_is_named(self):
        limits = [Limit("run", 10, 4), Limit("trunk", 5, 5), Limit("application", 3, 9), Limit("caller_id", None, 7)]
        assert full(limits) == "trunk"
        assert full([Limit("run", 1, 0), Limit("trunk", None, 5)]) is None

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


class TestBackoff:
    """A carrier that answers 503 or 429 gets fewer calls, and more again when it does so no longer."""

    def at(self, *seconds):
        return [NOW + timedelta(seconds=second) for second in seconds]

    @pytest.mark.parametrize(
        ("refused", "second", "level"),
        [
            ((), 0, 0),
            ((0,), 0, 1),
            ((0,), 9, 1),
            ((0,), 10, 0),
            ((0, 1, 2), 2, 3),
            # a burst says one thing
            ((0, 0.1, 0.2, 0.9), 1, 1),
            ((0, 1, 2), 12, 2),
            ((0, 1, 2), 32, 0),
            # half recovered, then refused again
            ((0, 1, 2, 13), 13, 3),
            (tuple(range(50)), 50, 6),
        ],
    )
    def test_each_refusal_halves_the_rate_and_ten_seconds_without_double_it(self, refused, second, level):
        now = NOW + timedelta(seconds=second)
        assert halvings(self.at(*refused), now=now) == level
        assert slowed(64.0, self.at(*refused), now=now) == 64.0 / 2**level

    @given(st.lists(st.floats(0, 600), max_size=40), st.floats(0, 900))
    def test_it_never_ends_and_always_recovers(self, refused, later):
        instants = self.at(*refused)
        now = NOW + timedelta(seconds=later)
        seen = [at for at in instants if at <= now]
        assert 0 <= halvings(seen, now=now) <= MOST_HALVINGS
        # what is left out because it is old has no effect any more
        recent = [at for at in seen if at > now - BACKOFF_MEMORY]
        assert halvings(recent, now=now) <= halvings(seen, now=now)
        assert halvings(seen, now=max([now, *seen]) + BACKOFF_MEMORY) == 0

    @pytest.mark.parametrize(("rate", "left"), [(64.0, 1.0), (1.0, 0.1), (0.05, 0.05)])
    def test_one_call_in_ten_seconds_is_left(self, rate, left):
        assert slowed(rate, self.at(*range(9)), now=NOW + timedelta(seconds=9)) == left

    def test_the_order_in_which_they_are_read_does_not_matter(self):
        assert halvings(self.at(2, 0, 1), now=NOW + timedelta(seconds=2)) == 3

"""The sliding window, under a clock of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.api.ratelimit import RateLimiter
from outdial.core.errors import RateLimitedError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_full_window_refuses_and_says_when_the_oldest_leaves_it():
    clock = Clock()
    limiter = RateLimiter(2, clock=clock)
    limiter.admit("a")
    clock.now += 20.5
    limiter.admit("a")
    with pytest.raises(RateLimitedError) as refused:
        limiter.admit("a")
    assert refused.value.retry_after_seconds == 40
    assert refused.value.message.startswith("You've exceeded the per-minute rate limit.")
    clock.now += 40
    limiter.admit("a")
    with pytest.raises(RateLimitedError) as refused:
        limiter.admit("a")
    assert refused.value.retry_after_seconds == 20


def test_refused_requests_do_not_count():
    clock = Clock()
    limiter = RateLimiter(1, clock=clock)
    limiter.admit("a")
    for _ in range(50):
        clock.now += 1
        with pytest.raises(RateLimitedError):
            limiter.admit("a")
    clock.now += 10
    limiter.admit("a")


def test_accounts_do_not_share_a_window():
    limiter = RateLimiter(1, clock=Clock())
    limiter.admit("a")
    limiter.admit("b")


def test_nought_is_no_limit():
    limiter = RateLimiter(0, clock=Clock())
    for _ in range(1000):
        limiter.admit("a")


def refused(limiter: RateLimiter) -> int | None:
    """The seconds to wait, None when the request is admitted."""
    try:
        limiter.admit("a")
    except RateLimitedError as error:
        return error.retry_after_seconds
    return None


@given(st.integers(1, 5), st.lists(st.floats(0, 30), max_size=60))
def test_no_sixty_seconds_ever_hold_more_than_the_limit(limit, pauses):
    clock, admitted = Clock(), []
    limiter = RateLimiter(limit, clock=clock)
    for pause in pauses:
        clock.now += pause
        waits = refused(limiter)
        if waits is None:
            admitted.append(clock.now)
        else:
            assert 1 <= waits <= 60
    for first in admitted:
        assert sum(first <= at < first + 60 for at in admitted) <= limit

"""When a run pauses itself: by a table, and by whatever endings there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.core.breaker import FAILING, trips
from outdial.core.model import Breaker, Disposition

D = Disposition
BREAKER = Breaker(attempts=10, share=0.8)


@pytest.mark.parametrize(
    ("latest", "stops"),
    [
        ([D.CONGESTION] * 8 + [D.BUSY] * 2, True),
        ([D.CONGESTION] * 7 + [D.BUSY] * 3, False),
        ([D.CONGESTION] * 5 + [D.FAILED] * 3 + [D.NO_ANSWER] * 2, True),
        # too few to say anything: whoever resumes gets so many calls
        ([D.CONGESTION] * 9, False),
        # what is older does not count
        ([D.BUSY] * 3 + [D.CONGESTION] * 50, False),
        ([D.NO_ANSWER] * 10, False),
        ([D.REJECTED, D.BUSY, D.INVALID_NUMBER, D.CANCELLED, D.ABANDONED] * 2, False),
    ],
)
def test_so_large_a_share_of_the_last_calls(latest, stops):
    assert (trips(latest, BREAKER) is not None) is stops


def test_it_says_why():
    said = trips([D.FAILED] * 3 + [D.CONGESTION] * 6 + [D.BUSY], BREAKER)
    assert said.startswith(
        "9 of the last 10 calls have failed (6 congestion, 3 failed); the run pauses itself from 80%"
    )


@given(
    latest=st.lists(st.sampled_from(list(Disposition)), max_size=60),
    attempts=st.integers(5, 30),
    share=st.floats(0.05, 1),
)
def test_it_trips_exactly_from_the_share_on(latest, attempts, share):
    window = latest[:attempts]
    failed = len([one for one in window if one in FAILING])
    expected = len(window) == attempts and failed >= share * attempts
    assert (trips(latest, Breaker(attempts, share)) is not None) is expected

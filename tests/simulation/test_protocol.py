"""Every interleaving of start, pause, resume, stop, completion and node death: no dial after a stop, nobody twice.

And the test of the test: with one guard off, each machine finds the way to a broken promise.
"""

from __future__ import annotations

import pytest

from simulation.protocol import Bounds, Guards, explore

pytestmark = pytest.mark.timeout(300)

SMALL = Bounds(last_tick=1)
USUAL = Bounds()
PAUSES = Bounds(last_tick=1, pauses=True, deaths=False, runs=1)
GONE = Bounds(last_tick=3, deaths=False, runs=1, unreachable=True)


@pytest.mark.parametrize(
    ("bounds", "at_least"),
    [(USUAL, 100_000), (PAUSES, 100_000), (GONE, 10_000)],
    ids=["two runs, a death", "pause and resume", "an engine nobody reaches"],
)
def test_no_order_of_steps_breaks_a_promise(bounds, at_least):
    found = explore(Guards(), bounds)
    print(f"{found.states} states")
    assert found.violation == "", found.trail
    # or the machine has lost its legs
    assert found.states > at_least


@pytest.mark.parametrize(
    ("guard", "bounds", "broken"),
    [
        ("fence", SMALL, "left after"),
        ("quiesce", SMALL, "left after"),
        ("second_look", SMALL, "left after"),
        ("renewal_needs_permit", SMALL, "left after"),
        ("maker_holds_lock", SMALL, "left after"),
        ("stopping_cannot_resume", SMALL, "left after"),
        ("permits_expire", GONE, "left after"),
        ("adopter_trusts_only_the_dead", USUAL, "called twice"),
    ],
)
def test_without_one_guard_a_promise_is_broken(guard, bounds, broken):
    found = explore(Guards(**{guard: False}), bounds)
    assert broken in found.violation
    print(f"{guard}: {' | '.join(found.trail)}")

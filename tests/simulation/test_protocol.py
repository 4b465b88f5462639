"""Every interleaving of start, pause, resume, stop, completion, node death and lost database sessions: no dial after a
stop, nobody twice, nobody who was given up.

And the test of the test: with one guard off, each machine finds the way to a broken promise.
"""

from __future__ import annotations

import pytest

from simulation.protocol import Bounds, Guards, explore

pytestmark = pytest.mark.timeout(300)

SMALL = Bounds(last_tick=1, runs=1)
TWO_RUNS = Bounds(last_tick=1)
LOST = Bounds(last_tick=1, runs=1, lost=True)
PAUSES = Bounds(last_tick=0, pauses=True, deaths=False, runs=1)
GONE = Bounds(deaths=False, runs=1, unreachable=True)
DEATHS = Bounds(runs=1)
"""850,000 states: for the variants only, which end sooner."""


@pytest.mark.parametrize(
    ("bounds", "at_least"),
    [(TWO_RUNS, 100_000), (LOST, 200_000), (PAUSES, 50_000), (GONE, 50_000)],
    ids=["two runs, a death", "lost sessions", "pause and resume", "an engine nobody reaches"],
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
        ("notes_under_lock", SMALL, "left after"),
        ("stop_waits_for_makers", SMALL, "left after"),
        ("late_puts_serve_nobody", SMALL, "left after"),
        ("permits_of_nodes", DEATHS, "given up"),
        ("adopter_removes_permits", DEATHS, "given up"),
        ("stopping_cannot_resume", SMALL, "left after"),
        ("permits_expire", GONE, "left after"),
    ],
)
def test_without_one_guard_a_promise_is_broken(guard, bounds, broken):
    found = explore(Guards(**{guard: False}), bounds)
    assert broken in found.violation
    print(f"{guard}: {' | '.join(found.trail)}")

"""What a simulation may use up, and that it ends when nobody waits for it."""

from __future__ import annotations

import pytest

from outdial.core.errors import SimulationEndedError, SimulationTooLongError
from outdial.core.steps import LOOK_EVERY, Steps


@pytest.mark.parametrize("most", [0, 7, LOOK_EVERY, 3 * LOOK_EVERY + 1])
def test_as_many_as_there_are_can_be_taken_and_no_more(most):
    steps = Steps(most)
    for _ in range(most):
        steps.take()
    with pytest.raises(SimulationTooLongError, match=f"{most:,} steps.*fewer days.*outdial simulate"):
        steps.take()


def test_many_at_once_count_as_many():
    steps = Steps(100)
    with pytest.raises(SimulationTooLongError):
        steps.take(101)


def test_whoever_asks_for_the_end_is_heard_soon():
    asked = False
    steps = Steps(ended=lambda: asked)
    steps.take(10 * LOOK_EVERY)
    asked = True
    with pytest.raises(SimulationEndedError):
        for _ in range(LOOK_EVERY):
            steps.take()
    with pytest.raises(SimulationEndedError):
        steps.look()

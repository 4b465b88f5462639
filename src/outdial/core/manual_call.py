"""Calls by hand: when somebody who is wanted now may come first in the queue of a run."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from outdial.core.explanation import Beside, Explanation, Says, Step


class ManualAnswer(StrEnum):
    """What is answered to whoever wants a contact called now."""

    ALLOWED = "allowed"
    """It is called as soon as a line is free, before all others."""
    PUT_OFF = "put_off"
    """Not now; nothing is changed."""
    DENIED = "denied"
    """Not in this run; nothing is changed."""


_LINES: Final = frozenset({Beside.DIALER_NODES, Beside.FREE_LINES, Beside.RATE})
"""What the call waits for by itself: whoever is asked for takes the next line there is."""


def manual_answer(explanation: Explanation) -> tuple[ManualAnswer, Step | None]:
    """Return the answer about a contact that is explained so, and the step that does not allow it; None: it is allowed.

    There is no way past the gate: what puts off or denies any other call does so here. That no line is free does not,
    since the contact then waits for one at the head of the queue.
    """
    step = next((one for one in explanation.steps if one.says is not Says.ALLOWS and one.code not in _LINES), None)
    if step is None:
        return ManualAnswer.ALLOWED, None
    return (ManualAnswer.DENIED if step.says is Says.FORBIDS else ManualAnswer.PUT_OFF), step

"""Calls by hand: when somebody who is wanted now may come first in the queue of a run, and how a refusal is stored."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from outdial.core.canonical import Json, instant
from outdial.core.explanation import Beside, Explanation, Says, Step
from outdial.core.screening import CHECKS


class ManualAnswer(StrEnum):
    """What is answered to whoever wants a contact called now."""

    ALLOWED = "allowed"
    """It is called as soon as a line is free, before all others."""
    PUT_OFF = "put_off"
    """Not now; the contact stays as it is."""
    DENIED = "denied"
    """Not in this run; the contact stays as it is."""


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


def refusal(explanation: Explanation, step: Step) -> dict[str, Json]:
    """Return what refused a call by hand as it is stored: in the form of the gate's own decisions
    (``core.screening.Decision``), also where something beside the gate did it."""
    made: dict[str, Json] = {
        "rule": str(step.code),
        "sentence": step.sentence,
        "decidedAt": instant(explanation.at),
        "leavesBy": instant(explanation.leaves_by),
        "inputs": dict(step.inputs),
    }
    if explanation.phone is not None and step.code in CHECKS:
        # as little of the person as there is in any other: what is beside the gate is asked of the contact
        made["phone"] = explanation.phone
    if step.until is not None:
        made["until"] = instant(step.until)
    if step.versions:
        made["versions"] = dict(step.versions)
    return made

"""The run's state machine, as a table, and what the vendor's wire calls a campaign's state.

``stopping`` can only become ``stopped``: no pause, completion, schedule or recovery may move it anywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from outdial.core.errors import IllegalMoveError
from outdial.core.model import CampaignState, Run, RunState


class RunAction(StrEnum):
    """What can be done to a run."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    CONFIRM_STOPPED = "confirm_stopped"
    """Every engine was shown to be silent."""
    COMPLETE = "complete"
    """Every contact is done."""


RUN_MOVES: Final[Mapping[tuple[RunState, RunAction], RunState]] = MappingProxyType(
    {
        (RunState.ACTIVE, RunAction.PAUSE): RunState.PAUSED,
        (RunState.ACTIVE, RunAction.STOP): RunState.STOPPING,
        (RunState.ACTIVE, RunAction.COMPLETE): RunState.COMPLETED,
        (RunState.PAUSED, RunAction.RESUME): RunState.ACTIVE,
        (RunState.PAUSED, RunAction.STOP): RunState.STOPPING,
        (RunState.STOPPING, RunAction.CONFIRM_STOPPED): RunState.STOPPED,
    }
)
"""Every move there is; what is not here is an error."""

RAISES_EPOCH: Final = frozenset({RunAction.PAUSE, RunAction.RESUME, RunAction.STOP})
"""Moves after which every permit made before is of an older epoch."""

_WIRE: Final[Mapping[RunState, str]] = MappingProxyType(
    {
        RunState.ACTIVE: "Active",
        RunState.PAUSED: "Paused",
        # the wire says Stopped only once that is true
        RunState.STOPPING: "Active",
        RunState.STOPPED: "Stopped",
        RunState.COMPLETED: "Completed",
    }
)
_WIRE_BEFORE_ANY_RUN: Final[Mapping[CampaignState, str]] = MappingProxyType(
    {CampaignState.PREPARING: "Preparing", CampaignState.READY: "Ready"}
)


def move(state: RunState, action: RunAction) -> RunState:
    """Return the state after the action. Raises IllegalMoveError, whose sentence names what is possible instead."""
    after = RUN_MOVES.get((state, action))
    if after is None:
        possible = ", ".join(allowed_actions(state)) or "nothing any more; the next start makes a new run"
        raise IllegalMoveError(f"A run that is {state} cannot do: {action}. Possible: {possible}.")
    return after


def allowed_actions(state: RunState) -> tuple[RunAction, ...]:
    """Return the actions the state allows, in the order of :class:`RunAction`."""
    return tuple(action for action in RunAction if (state, action) in RUN_MOVES)


def states_shown_as(status: str) -> frozenset[RunState | CampaignState]:
    """Return the states whose status on the vendor's wire is ``status``: of the latest run, or the campaign's own when
    it never ran. Empty for a status that nothing here ever has."""
    of_runs = (state for state, name in _WIRE.items() if name == status)
    before = (state for state, name in _WIRE_BEFORE_ANY_RUN.items() if name == status)
    return frozenset((*of_runs, *before))


def wire_status(state: CampaignState, run: Run | None) -> str:
    """Return a campaign's status in the vendor's words: its latest run's state, or its own when it never ran."""
    if run is not None:
        return _WIRE[run.state]
    return _WIRE_BEFORE_ANY_RUN[state]

"""The run's state machine, as a table, and what the vendor's wire calls a campaign's state.

``stopping`` can only become ``stopped``: no pause, completion, schedule or recovery may move it anywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from outdial.core.errors import IllegalMoveError
from outdial.core.model import LIVE_RUN_STATES, Campaign, RunState


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


class Standing(StrEnum):
    """How a campaign stands, its schedule and its latest run taken together."""

    PREPARING = "preparing"
    READY = "ready"
    SCHEDULED = "scheduled"
    ACTIVE = "active"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    COMPLETED = "completed"


_WIRE: Final[Mapping[Standing, str]] = MappingProxyType(
    {
        Standing.PREPARING: "Preparing",
        Standing.READY: "Ready",
        Standing.SCHEDULED: "Scheduled",
        Standing.ACTIVE: "Active",
        Standing.PAUSED: "Paused",
        # the wire says Stopped only once that is true
        Standing.STOPPING: "Active",
        Standing.STOPPED: "Stopped",
        Standing.COMPLETED: "Completed",
    }
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


def standing(campaign: Campaign) -> Standing:
    """Return how a campaign stands: a live run comes first, then a schedule that will start it, then a stop of that
    schedule if nothing happened since, then how the latest run ended. ``store.campaigns`` says the same in SQL."""
    run, schedule = campaign.run, campaign.schedule
    if run is not None and run.state in LIVE_RUN_STATES:
        return Standing(run.state)
    if schedule is not None and schedule.upcoming:
        return Standing.SCHEDULED
    if schedule is not None and schedule.stopped_at is not None:
        return Standing.STOPPED
    return Standing(campaign.state if run is None else run.state)


def shown_as(status: str) -> frozenset[Standing]:
    """Return the standings whose status on the vendor's wire is ``status``; empty for one that nothing here has."""
    return frozenset(one for one, name in _WIRE.items() if name == status)


def wire_word(stands: Standing) -> str:
    """Return how a campaign stands in the vendor's words."""
    return _WIRE[stands]


def wire_status(campaign: Campaign) -> str:
    """Return a campaign's status in the vendor's words."""
    return wire_word(standing(campaign))

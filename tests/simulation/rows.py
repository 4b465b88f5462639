"""Rows of the tables that the referee keeps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from outdial.core.attempt import may_move
from outdial.core.model import LIVE_ATTEMPT_STATES, Attempt, Disposition, DoneReason, RunContactState
from simulation.plan import Person

STATE = RunContactState


class MoveError(AssertionError):
    """Somebody wanted a move that no table has."""


@dataclass(eq=False)
class Row:
    """One contact's progress in one run."""

    person: Person
    turn: int
    state: RunContactState = STATE.PENDING
    attempts_count: int = 0
    not_before: datetime | None = None
    callback_at: datetime | None = None
    reason: DoneReason | None = None
    asked_at: datetime | None = None
    """Since when somebody wants it called by hand."""
    phone: str = ""
    """Of its numbers the one that is dialed next."""

    def __post_init__(self) -> None:
        self.phone = self.person.phone

    @property
    def phones(self) -> tuple[str, ...]:
        return self.person.phones

    def to(self, state: RunContactState) -> None:
        if not may_move(self.state, state):
            raise MoveError(f"contact {self.person.id}: {self.state} → {state}")
        self.state = state
        if state in {STATE.WAITING, STATE.DONE}:
            self.asked_at = None


@dataclass(eq=False)
class AttemptRow:
    """One attempt, with what the core's value of it does not have."""

    attempt: Attempt
    callback_at: datetime | None
    matters: dict[str, str]

    @property
    def live(self) -> bool:
        return self.attempt.state in LIVE_ATTEMPT_STATES

    @property
    def counts(self) -> bool:
        """Whether something may have left."""
        return self.attempt.dialed_at is not None or self.attempt.disposition is not Disposition.CANCELLED


@dataclass(eq=False)
class NodeRow:
    id: str
    engine_id: str
    lease_until: datetime
    killed: bool = False
    ended: bool = False
    adopted_by: str | None = None

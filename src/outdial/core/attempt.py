"""The state machines of attempts and of run contacts, as tables.

The database enforces both with compare-and-sets; the tables are what those are tested against and drawn from.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, overload

from outdial.core.model import AttemptState, RunContactState

_A = AttemptState
_C = RunContactState

ATTEMPT_MOVES: Final[Mapping[AttemptState, frozenset[AttemptState]]] = MappingProxyType(
    {
        # forward only; steps may be skipped, since events may come before the answer to the originate, or get lost
        _A.RESERVED: frozenset({_A.DIALING, _A.RINGING, _A.ANSWERED, _A.ENDED, _A.UNKNOWN}),
        _A.DIALING: frozenset({_A.RINGING, _A.ANSWERED, _A.ENDED, _A.UNKNOWN}),
        _A.RINGING: frozenset({_A.ANSWERED, _A.ENDED, _A.UNKNOWN}),
        _A.ANSWERED: frozenset({_A.ENDED, _A.UNKNOWN}),
        _A.ENDED: frozenset(),
        _A.UNKNOWN: frozenset(),
    }
)
"""State of an attempt → states that may follow."""

RUN_CONTACT_MOVES: Final[Mapping[RunContactState, frozenset[RunContactState]]] = MappingProxyType(
    {
        # to waiting: outside calling hours; to done: on a do-not-call list
        _C.PENDING: frozenset({_C.CLAIMED, _C.WAITING, _C.DONE}),
        # back to pending: nothing was ever sent
        _C.CLAIMED: frozenset({_C.DIALING, _C.PENDING, _C.WAITING, _C.DONE}),
        _C.DIALING: frozenset({_C.PENDING, _C.WAITING, _C.DONE}),
        # to pending: a stop ends a wait that no attempt came before; to waiting: put off again
        _C.WAITING: frozenset({_C.CLAIMED, _C.WAITING, _C.PENDING, _C.DONE}),
        # a call-back was asked for
        _C.DONE: frozenset({_C.WAITING}),
    }
)
"""State of a run contact → states that may follow."""


@overload
def may_move(before: AttemptState, after: AttemptState) -> bool: ...
@overload
def may_move(before: RunContactState, after: RunContactState) -> bool: ...
def may_move(before: AttemptState | RunContactState, after: AttemptState | RunContactState) -> bool:
    """Whether the state after may follow the state before."""
    if isinstance(before, AttemptState):
        return after in ATTEMPT_MOVES[before]
    return after in RUN_CONTACT_MOVES[before]

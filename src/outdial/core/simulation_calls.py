"""How simulated calls end, and how long each keeps its line busy: what is supposed of calls, and the luck of each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import Final

from outdial.core.model import Disposition


@dataclass(frozen=True, slots=True)
class MachineCalls:
    """What is supposed of calls that answering machines answer, where they are found to be that."""

    seconds: float
    """From the answer to the end: until it is hung up on, or has heard its message."""
    message_left: bool
    """It hears one, and its contact is done; else that is tried again, by the rules."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is supposed of calls."""

    shares: Mapping[Disposition, float]
    """How attempts end; together 1."""
    ring_seconds: float
    """Until somebody answers."""
    talk_seconds: float
    """On average; how long a conversation lasts varies exponentially."""
    refusal_seconds: float
    """Until a call that nobody can answer has ended: busy, rejected, no such number, no circuit."""
    machines: MachineCalls | None = None
    """Counts where a share of calls is supposed to end ``answered_machine``."""


def draw(seed: int, contact: int, attempt: int) -> tuple[float, float]:
    """Return two numbers from 0 to 1, the second never 1, that depend on these three alone (SplitMix64)."""
    mixed = (seed * 0x9E3779B97F4A7C15 + contact * 0xD1B54A32D192ED03 + attempt * 0x8CB92BA72F3D8DD7) & _64
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _64
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _64
    mixed ^= mixed >> 31
    return (mixed >> 32) * _SHARE, (mixed & 0xFFFFFFFF) * _SHARE


_64: Final = (1 << 64) - 1
_SHARE: Final = 2.0**-32


class Endings:
    """How calls end by the assumptions, and how long they keep a line busy."""

    def __init__(self, assumptions: Assumptions, *, ring_seconds: int, seed: int) -> None:
        self._assumed, self._seed = assumptions, seed
        machines = assumptions.machines
        if machines is None and assumptions.shares.get(Disposition.ANSWERED_MACHINE):
            raise ValueError("machines answer, and nothing is supposed of their calls")
        self.message_left = machines is not None and machines.message_left
        """Whether machines hear a message."""
        self._ways = [way for way, share in assumptions.shares.items() if share > 0]
        self._upto: list[float] = []
        total = 0.0
        for way in self._ways:
            total += assumptions.shares[way]
            self._upto.append(total)
        # whatever the last share is rounded to, it takes the rest
        self._upto.pop()
        self._fixed = dict.fromkeys(self._ways, assumptions.refusal_seconds)
        self._fixed[Disposition.NO_ANSWER] = float(ring_seconds)
        if machines is not None:
            self._fixed[Disposition.ANSWERED_MACHINE] = assumptions.ring_seconds + machines.seconds

    def of(self, contact: int, attempt: int) -> tuple[Disposition, float]:
        """Return how a contact's try ends, counted from 1, and after how many seconds."""
        lucky, length = draw(self._seed, contact, attempt)
        way = self._ways[bisect_right(self._upto, lucky)]
        if way is Disposition.ANSWERED_HUMAN:
            return way, self._assumed.ring_seconds - self._assumed.talk_seconds * log(1.0 - length)
        return way, self._fixed[way]

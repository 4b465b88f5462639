"""How runs that want the same lines share them: by the priority of their campaigns, and so that nothing lies idle.

A run's *share* is how many calls it has taken while another wanted some too, divided by its weight. Of the runs that
want lines now, none may get ahead of another's share by more than one step; whoever is furthest behind may always go
on. So over any time in which both want lines, calls are as their weights, and nobody starves. A run that has nobody to
dial wants nothing: the others divide what it leaves, and when it comes back it begins where they are, with nothing
saved up and nothing to make good.

The weight is the priority itself, 1 to 5: the vendor gives a campaign its own priority divided by the sum of those of
all campaigns that run, and 5 is the highest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LEAST_STEP: Final = 1.0
"""Calls."""

LONGEST_WAIT: Final = 1.0
"""Seconds."""

PATIENCE_SECONDS: Final = 0.5
"""How long the others wait for a run that could take a call and does not, beyond the time in which it looks again."""

LOOK_SECONDS: Final = 0.1
"""Longest wait of a run before another look at lines that it shares, for each of those that want some."""

_ROUNDING: Final = 1e-6
"""Of a call: shares are sums of fractions."""


@dataclass(frozen=True, slots=True)
class Turn:
    """How a run stands among those that use the same lines."""

    weight: int
    share: float
    """Calls it has taken while others wanted lines too, divided by its weight."""
    wants: bool
    """It has somebody to dial, as far as is known."""


def begins_at(own: Turn, others: Sequence[Turn], *, longest: float = LEAST_STEP) -> float:
    """Return the share from which a run goes on.

    It is its own, with two bounds. A run that had wanted nothing is not behind whoever wants and is furthest behind.
    And nobody is further ahead of that one than ``longest``, the most calls a step can have: among those that want all
    the time it never is, so what is more comes from a time when the other had wanted nothing, or when both began in the
    same instant.
    """
    wanting = [other.share for other in others if other.wants]
    if not wanting:
        return own.share
    least = min(wanting)
    share = own.share if own.wants else max(own.share, least)
    return min(share, least + longest / own.weight)


def step(own: Turn, others: Sequence[Turn], *, lines: float) -> float:
    """Return how many calls a run may take ahead of its turn: its part of the lines that can be used in one look, and
    one at least. Where they become free one by one, that is one."""
    weights = own.weight + sum(other.weight for other in others if other.wants)
    return max(LEAST_STEP, lines * own.weight / weights)


def allowance(own: Turn, others: Sequence[Turn], *, step: float = LEAST_STEP) -> int | None:
    """Return how many calls a run whose share is where it goes on from may take now beside the others; None: as many as
    there are, since nobody else wants any."""
    wanting = [other.share for other in others if other.wants]
    if not wanting:
        return None
    behind = min(wanting) - own.share
    return max(0, math.floor(own.weight * behind + step + _ROUNDING))


def after(own: Turn, others: Sequence[Turn], calls: int) -> float:
    """Return the share of a run, now where it goes on from, once it has taken so many calls more. What nobody else
    wants costs nothing."""
    return own.share + calls / own.weight if any(other.wants for other in others) else own.share


def wait(others: Sequence[Turn], *, each: float, slot_seconds: float) -> float:
    """Return after how many seconds a run that must wait for the others looks again: ``each`` for every one that wants,
    so that all of them together look equally often however many they are; not before the trunk's next slot, in
    ``slot_seconds``; and a second at most."""
    wanting = sum(other.wants for other in others)
    return min(max(each * max(1, wanting), slot_seconds), LONGEST_WAIT)


def patience(wanting: int) -> float:
    """Return for how many seconds a run that could take a call and does not counts as wanting some, among so many."""
    return PATIENCE_SECONDS + min(LOOK_SECONDS * wanting, LONGEST_WAIT)

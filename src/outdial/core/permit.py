"""The pure part of the stop barrier: who may dial until when. All instants are seconds of one clock.

A node's gate and the permit at the engine are made of the same instant: ``t0``, taken *before* the database was asked
whether the run is active. Whatever is read then was true at ``t0`` or later, so what is granted ends a fixed time after
a moment at which the run certainly had not been stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GATE_MARGIN_SECONDS: Final = 0.1
"""How much earlier a node's own gate shuts than its permit ends: an originate takes 1–5 ms (measured), and a busy event
loop some tens of milliseconds between the check and the engine's reading of it."""

EXPIRY_EPSILON_SECONDS: Final = 0.1
"""Added to what must have expired: the engine counts in milliseconds and reads its clock at most once per request."""

CLOCK_SKEW_SECONDS: Final = 0.5
"""Largest difference between an engine's clock and a node's that is tolerated; above it nothing is dialed."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Leave of one node to originate for one run at one epoch."""

    run_id: int
    epoch: int
    until: float
    """Boot time until which it is open."""


def gate_until(t0: float, *, ttl_seconds: float) -> float:
    """Return until when a gate is open after a look begun at ``t0`` that found the run active."""
    return t0 + ttl_seconds - GATE_MARGIN_SECONDS


def may_dial(gate: Gate | None, *, epoch: int, now: float) -> bool:
    """Whether a call may be originated at ``now``; None = shut."""
    return gate is not None and gate.epoch == epoch and now < gate.until


def silent_after(commit: float, *, ttl_seconds: float) -> float:
    """Return from when on every permit granted before ``commit`` has certainly expired at its engine, even one whose
    clock is as far off as is tolerated."""
    return commit + ttl_seconds + CLOCK_SKEW_SECONDS + EXPIRY_EPSILON_SECONDS

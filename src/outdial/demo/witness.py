"""Counts calls independently of the dialer: by the records of the engine that placed them."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Protocol

from outdial.core.errors import OutdialError
from outdial.telephony.managed import ManagedAsterisk
from outdial.telephony.simulated import SimulatedEngine


class BlindWitnessError(OutdialError):
    """The engine's records show fewer calls than were placed: what they say about new calls proves nothing."""

    code = "blind_witness"


class Witness(Protocol):
    """Whoever saw the calls."""

    @property
    def source(self) -> str:
        """What it looks at, for people."""
        ...

    async def calls_after(self, at: datetime) -> int:
        """Return how many calls have begun after an instant."""
        ...


class AsteriskWitness:
    """Asterisk's call records: a line for every channel that began, at either end of a call."""

    source: Final = "Asterisk's call records"

    def __init__(self, managed: ManagedAsterisk) -> None:
        self._managed = managed

    async def calls_after(self, at: datetime) -> int:
        """Count channels; a call that reached the loopback carrier has two."""
        return await self._managed.count_started(at)


class SimulatedWitness:
    """The simulated engine's list of all calls that left."""

    source: Final = "the simulated engine's list of calls"

    def __init__(self, engine: SimulatedEngine) -> None:
        self._engine = engine

    async def calls_after(self, at: datetime) -> int:
        """Count them."""
        return sum(call.at > at for call in self._engine.sent)


async def require_sight(witness: Witness, since: datetime, placed: int) -> None:
    """Raise BlindWitnessError unless the witness saw at least the calls that were placed since then."""
    seen = await witness.calls_after(since)
    if seen < placed:
        raise BlindWitnessError(
            f"{placed} calls were placed, but {witness.source} show {seen}: they cannot say whether new calls left."
        )

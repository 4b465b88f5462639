"""Simulated engines for tests of the dialer."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from outdial.telephony.simulated import SimulatedEngine

TTL_SECONDS = 1.0


@contextlib.asynccontextmanager
async def simulated(engine_id: str = "sim-one", *, speed: float = 20.0, **options) -> AsyncIterator[SimulatedEngine]:
    engine = SimulatedEngine(engine_id=engine_id, seed=1, speed=speed, **options)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()

"""Engines for the contract suite: both adapters, and a trunk whose phones follow the loopback carrier's table."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from outdial import clock
from outdial.core.model import Trunk
from outdial.telephony.engine import (
    CallEnded,
    Engine,
    EngineEvent,
    EngineUp,
    OutgoingCall,
    Permit,
    TrunkAddress,
)
from outdial.telephony.managed import ManagedAsterisk
from outdial.telephony.simulated import SimulatedEngine
from support.asterisk import asterisk, connected_engine  # noqa: F401 - a fixture
from values import KEY, TRUNK
from waiting import until

_run_ids = iter(range(1000, 1_000_000))


@dataclass
class Line:
    """An engine that is up, with what its event stream has said, and a run of its own."""

    engine: Engine
    address: TrunkAddress
    trunk: Trunk = TRUNK
    run_id: int = field(default_factory=lambda: next(_run_ids))
    events: list[EngineEvent] = field(default_factory=list)

    def permit(self, *, epoch: int = 1, seconds: float = 30.0) -> Permit:
        return Permit(self.run_id, epoch, KEY, self.trunk, self.address, clock.now() + timedelta(seconds=seconds))

    def call(self, number: str, *, epoch: int = 1, ring_seconds: int = 20, call_id: str | None = None) -> OutgoingCall:
        return OutgoingCall(
            id=call_id or uuid.uuid4().hex,
            run_id=self.run_id,
            epoch=epoch,
            key=KEY,
            number=number,
            caller_id="+15550100999",
            ring_seconds=ring_seconds,
        )

    def of(self, call_id: str, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind) and event.call_id == call_id]

    async def heard(self, call_id: str, kind: type, *, seconds: float = 20):
        """The first event of that kind about the call."""
        await until(lambda: bool(self.of(call_id, kind)), seconds=seconds)
        return self.of(call_id, kind)[0]

    async def settle(self, call_id: str) -> CallEnded:
        await self.engine.hang_up(call_id)
        return await self.heard(call_id, CallEnded)

    async def listen(self) -> None:
        async for event in self.engine.events():
            self.events.append(event)


@contextlib.asynccontextmanager
async def listening(engine: Engine, address: TrunkAddress) -> AsyncIterator[Line]:
    """Hear an engine's events beside the block."""
    line = Line(engine, address)
    task = asyncio.create_task(line.listen())
    try:
        await until(lambda: any(isinstance(event, EngineUp) for event in line.events))
        yield line
        with contextlib.suppress(Exception):
            await engine.fence(line.run_id)
        for call in await engine.calls(line.run_id):
            await engine.hang_up(call.id)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(params=["simulated", "asterisk"])
def managed(request) -> ManagedAsterisk | None:
    """The Asterisk of this test run; None for the simulated engine."""
    return request.getfixturevalue("asterisk") if request.param == "asterisk" else None


@pytest.fixture
async def line(managed) -> AsyncIterator[Line]:
    """Each test runs over both adapters."""
    if managed is None:
        engine = SimulatedEngine(engine_id="simulated", seed=1)
        await engine.start()
        async with listening(engine, TrunkAddress("127.0.0.1", 5060)) as opened:
            yield opened
        await engine.close()
        return
    async with (
        connected_engine(managed, f"test-{uuid.uuid4().hex}") as engine,
        listening(engine, managed.loopback_trunk_address) as opened,
    ):
        yield opened


@pytest.fixture
def new_app() -> Callable[[], str]:
    return lambda: f"test-{uuid.uuid4().hex}"

"""The engine of one dialer node: the Asterisk somebody runs, one of our own, or the simulated one."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from outdial.config import Settings
from outdial.core import ids
from outdial.telephony.asterisk import AsteriskEngine
from outdial.telephony.engine import Engine
from outdial.telephony.managed import EngineAddress, ManagedAsterisk
from outdial.telephony.simulated import SimulatedEngine

FIRST_UP_SECONDS: Final = 15.0
"""How long a node waits for its engine before it goes on without; it dials once the engine is there."""

_LOOK_SECONDS: Final = 0.01

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """An engine with its event stream, and what is known about where it runs."""

    engine: Engine
    address: EngineAddress | None
    """How other processes reach it; None when they cannot."""
    managed: ManagedAsterisk | None
    """Set when the Asterisk is ours."""
    label: str
    """What people are told it is."""


@asynccontextmanager
async def open_engine(
    settings: Settings, *, node_id: str, on_restart: Callable[[EngineAddress], None] | None = None
) -> AsyncIterator[LocalEngine]:
    """Open what the settings ask for, and wait until it was up once or some seconds have passed.

    Raises StartupError when an Asterisk of our own cannot be started; its sentence says what to install.
    """
    async with AsyncExitStack() as stack:
        if settings.engine == "simulated":
            # an id of its own for each life: what it knew is gone with the process
            simulated = SimulatedEngine(engine_id=f"simulated-{node_id}", seed=random.getrandbits(32))
            await simulated.start()
            stack.push_async_callback(simulated.close)
            yield LocalEngine(simulated, None, None, "simulated engine: no real calls")
            return
        managed: ManagedAsterisk | None = None
        if settings.asterisk_url is not None:
            address = EngineAddress(
                engine_id_of(settings.asterisk_url),
                settings.asterisk_url,
                settings.asterisk_user,
                settings.asterisk_password.get_secret_value(),
            )
            label = f"Asterisk at {settings.asterisk_url}"
        else:
            managed = ManagedAsterisk(settings, on_restart=on_restart)
            stack.push_async_callback(managed.stop)
            address = await managed.start()
            label = managed.version
        engine = AsteriskEngine(
            engine_id=address.engine_id,
            url=address.url,
            username=address.username,
            password=address.password,
            stasis_app=ids.stasis_app(node_id),
            media_dir=settings.asterisk_media_dir,
            records=None if managed is None else managed.call_record,
        )
        stack.push_async_callback(engine.close)
        await engine.start()
        await _until_up(engine)
        yield LocalEngine(engine, address, managed, label)


def engine_id_of(url: str) -> str:
    """Return the id of an Asterisk that is not ours: two nodes that use one address use one engine."""
    return f"ari-{hashlib.sha256(url.rstrip('/').encode()).hexdigest()[:16]}"


async def _until_up(engine: AsteriskEngine) -> None:
    try:
        async with asyncio.timeout(FIRST_UP_SECONDS):
            while not engine.up:  # noqa: ASYNC110 - three things make it up, a poll tells for all
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        _log.warning("engine_not_up_yet", engine_id=engine.id, seconds=FIRST_UP_SECONDS)

"""What several measurements need."""

from __future__ import annotations

import asyncio
import statistics
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from bench.place import TTL_SECONDS, Place

from dialing import dialing  # isort: skip - found through bench.place
from support.asterisk import connected_engine  # isort: skip

from outdial.core.ids import stasis_app
from outdial.services import runs

Row = tuple[str, str, str, str, str]
RINGING = "180"
BUSY = "486"


def numbers(count: int, suffix: str, *, area: int) -> list[str]:
    return [f"+1{area}{number:04d}{suffix}" for number in range(count)]


def quantiles(seconds: list[float]) -> tuple[float, float]:
    ordered = sorted(seconds)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]], seconds: float = 120) -> None:
    async with asyncio.timeout(seconds):
        while True:
            answer = condition()
            if (await answer) if asyncio.iscoroutine(answer) else answer:
                return
            await asyncio.sleep(0.005)


async def own_node(found: Place, stage, stack: AsyncExitStack):
    """A dialer in this process at the managed Asterisk."""
    node_id = uuid.uuid4().hex
    engine = await stack.enter_async_context(connected_engine(found.asterisk, stasis_app(node_id)))
    await until(lambda: engine.up)
    await stack.enter_async_context(
        dialing(
            stage,
            engine,
            found.settings.data_dir,
            engines=found.engines,
            address=found.asterisk.address,
            ttl_seconds=TTL_SECONDS,
            node_id=node_id,
        )
    )
    return engine


async def start(stage):
    return await runs.start(
        stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="bench"
    )

"""A stop while its engine does not answer: how long until it says so, and, once the engine is back, until it is proven.

Asterisk is stopped as a process (SIGSTOP), which is the worst of all: connections stay open, requests are taken and
nothing answers; what was sent to it is carried out when it goes on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack
from dataclasses import replace

from bench.common import RINGING, Row, numbers, own_node, quantiles, start, until
from bench.place import TTL_SECONDS, Place

from dialing import set_stage, with_rules  # isort: skip - found through bench.place

from outdial.core.errors import StopNotProvenError
from outdial.core.model import CallingHours
from outdial.services import runs
from outdial.services.stop import stop

ROUNDS = int(os.environ.get("ROUNDS", "10"))
"""Each takes some ten seconds."""

BOUND_SECONDS = TTL_SECONDS + 0.5


async def unreachable(found: Place) -> list[Row]:
    rows: list[Row] = []
    for place_number, count in enumerate((0, 50, 200)):
        rules = with_rules(caller_id=f"+1555010{place_number}300", max_attempts=1, ring_seconds=60)
        if count == 0:
            rules = replace(rules, calling_hours=CallingHours(windows=(), zone="UTC"))
        stage = await set_stage(
            found.context.database,
            found.context.secrets,
            numbers(max(count, 10), RINGING, area=430 + place_number),
            rules=rules,
            name=f"unreachable-{count}",
            port=found.carrier_port,
            max_channels=max(count, 1),
            calls_per_second=400.0,
        )
        said, proven = [], []
        for _ in range(ROUNDS):
            # a node of its own each time: one whose engine did not answer begins a new life
            async with AsyncExitStack() as stack:
                await own_node(found, stage, stack)
                seconds = await _one(found, stage, count)
                said.append(seconds[0])
                proven.append(seconds[1])
        p50, p99 = quantiles(said)
        rows.append(
            (
                f"stop, {count} ringing, engine frozen: 503 ({ROUNDS} stops)",
                f"p50 {p50:.2f} s, p99 {p99:.2f} s",
                f"{TTL_SECONDS:.1f} s, a permit's time to live",
                f"{p50 / TTL_SECONDS:.1f}x",
                f"≤ {BOUND_SECONDS:.1f} s",
            )
        )
        p50, p99 = quantiles(proven)
        rows.append(
            (
                f"and 200, once the engine is back ({ROUNDS} stops)",
                f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms",
                "asked again at once until it is proven",
                "",
                "–",
            )
        )
    return rows


async def _one(found: Place, stage, count: int) -> tuple[float, float]:
    """Return the seconds until the stop said that it is not proven, and from the engine's return until it was."""
    run = (await start(stage)).run

    async def ready() -> bool:
        if count:
            return (await runs.progress(stage.database, run.id)).live.get("ringing", 0) == count
        async with stage.database.connection() as connection:  # nobody is called: a permit, there to stay
            return await connection.fetchval(
                "SELECT EXISTS (SELECT FROM run_engines WHERE run_id = $1) "
                "AND NOT EXISTS (SELECT FROM run_nodes WHERE run_id = $1 AND making_until IS NOT NULL)",
                run.id,
            )

    await until(ready)
    asked = {"iid": stage.owner.iid, "campaign_id": stage.campaign_id, "actor": "bench"}
    pid = found.asterisk.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.perf_counter()
        try:
            await stop(stage.database, found.engines, **asked)
        except StopNotProvenError:
            said = time.perf_counter() - began
        else:
            raise AssertionError("a stop was proven while its engine did not answer")
    finally:
        os.kill(pid, signal.SIGCONT)
    began = time.perf_counter()
    while True:
        try:
            await stop(stage.database, found.engines, **asked)
        except StopNotProvenError:
            await asyncio.sleep(0)
        else:
            return said, time.perf_counter() - began

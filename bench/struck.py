"""A stop while one of two dialers is killed or frozen in that moment, beside one with both alive; their engine answers.

Both dialers are processes of their own and share the calls. The one that has more of them is struck right before the
stop. The stop waits for one that is silent only where it alone may know something (``services/acknowledging.py``); the
engine's fence does the rest, and what the one that was struck had cancelled is booked by the stop. With nobody ringing
the blow falls right after the start, when both may be putting their permits.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from contextlib import AsyncExitStack
from dataclasses import replace

from bench.common import RINGING, Row, numbers, quantiles, start, until
from bench.place import Place, end, environment

from dialing import set_stage, with_rules  # isort: skip - found through bench.place

from outdial.core.model import CallingHours, RunContactState
from outdial.services import runs
from outdial.services.stop import stop

ROUNDS = int(os.environ.get("ROUNDS", "30"))
COUNTS = (0, 50, 200)

_BLOWS = {"left alone": None, "killed": signal.SIGKILL, "frozen": signal.SIGSTOP}


async def struck(found: Place) -> list[Row]:
    rows: list[Row] = []
    alive: dict[int, float] = {}
    for place_number, (blow, count) in enumerate((blow, count) for blow in _BLOWS for count in COUNTS):
        rules = with_rules(caller_id=f"+155501{place_number:02d}400", max_attempts=1, ring_seconds=60)
        if count == 0:
            rules = replace(rules, calling_hours=CallingHours(windows=(), zone="UTC"))
        stage = await set_stage(
            found.context.database,
            found.context.secrets,
            numbers(max(count, 10), RINGING, area=440 + place_number),
            rules=rules,
            name=f"{blow}-{count}",
            port=found.carrier_port,
            max_channels=max(count, 1),
            calls_per_second=400.0,
        )
        took: list[float] = []
        async with AsyncExitStack() as stack:
            dialers = [await _dialer(found, stack) for _ in range(2)]
            for _ in range(ROUNDS):
                await until(lambda dialers=dialers, stage=stage: _serving(stage, dialers))
                run = (await start(stage)).run

                async def ready(run_id=run.id, stage=stage, count=count) -> bool:
                    progress = await runs.progress(stage.database, run_id)
                    if count == 0:
                        return progress.contacts.get(RunContactState.WAITING, 0) == 10
                    return progress.live.get("ringing", 0) == count

                await until(ready)
                busiest = await _busiest(stage, run.id, dialers)
                signalled = _BLOWS[blow]
                if signalled is not None:
                    busiest.send_signal(signalled)
                try:
                    began = time.perf_counter()
                    await stop(
                        stage.database, found.engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="bench"
                    )
                    took.append(time.perf_counter() - began)
                finally:
                    if blow == "frozen":
                        busiest.send_signal(signal.SIGCONT)
                if blow == "killed":
                    await busiest.wait()
                    dialers[dialers.index(busiest)] = await _dialer(found, stack)
        p50, p99 = quantiles(took)
        alive.setdefault(count, p50)
        rows.append(
            (
                f"stop, {count} ringing, one of two dialers {blow} ({ROUNDS} stops)",
                f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms",
                f"{alive[count] * 1000:.0f} ms with both alive",
                f"{p50 / alive[count]:.1f}x",
                "p50 ≤ 200, p99 ≤ 500 ms",
            )
        )
    return rows


async def _dialer(found: Place, stack: AsyncExitStack) -> Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "outdial", "dialer", env=environment(found), stderr=DEVNULL
    )
    stack.push_async_callback(end, process)
    return process


async def _serving(stage, dialers: list[Process]) -> bool:
    """Whether both dial, and nobody else is taken for one that does: a killed one still has its lease."""
    async with stage.database.connection() as connection:
        pids = await connection.fetch(
            "SELECT pid, engine_up FROM nodes WHERE ended_at IS NULL AND lease_until > clock_timestamp()"
        )
        live = await connection.fetchval("SELECT count(*) FROM attempts WHERE ended_at IS NULL")
    up = sorted(row["pid"] for row in pids if row["engine_up"])
    return live == 0 and len(pids) == len(dialers) and up == sorted(process.pid for process in dialers)


async def _busiest(stage, run_id: int, dialers: list[Process]) -> Process:
    """The dialer with most calls of the run; without any, the first."""
    async with stage.database.connection() as connection:
        pid = await connection.fetchval(
            "SELECT n.pid FROM attempts a JOIN nodes n ON n.id = a.node_id WHERE a.run_id = $1 "
            "GROUP BY n.pid ORDER BY count(*) DESC LIMIT 1",
            run_id,
        )
    return next((process for process in dialers if process.pid == pid), dialers[0])

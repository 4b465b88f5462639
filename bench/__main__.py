"""`make bench`: what outdial costs and how fast it stops, each row beside its yardstick of the same sitting.

`python -m bench [row …]` takes only some of: stop struck unreachable cpu throughput memory claim api
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
import uuid
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import structlog

from bench.api import api
from bench.common import BUSY, RINGING, Row, numbers, own_node, quantiles, start, until
from bench.place import Place, end, environment, machine, place
from bench.struck import struck
from bench.unreachable import unreachable

from dialing import RULES, set_stage, with_rules  # isort: skip - found through bench.place
from engines import simulated  # isort: skip
from support.asterisk import connected_engine  # isort: skip
from telephony.conftest import TRUNK, listening  # isort: skip

from outdial import clock
from outdial.core.model import CallingHours, RunContactState
from outdial.dialer.claim import claim
from outdial.dialer.outcomes import Known, ended
from outdial.services import runs
from outdial.services.stop import stop
from outdial.store import attempts, nodes
from outdial.store import engines as engines_store
from outdial.store.nodes import NodeRow
from outdial.store.run_contacts import all_done
from outdial.telephony.engine import CallEnded, CallRinging, OriginateResult, TrunkAddress

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))

ROUNDS = 30


async def bare_cancel(found: Place, count: int) -> list[float]:
    """The yardstick of a stop: hang up as many ringing calls over the websocket, nothing else."""
    took = []
    async with (
        connected_engine(found.asterisk, f"bare-{uuid.uuid4().hex}") as engine,
        listening(engine, TrunkAddress("127.0.0.1", found.carrier_port)) as line,
    ):
        line.trunk = replace(TRUNK, port=found.carrier_port)
        await engine.put_permit(line.permit(seconds=600))
        for _ in range(5):
            calls = [line.call(number) for number in numbers(count, RINGING, area=301)]
            for call in calls:
                assert await engine.originate(call) is OriginateResult.ACCEPTED
            await until(lambda calls=calls: all(line.of(call.id, CallRinging) for call in calls))
            began = time.perf_counter()
            await asyncio.gather(*(engine.hang_up(call.id) for call in calls))
            took.append(time.perf_counter() - began)
            await until(lambda calls=calls: all(line.of(call.id, CallEnded) for call in calls))
    return took


async def stops(found: Place) -> list[Row]:
    rows: list[Row] = []
    for place_number, count in enumerate((0, 50, 200)):
        rules = with_rules(caller_id=f"+1555010{place_number}000", max_attempts=1, ring_seconds=60)
        if count == 0:
            rules = replace(rules, calling_hours=CallingHours(windows=(), zone="UTC"))
        stage = await set_stage(
            found.context.database,
            found.context.secrets,
            numbers(max(count, 10), RINGING, area=400 + place_number),
            rules=rules,
            name=f"stop-{count}",
            port=found.carrier_port,
            max_channels=max(count, 1),
            calls_per_second=400.0,
        )
        took = []
        async with AsyncExitStack() as stack:
            await own_node(found, stage, stack)
            for _ in range(ROUNDS):
                run = (await start(stage)).run

                async def ready(run_id=run.id, count=count) -> bool:
                    progress = await runs.progress(stage.database, run_id)
                    if count == 0:
                        return progress.contacts.get(RunContactState.WAITING, 0) == 10
                    return progress.live.get("ringing", 0) == count

                await until(ready)
                began = time.perf_counter()
                await stop(
                    stage.database, found.engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="bench"
                )
                took.append(time.perf_counter() - began)
        p50, p99 = quantiles(took)
        bare = statistics.median(await bare_cancel(found, count)) if count else 0.0
        yard = f"{bare * 1000:.0f} ms to cancel as many, alone" if count else "2 looks 20 ms apart are part of it"
        ratio = f"{p50 / bare:.1f}x" if count else ""
        rows.append(
            (
                f"stop, {count} ringing ({ROUNDS} stops)",
                f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms",
                yard,
                ratio,
                "≤ 60 ms" if count == 0 else "p50 ≤ 200, p99 ≤ 500 ms",
            )
        )
    return rows


async def cpu(found: Place) -> list[Row]:
    """CPU of this process per attempt, beyond a loop that places the same calls and does nothing else."""
    count = 1000
    stage = await set_stage(
        found.context.database,
        found.context.secrets,
        numbers(count, BUSY, area=500),
        rules=with_rules(caller_id="+15550105000", max_attempts=1),
        name="cpu",
        port=found.carrier_port,
        max_channels=50,
        calls_per_second=100.0,
    )
    bare = []
    async with (
        connected_engine(found.asterisk, f"bare-{uuid.uuid4().hex}") as engine,
        listening(engine, TrunkAddress("127.0.0.1", found.carrier_port)) as line,
    ):
        line.trunk = replace(TRUNK, port=found.carrier_port)
        await engine.put_permit(line.permit(seconds=600))
        for _ in range(3):
            began = time.process_time()
            for number in numbers(count, BUSY, area=302):
                call = line.call(number)
                placed = await engine.originate(call)
                assert placed is OriginateResult.ACCEPTED, (placed, number, await engine.permits())
            wanted = len(line.events)
            await asyncio.sleep(0.5)
            bare.append((time.process_time() - began) / count)
            assert len([event for event in line.events if isinstance(event, CallEnded)]) % count == 0, wanted
    ours = []
    async with AsyncExitStack() as stack:
        await own_node(found, stage, stack)
        for _ in range(3):
            idle = time.process_time()
            await asyncio.sleep(2)
            idle_per_second = (time.process_time() - idle) / 2
            began, began_at = time.process_time(), time.perf_counter()
            run = (await start(stage)).run

            async def over(run_id=run.id) -> bool:
                await asyncio.sleep(0.2)
                async with stage.database.connection() as connection:
                    return await all_done(connection, run_id)

            await until(over)
            seconds = time.perf_counter() - began_at
            ours.append((time.process_time() - began - idle_per_second * seconds) / count)
    mine, yard = statistics.median(ours) * 1000, statistics.median(bare) * 1000
    return [
        (
            f"our CPU per attempt ({count} busy numbers at 100/s)",
            f"{mine:.2f} ms",
            f"{yard:.2f} ms bare ARI loop",
            f"+{mine - yard:.2f} ms",
            "≤ +1.0 ms",
        )
    ]


async def throughput(found: Place) -> list[Row]:
    rows: list[Row] = []
    held: dict[int, float] = {}
    for count in (1, 2):
        stage = await set_stage(
            found.context.database,
            found.context.secrets,
            numbers(3000, BUSY, area=600 + count),
            rules=with_rules(caller_id=f"+1555010600{count}", max_attempts=1),
            name=f"throughput-{count}",
            port=found.carrier_port,
            max_channels=100,
            calls_per_second=1000.0,
        )
        nodes_running = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "outdial", "dialer", env=environment(found), stderr=asyncio.subprocess.DEVNULL
            )
            for _ in range(count)
        ]
        try:

            async def up(count=count) -> bool:
                async with stage.database.connection() as connection:
                    return (
                        await connection.fetchval(
                            "SELECT count(*) FROM nodes WHERE ended_at IS NULL AND engine_up "
                            "AND lease_until > clock_timestamp()"
                        )
                        == count
                    )

            await until(up)
            run = (await start(stage)).run

            async def over(run_id=run.id) -> bool:
                await asyncio.sleep(0.2)
                async with stage.database.connection() as connection:
                    return await all_done(connection, run_id)

            await until(over)
            async with stage.database.connection() as connection:
                held[count] = await connection.fetchval(
                    "SELECT count(*) / extract(epoch FROM max(ended_at) - min(reserved_at)) FROM attempts "
                    "WHERE run_id = $1 AND dialed_at IS NOT NULL",
                    run.id,
                )
        finally:
            for process in nodes_running:
                await end(process)
        rows.append(
            (
                f"attempts a second held, {count} node{'s' if count > 1 else ''}",
                f"{held[count]:.0f}/s",
                "everything (PostgreSQL, Asterisk, carrier) on the same cores"
                if count == 1
                else f"{held[1]:.0f}/s with one",
                "" if count == 1 else f"{held[2] / held[1]:.2f}x",
                "–",
            )
        )
    return rows


def resident(pid: int) -> float:
    """Megabytes of private memory in use."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError


async def memory(found: Place) -> list[Row]:
    live = 200
    stage = await set_stage(
        found.context.database,
        found.context.secrets,
        numbers(live, RINGING, area=700),
        rules=with_rules(caller_id="+15550107000", max_attempts=1, ring_seconds=60),
        name="memory",
        port=found.carrier_port,
        max_channels=live,
        calls_per_second=200.0,
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "outdial", "dialer", env=environment(found), stderr=asyncio.subprocess.DEVNULL
    )
    try:

        async def up() -> bool:
            async with stage.database.connection() as connection:
                return await nodes.ready(connection)

        await until(up)
        await asyncio.sleep(3)
        empty = resident(process.pid)
        run = (await start(stage)).run

        async def ringing() -> bool:
            return (await runs.progress(stage.database, run.id)).live.get("ringing", 0) == live

        await until(ringing)
        full = resident(process.pid)
        await stop(stage.database, found.engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="bench")
    finally:
        await end(process)
    return [
        ("dialer node, idle", f"{empty:.0f} MB", "resident memory of the process", "", "≤ 150 MB"),
        (
            f"memory per live call ({live} ringing)",
            f"{(full - empty) * 1024 / live:.0f} kB",
            f"{empty:.0f} MB → {full:.0f} MB",
            "",
            "≤ 20 kB",
        ),
    ]


async def claims(found: Place) -> list[Row]:
    """One claim of up to 16 contacts, whatever the size of the list."""
    rows: list[Row] = []
    first = 0.0
    for place_number, count in enumerate((1_000, 100_000, 1_000_000)):
        database = found.context.database
        rules = replace(RULES, caller_id=f"+1555010800{place_number}")
        stage = await set_stage(
            database,
            found.context.secrets,
            [],
            rules=rules,
            name=f"claim-{count}",
            max_channels=1000,
            calls_per_second=1000.0,
        )
        async with database.transaction() as connection:
            list_id = await connection.fetchval("SELECT id FROM contact_lists WHERE iid = $1", stage.owner.iid)
            await connection.execute(
                "INSERT INTO contacts (list_id, phone, dedupe_phone) SELECT $1, p, p FROM "
                "(SELECT '+1' || (2000000000 + n)::text AS p FROM generate_series(1, $2::int) n) x",
                list_id,
                count,
            )
        run = (await start(stage)).run
        while await runs.load_more(database, run):
            pass
        async with simulated(f"claims-{count}") as engine, database.connection() as connection:
            await engines_store.put(
                connection, stage.secrets, engine_id=engine.id, kind=engine.kind, url=None, username=None, password=None
            )
            node = NodeRow(uuid.uuid4().hex, "bench", "h", 1, uuid.uuid4().hex, engine.id)
            await nodes.register(connection, node, ttl_seconds=600)
        took = []
        for _ in range(60):
            began = time.perf_counter()
            got = await claim(database, run, stage.trunk, node.id, many=False, asked=set())
            if len(got.places) < 16:
                # the trunk's rate, which claims as fast as these use up
                await asyncio.sleep(0.05)
            else:
                took.append(time.perf_counter() - began)
            now = clock.now()
            async with database.connection() as connection:
                await attempts.book(
                    connection,
                    [
                        ended(
                            Known(attempt_id=each.attempt_id, number=1, rules=rules, by=node.id, answered_at=now),
                            at=now + timedelta(seconds=1),
                            cause=16,
                            sip_code=None,
                        )
                        for each in got.places
                    ],
                )
        median = statistics.median(took[5:])
        first = first or median
        rows.append(
            (
                f"claim of 16 contacts, list of {count:,}",
                f"{median * 1000:.1f} ms",
                f"{first * 1000:.1f} ms of 1,000",
                f"{median / first:.2f}x",
                "≤ 1.3x",
            )
        )
        await stop(database, found.engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="bench")
    return rows


async def requests(found: Place) -> list[Row]:
    return [row async for row in api(found.context, found.folder)]


ROWS = {
    "stop": stops,
    "struck": struck,
    "unreachable": unreachable,
    "cpu": cpu,
    "throughput": throughput,
    "memory": memory,
    "claim": claims,
    "api": requests,
}


async def main(wanted: list[str]) -> None:
    print(f"Measured {clock.now():%Y-%m-%d %H:%M} UTC on {machine()}\n", flush=True)
    print("| what | measured | yardstick | ratio | to reach |\n|---|---|---|---|---|", flush=True)
    async with place() as found:
        for name in wanted:
            for row in await ROWS[name](found):
                print("| " + " | ".join(row) + " |", flush=True)


asyncio.run(main(sys.argv[1:] or list(ROWS)))

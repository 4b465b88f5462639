"""`make bench-webhooks`: what an attempt costs with one webhook that is told of each, and with none.

`python -m bench.webhooks [attempts] [calls per second]`. One process dials, on the simulated engine, seals and
tells; the receiver is another. By processor time, so other work on the machine matters little. Rounds take turns.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from bench.common import numbers, until
from bench.import_contacts import cpu_of_server
from bench.place import TTL_SECONDS, end, machine

from dialing import dialing, set_stage, settings_for, with_rules  # isort: skip - found through bench.place
from engines import simulated  # isort: skip

from outdial.context import Context, open_context
from outdial.core.model import RunState
from outdial.services import evidence_keeper, runs, webhook_keeper, webhooks
from outdial.services.webhook_keeper import WebhookCounts
from outdial.services.webhook_post import WebhookPost
from outdial.store import runs as runs_store
from outdial.store.webhook_deliveries import troubles

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))

ROUNDS = 3
BUSY = "470"

RECEIVER = """
import asyncio

async def serve(reader, writer):
    try:
        while head := await reader.readuntil(b"\\r\\n\\r\\n"):
            length = head.lower().partition(b"content-length: ")[2].partition(b"\\r\\n")[0]
            await reader.readexactly(int(length))
            writer.write(b"HTTP/1.1 204 No Content\\r\\n\\r\\n")
    except asyncio.IncompleteReadError:
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


async def backend(context: Context) -> int:
    async with context.database.connection() as connection:
        return connection.get_server_pid()


async def measured(context: Context, stage, counts: WebhookCounts, *, attempts: int, told: bool) -> tuple[float, float]:
    """Milliseconds of processor time of one attempt: of this process, and of PostgreSQL."""
    sent = counts.delivered
    own, server = time.process_time(), cpu_of_server(await backend(context))
    run = (
        await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="bench"
        )
    ).run

    async def over() -> bool:
        await asyncio.sleep(0.5)
        async with context.database.connection() as connection:
            completed = (await runs_store.by_id(connection, run.id)).state is RunState.COMPLETED
        return completed and (not told or counts.delivered - sent >= attempts)

    await until(over, 600)
    took = time.process_time() - own, cpu_of_server(await backend(context)) - server
    return took[0] * 1000 / attempts, took[1] * 1000 / attempts


async def main(attempts: int, per_second: float) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="outdial-bench-")))
        context = await stack.enter_async_context(open_context(settings_for(folder / "data", ttl_seconds=TTL_SECONDS)))
        receiver = await asyncio.create_subprocess_exec(
            sys.executable, "-c", RECEIVER, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        stack.push_async_callback(end, receiver)
        assert receiver.stdout is not None
        url = f"http://127.0.0.1:{int(await receiver.stdout.readline())}/told"
        stage = await set_stage(
            context.database,
            context.secrets,
            numbers(attempts, BUSY, area=500),
            rules=with_rules(caller_id="+15550105000", max_attempts=1),
            max_channels=200,
            calls_per_second=per_second,
        )
        counts = WebhookCounts()
        sealing = asyncio.create_task(evidence_keeper.keep(context.database, context.secrets))
        telling = asyncio.create_task(
            webhook_keeper.keep(context.database, context.secrets, WebhookPost(["127.0.0.1"]), counts)
        )
        engine = await stack.enter_async_context(simulated(speed=20.0))
        await stack.enter_async_context(dialing(stage, engine, folder, ttl_seconds=TTL_SECONDS))
        where = {"account_id": stage.owner.account_id, "iid": None, "actor": "bench"}
        rows: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for told in (False, True) * ROUNDS:
            made = None
            if told:
                made = await webhooks.create_webhook(
                    context.database, context.secrets, url=url, events=["attempt.ended"], **where
                )
            rows[told].append(await measured(context, stage, counts, attempts=attempts, told=told))
            if made is not None:
                await webhooks.remove_webhook(context.database, made.webhook.id, **where)
        async with context.database.connection() as connection:
            assert (await troubles(connection))[0] == 0
        for task in (telling, sealing):
            task.cancel()
        await asyncio.gather(telling, sealing, return_exceptions=True)
    load = os.getloadavg()[0]
    print(f"On {machine()}, load {load:.1f}, {attempts} attempts at {per_second:g}/s, {ROUNDS} rounds of each")
    print("\n| an attempt, by processor time | our process | PostgreSQL |\n|---|---|---|")
    kinds = ((False, "no webhook"), (True, "one webhook, told of each"))
    medians = {told: [statistics.median(values) for values in zip(*rows[told], strict=True)] for told, _ in kinds}
    for told, name in kinds:
        print(f"| {name} | {medians[told][0]:.2f} ms | {medians[told][1]:.2f} ms |")
    more = [with_ - without for with_, without in zip(medians[True], medians[False], strict=True)]
    print(f"| more | {more[0]:+.2f} ms | {more[1]:+.2f} ms |")


if __name__ == "__main__":
    given = [float(word) for word in sys.argv[1:]]
    asyncio.run(main(int(given[0] if given else 1000), given[1] if len(given) > 1 else 100.0))

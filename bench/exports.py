"""`make bench-exports`: what the files of a large run cost the server in memory, however slowly they are fetched.

`python -m bench.exports [contacts] [attempts]`. The last line is for programs.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx

from bench.import_contacts import resident_peak, stat
from bench.place import end, machine
from dialing import settings_for
from outdial import clock
from outdial.context import Context, open_context
from outdial.listening import listen, url_of
from outdial.services.access import Credentials, create_application
from outdial.services.trunks import TrunkDraft, add_trunk
from outdial.tokens import sign
from runs import insert_run

SLOWLY = 2.0
"""Seconds in which a slow client reads nothing, after its first bytes."""

SLOW_CLIENTS = 10


async def filled(context: Context, contacts: int, attempts: int) -> tuple[Credentials, str]:
    """Make a run of so many contacts, the first of which have been called; return its owner and id on the wire."""
    owner = await create_application(context.database, context.secrets, account="Bench", name="bench")
    draft = TrunkDraft(name="t", host="127.0.0.1", caller_ids=("+15550100001",))
    trunk = await add_trunk(context.database, context.secrets, owner.iid, draft)
    async with context.database.transaction() as connection:
        run_id = await insert_run(connection, owner, trunk_id=trunk.id, state="paused")
        await connection.execute(
            """
            INSERT INTO contact_lists (id, iid, account_id, name, created_by, updated_by)
            VALUES ('cl-bench', $1, $2, 'bench', 'bench', 'bench')
            """,
            owner.iid,
            owner.account_id,
        )
        await connection.execute(
            """
            INSERT INTO contacts (list_id, phone, dedupe_phone, unique_id, attributes)
            SELECT 'cl-bench', p, p, n::text,
                   jsonb_build_object('firstName', 'Anna', 'lastName', 'Smith' || n, 'city', 'Springfield', 'amount',
                                      n % 1000, 'plan', 'gold', 'due', '2026-03-01')
              FROM (SELECT n, '+1' || (2120000000 + n) AS p FROM generate_series(1, $1) n) x
            """,
            contacts,
        )
        await connection.execute(
            """
            INSERT INTO run_contacts (run_id, contact_id, phone, dedupe_key, sort_key)
            SELECT $1, id, phone, phone, id FROM contacts
            """,
            run_id,
        )
        await connection.execute(
            """
            INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                  engine_id, node_id, epoch, number, state, disposition, reserved_at, dialed_at,
                                  ended_at, changed_by)
            SELECT md5(id::text), $1, 'cd-bench', $2, id, phone, '+15550100001', 't', 'e', 'n', 1, 1, 'ended', 'busy',
                   now() + id * interval '10 ms', now() + id * interval '10 ms', now() + id * interval '11 ms', 'bench'
              FROM contacts ORDER BY id LIMIT $3
            """,
            run_id,
            owner.account_id,
            attempts,
        )
        return owner, await connection.fetchval("SELECT instance_id FROM runs WHERE id = $1", run_id)


@asynccontextmanager
async def server(folder: Path) -> AsyncIterator[tuple[int, str]]:
    """Run `outdial serve` without a dialer; yield its process and address."""
    with listen("127.0.0.1", 0) as free:
        url = url_of(free)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OUTDIAL_")} | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OUTDIAL_DATA_DIR": str(folder / "data"),
        "OUTDIAL_HTTP_PORT": url.rpartition(":")[2],
        "OUTDIAL_LOG_LEVEL": "error",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "outdial", "serve", "--no-dialer"), env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        while b"outdial is ready" not in (line := await process.stderr.readline()):
            assert line, "the server did not begin"
        yield process.pid, url
    finally:
        await end(process)


async def fetched(url: str, token: str) -> tuple[int, int, float]:
    """Read a file as fast as it comes; return its lines, bytes and seconds."""
    began, lines, size = time.perf_counter(), 0, 0
    async with httpx.AsyncClient(timeout=60) as client, client.stream("GET", url, headers={"auth": token}) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for piece in answer.aiter_raw():
            lines += piece.count(b"\n")
            size += len(piece)
    return lines, size, time.perf_counter() - began


async def stalled(url: str, token: str, asking: asyncio.Lock) -> None:
    """Read a little of a file, nothing for some seconds, and then a little more."""
    async with AsyncExitStack() as stack:
        # one after the other: that many at once is another question
        async with asking:
            client = await stack.enter_async_context(httpx.AsyncClient(timeout=60))
            answer = await stack.enter_async_context(client.stream("GET", url, headers={"auth": token}))
            assert answer.status_code == 200, await answer.aread()
            pieces = answer.aiter_raw(1000)
            await anext(pieces)
        # nothing can be waited for: that nothing happens is what is measured
        await asyncio.sleep(SLOWLY)
        await anext(pieces)


def forget_peak(pid: int) -> None:
    """Let the kernel count the most memory of a process anew (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu(pid: int) -> float:
    return sum(map(int, stat(pid)[11:13])) / os.sysconf("SC_CLK_TCK")


async def measure(contacts: int, attempts: int, folder: Path) -> None:
    print(f"Measured on {machine()}, load {os.getloadavg()[0]:.1f}")
    print(f"by GET /api/outdial/runs/…/contacts.csv and attempts.csv of {contacts:,} contacts, {attempts:,} attempts\n")
    async with open_context(settings_for(folder / "data", ttl_seconds=2.0), migrate=True) as context:
        owner, instance_id = await filled(context, contacts, attempts)
        expires_at = clock.now() + timedelta(hours=1)
        token = sign(owner.client_id, owner.client_secret, expires_at=expires_at)
        async with server(folder) as (pid, url):
            files = {name: f"{url}/api/outdial/runs/{instance_id}/{name}.csv" for name in ("contacts", "attempts")}
            asking = asyncio.Lock()
            # what is loaded with the first request is no part of the others
            for file in files.values():
                await stalled(file, token, asking)
            forget_peak(pid)
            before = most = resident_peak(pid)
            print("| file | rows/s | server's CPU per row | size | peak memory | more than before |")
            print("|---|---|---|---|---|---|")
            for name, count in (("contacts", contacts), ("attempts", attempts)):
                used = cpu(pid)
                lines, size, seconds = await fetched(files[name], token)
                assert lines == count + 1, lines
                used, peak = cpu(pid) - used, resident_peak(pid)
                most = max(most, peak)
                cells = (f"{count / seconds:,.0f}", f"{used / count * 1e6:.1f} µs", f"{size / 1e6:.0f} MB")
                print(f"| {name}, fast | {' | '.join(cells)} | {peak:.0f} MB | {peak - before:+.0f} MB |", flush=True)
            forget_peak(pid)
            used = cpu(pid)
            await asyncio.gather(*(stalled(files[name], token, asking) for name in files for _ in range(SLOW_CLIENTS)))
            used, peak = cpu(pid) - used, resident_peak(pid)
            most = max(most, peak)
            what = f"both, {SLOW_CLIENTS} clients each that stop reading for {SLOWLY:.0f} s"
            print(f"| {what} | – | {used:.2f} s in all | – | {peak:.0f} MB | {peak - before:+.0f} MB |")
    print(f"\nbefore_mb={before:.0f} peak_mb={most:.0f}")


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    with tempfile.TemporaryDirectory(prefix="outdial-bench-") as temporary:
        asyncio.run(measure(*(given + [1_000_000, 500_000][len(given) :]), Path(temporary)))

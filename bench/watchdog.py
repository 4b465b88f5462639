"""`make bench-watchdog`: how many packets a second the watchdog reads, and how many INVITEs it judges.

`python -m bench.watchdog [packets] [attempts]`. By processor time of this process, so that other work on the machine
does not count; what PostgreSQL needs is in the wall time beside it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.place import machine
from dialing import settings_for
from hep_packets import invite, packet
from outdial.context import open_context
from outdial.core.ids import permit_name
from outdial.core.watch import Sighting, read_permission
from outdial.services.access import create_application
from outdial.services.trunks import TrunkDraft, add_trunk
from outdial.watchdog.counts import Counts
from outdial.watchdog.ear import Ear, listen
from outdial.watchdog.judging import Judge
from runs import insert_run

KEY = "sesame-sesame-sesame"
REST = (
    b"SIP/2.0 100 Trying\r\n",
    b"SIP/2.0 180 Ringing\r\n",
    b"SIP/2.0 200 OK\r\n",
    b"ACK ",
    b"BYE ",
    b"SIP/2.0 200 OK\r\n",
)
"""What a call's INVITE is followed by, about as long."""


def hear(count: int) -> None:
    """Read `count` packets, of calls of seven packets each."""
    heard: list[Sighting] = []
    socket = listen("127.0.0.1", 0)
    ear = Ear(socket, key=KEY, counts=Counts(), on_invite=heard.append)
    filler = b"x" * 600
    data = []
    for call in range(count // (len(REST) + 1)):
        data.append(packet(invite(call_id=f"c{call}") + filler[:300]))
        data += [packet(each + filler) for each in REST]
    used, began = time.process_time(), time.perf_counter()
    for each in data:
        ear.take(each)
    used, taken = time.process_time() - used, time.perf_counter() - began
    socket.close()
    assert len(heard) == count // (len(REST) + 1)
    print(
        f"| packets read, one in seven an INVITE | {len(data) / used:,.0f} | {used / len(data) * 1e6:.1f} µs |", end=""
    )
    print(f" {len(data) / taken:,.0f} |", flush=True)


async def judge(folder: Path, attempts: int) -> None:
    """Judge an INVITE of each of the attempts of one run, 50 of them a second."""
    async with open_context(settings_for(folder / "data", ttl_seconds=2.0), migrate=True) as context:
        owner = await create_application(context.database, context.secrets, account="Bench", name="bench")
        draft = TrunkDraft(name="t", host="127.0.0.1", caller_ids=("+15550100001",))
        trunk = await add_trunk(context.database, context.secrets, owner.iid, draft)
        async with context.database.transaction() as connection:
            run_id = await insert_run(connection, owner, trunk_id=trunk.id, state="active")
            rows = await connection.fetch(
                """
                INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                      engine_id, node_id, epoch, number, state, disposition, reserved_at, ended_at,
                                      changed_by)
                SELECT md5(n::text), $1, 'cd-bench', $2, n, '+1' || (2120000000 + n), '+15550100001', $3, 'e', 'n', 1,
                       1, 'ended', 'busy', at, at + interval '1 s', 'bench'
                  FROM (SELECT n, now() - interval '1 hour' + n * interval '20 ms' AS at
                          FROM generate_series(1, $4::bigint) n) x
                RETURNING phone, reserved_at
                """,
                run_id,
                owner.account_id,
                trunk.id,
                attempts,
            )
        permission = read_permission(permit_name(run_id, 1, "0" * 32))
        found: list[object] = []
        working = Judge(context.database, Counts(), tolerance=timedelta(), on_breach=lambda *said: found.append(said))
        for place, row in enumerate(rows):
            sent_at = row["reserved_at"].astimezone(UTC) + timedelta(milliseconds=5)
            working.take(
                Sighting(
                    f"c{place}", row["phone"], "+15550100001", permission, sent_at, "e", "127.0.0.1:1", "127.0.0.1:2"
                )
            )
        taken_in = working.waiting
        used, began = time.process_time(), time.perf_counter()
        task = asyncio.create_task(working.run())
        await working.until_idle()
        used, taken = time.process_time() - used, time.perf_counter() - began
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        # judged an hour late, so that a permit whose note is gone says nothing
        assert not found, found[0]
        what = f"INVITEs judged, a run of {attempts:,} attempts"
        print(f"| {what} | {taken_in / used:,.0f} | {used / taken_in * 1e6:.1f} µs | {taken_in / taken:,.0f} |")


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    packets, attempts = given + [140_000, 20_000][len(given) :]
    print(f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {machine()}, load {os.getloadavg()[0]:.1f}\n")
    print("| what | a second of our CPU | our CPU each | a second of the clock |\n|---|---|---|---|")
    hear(packets)
    with tempfile.TemporaryDirectory(prefix="outdial-bench-") as temporary:
        asyncio.run(judge(Path(temporary), attempts))

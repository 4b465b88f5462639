"""outdial as people run it, with a carrier of our own: processes, an API client, and eyes that are not outdial's."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import aiohttp

from dialing import Stage, set_stage, with_rules
from outdial.config import Settings
from outdial.context import open_context
from outdial.store.database import Database
from outdial.tokens import sign
from support.programs import Program, free_port
from support.sip_peer import SipPeer
from waiting import until

CONTACTS = 500
TTL_SECONDS = 2.0
MIX = ("001", "002", "003", "004", "005", "180", "180", "201", "486", "404", "401", "487")
"""Last digits: most answer, some ring for ever, cross the CANCEL, are busy, do not exist, ask for credentials …"""


def numbers(count: int) -> list[str]:
    return [f"+1555{place:04d}{MIX[place % len(MIX)]}" for place in range(count)]


@dataclass
class Site:
    """A server with its nodes, a carrier, and a client of the API."""

    stage: Stage
    database: Database
    carrier: SipPeer
    url: str
    http: aiohttp.ClientSession
    nodes: list[Program]

    async def post(self, trigger: str, body: dict | None = None) -> tuple[int, dict]:
        owner = self.stage.owner
        token = sign(owner.client_id, owner.client_secret, expires_at=datetime.now(UTC) + timedelta(hours=1))
        path = f"/campaign/api/v1/public/{owner.iid}/campaign/{self.stage.campaign_id}"
        async with self.http.post(
            f"{self.url}{path}?campaignType=voice&trigger={trigger}",
            json=body or {},
            headers={"auth": token, "iid": owner.iid, "accountId": owner.account_id},
        ) as response:
            return response.status, await response.json()

    async def fetch(self, statement: str, *arguments: object) -> list:
        async with self.database.connection() as connection:
            return await connection.fetch(statement, *arguments)

    async def run_id(self) -> int:
        return (await self.fetch("SELECT max(id) AS id FROM runs"))[0]["id"]

    def new_calls_since(self, ns: int) -> int:
        return len(self.carrier.new_calls_after(ns))


@contextlib.asynccontextmanager
async def site(folder: Path, *, dialers: int, contacts: int = CONTACTS) -> AsyncIterator[Site]:
    require = {"data_dir": folder, "permit_ttl_seconds": TTL_SECONDS, "rate_limit_per_minute": 0, "log_level": "info"}
    port = free_port()
    async with contextlib.AsyncExitStack() as stack:
        carrier = await SipPeer.start()
        stack.push_async_callback(carrier.close)
        server = stack.enter_context(Program("serve", http_port=port, node_name="node-1", **require))
        nodes = [server]
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
            url = f"http://127.0.0.1:{port}"

            async def ready() -> bool:
                assert server.running, server.stderr
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(f"{url}/ready") as response:
                        return response.status == 200
                return False

            await until(ready, seconds=90)
            async with open_context(Settings(_env_file=None, data_dir=folder)) as context:
                stage = await set_stage(
                    context.database,
                    context.secrets,
                    numbers(contacts),
                    rules=with_rules(max_attempts=2, retry_seconds=1, ring_seconds=20),
                    port=carrier.port,
                    max_channels=150,
                    calls_per_second=150.0,
                    seconds=0.5,
                    username="user",
                    password="secret",
                )
                made = Site(stage, context.database, carrier, url, http, nodes)
                nodes.extend(
                    stack.enter_context(Program("dialer", node_name=f"node-{place + 1}", **require))
                    for place in range(1, dialers)
                )

                async def all_ready() -> bool:
                    rows = await made.fetch(
                        "SELECT count(*) AS n FROM nodes WHERE ended_at IS NULL AND engine_up "
                        "AND lease_until > clock_timestamp()"
                    )
                    return rows[0]["n"] == dialers

                await until(all_ready, seconds=60)
                try:
                    yield made
                finally:
                    for node in reversed(nodes):
                        if node.running:
                            node.send(signal.SIGTERM)
                    for node in nodes:
                        await asyncio.to_thread(node.end, 40)


def overlaps(carrier: SipPeer) -> list[str]:
    """Numbers that had two calls at once, by what the carrier saw."""
    found = []
    for number in {call.number for call in carrier.calls.values()}:
        calls = sorted(carrier.of_number(number), key=lambda call: call.at)
        for before, after in pairwise(calls):
            if before.number.endswith("401") and not before.authorized:
                # refused with 401, and cancelled before it was asked again with credentials: it never rang
                continue
            if before.ended_at is None or before.ended_at > after.at:
                found.append(number)
    return found


async def check_conservation(found: Site, run_id: int, *, stopped: bool = True, unknown: int = 0) -> None:
    """Every contact is somewhere, once; every attempt has one disposition; nobody was tried too often; at most
    ``unknown`` attempts could not be told the outcome of."""

    async def ended() -> bool:
        return not await found.fetch(
            "SELECT FROM attempts WHERE run_id = $1 AND state NOT IN ('ended', 'unknown')", run_id
        )

    await until(ended, seconds=45)
    rows = await found.fetch(
        "SELECT state, done_reason, count(*) AS n FROM run_contacts WHERE run_id = $1 GROUP BY 1, 2", run_id
    )
    states = Counter()
    for row in rows:
        states[row["state"]] += row["n"]
    assert sum(states.values()) == CONTACTS
    assert set(states) <= ({"pending", "done"} if stopped else {"done"}), states
    wrong = await found.fetch(
        """
        SELECT c.contact_id
          FROM run_contacts c
          -- an attempt that was given back before anything was sent has no dialed_at and does not count
          LEFT JOIN attempts a ON a.run_id = c.run_id AND a.contact_id = c.contact_id
                              AND (a.dialed_at IS NOT NULL OR a.state = 'unknown')
         WHERE c.run_id = $1 GROUP BY c.contact_id, c.attempts_count
        HAVING count(a.id) <> c.attempts_count OR c.attempts_count > 2
        """,
        run_id,
    )
    assert not wrong
    assert not await found.fetch("SELECT FROM attempts WHERE run_id = $1 AND disposition IS NULL", run_id)
    lost = await found.fetch("SELECT id FROM attempts WHERE run_id = $1 AND state = 'unknown'", run_id)
    assert len(lost) <= unknown, len(lost)

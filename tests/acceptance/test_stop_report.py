"""The signed report of a stop over real Asterisk, held against what the carrier saw; and processes killed around it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from datetime import datetime
from pathlib import Path

import asyncpg
import pytest

from outdial.config import Settings
from outdial.core.canonical import read
from outdial.services.verification import verify
from support.asterisk import require_asterisk
from support.programs import COMMAND, Program, end_all_of, environment, free_port
from support.site import TTL_SECONDS, Site, site
from waiting import until

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def data(tmp_path):
    require_asterisk(Settings(_env_file=None))
    yield tmp_path / "data"
    end_all_of(tmp_path / "data")


async def begin(found: Site, *, calls: int = 60) -> None:
    status, answer = await found.post("play")
    assert status == 200, answer
    await found.carrier.until(lambda: len(found.carrier.calls) >= calls, 30)


async def stop(found: Site) -> None:
    status, answer = await found.post("stop")
    assert (status, answer.get("status")) == (200, "Stopped"), answer


async def signed(found: Site) -> bytes:
    """The report, once some process has signed it by itself."""
    kept: list = []

    async def there() -> bool:
        kept[:] = await found.fetch("SELECT document FROM signed_reports")
        return bool(kept)

    await until(there, seconds=60)
    return bytes(kept[0]["document"])


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1e9)


def check(found: Site, text: bytes) -> dict:
    """Valid, and true by the carrier's own eyes."""
    verdict = verify(text)
    assert verdict.findings == ()
    document = read(text)
    assert found.new_calls_since(ns(document["barrier"]["noCallAfter"])) == 0
    assert document["counts"]["calls"] > 0
    assert document["counts"]["contacts"]["total"] == 500
    return document


async def run_command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [*COMMAND, *words],
        env=environment(data_dir=folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_it_says_what_the_carrier_saw_also_when_a_dialer_had_just_died(data, tmp_path):
    async with site(data, dialers=2) as found:
        await begin(found)
        found.nodes[1].send(signal.SIGKILL)
        await stop(found)
        document = check(found, await signed(found))
        assert {node["name"] for node in document["nodes"]} == {"node-1", "node-2"}
        assert {node["outcome"] for node in document["nodes"]} <= {"acknowledged", "not_answering", "lease_expired"}
        assert all(engine["quiescedAt"] is not None for engine in document["engines"])
        (tmp_path / "key.pem").write_text((await run_command(data, "keys", "show", "--pem")).stdout)
        report = str(tmp_path / "stop.json")
        done = await run_command(data, "stop", "report", document["run"]["instanceId"], "--output", report)
        assert done.returncode == 0, done.stderr
        done = await run_command(tmp_path / "elsewhere", "verify-stop", report, "--key", str(tmp_path / "key.pem"))
        assert (done.returncode, done.stdout.split(":")[0]) == (0, "VALID"), done.stdout


async def test_a_stop_whose_server_was_killed_while_it_signed_is_signed_by_the_next(data):
    async with site(data, dialers=1) as found:
        await begin(found)
        blocker = await asyncpg.connect(found.database._dsn)
        try:
            # whoever signs waits here, with everything done but the last step
            transaction = blocker.transaction()
            await transaction.start()
            await blocker.execute("LOCK TABLE signed_reports IN EXCLUSIVE MODE")
            await stop(found)
            waiting = "SELECT FROM pg_locks WHERE relation = 'signed_reports'::regclass AND NOT granted"

            async def signing() -> bool:
                return bool(await found.fetch(waiting))

            await until(signing, seconds=60)
            found.nodes[0].send(signal.SIGKILL)
            await asyncio.to_thread(found.nodes[0].end, 10)
            await until(lambda: _gone(found, waiting), seconds=30)
            await transaction.rollback()
        finally:
            await blocker.close()
        assert await found.fetch("SELECT FROM signed_reports") == []
        found.nodes[0] = Program(
            "serve", http_port=free_port(), node_name="node-1", data_dir=data, permit_ttl_seconds=TTL_SECONDS
        )
        with found.nodes[0]:
            check(found, await signed(found))
            found.nodes[0].send(signal.SIGTERM)
            await asyncio.to_thread(found.nodes[0].end, 60)


async def _gone(found: Site, statement: str) -> bool:
    return not await found.fetch(statement)

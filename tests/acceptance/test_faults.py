"""Processes killed and frozen in the middle of a run: dialing halts, goes on by itself, nobody is called twice, and a
stop keeps its promise. Over real Asterisk, with a carrier that notes every INVITE."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from outdial.config import Settings
from support.asterisk import require_asterisk
from support.programs import end_all_of
from support.site import Site, check_conservation, overlaps, site
from waiting import until

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def data(tmp_path):
    require_asterisk(Settings(_env_file=None))
    yield tmp_path / "data"
    end_all_of(tmp_path / "data")


def pids(folder: Path, name: str) -> list[int]:
    """Processes of that program which name the folder, oldest first."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if name in Path(words[0].decode()).name and any(str(folder).encode() in word for word in words):
                    found.append(int(entry.name))
    return sorted(found)


def asterisk_pid(folder: Path) -> int:
    """The managed Asterisk's; its command line names the loader of its tree."""
    return json.loads((folder / "asterisk" / "state.json").read_text())["pid"]


async def begin(found: Site, *, calls: int = 60) -> int:
    status, answer = await found.post("play")
    assert status == 200, answer
    await found.carrier.until(lambda: len(found.carrier.calls) >= calls, 30)
    return await found.run_id()


async def stop(found: Site) -> int:
    """Stop; return the instant of the answer."""
    status, answer = await found.post("stop")
    assert (status, answer.get("status")) == (200, "Stopped"), answer
    return time.time_ns()


async def nothing_follows(found: Site, since_ns: int, *, seconds: float = 1.0) -> None:
    await asyncio.sleep(seconds)
    assert found.new_calls_since(since_ns) == 0


def most_calls_to_one_number(found: Site) -> int:
    return max(Counter(call.number for call in found.carrier.calls.values()).values())


async def test_postgres_killed_in_the_middle_of_a_run(data):
    async with site(data, dialers=1) as found:
        run_id = await begin(found)
        postmaster = pids(data, "postgres")[0]
        os.kill(postmaster, signal.SIGKILL)
        killed = len(found.carrier.calls)
        await found.carrier.until(lambda: len(found.carrier.calls) >= killed + 60, 60)
        since = await stop(found)
        await nothing_follows(found, since)
        await check_conservation(found, run_id, unknown=8)
        assert overlaps(found.carrier) == []
        # two attempts are allowed, a third call to anybody is not
        assert most_calls_to_one_number(found) <= 2


async def test_asterisk_killed_in_the_middle_of_a_run(data):
    async with site(data, dialers=1) as found:
        run_id = await begin(found)
        os.kill(asterisk_pid(data), signal.SIGKILL)
        killed = len(found.carrier.calls)
        await found.carrier.until(lambda: len(found.carrier.calls) >= killed + 60, 60)
        since = await stop(found)
        await nothing_follows(found, since)
        # what rang when it was killed has no outcome, and is not dialed again
        await check_conservation(found, run_id, unknown=150)
        assert most_calls_to_one_number(found) <= 2
        told = await found.fetch("SELECT phone FROM attempts WHERE run_id = $1 AND state = 'unknown'", run_id)
        for row in told:
            assert len(found.carrier.of_number(row["phone"])) <= 2


async def test_a_dialer_killed_in_the_middle_of_a_run(data):
    async with site(data, dialers=2) as found:
        run_id = await begin(found)
        found.nodes[1].send(signal.SIGKILL)
        await asyncio.to_thread(found.nodes[1].end, 10)
        killed = len(found.carrier.calls)
        await found.carrier.until(lambda: len(found.carrier.calls) >= killed + 60, 30)

        async def taken_over() -> bool:
            return bool(await found.fetch("SELECT FROM nodes WHERE adopted_by IS NOT NULL"))

        await until(taken_over, seconds=20)
        since = await stop(found)
        await nothing_follows(found, since)
        await check_conservation(found, run_id, unknown=16)
        assert overlaps(found.carrier) == []
        assert most_calls_to_one_number(found) <= 2


async def test_a_stop_right_after_a_dialer_was_killed_waits_for_nobody(data):
    async with site(data, dialers=2) as found:
        run_id = await begin(found)
        found.nodes[1].send(signal.SIGKILL)
        asked = time.monotonic()
        since = await stop(found)
        seconds = time.monotonic() - asked
        print(f"stop with a dead dialer: {seconds * 1000:.0f} ms")
        await nothing_follows(found, since, seconds=5)
        await check_conservation(found, run_id, unknown=16)


async def test_a_dialer_frozen_over_a_stop_places_nothing_when_it_wakes_up(data):
    async with site(data, dialers=2) as found:
        run_id = await begin(found)
        frozen = found.nodes[1]
        frozen.send(signal.SIGSTOP)
        await asyncio.sleep(0.05)
        asked = time.monotonic()
        since = await stop(found)
        seconds = time.monotonic() - asked
        print(f"stop with a frozen dialer: {seconds * 1000:.0f} ms")
        await asyncio.sleep(0.5)
        frozen.send(signal.SIGCONT)
        await nothing_follows(found, since, seconds=3)
        await check_conservation(found, run_id, unknown=16)


async def test_a_dialer_frozen_past_its_lease_begins_a_new_life(data):
    async with site(data, dialers=2) as found:
        run_id = await begin(found)
        frozen = found.nodes[1]
        frozen.send(signal.SIGSTOP)

        async def taken_over() -> bool:
            return bool(await found.fetch("SELECT FROM nodes WHERE adopted_by IS NOT NULL"))

        await until(taken_over, seconds=20)
        frozen.send(signal.SIGCONT)

        async def again() -> bool:
            rows = await found.fetch(
                "SELECT count(*) AS n FROM nodes WHERE ended_at IS NULL AND engine_up "
                "AND lease_until > clock_timestamp()"
            )
            return rows[0]["n"] == 2

        await until(again, seconds=20)
        since = await stop(found)
        await nothing_follows(found, since)
        await check_conservation(found, run_id, unknown=16)
        assert most_calls_to_one_number(found) <= 2


async def test_everything_killed_and_started_again_loses_nobody(data):
    async with site(data, dialers=1) as found:
        run_id = await begin(found)
        settings = {"data_dir": data, "permit_ttl_seconds": 2.0, "rate_limit_per_minute": 0}
        for pid in [asterisk_pid(data), *pids(data, "postgres")]:
            os.kill(pid, signal.SIGKILL)
        found.nodes[0].send(signal.SIGKILL)
        await asyncio.to_thread(found.nodes[0].end, 10)
        killed = len(found.carrier.calls)
        from support.programs import Program  # noqa: PLC0415 - only this test starts one itself

        with Program("dialer", node_name="second", **settings) as again:
            found.nodes.append(again)
            await found.carrier.until(lambda: len(found.carrier.calls) >= killed + 60, 90)
            assert most_calls_to_one_number(found) <= 2
            rows = await found.fetch("SELECT count(*) AS n FROM run_contacts WHERE run_id = $1", run_id)
            assert rows[0]["n"] == 500
            again.send(signal.SIGTERM)
            await asyncio.to_thread(again.end, 30)

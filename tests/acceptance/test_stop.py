"""The promise, from outside: over real Asterisk and real SIP, no call with a new Call-ID leaves after a stop's 200.

The server (and a second dialer node) are processes of their own; the carrier notes each INVITE with its kernel
timestamp; who is asked is the carrier's record and the database, none of outdial's code. Seed printed on failure.
"""

from __future__ import annotations

import asyncio
import os
import random
import time

import pytest

from outdial.config import Settings
from support.asterisk import require_asterisk
from support.programs import end_all_of
from support.site import TTL_SECONDS, check_conservation, overlaps, site

pytestmark = pytest.mark.timeout(420)

STOPS = 50


@pytest.fixture
def data(tmp_path):
    require_asterisk(Settings(_env_file=None))
    yield tmp_path / "data"
    end_all_of(tmp_path / "data")


@pytest.mark.parametrize("dialers", [1, 2])
async def test_no_new_call_after_fifty_stops(data, dialers):
    seed = int(os.environ.get("OUTDIAL_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"seed {seed}")
    dice = random.Random(seed)
    latencies = []
    async with site(data, dialers=dialers) as found:
        carrier = found.carrier
        for place in range(STOPS):
            before = len(carrier.calls)
            status, answer = await found.post("play")
            assert status == 200, answer
            run_id = await found.run_id()
            # at random: from nothing dialed yet to the thick of it
            wanted = before + dice.randrange(0, 120)
            await carrier.until(lambda wanted=wanted: len(carrier.calls) >= wanted, 20)
            await asyncio.sleep(dice.random() * 0.1)
            asked = time.monotonic()
            status, answer = await found.post("stop")
            latencies.append(time.monotonic() - asked)
            answered_ns = time.time_ns()
            assert (status, answer["status"]) == (200, "Stopped"), answer
            # the next start would hide a late call, so every stop gets a moment of its own
            await asyncio.sleep(0.15)
            late = found.new_calls_since(answered_ns)
            assert late == 0, f"stop {place}: {late} calls left after the answer, seed {seed}"
            await check_conservation(found, run_id)
        last_ns = time.time_ns()
        await asyncio.sleep(2 * TTL_SECONDS)
        assert found.new_calls_since(last_ns) == 0
        assert overlaps(carrier) == []
        assert len(carrier.calls) > STOPS * 20
        nodes = await found.fetch("SELECT node_id, count(*) AS n FROM attempts GROUP BY 1")
        assert len(nodes) == dialers
    latencies.sort()
    print(
        f"{STOPS} stops, {dialers} nodes, {len(carrier.calls)} calls; stop p50 {latencies[STOPS // 2] * 1000:.0f} ms, "
        f"max {latencies[-1] * 1000:.0f} ms"
    )

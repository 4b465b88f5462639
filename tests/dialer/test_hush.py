"""A node that cannot be reached by a stop places nothing and lets nothing ring: by the emergency file, or without a
database for longer than a lease."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from dialing import dialing, phones, set_stage, with_rules
from engines import TTL_SECONDS, simulated
from outdial.core.model import RunState
from outdial.dialer import outcomes
from outdial.dialer.calls import Calls
from outdial.services import emergency, runs
from outdial.services.emergency import EmergencySwitch
from outdial.store.database import Database
from support.door import Door
from waiting import until


@pytest.fixture
async def door(dsn):
    inner = await Database.open(dsn, pool_size=6, application_name="node")
    found = Door(inner, dsn)
    yield found
    found.shut = False
    await inner.close()


@pytest.fixture
async def stage(database, secret_box):
    """Half of the phones ring for ever, half answer and listen."""
    numbers = [*phones(20, last="80"), *phones(20, last="10", area=556)]
    return await set_stage(database, secret_box, numbers, rules=with_rules(max_attempts=2), seconds=60)


async def start(stage):
    return (
        await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
    ).run


async def ringing_and_talking(engine) -> tuple[int, int]:
    found = await engine.calls()
    talking = sum(call.state.value == "answered" for call in found)
    return len(found) - talking, talking


async def test_without_the_database_what_rings_is_cancelled_and_who_talks_goes_on(stage, door, engines, tmp_path):
    # slowly: the phones ring for half a minute
    async with (
        simulated(speed=1.0) as engine,
        dialing(stage, engine, tmp_path, database=door, engines=engines),
    ):
        await start(stage)

        async def all_there() -> bool:
            return await ringing_and_talking(engine) == (20, 20)

        await until(all_there)
        await door.slam()

        async def only_talk() -> bool:
            return await ringing_and_talking(engine) == (0, 20)

        await until(only_talk, seconds=4 * TTL_SECONDS + 2)
        assert len(engine.sent) == 40
        door.shut = False

        async def booked() -> bool:
            async with stage.database.connection() as connection:
                return await connection.fetchval("SELECT count(*) FROM attempts WHERE state = 'ended'") >= 20

        await until(booked)
        async with stage.database.connection() as connection:
            rows = await connection.fetch(
                """
                SELECT a.disposition, a.change_reason, c.state, c.attempts_count,
                       c.not_before - a.ended_at AS pause, h.reason
                  FROM attempts a JOIN run_contacts c USING (run_id, contact_id)
                  JOIN history h ON h.attempt_id = a.id AND h.to_state = 'ended'
                 WHERE a.phone LIKE '%80'
                """
            )
        assert len(rows) == 20
        for row in rows:
            # somebody's phone rang: it counts, and what is left of their attempts comes after the usual pause
            assert (row["disposition"], row["state"], row["attempts_count"]) == ("cancelled", "waiting", 1)
            assert row["pause"] > timedelta(seconds=50)
            assert row["change_reason"] == row["reason"] == outcomes.AWAY


async def test_the_file_works_without_the_database(stage, door, engines, tmp_path):
    switch = EmergencySwitch(tmp_path / "emergency-stop")
    async with (
        simulated(speed=1.0) as engine,
        dialing(stage, engine, tmp_path, database=door, engines=engines),
    ):
        await start(stage)
        await until(lambda: len(engine.sent) > 5)
        await door.slam()
        switch.pull("smoke")

        async def nothing_rings() -> bool:
            return (await ringing_and_talking(engine))[0] == 0

        await until(nothing_rings)
        sent = len(engine.sent)
        # the database comes back, the file is still there: still nothing
        door.shut = False
        over = asyncio.get_running_loop().time() + 3 * TTL_SECONDS
        await until(lambda: asyncio.get_running_loop().time() > over)
        assert len(engine.sent) == sent
        switch.path.unlink()
        await until(lambda: len(engine.sent) == 40)


async def test_the_file_stops_a_dialing_node_and_becomes_an_emergency(stage, engines, database, tmp_path):
    switch = EmergencySwitch(tmp_path / "emergency-stop")
    async with simulated(speed=1.0) as engine, dialing(stage, engine, tmp_path, engines=engines):
        keeping = asyncio.create_task(emergency.keep(database, engines, switch))
        run = await start(stage)
        await until(lambda: len(engine.sent) > 5)
        switch.pull("smoke")

        async def stopped() -> bool:
            return (await runs.progress(database, run.id)).run.state is RunState.STOPPED

        await until(stopped)
        sent = len(engine.sent)
        assert (await ringing_and_talking(engine))[0] == 0
        over = asyncio.get_running_loop().time() + 2 * TTL_SECONDS
        await until(lambda: asyncio.get_running_loop().time() > over)
        assert len(engine.sent) == sent
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def test_a_node_that_cannot_hush_does_not_dial_on(stage, engines, tmp_path, monkeypatch):
    """Whatever breaks the look for emergencies, it does not end without a word."""

    over: list[bool] = []

    def broken(_calls: Calls, _reason: str = "") -> None:
        raise RuntimeError("broken switch")

    monkeypatch.setattr(Calls, "hang_up_unanswered", broken)
    async with simulated(speed=1.0) as engine:
        with pytest.raises(RuntimeError, match="broken switch"):
            async with dialing(stage, engine, tmp_path, engines=engines) as node:
                await start(stage)
                await until(lambda: len(engine.sent) > 5)
                EmergencySwitch(tmp_path / "emergency-stop").pull("smoke")
                await until(node.done)
                over.append(True)
    assert over

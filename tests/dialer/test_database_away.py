"""The database lost in the middle of a run: dialing halts, what happened is kept, and it goes on by itself."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from dialing import dialing, phones, set_stage, with_rules
from engines import TTL_SECONDS, simulated
from outdial.core.model import RunContactState, RunState
from outdial.services import runs
from outdial.services.engines import Engines
from outdial.services.stop import stop
from outdial.store.database import Database
from support.door import Door
from waiting import until


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=TTL_SECONDS)
    yield opened
    await opened.close()


@pytest.fixture
async def door(dsn):
    inner = await Database.open(dsn, pool_size=6, application_name="node")
    found = Door(inner, dsn)
    yield found
    found.shut = False
    await inner.close()


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(120), rules=with_rules(max_attempts=1), calls_per_second=60.0)


async def start(stage):
    return (
        await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
    ).run


async def state_of(stage, run) -> RunState:
    return (await runs.progress(stage.database, run.id)).run.state


async def test_without_it_nothing_is_dialed_for_longer_than_a_lease(stage, door, engines, tmp_path):
    async with simulated() as engine, dialing(stage, engine, tmp_path, database=door, engines=engines):
        await start(stage)
        await until(lambda: len(engine.sent) > 10)
        await door.slam()
        await asyncio.sleep(TTL_SECONDS)
        sent = len(engine.sent)
        await asyncio.sleep(TTL_SECONDS)
        assert len(engine.sent) == sent < 120


async def test_it_goes_on_by_itself_and_nobody_is_called_twice(stage, door, engines, tmp_path):
    async with simulated() as engine, dialing(stage, engine, tmp_path, database=door, engines=engines) as node:
        run = await start(stage)
        for _ in range(3):
            sent = len(engine.sent)
            await until(lambda sent=sent: len(engine.sent) > sent + 10)
            await door.slam()
            await asyncio.sleep(0.3)
            door.shut = False

        async def completed() -> bool:
            return await state_of(stage, run) is RunState.COMPLETED

        await until(completed, seconds=40)
        assert not node.done()
        progress = await runs.progress(stage.database, run.id)
    assert progress.contacts == {RunContactState.DONE: 120}
    assert max(Counter(call.number for call in engine.sent).values()) == 1


async def test_what_ended_while_it_was_away_is_booked_when_it_is_back(stage, door, engines, tmp_path):
    async with simulated() as engine, dialing(stage, engine, tmp_path, database=door, engines=engines):
        run = await start(stage)
        await until(lambda: len(engine.sent) > 10)
        await door.slam()

        async def quiet() -> bool:
            return not await engine.calls()

        await until(quiet)
        sent = [call.call_id for call in engine.sent]
        door.shut = False

        async def booked() -> bool:
            async with stage.database.connection() as connection:
                rows = await connection.fetch(
                    "SELECT FROM attempts WHERE id = ANY ($1::text[]) AND state = 'ended' AND disposition = "
                    "'answered_human'",
                    sent,
                )
            return len(rows) == len(sent)

        await until(booked)
        assert await state_of(stage, run) in {RunState.ACTIVE, RunState.COMPLETED}


async def test_a_stop_by_another_process_holds_while_the_node_is_cut_off(stage, door, engines, tmp_path):
    async with simulated() as engine, dialing(stage, engine, tmp_path, database=door, engines=engines):
        run = await start(stage)
        await until(lambda: len(engine.sent) > 10)
        await door.slam()
        # this process still reaches the database and the engine
        stopped = await stop(stage.database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
        sent = len(engine.sent)
        assert stopped.run.state is RunState.STOPPED
        await asyncio.sleep(TTL_SECONDS)
        door.shut = False
        await asyncio.sleep(TTL_SECONDS)
        assert len(engine.sent) == sent
        assert await state_of(stage, run) is RunState.STOPPED

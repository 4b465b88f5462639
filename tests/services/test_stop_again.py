"""A stop that is asked for once more: answered as before, at once, and only where nothing can have happened since."""

from __future__ import annotations

import asyncio

import pytest

from dialing import phones, set_stage
from outdial.core.errors import NotFoundError
from outdial.core.model import RunState
from outdial.services import campaigns, runs
from outdial.services.engines import Engines
from outdial.services.stop import StopOptions, StoppedRun, StoppedSchedule, commit_stop, stop
from outdial.store import runs as runs_store
from outdial.store import stops as store
from scheduling import TTL, enable, fall_due, look, press_stop


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(3))


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=TTL)
    yield opened
    await opened.close()


async def start(stage):
    return await runs.start(
        stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
    )


async def settled(stage):
    async with stage.database.connection() as connection:
        return await store.settled(connection, stage.owner.iid, stage.campaign_id)


async def under_the_lock(stage):
    """What the stop finds that takes the run's lock."""
    async with stage.database.transaction() as connection:
        return await commit_stop(
            connection,
            stage.owner.iid,
            stage.campaign_id,
            actor="test",
            options=StopOptions(),
            keep_schedule=False,
        )


async def test_it_waits_for_nobody_and_answers_the_same(stage, engines):
    await start(stage)
    first = await press_stop(stage, engines)
    async with stage.database.transaction() as connection:
        # whoever would wait for it here waited for ever
        await runs_store.lock_run(connection, first.run.id)
        async with asyncio.timeout(20):
            again = await press_stop(stage, engines)
    assert isinstance(again, StoppedRun)
    assert again == first == await under_the_lock(stage)


async def test_it_answers_for_a_schedule_that_was_switched_off_later(stage, engines):
    await start(stage)
    run = (await press_stop(stage, engines)).run
    await enable(stage)
    first = await press_stop(stage, engines)
    assert isinstance(first, StoppedSchedule)
    assert await settled(stage) is not None
    assert first.run.id == run.id
    assert await press_stop(stage, engines) == first == await under_the_lock(stage)


async def test_a_schedule_in_force_is_switched_off_though_the_run_is_stopped(stage, engines):
    await start(stage)
    await press_stop(stage, engines)
    await enable(stage)
    assert await settled(stage) is None
    await press_stop(stage, engines)
    await fall_due(stage)
    await look(stage)
    async with stage.database.connection() as connection:
        latest = await runs_store.latest_run(connection, stage.campaign_id)
        assert not await connection.fetchval("SELECT enabled FROM schedules")
    assert latest.state is RunState.STOPPED


@pytest.mark.parametrize("state", ["active", "paused", "stopping", "completed"])
async def test_nothing_is_settled_while_a_run_is_anything_but_stopped(stage, engines, state):
    await start(stage)
    await press_stop(stage, engines)
    assert (await settled(stage)).run.state is RunState.STOPPED
    run = (await start(stage)).run
    if state != "active":
        async with stage.database.connection() as connection:
            assert await runs_store.move_run(
                connection,
                run.id,
                before=RunState.ACTIVE,
                epoch=run.epoch,
                after=RunState(state),
                actor="test",
                reason="test",
            )
    assert await settled(stage) is None


async def test_a_start_since_then_is_stopped(stage, engines):
    await start(stage)
    first = await press_stop(stage, engines)
    second = (await start(stage)).run
    stopped = await press_stop(stage, engines)
    assert stopped.run.id == second.id != first.run.id
    assert stopped.run.state is RunState.STOPPED


async def test_neither_another_applications_nor_a_deleted_campaign_is_answered_for(
    stage, engines, database, secret_box
):
    await start(stage)
    await press_stop(stage, engines)
    other = await set_stage(database, secret_box, phones(1), name="other", account="Other")
    with pytest.raises(NotFoundError):
        await stop(database, engines, iid=other.owner.iid, campaign_id=stage.campaign_id, actor="test")
    await campaigns.delete_campaign(database, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
    with pytest.raises(NotFoundError):
        await press_stop(stage, engines)

"""Call-backs over the simulated engine: kept at their time, dropped by a stop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dialing import dialing, phones, set_stage, with_rules
from outdial.core.ids import dialing_list_id
from outdial.core.model import RunState
from outdial.services import runs
from outdial.services.callbacks import CallbackWish, call_contacts_at
from outdial.services.stop import stop
from outdial.store import reserve
from waiting import until


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(6), rules=with_rules(max_attempts=1))


@pytest.fixture
async def run(stage):
    return (
        await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
    ).run


async def ask(stage, run, contact_ids, ahead) -> None:
    answers = await call_contacts_at(
        stage.database,
        iid=stage.owner.iid,
        instance_id=run.instance_id,
        wishes=[
            CallbackWish(dialing_list_id(run.instance_id, each), datetime.now(UTC) + timedelta(seconds=ahead))
            for each in contact_ids
        ],
        actor="agent",
    )
    assert [answer.refusal for answer in answers] == [None] * len(contact_ids)


async def contacts(stage, run, count) -> list[int]:
    async with stage.database.connection() as connection:
        return [one.contact_id for one in await reserve.candidates(connection, run, count)]


async def test_nobody_is_called_back_after_a_stop(stage, run, engine, engines, tmp_path):
    # asked for before anything dials
    await ask(stage, run, await contacts(stage, run, 2), 1.5)
    async with dialing(stage, engine, tmp_path, engines=engines):
        # the run lives as long as somebody waits
        await until(lambda: len(engine.sent) == 4)
        await stop(stage.database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="supervisor")
        promised = datetime.now(UTC) + timedelta(seconds=2)
        await until(lambda: datetime.now(UTC) > promised)
        assert len(engine.sent) == 4


async def test_they_are_dialed_when_their_time_has_come_and_the_run_completes(stage, run, engine, engines, tmp_path):
    waiting = await contacts(stage, run, 2)
    asked_at = datetime.now(UTC)
    await ask(stage, run, waiting, 1)

    async def completed() -> bool:
        return (await runs.progress(stage.database, run.id)).run.state is RunState.COMPLETED

    async with dialing(stage, engine, tmp_path, engines=engines):
        await until(completed)
    assert len(engine.sent) == 6
    async with stage.database.connection() as connection:
        rows = await connection.fetch("SELECT contact_id, dialed_at FROM attempts WHERE callback_at IS NOT NULL")
    assert {found["contact_id"] for found in rows} == set(waiting)
    assert all(found["dialed_at"] - asked_at >= timedelta(seconds=1) for found in rows)

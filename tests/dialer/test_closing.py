"""Closing time over the simulated engine: contacts wait, expire, or the run pauses by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dialing import dialing, phones, set_stage, with_rules
from outdial.core.model import AtClosing, CallingHours, CallingWindow, DoneReason, RunContactState, RunState
from outdial.dialer.closing import REASON, pause_at_closing
from outdial.services import runs
from waiting import until


def hours(policy: AtClosing) -> CallingHours:
    """Open each day for two hours, which have ended an hour ago."""
    opened, closed = (datetime.now(UTC) - timedelta(hours=ago) for ago in (3, 1))
    window = opened.time().replace(second=0, microsecond=0), closed.time().replace(second=0, microsecond=0)
    return CallingHours(tuple(CallingWindow(day, *window) for day in range(7)), "UTC", at_closing=policy)


async def closed_run(database, secret_box, policy: AtClosing, *, began_hours_ago: float):
    stage = await set_stage(database, secret_box, phones(5), rules=with_rules(calling_hours=hours(policy)))
    run = (await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")).run
    began = datetime.now(UTC) - timedelta(hours=began_hours_ago)
    async with database.connection() as connection:
        await connection.execute("UPDATE runs SET started_at = $2, updated_at = $2 WHERE id = $1", run.id, began)
    return stage, run


async def test_who_was_not_reached_by_closing_expires(database, secret_box, engine, engines, tmp_path):
    stage, run = await closed_run(database, secret_box, AtClosing.EXPIRE, began_hours_ago=2)
    async with dialing(stage, engine, tmp_path, engines=engines):

        async def completed() -> bool:
            return (await runs.progress(database, run.id)).run.state is RunState.COMPLETED

        await until(completed)
    found = await runs.progress(database, run.id)
    assert found.done == {DoneReason.EXPIRED: 5}
    assert not engine.sent


async def test_the_run_pauses_by_itself_and_says_why(database, secret_box, engine, engines, tmp_path):
    stage, run = await closed_run(database, secret_box, AtClosing.PAUSE, began_hours_ago=2)
    async with dialing(stage, engine, tmp_path, engines=engines):

        async def paused() -> bool:
            return (await runs.progress(database, run.id)).run.state is RunState.PAUSED

        await until(paused, seconds=30)
    found = await runs.progress(database, run.id)
    assert found.run.epoch == run.epoch + 1
    assert found.contacts == {RunContactState.WAITING: 5}
    assert not engine.sent
    async with database.connection() as connection:
        reasons = await connection.fetch("SELECT reason FROM history WHERE run_id = $1 AND action = 'run'", run.id)
    assert REASON in {row["reason"] for row in reasons}
    # a person resumes it, and it waits for the next opening: it has not closed since
    resumed = await runs.resume(database, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
    assert resumed.state is RunState.ACTIVE


@pytest.mark.parametrize(
    ("policy", "ago"), [(AtClosing.HOLD, 2), (AtClosing.PAUSE, 0.5), (AtClosing.EXPIRE, 0.5)], ids=str
)
async def test_a_run_that_began_after_closing_waits_and_so_does_one_that_holds(
    policy, ago, database, secret_box, engine, engines, tmp_path
):
    stage, run = await closed_run(database, secret_box, policy, began_hours_ago=ago)
    async with dialing(stage, engine, tmp_path, engines=engines):

        async def deferred() -> bool:
            return (await runs.progress(database, run.id)).contacts == {RunContactState.WAITING: 5}

        await until(deferred)
        present = (await runs.progress(database, run.id)).run
        assert not await pause_at_closing(database, present, node_id="n", ttl_seconds=1)
        assert (await runs.progress(database, run.id)).run.state is RunState.ACTIVE
    assert not engine.sent

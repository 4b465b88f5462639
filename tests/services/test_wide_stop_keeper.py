"""Wider stops whose process has died half way: others go on with them, and leave alone what somebody began since."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from datetime import timedelta

import pytest

from dialing import add_campaign, phones, set_stage, with_rules
from engines import TTL_SECONDS
from outdial.core.model import DoneReason, RunState
from outdial.core.wide_stop import StopScope, StopTarget
from outdial.services import dnc, runs, wide_stop_keeper, wide_stops
from outdial.services import stop as stops
from outdial.services.engines import Engines
from outdial.services.wide_stop_keeper import WideStopKeeper
from outdial.store import runs as runs_store
from outdial.store import schedules as schedules_store
from outdial.store import wide_stops as store
from runs import waits_for_a_lock
from scheduling import enable, fall_due
from scheduling import look as look_at_schedules
from waiting import until

pytestmark = pytest.mark.timeout(120)

KILLED = """
import asyncio, sys
from outdial.secretbox import SecretBox
from outdial.services import wide_stops
from outdial.services.engines import Engines
from outdial.store.database import Database

async def main():
    database = await Database.open(sys.argv[1], pool_size=8)
    engines = Engines(database, SecretBox("A" * 43 + "="), ttl_seconds=1.0)
    await wide_stops.stop_account(database, engines, account_id=sys.argv[2], actor="supervisor")

asyncio.run(main())
"""


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=TTL_SECONDS)
    yield opened
    await opened.close()


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(5, last="80"))


@pytest.fixture
def keeper(database, engines) -> WideStopKeeper:
    return WideStopKeeper(database, engines)


async def start(stage, campaign_id=None):
    asked = {"iid": stage.owner.iid, "campaign_id": campaign_id or stage.campaign_id, "actor": "test"}
    return (await runs.start(stage.database, stage.secrets, **asked)).run


async def another(stage, name: str, *, area: int) -> str:
    return await add_campaign(
        stage.database, stage.owner, phones(5, last="80", area=area), list_name=name, name=name, rules=with_rules()
    )


async def state(stage, run) -> RunState:
    return (await runs.progress(stage.database, run.id)).run.state


async def asked(stage, *, scope=StopScope.ACCOUNT, value=None, ago: float = 60.0, committed: bool = False) -> str:
    """Somebody has asked, so long ago, and the process died at once."""
    stop_id = wide_stops.new_id()
    target = StopTarget(scope, value, stage.owner.account_id)
    options = {"ringing": "cancel", "connected": "keep", "reason": "asked by phone"}
    async with stage.database.connection() as connection:
        await store.insert(connection, stop_id, target, actor="supervisor", options=options)
        await connection.execute(
            "UPDATE wide_stops SET requested_at = clock_timestamp() - $2::interval WHERE id = $1",
            stop_id,
            timedelta(seconds=ago),
        )
        if committed:
            await store.committed(connection, stop_id)
    return stop_id


async def finished(stage, keeper, stop_id):
    """Look until it is shown."""

    async def shown() -> bool:
        await keeper.look()
        return (await wide_stops.wide_stop(stage.database, stop_id)).stopped_at is not None

    await until(shown)
    return await wide_stops.wide_stop(stage.database, stop_id)


async def test_a_process_killed_between_two_commits(stage, engines, database, dsn):
    """One run is stopping, the next dials on: until another process, which runs anyway, has looked."""
    first = await start(stage)
    second = await start(stage, await another(stage, "other", area=556))
    async with database.transaction() as held:
        await runs_store.lock_run(held, second.id)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", KILLED, dsn, stage.owner.account_id, env=dict(os.environ), stderr=sys.stderr
        )
        try:

            async def half_way() -> bool:
                assert process.returncode is None
                # the server ends a transaction whose client is silent
                await held.execute("SELECT 1")
                return await state(stage, first) is not RunState.ACTIVE and await waits_for_a_lock(database)

            await until(half_way, seconds=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            await process.wait()
    assert await state(stage, second) is RunState.ACTIVE
    beside = [
        asyncio.create_task(wide_stop_keeper.keep(database, engines)),
        asyncio.create_task(stops.resume_stops(database, engines)),
    ]
    (found,) = (await wide_stops.list_wide_stops(database, account_id=stage.owner.account_id, skip=0, limit=10)).items

    async def shown() -> bool:
        return (await wide_stops.wide_stop(database, found.id)).stopped_at is not None

    await until(shown)
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
    report = await wide_stops.wide_stop(database, found.id)
    assert {run.instance_id for run in report.runs} == {first.instance_id, second.instance_id}
    assert all(run.report.requested_by == "supervisor" for run in report.runs)
    assert report.stopped_at == max(run.report.stopped_at for run in report.runs)
    assert await state(stage, second) is RunState.STOPPED


async def test_what_somebody_has_started_since_goes_on(stage, engines, keeper, database):
    stop_id = await asked(stage, ago=0.0)
    run = await start(stage)
    await asyncio.sleep(0)
    keeper._engines.ttl_seconds = 0.0
    report = await finished(stage, keeper, stop_id)
    assert report.runs == ()
    assert await state(stage, run) is RunState.ACTIVE


async def test_what_a_schedule_has_started_since_does_not(stage, engines, keeper, database):
    """Nobody was there to switch it off."""
    await enable(stage)
    stop_id = await asked(stage, ago=0.0)
    await fall_due(stage)
    await look_at_schedules(stage)
    async with database.connection() as connection:
        run = await runs_store.latest_run(connection, stage.campaign_id)
    assert run.state is RunState.ACTIVE
    keeper._engines.ttl_seconds = 0.0
    await keeper.look()
    assert await state(stage, run) is RunState.STOPPING
    async with database.connection() as connection:
        planned = await schedules_store.of_campaigns(connection, [stage.campaign_id])
    assert not planned[stage.campaign_id].enabled
    assert (await wide_stops.wide_stop(database, stop_id)).schedules_off == (stage.campaign_id,)


async def test_a_schedule_that_somebody_has_switched_on_since_stays(stage, engines, keeper, database):
    stop_id = await asked(stage, ago=0.0)
    await enable(stage)
    keeper._engines.ttl_seconds = 0.0
    assert (await finished(stage, keeper, stop_id)).schedules_off == ()
    async with database.connection() as connection:
        planned = await schedules_store.of_campaigns(connection, [stage.campaign_id])
    assert planned[stage.campaign_id].enabled


async def test_one_that_is_young_is_left_to_who_was_asked_and_an_old_one_to_nobody(stage, keeper, database):
    run = await start(stage)
    await asked(stage, ago=0.0)
    old = await asked(stage)
    async with database.connection() as connection:
        # from before it was kept what it was asked for with
        await connection.execute("UPDATE wide_stops SET options = NULL WHERE id = $1", old)
    await keeper.look()
    assert await state(stage, run) is RunState.ACTIVE


@pytest.mark.parametrize("listed", [False, True])
async def test_a_number_whose_stop_was_broken_off_is_listed_and_taken_out(stage, keeper, database, listed):
    run = await start(stage)
    (phone, *_) = phones(5, last="80")
    if listed:
        await dnc.add_numbers(database, account_id=stage.owner.account_id, phones=[phone], actor="supervisor")
    stop_id = await asked(stage, scope=StopScope.NUMBER, value=phone, committed=listed)
    report = await finished(stage, keeper, stop_id)
    assert report.number.contacts_removed == 1
    (entry,) = await dnc.list_numbers(database, account_id=stage.owner.account_id)
    assert (entry.phone, entry.added_by) == (phone, "supervisor")
    assert (await runs.progress(database, run.id)).done == {DoneReason.DNC: 1}


async def test_a_number_that_somebody_has_taken_off_again_is_left_alone(stage, keeper, database):
    run = await start(stage)
    (phone, *_) = phones(5, last="80")
    stop_id = await asked(stage, scope=StopScope.NUMBER, value=phone, committed=True)
    await keeper.look()
    assert await dnc.list_numbers(database, account_id=stage.owner.account_id) == []
    assert (await runs.progress(database, run.id)).done == {}
    assert (await wide_stops.wide_stop(database, stop_id)).stopped_at is None


async def test_one_that_cannot_be_gone_on_with_holds_up_no_other_and_is_told_once(stage, keeper, monkeypatch, capsys):
    bad, good = await asked(stage, ago=90.0), await asked(stage)
    go_on = wide_stops.go_on

    async def broken(database, engines, row):
        if row.id == bad:
            raise wide_stops.StopNotProvenError("not now")
        return await go_on(database, engines, row)

    monkeypatch.setattr(wide_stops, "go_on", broken)
    await finished(stage, keeper, good)
    await keeper.look()
    assert capsys.readouterr().out.count("wide_stop_not_proven_yet") == 1

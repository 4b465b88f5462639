"""The emergency stop: everything of everybody, until it is lifted; by hand, by file, over crashes."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from dialing import add_campaign, phones, set_stage
from outdial.core.errors import ConflictError, EmergencyStopError, InvalidInputError, NotFoundError
from outdial.core.model import RunState
from outdial.services import emergency, runs
from outdial.services.emergency import EmergencySwitch
from outdial.services.engines import Engines
from outdial.services.wide_stops import new_id
from outdial.store import emergencies as store
from outdial.store import run_contacts as run_contacts_store
from outdial.store import wide_stops as wide_stops_store
from runs import waits_for_a_lock
from scheduling import enable, fall_due, happened, look
from waiting import until


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=0.5)
    yield opened
    await opened.close()


@pytest.fixture
def switch(tmp_path) -> EmergencySwitch:
    return EmergencySwitch(tmp_path / "emergency-stop")


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(5))


async def start(stage, campaign_id=None):
    return (
        await runs.start(
            stage.database,
            stage.secrets,
            iid=stage.owner.iid,
            campaign_id=campaign_id or stage.campaign_id,
            actor="test",
        )
    ).run


async def declare(stage, engines, reason="wrong recording"):
    return await emergency.declare(stage.database, engines, reason=reason, actor="operator")


async def lift(stage, switch, reason="mended"):
    return await emergency.lift(stage.database, switch, reason=reason, actor="operator")


async def state(stage, run) -> RunState:
    return (await runs.progress(stage.database, run.id)).run.state


async def test_everything_of_everybody_stops_and_nothing_starts(stage, engines, switch, database, secret_box):
    other = await set_stage(database, secret_box, phones(5, area=556), account="Other")
    first, second = await start(stage), await start(other)
    declared = await declare(stage, engines)
    assert {run.instance_id for run in declared.stop.runs} == {first.instance_id, second.instance_id}
    assert await state(stage, first) is await state(other, second) is RunState.STOPPED
    assert declared.stop.stopped_at is not None
    with pytest.raises(EmergencyStopError, match="declared by operator: wrong recording"):
        await start(stage)
    found = await emergency.in_force(database)
    assert found == declared
    lifted = await lift(stage, switch)
    assert (lifted.lifted_by, lifted.lift_reason) == ("operator", "mended")
    assert await emergency.in_force(database) is None
    assert (await start(stage)).state is RunState.ACTIVE
    # what it stopped stays so
    assert await state(other, second) is RunState.STOPPED
    assert [each.id for each in await emergency.emergencies(database)] == [lifted.id]
    async with database.connection() as connection:
        told = await connection.fetch(
            "SELECT to_state, actor, reason FROM history WHERE action = 'emergency_stop' AND account_id = $1",
            other.owner.account_id,
        )
    assert [tuple(each) for each in told] == [
        ("declared", "operator", "wrong recording"),
        ("lifted", "operator", "mended"),
    ]


async def test_a_second_one_joins_the_first(stage, engines, switch):
    first = await declare(stage, engines)
    second = await declare(stage, engines, "another")
    assert (second.emergency, second.stop.id) == (first.emergency, first.stop.id)


async def test_paused_runs_stop_and_are_not_resumed(stage, engines, database):
    run = await start(stage)
    mine = {"iid": stage.owner.iid, "campaign_id": stage.campaign_id, "actor": "test"}
    await runs.pause(database, engines, **mine)
    async with database.transaction() as connection:
        # declared, and its process died at once
        await store.freeze(connection)
        stop_id = new_id()
        await wide_stops_store.insert(connection, stop_id, emergency._EVERYTHING, actor="operator")
        await store.declare(connection, stop_id, reason="", actor="operator")
    with pytest.raises(EmergencyStopError, match="no reason given"):
        await runs.resume(database, **mine)
    assert (await state(stage, run)) is RunState.PAUSED


async def test_the_database_refuses_whoever_forgets_to_ask(stage, engines, database):
    """Whatever path leads there: no run becomes active."""
    run = await start(stage)
    await declare(stage, engines)
    async with database.connection() as connection:
        with pytest.raises(asyncpg.PostgresError, match="emergency stop is in force"):
            await connection.execute("UPDATE runs SET state = 'active' WHERE id = $1", run.id)


async def test_a_start_under_way_is_seen_or_sees(stage, engines, database):
    """A declaration waits for a run that is being started, and stops it."""
    async with database.transaction() as starting:
        await store.hold(starting)
        declaring = asyncio.create_task(declare(stage, engines))
        await until(lambda: waits_for_a_lock(database))
        campaign_run = await _insert_run(starting, stage)
    declared = await declaring
    assert [run.instance_id for run in declared.stop.runs] == [campaign_run]


@pytest.mark.parametrize("lifted", [False, True])
async def test_a_long_start_holds_no_emergency_up(stage, engines, database, switch, monkeypatch, secret_box, lifted):
    """Somebody starts a campaign whose contacts take a while to read; everybody else's calls stop meanwhile."""
    other = await set_stage(database, secret_box, phones(5, area=556), account="Other")
    run = await start(other)
    reached, go_on = asyncio.Event(), asyncio.Event()
    load_lot = run_contacts_store.load_lot

    async def slow(*args, **more):
        reached.set()
        await go_on.wait()
        return await load_lot(*args, **more)

    monkeypatch.setattr(run_contacts_store, "load_lot", slow)
    starting = asyncio.create_task(start(stage))
    await reached.wait()
    declaring = asyncio.create_task(declare(stage, engines))

    async def declared_or_waits() -> bool:
        return declaring.done() or await waits_for_a_lock(database)

    await until(declared_or_waits)
    held_up = not declaring.done()
    if lifted and not held_up:
        await lift(stage, switch)
    go_on.set()
    begun = await asyncio.gather(starting, return_exceptions=True)
    await declaring
    assert await state(other, run) is RunState.STOPPED
    assert not held_up
    assert isinstance(begun[0], EmergencyStopError)


async def test_one_declared_between_the_look_and_the_run_is_told_as_one_seen(stage, engines, monkeypatch):
    """The database's own refusal, a start's last but one line, is the same error with the same words."""
    starting = store.starting

    async def declared_meanwhile(connection, account_id):
        await declare(stage, engines)
        await starting(connection, account_id)

    monkeypatch.setattr(store, "starting", declared_meanwhile)
    with pytest.raises(EmergencyStopError, match="declared by operator: wrong recording"):
        await start(stage)


async def _insert_run(connection, stage) -> str:
    return await connection.fetchval(
        """
        INSERT INTO runs (instance_id, campaign_id, account_id, iid, state, rules, trunk_id, dnc_list_ids, changed_by,
                          change_reason)
        SELECT 'cid-1', c.id, c.account_id, c.iid, 'active', c.rules, t.id, '{}', 't', 'start'
          FROM campaigns c JOIN trunks t ON t.iid = c.iid WHERE c.id = $1
        RETURNING instance_id
        """,
        stage.campaign_id,
    )


def test_a_file_that_cannot_be_looked_for_counts_as_off(tmp_path):
    assert not EmergencySwitch(tmp_path / ("a" * 300) / "emergency-stop").on


async def test_schedules_begin_nothing_and_stay(stage, engines, switch):
    await enable(stage)
    await declare(stage, engines)
    await fall_due(stage)
    await look(stage)
    (refused,) = await happened(stage)
    assert "An emergency stop is in force" in str(refused)
    await lift(stage, switch)
    await fall_due(stage)
    await look(stage)
    assert len(await happened(stage)) == 2
    assert "started" in str(await happened(stage))


async def test_lifting_needs_a_reason_an_emergency_and_no_file(stage, engines, switch):
    with pytest.raises(NotFoundError):
        await lift(stage, switch)
    await declare(stage, engines)
    for reason in ("", " ", "a\nb"):
        with pytest.raises(InvalidInputError):
            await lift(stage, switch, reason)
    switch.pull("now")
    with pytest.raises(ConflictError, match="remove the file"):
        await lift(stage, switch)
    switch.path.unlink()
    await lift(stage, switch)


class TestKeeping:
    @pytest.fixture
    async def kept(self, stage, engines, switch):
        task = asyncio.create_task(emergency.keep(stage.database, engines, switch))
        yield switch
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def test_the_file_declares_one(self, stage, kept, database):
        run = await start(stage)
        kept.pull("smoke in the room")

        async def stopped() -> bool:
            return await state(stage, run) is RunState.STOPPED

        await until(stopped)
        found = await emergency.in_force(database)
        assert found.emergency.declared_by == emergency.FILE_ACTOR
        assert str(kept.path) in found.emergency.reason
        # taking the file away lifts nothing
        kept.path.unlink()
        with pytest.raises(EmergencyStopError):
            await start(stage)
        await lift(stage, kept)
        assert (await start(stage)).state is RunState.ACTIVE

    async def test_what_is_lifted_this_moment_is_not_declared_again(self, stage, engines, switch, database):
        """The keeper has seen it in force and unfinished, and somebody lifts it."""
        await start(stage)
        async with database.transaction() as connection:
            stop_id = new_id()
            await wide_stops_store.insert(connection, stop_id, emergency._EVERYTHING, actor="operator")
            await store.declare(connection, stop_id, reason="dead", actor="operator")
        async with database.transaction() as starting:
            await store.hold(starting)
            looking = asyncio.create_task(emergency._look(database, engines, switch))

            async def has_looked() -> bool:
                return looking.done() or await waits_for_a_lock(database)

            await until(has_looked)
            await lift(stage, switch)
        await looking
        assert await emergency.in_force(database) is None
        assert len(await emergency.emergencies(database)) == 1

    async def test_what_a_process_that_died_declared_is_finished(self, stage, engines, switch, database):
        run = await start(stage)
        other = await start(
            stage, await add_campaign(database, stage.owner, phones(3, area=557), list_name="o", name="o")
        )
        async with database.transaction() as connection:
            await store.freeze(connection)
            stop_id = new_id()
            await wide_stops_store.insert(connection, stop_id, emergency._EVERYTHING, actor="operator")
            await store.declare(connection, stop_id, reason="dead", actor="operator")
        task = asyncio.create_task(emergency.keep(database, engines, switch))

        async def stopped() -> bool:
            return await state(stage, run) is await state(stage, other) is RunState.STOPPED

        await until(stopped)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        found = await emergency.in_force(database)
        assert {each.instance_id for each in found.stop.runs} == {run.instance_id, other.instance_id}

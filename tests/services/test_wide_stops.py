"""Stops of more than one campaign: who is reached and who is not, by the same barrier, with a record of each."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from dialing import CALLER_ID, add_campaign, dialing, phones, set_stage, with_rules
from engines import TTL_SECONDS, simulated
from outdial.core.errors import InvalidInputError, NotFoundError, StopNotProvenError
from outdial.core.model import ConnectedCalls, DncSource, DoneReason, EngineKind, RunContactState, RunState
from outdial.core.phone import mask
from outdial.core.wide_stop import StopScope
from outdial.services import campaigns, dnc, number_calls, runs, trunks, wide_stops
from outdial.services.engines import Engines
from outdial.services.stop import stop
from outdial.services.trunks import TrunkDraft
from outdial.store import engines as engines_store
from outdial.store import run_contacts as run_contacts_store
from outdial.store import runs as runs_store
from outdial.store import schedules as schedules_store
from outdial.store import wide_stops as store
from outdial.telephony.engine import CallState
from runs import waits_for_a_lock
from scheduling import enable
from waiting import until

OTHER_CALLER_ID = "+15550100888"


@pytest.fixture
async def engine():
    async with simulated() as opened:
        yield opened


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=TTL_SECONDS)
    yield opened
    await opened.close()


@pytest.fixture
async def stage(database, secret_box):
    """One campaign of ringing phones, and a second trunk with another caller ID."""
    made = await set_stage(database, secret_box, phones(40, last="80"), seconds=60)
    await trunks.add_trunk(
        database,
        secret_box,
        made.owner.iid,
        TrunkDraft(name="other", host="127.0.0.1", port=5060, caller_ids=(OTHER_CALLER_ID,), calls_per_second=200.0),
    )
    return made


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


async def another(stage, name: str, *, area: int, **rules) -> str:
    return await add_campaign(
        stage.database,
        stage.owner,
        phones(40, last="80", area=area),
        list_name=name,
        name=name,
        rules=with_rules(**rules),
    )


async def state(stage, run) -> RunState:
    return (await runs.progress(stage.database, run.id)).run.state


async def stop_account(stage, engines, **more):
    return await wide_stops.stop_account(
        stage.database, engines, account_id=stage.owner.account_id, actor="supervisor", **more
    )


class TestReach:
    async def test_a_caller_id(self, stage, engine, engines, tmp_path):
        other = await another(stage, "other", area=556, caller_id=OTHER_CALLER_ID)
        third = await another(stage, "third", area=557)
        async with dialing(stage, engine, tmp_path, engines=engines):
            first_run, other_run, third_run = (
                await start(stage),
                await start(stage, other),
                await start(stage, third),
            )
            await until(lambda: len(engine.sent) > 30)
            stopped = await wide_stops.stop_caller_id(
                stage.database,
                engines,
                account_id=stage.owner.account_id,
                iid=stage.owner.iid,
                caller_id=CALLER_ID,
                actor="supervisor",
            )
            assert {run.instance_id for run in stopped.runs} == {first_run.instance_id, third_run.instance_id}
            assert await state(stage, first_run) is await state(stage, third_run) is RunState.STOPPED
            assert await state(stage, other_run) is RunState.ACTIVE
        assert stopped.target.scope is StopScope.CALLER_ID
        assert stopped.stopped_at == max(run.report.stopped_at for run in stopped.runs)
        assert 0 < stopped.latency_seconds < 10
        assert all(run.state == "stopped" and run.report.requested_by == "supervisor" for run in stopped.runs)
        assert all(run["report"].keys().isdisjoint({"talking", "untold"}) for run in stopped.as_json()["runs"])

    async def test_a_contact_list(self, stage, engines, database):
        other = await another(stage, "other", area=556)
        run, other_run = await start(stage), await start(stage, other)
        async with database.connection() as connection:
            list_id = await connection.fetchval("SELECT id FROM contact_lists WHERE name = 'other'")
        stopped = await wide_stops.stop_contact_list(
            database,
            engines,
            account_id=stage.owner.account_id,
            iid=stage.owner.iid,
            list_id=list_id,
            actor="supervisor",
        )
        assert [each.instance_id for each in stopped.runs] == [other_run.instance_id]
        assert await state(stage, run) is RunState.ACTIVE

    async def test_an_account_and_no_other(self, stage, engines, database, secret_box):
        stranger = await set_stage(database, secret_box, phones(3, area=558), account="Stranger")
        run, strange = await start(stage), await start(stranger)
        paused = await start(stage, await another(stage, "paused", area=556))
        await runs.pause(database, engines, iid=stage.owner.iid, campaign_id=paused.campaign_id, actor="test")
        stopped = await stop_account(stage, engines)
        assert {each.instance_id for each in stopped.runs} == {run.instance_id, paused.instance_id}
        assert await state(stranger, strange) is RunState.ACTIVE
        again = await stop_account(stage, engines)
        assert (again.runs, again.number) == ((), None)
        assert again.stopped_at is not None

    async def test_schedules_are_switched_off_with_it(self, stage, engines, database):
        await enable(stage)
        other = await another(stage, "other", area=556, caller_id=OTHER_CALLER_ID)
        await enable(stage, campaign_id=other)
        stopped = await wide_stops.stop_caller_id(
            database,
            engines,
            account_id=stage.owner.account_id,
            iid=stage.owner.iid,
            caller_id=OTHER_CALLER_ID,
            actor="supervisor",
        )
        assert (stopped.runs, stopped.schedules_off) == ((), (other,))
        async with database.connection() as connection:
            planned = await schedules_store.of_campaigns(connection, [stage.campaign_id, other])
        assert (planned[stage.campaign_id].enabled, planned[other].enabled) == (True, False)
        assert planned[other].stopped_at is not None

    async def test_what_cannot_be_meant(self, stage, engines, database, secret_box):
        mine = {"account_id": stage.owner.account_id, "iid": stage.owner.iid, "actor": "t"}
        with pytest.raises(InvalidInputError):
            await wide_stops.stop_caller_id(database, engines, caller_id="nobody", **mine)
        stranger = await set_stage(database, secret_box, phones(1, area=558), account="Stranger")
        async with database.connection() as connection:
            strange = await connection.fetchval("SELECT id FROM contact_lists WHERE iid = $1", stranger.owner.iid)
        for list_id in ("cl-nobody", "\x00", strange):
            with pytest.raises(NotFoundError):
                await wide_stops.stop_contact_list(database, engines, list_id=list_id, **mine)
        with pytest.raises(InvalidInputError):
            await wide_stops.stop_number(database, engines, account_id=stage.owner.account_id, phone="12", actor="t")
        with pytest.raises(NotFoundError):
            await wide_stops.stop_number(database, engines, account_id="0" * 24, phone="+15550100001", actor="t")


class TestProof:
    async def test_no_call_leaves_afterwards_and_everybody_is_somewhere(self, stage, engine, engines, tmp_path):
        others = [await another(stage, f"c{number}", area=560 + number) for number in range(5)]
        async with dialing(stage, engine, tmp_path, engines=engines):
            started = [await start(stage), *[await start(stage, each) for each in others]]
            await until(lambda: len(engine.sent) > 30)
            stopped = await stop_account(stage, engines)
            sent = len(engine.sent)
            assert len(stopped.runs) == 6
            over = asyncio.get_running_loop().time() + 2 * TTL_SECONDS
            await until(lambda: asyncio.get_running_loop().time() > over)
            assert len(engine.sent) == sent
        for run in started:
            progress = await runs.progress(stage.database, run.id)
            assert progress.run.state is RunState.STOPPED
            assert sum(progress.contacts.values()) == 40

    async def test_conversations_are_ended_when_asked_to(self, stage, engine, engines, tmp_path, database):
        talking = await add_campaign(
            database, stage.owner, phones(5, last="10", area=559), list_name="talk", name="talk", rules=with_rules()
        )
        async with dialing(stage, engine, tmp_path, engines=engines):
            run = await start(stage, talking)

            async def all_talk() -> bool:
                return (await runs.progress(database, run.id)).answered == 5

            await until(all_talk)
            stopped = await stop_account(
                stage, engines, options=wide_stops.StopOptions(connected=ConnectedCalls.HANG_UP)
            )
            assert await engine.calls(run.id) == []
        assert all(one.report.connected_count == 0 for one in stopped.runs)

    async def test_one_engine_that_does_not_answer_is_said_and_the_others_stop(
        self, stage, engines, database, secret_box, tmp_path
    ):
        """A permit was put at an Asterisk that is not there any more."""
        other = await another(stage, "other", area=556)
        run = await start(stage)
        async with database.connection() as connection:
            await engines_store.put(
                connection,
                secret_box,
                engine_id="gone",
                kind=EngineKind.ASTERISK,
                url="http://127.0.0.1:9",
                username="outdial",
                password="x",
            )
            await connection.execute(
                """
                INSERT INTO nodes (id, name, host, pid, stasis_app, engine_id, lease_until)
                VALUES ('frozen', 'frozen', 'h', 1, 'frozen', 'gone', now() + interval '1 hour')
                """
            )
            await connection.execute(
                """
                INSERT INTO run_engines (run_id, engine_id, node_id, epoch, key, host, port)
                VALUES ($1, 'gone', 'frozen', 1, repeat('a', 32), '127.0.0.1', 5060)
                """,
                run.id,
            )
        other_run = await start(stage, other)
        with pytest.raises(StopNotProvenError, match="1 of 2 runs are stopped"):
            await stop_account(stage, engines)
        assert await state(stage, other_run) is RunState.STOPPED
        assert await state(stage, run) is RunState.STOPPING
        (found,) = (
            await wide_stops.list_wide_stops(database, account_id=stage.owner.account_id, skip=0, limit=10)
        ).items
        assert found.stopped_at is None
        assert {each.state for each in found.runs} == {"stopped", "stopping"}

    async def test_a_run_that_was_being_started_is_stopped_with_the_others(self, stage, engines, monkeypatch):
        """Whoever has pressed start before somebody else pressed stop must not dial after the stop's answer."""
        reached, go_on = asyncio.Event(), asyncio.Event()
        load_lot = run_contacts_store.load_lot

        async def slow(*args, **more):
            reached.set()
            await go_on.wait()
            return await load_lot(*args, **more)

        monkeypatch.setattr(run_contacts_store, "load_lot", slow)
        starting = asyncio.create_task(start(stage))
        await reached.wait()
        pressed = asyncio.create_task(stop_account(stage, engines))

        async def waits_or_is_over() -> bool:
            return pressed.done() or await waits_for_a_lock(stage.database)

        await until(waits_or_is_over)
        go_on.set()
        run = await starting
        stopped = await pressed
        assert [each.instance_id for each in stopped.runs] == [run.instance_id]
        assert await state(stage, run) is RunState.STOPPED

    async def test_a_campaign_deleted_meanwhile_does_not_keep_the_others_from_being_stopped(
        self, stage, engines, database, monkeypatch
    ):
        monkeypatch.setattr(wide_stops, "AT_ONCE", 1)
        started = [await start(stage), await start(stage, await another(stage, "other", area=556))]
        # they are committed in this order
        first, second = sorted(started, key=lambda run: run.campaign_id)
        async with database.transaction() as held:
            await runs_store.lock_run(held, first.id)
            pressed = asyncio.create_task(stop_account(stage, engines))
            await until(lambda: waits_for_a_lock(database))
            await stop(database, engines, iid=stage.owner.iid, campaign_id=second.campaign_id, actor="test")
            await campaigns.delete_campaign(database, iid=stage.owner.iid, campaign_id=second.campaign_id, actor="test")
        stopped = await pressed
        assert [each.instance_id for each in stopped.runs] == [first.instance_id]
        assert stopped.stopped_at is not None

    async def test_what_was_not_committed_everywhere_is_not_called_stopped(self, stage, engines, database):
        """Its process dies between two commits: one run is stopped by others, the next dials on."""
        first = await start(stage)
        second = await start(stage, await another(stage, "other", area=556))
        async with database.transaction() as held:
            await runs_store.lock_run(held, second.id)
            pressed = asyncio.create_task(stop_account(stage, engines))

            async def committed() -> bool:
                return await state(stage, first) is RunState.STOPPING

            await until(committed)
            pressed.cancel()
            await asyncio.gather(pressed, return_exceptions=True)
        await stop(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="outdial")
        assert await state(stage, second) is RunState.ACTIVE
        (found,) = (
            await wide_stops.list_wide_stops(database, account_id=stage.owner.account_id, skip=0, limit=10)
        ).items
        assert [each.state for each in found.runs] == ["stopped"]
        assert found.stopped_at is None


class TestNumbers:
    async def press(self, stage, engines, phone, **more):
        return await wide_stops.stop_number(
            stage.database, engines, account_id=stage.owner.account_id, phone=phone, actor="supervisor", **more
        )

    async def test_a_ringing_call_is_cancelled_and_nobody_calls_again(self, stage, engines, tmp_path):
        # in the time of people: a busy machine may take longer than a phone rings at the usual speed
        async with simulated(speed=1.0) as engine, dialing(stage, engine, tmp_path, engines=engines):
            run = await start(stage)
            await until(lambda: len(engine.sent) == 40)
            phone = phones(40, last="80")[7]
            stopped = await self.press(stage, engines, phone)
            assert (stopped.number.cancelled, stopped.number.hung_up, stopped.number.connected) == (1, 0, 0)
            live = await engine.calls(run.id)
            assert len(live) == 39
            async with stage.database.connection() as connection:
                found = await connection.fetchrow(
                    "SELECT a.state, a.disposition FROM attempts a WHERE a.phone = $1", phone
                )
            assert tuple(found) == ("ended", "cancelled")
        assert await dnc.list_numbers(stage.database, account_id=stage.owner.account_id)

    async def test_a_call_that_is_slow_to_leave_lets_no_other_ring_on(
        self, database, secret_box, engines, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(dnc, "SETTLE_SECONDS", 0.1)
        monkeypatch.setattr(number_calls, "NUMBER_SECONDS", 1.0)
        rings, slow = phones(2, last="80")
        stage = await set_stage(database, secret_box, [rings, slow], seconds=60)
        leaves = asyncio.Event()

        async def states():
            async with database.connection() as connection:
                rows = await connection.fetch("SELECT phone, state, disposition FROM attempts")
            return {phone: (state, disposition) for phone, state, disposition in rows}

        async def is_reserved() -> bool:
            return await states() == {rings: ("ringing", None), slow: ("reserved", None)}

        # slow enough that nobody has let it ring for long when it is cancelled
        async with simulated(speed=1.0) as engine, dialing(stage, engine, tmp_path, engines=engines):
            originate = engine.originate

            async def slowly(call):
                if call.number == slow:
                    await leaves.wait()
                return await originate(call)

            monkeypatch.setattr(engine, "originate", slowly)
            await start(stage)
            await until(is_reserved)
            with pytest.raises(StopNotProvenError) as told:
                await self.press(stage, engines, rings, others=[slow], source=DncSource.KEY)
            assert (await states())[rings] == ("ended", "cancelled")
            # which one it is nobody knew at first; then it was the one that is slow
            first, second = told.value.message.removesuffix(" Ask again.").split(" yet. ")
            assert first.startswith(f"{mask(rings)}, {mask(slow)} are on the do-not-call list")
            assert "a call to one of the numbers that was being placed" in first
            assert second.startswith(f"{mask(slow)} is on the do-not-call list")
            assert mask(rings) not in second
            found = await wide_stops.list_wide_stops(database, account_id=stage.owner.account_id, skip=0, limit=10)
            assert {each.target.value: each.stopped_at is None for each in found.items} == {rings: False, slow: True}
            leaves.set()
            await self.press(stage, engines, rings, others=[slow], source=DncSource.KEY)
        assert {state for state, _ in (await states()).values()} == {"ended"}

    async def test_it_is_taken_out_of_everything_pending(self, stage, engines, database):
        numbers = phones(40, last="80")
        again = await add_campaign(database, stage.owner, numbers[:3], list_name="again", name="again")
        run, other = await start(stage), await start(stage, again)
        stopped = await self.press(stage, engines, numbers[0])
        assert stopped.number.contacts_removed == 2
        for each, total in ((run, 40), (other, 3)):
            progress = await runs.progress(database, each.id)
            assert progress.done == {DoneReason.DNC: 1}
            assert progress.contacts == {RunContactState.DONE: 1, RunContactState.PENDING: total - 1}
        assert (await self.press(stage, engines, numbers[0])).number.contacts_removed == 0

    @pytest.mark.parametrize("connected", list(ConnectedCalls))
    async def test_conversations(self, stage, engine, engines, tmp_path, database, connected):
        phone = phones(1, last="10", area=559)[0]
        talking = await add_campaign(database, stage.owner, [phone], list_name="talk", name="talk", rules=with_rules())
        async with dialing(stage, engine, tmp_path, engines=engines):
            run = await start(stage, talking)

            async def talks() -> bool:
                return (await runs.progress(database, run.id)).answered == 1

            await until(talks)
            number = (await self.press(stage, engines, phone, connected=connected)).number
        if connected is ConnectedCalls.KEEP:
            assert (number.hung_up, number.connected) == (0, 1)
        else:
            assert (number.hung_up, number.connected) == (1, 0)

    async def test_a_conversation_that_nobody_has_booked_yet_is_not_cut(
        self, stage, engine, engines, tmp_path, database, monkeypatch
    ):
        """The database says that it rings; the engine knows better."""
        phone = phones(1, last="10", area=559)[0]
        talking = await add_campaign(database, stage.owner, [phone], list_name="talk", name="talk", rules=with_rules())
        async with dialing(stage, engine, tmp_path, engines=engines):
            run = await start(stage, talking)

            async def talks() -> bool:
                return (await runs.progress(database, run.id)).answered == 1

            await until(talks)
            calls_to = store.calls_to

            async def behind(*args, **more):
                return [replace(call, state="ringing") for call in await calls_to(*args, **more)]

            monkeypatch.setattr(store, "calls_to", behind)
            number = (await self.press(stage, engines, phone)).number
            assert (number.cancelled, number.hung_up, number.connected) == (0, 0, 1)
            assert [call.state for call in await engine.calls(run.id)] == [CallState.ANSWERED]

    async def test_an_engine_that_cannot_be_asked_is_no_proof(
        self, stage, engine, engines, tmp_path, database, secret_box, monkeypatch
    ):
        monkeypatch.setattr(number_calls, "NUMBER_SECONDS", 0.1)
        elsewhere = Engines(database, secret_box, ttl_seconds=0.1)
        async with dialing(stage, engine, tmp_path, engines=engines):
            await start(stage)
            await until(lambda: len(engine.sent) == 40)
            phone = phones(40, last="80")[3]
            with pytest.raises(StopNotProvenError, match="will not be called again"):
                # another process, which does not reach the engine inside the node's
                await self.press(stage, elsewhere, phone)
            assert (await self.press(stage, engines, phone)).number.cancelled == 1
        await elsewhere.close()


async def test_the_record_is_the_account_s_own(stage, engines, database, secret_box):
    stopped = await stop_account(stage, engines)
    stranger = await set_stage(database, secret_box, phones(1, area=558), account="Stranger")
    assert await wide_stops.wide_stop(database, stopped.id, account_id=stage.owner.account_id) == stopped
    for stop_id, account_id in ((stopped.id, stranger.owner.account_id), ("sp-nobody", None), ("\x00", None)):
        with pytest.raises(NotFoundError):
            await wide_stops.wide_stop(database, stop_id, account_id=account_id)
    listed = await wide_stops.list_wide_stops(database, account_id=stage.owner.account_id, skip=0, limit=10)
    assert listed.items == (stopped,)
    async with database.connection() as connection:
        (told,) = await connection.fetch("SELECT * FROM history WHERE action = 'wide_stop'")
    assert (told["actor"], told["account_id"], told["detail"]["scope"]) == (
        "supervisor",
        stage.owner.account_id,
        "account",
    )

"""The node's database session lost at the worst instants: locks end with it, requests do not, answers are not heard."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest

from dialing import CALLER_ID, dialing, phones, set_stage, with_rules
from engines import TTL_SECONDS
from outdial.core.errors import DatabaseUnavailableError
from outdial.core.model import EngineKind, RunState
from outdial.dialer import claim as claim_module
from outdial.dialer.chores import Chores
from outdial.services import runs
from outdial.services.engines import Engines
from outdial.services.stop import stop
from outdial.store import reserve as reserve_store
from outdial.store.database import Database
from outdial.telephony.engine import OriginateResult, OutgoingCall, Permit
from outdial.telephony.simulated import SimulatedEngine
from waiting import until


async def start(stage):
    return (
        await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
    ).run


class SlowEngine(SimulatedEngine):
    """An engine reachable from anywhere whose permits take their time, once asked to."""

    kind = EngineKind.ASTERISK

    def __init__(self) -> None:
        super().__init__(engine_id="slow", seed=1, speed=20.0)
        self.slow = False
        self.asked, self.go_on, self.put = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def put_permit(self, permit: Permit) -> None:
        if self.slow:
            self.asked.set()
            # a request that was sent arrives, whatever becomes of who sent it
            await asyncio.shield(self._arrive(permit))
            return
        await super().put_permit(permit)

    def _arrive(self, permit: Permit) -> asyncio.Task[None]:
        async def arrive() -> None:
            await self.go_on.wait()
            await SimulatedEngine.put_permit(self, permit)
            self.put.set()

        self.key = permit.key
        self._arriving = asyncio.create_task(arrive())
        return self._arriving


async def cut(dsn: str) -> None:
    """End every session of the node, as a failover or a reset does: its locks are free at once."""
    connection = await Database.open(dsn, pool_size=1)
    async with connection.connection() as lent:
        await lent.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'node'"
        )
    await connection.close()


@pytest.fixture
async def nodes_database(dsn):
    opened = await Database.open(dsn, pool_size=6, application_name="node")
    yield opened
    await opened.close()


async def test_a_stop_waits_for_a_permit_whose_maker_has_lost_its_lock(
    database, dsn, secret_box, nodes_database, tmp_path
):
    stage = await set_stage(database, secret_box, phones(200, last="80"), calls_per_second=20.0)
    engine = SlowEngine()
    await engine.start()
    elsewhere = Engines(database, secret_box, ttl_seconds=TTL_SECONDS)
    node_id = uuid.uuid4().hex
    run = await start(stage)
    async with dialing(stage, engine, tmp_path, database=nodes_database, node_id=node_id, ttl_seconds=TTL_SECONDS):
        await until(lambda: len(engine.sent) > 3)
        engine.slow = True
        # the engine has forgotten its permits: the node puts its own anew, and the request is under way
        await engine.fence(run.id)
        await engine.asked.wait()
        await cut(dsn)
        with elsewhere.own(engine):
            pressed = asyncio.create_task(
                stop(database, elsewhere, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
            )

            async def stopping() -> bool:
                return (await runs.progress(database, run.id)).run.state is RunState.STOPPING

            await until(stopping)

            async def fenced_and_quiet() -> bool:
                return not await engine.calls(run.id)

            await until(fenced_and_quiet)
            engine.go_on.set()
            await engine.put.wait()
            # what a frozen process of the node would send now is let through: the danger is real
            late = OutgoingCall(uuid.uuid4().hex, run.id, run.epoch, engine.key, "+15550100080", CALLER_ID, 30)
            assert await engine.originate(late) is OriginateResult.ACCEPTED
            assert not pressed.done()
            await pressed
            assert await engine.calls(run.id) == []
            assert [permit for permit in await engine.permits() if permit[0] == run.id] == []
            sent = len(engine.sent)
            again = OutgoingCall(uuid.uuid4().hex, run.id, run.epoch, engine.key, "+15550100080", CALLER_ID, 30)
            assert await engine.originate(again) is OriginateResult.REFUSED
            assert len(engine.sent) == sent
    await elsewhere.close()
    await engine.close()


async def test_what_was_reserved_and_never_heard_of_is_given_back(
    database, secret_box, engine, engines, tmp_path, monkeypatch
):
    """The connection is lost between the commit of a reservation and its answer; the node lives on."""
    stage = await set_stage(
        database, secret_box, phones(20, last="70"), rules=with_rules(max_attempts=1), calls_per_second=60.0
    )
    real, lost = reserve_store.reserve, asyncio.Event()

    async def reserve(connection, run, node_id, wish):
        answer = await real(connection, run, node_id, wish)
        if answer[1] and not lost.is_set():
            lost.set()
            raise DatabaseUnavailableError("the connection was lost after the commit, before the answer")
        return answer

    monkeypatch.setattr(claim_module.store, "reserve", reserve)
    run = await start(stage)
    async with dialing(stage, engine, tmp_path, engines=engines):

        async def completed() -> bool:
            return (await runs.progress(database, run.id)).run.state is RunState.COMPLETED

        await until(completed)
    numbers = [call.number for call in engine.sent]
    assert sorted(numbers) == sorted(phones(20, last="70"))
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT change_reason FROM attempts WHERE dialed_at IS NULL")
    assert {row["change_reason"] for row in rows} == {"the answer to its reservation was lost"}


async def test_nothing_is_given_back_while_its_claim_has_not_heard(
    database, secret_box, engine, engines, tmp_path, monkeypatch
):
    """The answer takes longer than anybody would wait: given back meanwhile, its person would be called twice."""
    stage = await set_stage(
        database, secret_box, phones(8, last="70"), rules=with_rules(max_attempts=1), calls_per_second=60.0
    )
    real, slow = reserve_store.reserve, asyncio.Event()
    looked = asyncio.Event()

    async def reserve(connection, run, node_id, wish):
        answer = await real(connection, run, node_id, wish)
        if answer[1] and not slow.is_set():
            slow.set()
            await looked.wait()
        return answer

    give_back, looks = Chores.give_back, 0

    async def counted(self) -> None:
        nonlocal looks
        await give_back(self)
        looks += slow.is_set()
        if looks > 1:
            looked.set()

    monkeypatch.setattr(claim_module.store, "reserve", reserve)
    monkeypatch.setattr(Chores, "give_back", counted)
    monkeypatch.setattr("outdial.dialer.chores.LOST_AFTER", timedelta(0))
    run = await start(stage)
    async with dialing(stage, engine, tmp_path, engines=engines):

        async def completed() -> bool:
            return (await runs.progress(database, run.id)).run.state is RunState.COMPLETED

        await until(completed)
    assert sorted(call.number for call in engine.sent) == sorted(phones(8, last="70"))
    async with database.connection() as connection:
        reasons = await connection.fetch("SELECT DISTINCT change_reason FROM attempts WHERE dialed_at IS NULL")
    # its turn was over by the time it heard: it says so itself, and nobody else has
    assert {row["change_reason"] for row in reasons} == {"its turn came too late"}

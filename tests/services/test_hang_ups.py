"""What a stop hangs up, where much of it is, or where something fails: nothing runs on behind an error."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from dialing import CALLER_ID, phones, set_stage
from engines import simulated
from outdial import clock
from outdial.core.errors import DatabaseUnavailableError, EngineUnavailableError, StopNotProvenError
from outdial.core.model import Transport
from outdial.services import barrier, runs, wide_stops
from outdial.services import engines as engines_module
from outdial.services.barrier import HANG_UPS, Target, Wishes
from outdial.services.engines import Engines
from outdial.store import runs as runs_store
from outdial.telephony.engine import OriginateResult, OutgoingCall, Permit, TrunkAddress
from services.test_barrier import RINGS, TTL, ring, serve
from services.test_number_lines import reserved
from values import KEY

COUNT = 3 * HANG_UPS


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=TTL)
    yield opened
    await opened.close()


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(5, last="80"))


@pytest.fixture
async def run(stage):
    return (
        await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
    ).run


@pytest.fixture
async def engine(database, secret_box, run, engines):
    """Where many calls ring."""
    async with simulated("e1", speed=1.0) as opened:
        with engines.own(opened):
            await serve(database, secret_box, run, "e1")
            yield opened


def target_of(run, *engine_ids: str) -> Target:
    return Target(
        run=run,
        permits={each: [] for each in engine_ids},
        committed=clock.boottime(),
        transport=Transport.UDP,
        ttl_seconds=TTL,
    )


async def silence(engines, database, target: Target):
    return await barrier.silence(engines, target, Wishes(), deadline=clock.boottime() + 30, database=database)


async def test_so_many_are_under_way_at_once_and_no_more(engine, engines, stage, run, database, monkeypatch):
    for n in range(COUNT):
        await ring(engine, stage, run, f"+1555010{n:04d}80")
    under_way, most = 0, 0
    hang_up = engine.hang_up

    async def counted(call_id: str) -> bool:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        try:
            return await hang_up(call_id)
        finally:
            under_way -= 1

    monkeypatch.setattr(engine, "hang_up", counted)
    (found,) = await silence(engines, database, target_of(run, "e1"))
    assert found.silent
    assert len(found.cancelled) == COUNT
    assert most == HANG_UPS


async def test_an_engine_that_fails_is_not_asked_for_all_the_others_first(
    engine, engines, stage, run, database, monkeypatch
):
    """Each would wait for its second, one after the other: too late for another try."""
    for n in range(COUNT):
        await ring(engine, stage, run, f"+1555010{n:04d}80")
    hang_up, fails, asked = engine.hang_up, True, []

    async def first_time_not(call_id: str) -> bool:
        asked.append(call_id)
        if fails:
            await asyncio.sleep(0)
            raise EngineUnavailableError("It does not answer.")
        return await hang_up(call_id)

    fence = engine.fence

    async def once_more(*given) -> None:
        nonlocal fails
        if asked:
            fails = False
            assert len(asked) == HANG_UPS
        await fence(*given)

    monkeypatch.setattr(engine, "hang_up", first_time_not)
    monkeypatch.setattr(engine, "fence", once_more)
    (found,) = await silence(engines, database, target_of(run, "e1"))
    assert found.silent
    assert len(found.cancelled) == COUNT
    assert len(asked) == COUNT + HANG_UPS


async def test_one_engine_whose_notes_cannot_be_read_leaves_no_other_running(
    database, secret_box, engine, engines, stage, run, monkeypatch
):
    """What the other hung up after that nobody would have counted."""
    read, serving, over = asyncio.Event(), barrier._serving, asyncio.Event()

    async def unreadable(found, target):
        if not read.is_set():
            read.set()
            raise DatabaseUnavailableError("It is away.")
        return await serving(found, target)

    def slow(hang_up):
        async def slowly(call_id: str) -> bool:
            # the other one has failed by then
            await read.wait()
            await asyncio.sleep(0.05)
            done = await hang_up(call_id)
            over.set()
            return done

        return slowly

    async with simulated("e0", speed=1.0) as other:
        with engines.own(other):
            await serve(database, secret_box, run, "e0", "n0")
            monkeypatch.setattr(barrier, "_serving", unreadable)
            for each in (engine, other):
                await ring(each, stage, run, RINGS)
                monkeypatch.setattr(each, "hang_up", slow(each.hang_up))
            with pytest.raises(DatabaseUnavailableError):
                await silence(engines, database, target_of(run, "e0", "e1"))
    assert over.is_set()


async def test_a_call_whose_node_told_nothing_was_placed_as_it_was_reserved(engine, engines, stage, run, database):
    """And not when its number was stopped: the report of a stop before that would tell of a call placed after it."""
    (phone, *_) = phones(5, last="80")
    attempt_id = await reserved(database, run)
    expires_at = clock.now() + timedelta(minutes=1)
    await engine.put_permit(Permit(run.id, run.epoch, KEY, stage.trunk, TrunkAddress("127.0.0.1", 5060), expires_at))
    call = OutgoingCall(attempt_id, run.id, run.epoch, KEY, phone, CALLER_ID, 60)
    assert await engine.originate(call) is OriginateResult.ACCEPTED
    # whether it has left only its node could tell, and it is dead
    with pytest.raises(StopNotProvenError, match="has left is not known"):
        await wide_stops.stop_number(database, engines, account_id=stage.owner.account_id, phone=phone, actor="test")
    assert await engine.calls(run.id) == []
    async with database.connection() as connection:
        row = await connection.fetchrow("SELECT phone, disposition, dialed_at = reserved_at FROM attempts")
    assert tuple(row) == (phone, "cancelled", True)


class TestSinceWhenARunIsFenced:
    """By the engine's answer and this process's own clock: the engine may have been frozen, the database's clock be
    stepped."""

    async def test_it_stays_for_an_epoch_and_an_engine(self, engines):
        first = engines.fenced_since(1, 1, "e1")
        assert engines.fenced_since(1, 1, "e1") == first
        for other in ((1, 2, "e1"), (2, 1, "e1"), (1, 1, "e2")):
            assert engines.fenced_since(*other) > first

    async def test_the_oldest_are_forgotten(self, engines, monkeypatch):
        monkeypatch.setattr(engines_module, "MOST_FENCED", 2)
        first = engines.fenced_since(1, 1, "e1")
        second = engines.fenced_since(2, 1, "e1")
        engines.fenced_since(3, 1, "e1")
        assert engines.fenced_since(2, 1, "e1") == second
        assert engines.fenced_since(1, 1, "e1") > first

    async def test_an_engine_that_was_frozen_until_now_and_a_stepped_clock_prove_nothing(
        self, engine, engines, stage, run, database, monkeypatch
    ):
        monkeypatch.setattr(barrier, "LINE_SECONDS", 0.1)
        monkeypatch.setattr(barrier, "LINE_PATIENCE_SECONDS", 0.1)
        monkeypatch.setattr(engine, "line_up", down)
        async with database.transaction() as connection:
            await connection.execute("UPDATE trunks SET transport = 'tcp'")
            await connection.execute(
                "UPDATE runs SET updated_at = clock_timestamp() - interval '1 hour' WHERE id = $1", run.id
            )
            target = await barrier.target_of(connection, await runs_store.by_id(connection, run.id), engines)
        # asked for a minute ago, and no answer until now
        target = replace(target, committed=target.committed - 60)
        (found,) = await barrier.silence(engines, target, Wishes(), deadline=clock.boottime() + 1, database=database)
        assert not found.silent
        assert "line of the trunk is down" in found.problem


async def down(_trunk_id: str, _address: TrunkAddress) -> bool:
    return False

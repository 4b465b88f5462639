"""A node's parts against a real database: gates, permits, acknowledgements, adoption, chores."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from dialing import phones, set_stage, with_rules
from flows import silent, unnoted
from outdial import clock
from outdial.core.errors import EngineUnavailableError
from outdial.core.ids import stasis_app
from outdial.core.model import EngineKind, RunState
from outdial.dialer import adoption as adoption_module
from outdial.dialer.adoption import Adoption, process_is_gone, this_host
from outdial.dialer.book import Book
from outdial.dialer.calls import Calls, Messages
from outdial.dialer.chores import Chores, complete
from outdial.dialer.lease import LeaseKeeper, flow_of
from outdial.dialer.node import Node
from outdial.dialer.opt_outs import OptOuts
from outdial.dialer.recordings import Recordings
from outdial.dialer.worker import Worker
from outdial.services import runs
from outdial.services.emergency import EmergencySwitch
from outdial.services.engines import Engines
from outdial.store import attempts as attempts_store
from outdial.store import engines as engines_store
from outdial.store import nodes as nodes_store
from outdial.store import reserve
from outdial.store import runs as runs_store
from outdial.store.nodes import NodeRow
from outdial.store.reserve import Reservation
from outdial.telephony.engine import (
    OriginateResult,
    OutgoingCall,
    Permit,
    TrunkAddress,
)
from outdial.telephony.resolver import TrunkResolver
from values import KEY
from waiting import until

TTL = 0.6
DEAD_PID = 2**22 + 7
"""Beyond the largest process id Linux gives out by default."""


async def register(database, secret_box, engine, node_id: str, *, pid: int | None = None, host: str | None = None):
    async with database.connection() as connection:
        await engines_store.put(
            connection,
            secret_box,
            engine_id=engine,
            kind=EngineKind.SIMULATED,
            url=None,
            username=None,
            password=None,
        )
        await nodes_store.register(
            connection,
            NodeRow(node_id, node_id, host or this_host(), pid or os.getpid(), stasis_app(node_id), engine),
            ttl_seconds=60,
        )


async def note(connection, run, engine, node_id: str, key: str, *, seconds: float) -> None:
    """Note that a node serves the run and puts a permit."""
    await nodes_store.serve(connection, run_id=run.id, node_id=node_id, epoch=run.epoch)
    assert await nodes_store.making(
        connection,
        run_id=run.id,
        node_id=node_id,
        engine_id=engine.id,
        epoch=run.epoch,
        key=key,
        address=("127.0.0.1", 5060),
        seconds=seconds,
    )


async def reserved(database, run, node_id, count=2) -> list[str]:
    """Have attempts of the run reserved for a node; return their ids."""
    async with database.connection() as connection:
        people = await reserve.candidates(connection, run, count)
        wanted = [(one.contact_id, uuid.uuid4().hex) for one in people]
        await reserve.reserve(connection, run, node_id, Reservation((), (), wanted, (), 50, 50, None))
    return [attempt_id for _, attempt_id in wanted]


async def lapse(database, node_id) -> None:
    """Let a node's lease be long over."""
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE nodes SET lease_until = clock_timestamp() - interval '1 minute' WHERE id = $1", node_id
        )


@contextlib.asynccontextmanager
async def node_at(database, secret_box, engine, tmp_path, node_id="n1") -> AsyncIterator[Node]:
    """A node whose book is kept and whose events are heard; nothing else of it runs."""
    await register(database, secret_box, engine.id, node_id)
    book, opt_outs = (
        Book(database),
        OptOuts(database, Engines(database, secret_box, ttl_seconds=TTL), tmp_path / "opt-outs"),
    )
    recordings = Recordings(database, engine, tmp_path)
    calls = Calls(engine, book, silent(), opt_outs, ttl_seconds=TTL, recordings=recordings, transfer_notes=unnoted)
    resolver = TrunkResolver()
    tasks = [asyncio.create_task(part.run()) for part in (book, opt_outs, calls)]
    await until(lambda: calls.up_since is not None)
    yield Node(
        id=node_id,
        database=database,
        secrets=secret_box,
        engine=engine,
        calls=calls,
        book=book,
        opt_outs=opt_outs,
        recordings=recordings,
        voice=silent(),
        resolver=resolver,
        ttl_seconds=TTL,
        audio_dir=tmp_path / "audio",
        switch=EmergencySwitch(tmp_path / "emergency-stop"),
    )
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await calls.close()
    await resolver.close()


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(40), rules=with_rules(max_attempts=1), calls_per_second=30.0)


@pytest.fixture
async def run(stage):
    return (
        await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
    ).run


@pytest.fixture
async def node(database, secret_box, engine, tmp_path):
    async with node_at(database, secret_box, engine, tmp_path) as opened:
        yield opened


async def fetch(database, statement, *arguments):
    async with database.connection() as connection:
        return await connection.fetch(statement, *arguments)


@contextlib.asynccontextmanager
async def working(node, run, stage):
    """A worker at work; its gate is opened by the test."""
    worker = Worker(node, run, stage.trunk, Messages(await flow_of(node, run.flow_id)))
    task = asyncio.create_task(worker.work())
    try:
        yield worker, task
    finally:
        worker.close()
        await asyncio.wait([task], timeout=10)
        assert task.done()
        task.result()


def confirm(worker: Worker) -> None:
    worker.confirm(boot=clock.boottime(), wall=clock.now())


class TestWorker:
    async def test_it_does_nothing_before_its_gate_is_opened(self, node, run, stage, engine):
        async with working(node, run, stage):
            await asyncio.sleep(0.1)
            assert engine.sent == []
            assert list(await engine.permits()) == []

    async def test_it_announces_itself_before_it_dials(self, node, run, stage, engine, database):
        async with working(node, run, stage) as (worker, _):
            confirm(worker)
            await until(lambda: bool(engine.sent))
            (row,) = await fetch(database, "SELECT * FROM run_engines")
            assert (row["run_id"], row["engine_id"], row["epoch"]) == (run.id, engine.id, run.epoch)
            assert row["node_id"] == node.id
            (row,) = await fetch(database, "SELECT * FROM run_nodes")
            assert (row["node_id"], row["epoch"], row["dropped_epoch"]) == (node.id, run.epoch, 0)

    async def test_a_gate_that_is_not_opened_anew_shuts_by_itself(self, node, run, stage, engine):
        async with working(node, run, stage) as (worker, _):
            confirm(worker)
            await until(lambda: bool(engine.sent))
            await asyncio.sleep(TTL)
            sent = len(engine.sent)
            await asyncio.sleep(0.2)
            assert len(engine.sent) == sent < 40

    async def test_suspended_it_places_nothing_until_it_is_confirmed(self, node, run, stage, engine, database):
        async with working(node, run, stage) as (worker, _):
            confirm(worker)
            await until(lambda: len(engine.sent) > 3)
            worker.suspend()
            sent = len(engine.sent)
            await asyncio.sleep(0.2)
            assert len(engine.sent) == sent
            confirm(worker)
            await until(lambda: len(engine.sent) > sent)

    async def test_closed_it_gives_back_what_it_has_not_dialed(self, node, run, stage, engine, database):
        async with working(node, run, stage) as (worker, task):
            confirm(worker)
            await until(lambda: bool(engine.sent))
            worker.close()
            await asyncio.wait([task], timeout=5)
            sent = len(engine.sent)
            await node.book.flush()
            # no attempt is reserved and not dialed any more
            assert await fetch(database, "SELECT FROM attempts WHERE state = 'reserved'") == []
            dialed = await fetch(database, "SELECT id FROM attempts WHERE dialed_at IS NOT NULL")
            assert len(dialed) == sent == len(engine.sent)

    async def test_a_permit_that_is_lost_is_put_anew(self, node, run, stage, engine):
        async with working(node, run, stage) as (worker, _):
            confirm(worker)
            await until(lambda: len(engine.sent) > 3)
            engine._permits.clear()

            def all_dialed() -> bool:
                # as the lease keeper does it, again and again
                confirm(worker)
                return len(engine.sent) == 40

            await until(all_dialed)

    async def test_a_run_that_has_moved_on_gets_no_permit(self, node, run, stage, engine, database):
        async with database.transaction() as connection:
            await runs_store.move_run(
                connection, run.id, before=RunState.ACTIVE, epoch=1, after=RunState.STOPPING, actor="x", reason=""
            )
        async with working(node, run, stage) as (worker, _):
            # as a node does that has not heard of it
            confirm(worker)
            await asyncio.sleep(0.2)
            assert list(await engine.permits()) == []
            assert await fetch(database, "SELECT FROM run_engines") == []

    async def test_a_node_whose_row_has_ended_finds_out_when_it_reserves(self, node, run, stage, engine, database):
        async with working(node, run, stage) as (worker, _):
            async with database.connection() as connection:
                await nodes_store.end(connection, node.id)
            confirm(worker)
            await until(node.over.is_set)
            assert engine.sent == []


class TestLease:
    @pytest.fixture
    async def keeper(self, node):
        keeper = LeaseKeeper(node)
        task = asyncio.create_task(keeper.run())
        yield keeper
        node.over.set()
        keeper._wake.set()
        await asyncio.gather(task, return_exceptions=True)
        await keeper.close()

    async def test_it_serves_every_active_run(self, keeper, run, engine):
        await until(lambda: [worker.run.id for worker in keeper.workers()] == [run.id])
        await until(lambda: bool(engine.sent))

    async def test_a_notice_shuts_the_gate_before_anything_is_read(self, keeper, run, engine):
        await until(lambda: bool(engine.sent))
        (worker,) = keeper.workers()
        keeper._notified(str(run.id))
        assert worker._gate is None

    @pytest.mark.parametrize("payload", ["", "nonsense", "999999", "-1"])
    async def test_a_notice_that_means_nothing_is_only_a_wake_up(self, keeper, run, engine, payload):
        await until(lambda: bool(engine.sent))
        keeper._notified(payload)
        await until(lambda: len(engine.sent) == 40)

    async def test_a_pause_is_acknowledged_also_when_its_notice_is_lost(self, keeper, run, engine, database):
        await until(lambda: bool(engine.sent))
        async with database.transaction() as connection:
            # no announce(): the notice is lost
            await runs_store.move_run(
                connection, run.id, before=RunState.ACTIVE, epoch=1, after=RunState.PAUSED, actor="x", reason=""
            )

        async def dropped() -> bool:
            rows = await fetch(database, "SELECT dropped_epoch FROM run_nodes")
            return bool(rows) and rows[0]["dropped_epoch"] == 2

        await until(dropped)
        assert keeper.workers() == []

    async def test_after_a_resume_it_serves_the_new_epoch(self, keeper, run, engine, database):
        await until(lambda: bool(engine.sent))
        for before, epoch, after in ((RunState.ACTIVE, 1, RunState.PAUSED), (RunState.PAUSED, 2, RunState.ACTIVE)):
            async with database.transaction() as connection:
                await runs_store.move_run(
                    connection, run.id, before=before, epoch=epoch, after=after, actor="x", reason=""
                )
                await runs_store.announce(connection, run.id)
        await until(lambda: [worker.run.epoch for worker in keeper.workers()] == [3])
        await until(lambda: {call.epoch for call in engine.sent} == {1, 3})
        (row,) = await fetch(database, "SELECT epoch, dropped_epoch FROM run_nodes")
        # what it acknowledges never covers the epoch it dials at
        assert (row["epoch"], row["dropped_epoch"]) == (3, 2)

    async def test_its_life_is_over_when_another_node_has_ended_it(self, keeper, node, run, database):
        async with database.connection() as connection:
            await connection.execute("UPDATE nodes SET ended_at = clock_timestamp(), adopted_by = 'other'")
        await until(node.over.is_set)

    async def test_its_lease_is_renewed(self, keeper, database):
        (first,) = await fetch(database, "SELECT lease_until, engine_up FROM nodes")

        async def renewed() -> bool:
            rows = await fetch(database, "SELECT lease_renewed_at > started_at + interval '0.3 s' AS r FROM nodes")
            return rows[0]["r"]

        await until(renewed)
        assert first is not None


class TestAdoption:
    async def contacts(self, database) -> dict:
        rows = await fetch(database, "SELECT state, done_reason, count(*) AS n FROM run_contacts GROUP BY 1, 2")
        return {(row["state"], row["done_reason"]): row["n"] for row in rows}

    async def test_what_a_dead_process_had_only_reserved_comes_back(
        self, node, run, engine, engines, database, secret_box
    ):
        await register(database, secret_box, engine.id, "dead", pid=DEAD_PID)
        await reserved(database, run, "dead")
        await lapse(database, "dead")
        await Adoption(node, engines).look()
        await node.book.flush()
        assert await self.contacts(database) == {("pending", None): 40}
        rows = await fetch(database, "SELECT state, dialed_at FROM attempts")
        assert {(row["state"], row["dialed_at"]) for row in rows} == {("ended", None)}

    async def test_a_stream_that_does_not_open_keeps_no_other_node_s_attempts_waiting(
        self, node, run, engine, engines, database, secret_box, monkeypatch
    ):
        taken = {}
        for dead in ("dead", "deader"):
            await register(database, secret_box, engine.id, dead, pid=DEAD_PID)
            taken[dead] = await reserved(database, run, dead)
            await lapse(database, dead)
        adopt = type(engine).adopt

        async def opens(self, name):
            if closed and name == stasis_app("dead"):
                raise EngineUnavailableError("The engine opens no event stream.")
            return await adopt(self, name)

        closed = True
        monkeypatch.setattr(type(engine), "adopt", opens)
        adoption = Adoption(node, engines)
        for settled in ({"deader"}, {"dead", "deader"}):
            await adoption.look()
            await node.book.flush()
            rows = await fetch(database, "SELECT id FROM attempts WHERE state = 'ended'")
            assert {row["id"] for row in rows} == {each for dead in settled for each in taken[dead]}
            closed = False

    @pytest.mark.parametrize("case", ["process lives", "other host", "engine came later", "no records"])
    async def test_but_not_where_it_could_have_been_placed(
        self, node, run, engine, engines, database, secret_box, case, monkeypatch
    ):
        where = {"process lives": {}, "other host": {"pid": DEAD_PID, "host": "elsewhere/1"}}
        await register(database, secret_box, engine.id, "dead", **where.get(case, {"pid": DEAD_PID}))
        await reserved(database, run, "dead")
        await lapse(database, "dead")
        if case == "engine came later":
            node.calls.up_since = clock.boottime()
        if case == "no records":
            monkeypatch.setattr(type(engine), "keeps_records", property(lambda _self: False))
        await Adoption(node, engines).look()
        await node.book.flush()
        assert await self.contacts(database) == {("pending", None): 38, ("done", "unknown"): 2}
        # and a person who may have been called is never called again by itself
        async with database.connection() as connection:
            assert len(await reserve.candidates(connection, run, 50)) == 38

    async def permit_of_the_dead(self, database, engine, run, stage) -> None:
        async with database.connection() as connection:
            await note(connection, run, engine, "dead", KEY, seconds=-1.0)
        address = TrunkAddress("127.0.0.1", 5060)
        await engine.put_permit(Permit(run.id, 1, KEY, stage.trunk, address, clock.now() + timedelta(minutes=1)))

    async def test_what_a_thawed_node_would_send_is_refused_before_anything_is_settled(
        self, node, run, stage, engine, engines, database, secret_box
    ):
        """It was frozen between its last look and the request; its number may be dialed by others from here on."""
        await register(database, secret_box, engine.id, "dead")
        (attempt_id,) = await reserved(database, run, "dead", count=1)
        await self.permit_of_the_dead(database, engine, run, stage)
        await lapse(database, "dead")
        await Adoption(node, engines).look()
        await node.book.flush()
        (row,) = await fetch(database, "SELECT state FROM attempts")
        assert row["state"] == "unknown"
        late = OutgoingCall(attempt_id, run.id, 1, KEY, "+15550100070", "+15550100999", 30)
        assert await engine.originate(late) is OriginateResult.REFUSED
        assert engine.sent == []

    async def test_nothing_is_settled_while_its_requests_may_still_put_a_permit(
        self, node, run, stage, engine, engines, database, secret_box
    ):
        await register(database, secret_box, engine.id, "dead")
        await reserved(database, run, "dead", count=1)
        await self.permit_of_the_dead(database, engine, run, stage)
        async with database.connection() as connection:
            await note(connection, run, engine, "dead", "f" * 32, seconds=60)
        await lapse(database, "dead")
        await Adoption(node, engines).look()
        await node.book.flush()
        assert [row["state"] for row in await fetch(database, "SELECT state FROM attempts")] == ["reserved"]
        async with database.connection() as connection:
            await connection.execute("UPDATE run_nodes SET making_until = clock_timestamp()")
        await Adoption(node, engines).look()
        await node.book.flush()
        assert [row["state"] for row in await fetch(database, "SELECT state FROM attempts")] == ["unknown"]
        assert await engine.permits() == []

    async def test_a_call_that_had_ended_is_booked_by_the_engines_record(
        self, node, run, stage, engine, engines, database, secret_box
    ):
        await register(database, secret_box, engine.id, "dead", pid=DEAD_PID)
        (attempt_id,) = await reserved(database, run, "dead", count=1)
        address = TrunkAddress("127.0.0.1", 5060)
        await engine.put_permit(Permit(run.id, 1, KEY, stage.trunk, address, clock.now() + timedelta(minutes=1)))
        await engine.originate(OutgoingCall(attempt_id, run.id, 1, KEY, "+15550100070", "+15550100999", 30))

        async def over() -> bool:
            return not await engine.calls()

        await until(over)
        await lapse(database, "dead")
        await Adoption(node, engines).look()
        await node.book.flush()
        (row,) = await fetch(database, "SELECT * FROM attempts")
        assert (row["state"], row["disposition"], row["cause"]) == ("ended", "busy", 17)
        assert row["dialed_at"] is not None

    async def test_an_attempt_is_settled_once_however_often_one_looks(
        self, node, run, engine, engines, database, secret_box
    ):
        await register(database, secret_box, engine.id, "dead", pid=DEAD_PID)
        await reserved(database, run, "dead")
        await lapse(database, "dead")
        adoption = Adoption(node, engines)
        for _ in range(3):
            await adoption.look()
        await node.book.flush()
        rows = await fetch(database, "SELECT to_state, count(*) AS n FROM history WHERE action = 'attempt' GROUP BY 1")
        assert {row["to_state"]: row["n"] for row in rows} == {"reserved": 2, "ended": 2}

    async def test_a_live_node_is_left_alone(self, node, run, engine, engines, database, secret_box):
        await register(database, secret_box, engine.id, "alive")
        await reserved(database, run, "alive")
        await Adoption(node, engines).look()
        await node.book.flush()
        async with database.connection() as connection:
            assert len(await attempts_store.reserved_of_node(connection, "alive", older_than=timedelta(0))) == 2

    def test_a_process_is_gone_only_where_that_is_certain(self):
        def row(host, pid):
            return NodeRow("n", "n", host, pid, "app", "e")

        assert process_is_gone(row(this_host(), DEAD_PID))
        assert not process_is_gone(row(this_host(), os.getpid()))
        assert not process_is_gone(row("elsewhere/1", DEAD_PID))
        assert adoption_module.FOREIGN_GRACE > 1


class TestChores:
    @pytest.fixture
    def chores(self, node):
        return Chores(node, LeaseKeeper(node))

    async def test_only_permits_of_runs_active_at_their_epoch_stay(self, chores, node, run, stage, engine):
        address = TrunkAddress("127.0.0.1", 5060)
        until_then = clock.now() + timedelta(minutes=1)
        async with node.database.connection() as connection:
            await note(connection, run, engine, node.id, "e" * 32, seconds=60)
            await note(connection, run, engine, node.id, KEY, seconds=60)
        # another epoch, another run, one that was replaced
        for run_id, epoch, key in (
            (run.id, 1, KEY),
            (run.id, 2, KEY),
            (run.id + 99, 1, KEY),
            (run.id, 1, "e" * 32),
        ):
            await engine.put_permit(Permit(run_id, epoch, key, stage.trunk, address, until_then))
        await chores.reap()
        assert list(await engine.permits()) == [(run.id, 1, KEY)]

    async def test_a_run_is_not_complete_while_anybody_is_left_or_unread(self, node, run, database):
        for statement in (
            (
                "UPDATE run_contacts SET state = 'done', done_reason = 'reached' "
                "WHERE contact_id <> (SELECT min(contact_id) FROM run_contacts)"
            ),
            "UPDATE runs SET loaded_at = NULL",
        ):
            async with database.connection() as connection:
                await connection.execute(statement)
            assert await complete(node, run) is False
        async with database.connection() as connection:
            await connection.execute("UPDATE run_contacts SET state = 'done', done_reason = 'reached'")
        assert await complete(node, run) is False
        async with database.connection() as connection:
            await connection.execute("UPDATE runs SET loaded_at = clock_timestamp()")
        assert await complete(node, run) is True
        assert await fetch(database, "SELECT FROM run_lists") == []

    async def test_of_many_one_completes_it(self, node, run, database):
        async with database.connection() as connection:
            await connection.execute("UPDATE run_contacts SET state = 'done', done_reason = 'reached'")
        assert sorted(await asyncio.gather(*(complete(node, run) for _ in range(5)))) == [False] * 4 + [True]

    async def test_a_run_being_stopped_is_never_completed(self, node, run, database):
        async with database.transaction() as connection:
            await connection.execute("UPDATE run_contacts SET state = 'done', done_reason = 'reached'")
            await runs_store.move_run(
                connection, run.id, before=RunState.ACTIVE, epoch=1, after=RunState.STOPPING, actor="x", reason=""
            )
        assert await complete(node, run) is False

    async def test_permits_are_reaped_while_a_long_list_is_read(self, node, run, stage, engine, database, monkeypatch):
        reading, go_on = asyncio.Event(), asyncio.Event()

        async def slow(_database, _run) -> bool:
            reading.set()
            await go_on.wait()
            return False

        monkeypatch.setattr(runs, "load_more", slow)
        async with database.connection() as connection:
            await connection.execute("UPDATE runs SET loaded_at = NULL")
        address = TrunkAddress("127.0.0.1", 5060)
        await engine.put_permit(Permit(999, 1, KEY, stage.trunk, address, clock.now() + timedelta(minutes=1)))
        chores = asyncio.create_task(Chores(node, LeaseKeeper(node)).run())
        await reading.wait()

        async def reaped() -> bool:
            return (999, 1, KEY) not in await engine.permits()

        await until(reaped)
        go_on.set()
        chores.cancel()
        await asyncio.gather(chores, return_exceptions=True)

"""Silence at several engines: fenced, quiesced, waited for, or honestly not shown."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest

from dialing import CALLER_ID, phones, set_stage
from engines import simulated
from outdial import clock
from outdial.core.errors import (
    ConflictError,
    EngineUnavailableError,
    IllegalMoveError,
    NotFoundError,
    PauseNotProvenError,
    StopNotProvenError,
)
from outdial.core.model import ConnectedCalls, EngineKind, RingingCalls, RunState, Transport
from outdial.services import barrier, runs
from outdial.services.acknowledging import NodeOutcome
from outdial.services.barrier import Target, Wishes
from outdial.services.engines import Engines, list_engines, retire_engine
from outdial.services.stop import StopReport, prove_stop, stop
from outdial.store import engines as engines_store
from outdial.store import nodes, stops
from outdial.store import runs as runs_store
from outdial.store.nodes import NodeRow
from outdial.telephony.engine import CallState, OriginateResult, OutgoingCall, Permit, TrunkAddress
from values import KEY
from waiting import until

TTL = 0.5
RINGS, ANSWERS = "+15550100080", "+15550100001"


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=TTL)
    yield opened
    await opened.close()


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(20))


@pytest.fixture
async def run(stage):
    return (
        await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
    ).run


async def serve(
    database, secret_box, run, engine, node_id="n1", *, kind=EngineKind.ASTERISK, url=None, lease=60.0, ttl=TTL
):
    """Note that a node dials the run by the engine."""
    async with database.connection() as connection:
        await engines_store.put(
            connection, secret_box, engine_id=engine, kind=kind, url=url, username="u", password="p"
        )
        await nodes.register(
            connection, NodeRow(node_id, f"name-{node_id}", "h", 1, f"app-{node_id}", engine), ttl_seconds=ttl
        )
        await connection.execute(
            "UPDATE nodes SET lease_until = clock_timestamp() + $2::interval WHERE id = $1",
            node_id,
            timedelta(seconds=lease),
        )
        await nodes.serve(connection, run_id=run.id, node_id=node_id, epoch=run.epoch)
    await note(database, run, engine, node_id, seconds=-1.0)


async def note(database, run, engine="e1", node_id="n1", *, seconds: float) -> str:
    """Note that the node puts a permit; return its key."""
    key = uuid.uuid4().hex
    async with database.transaction() as connection:
        assert await nodes.making(
            connection,
            run_id=run.id,
            node_id=node_id,
            engine_id=engine,
            epoch=run.epoch,
            key=key,
            address=("127.0.0.1", 5060),
            seconds=seconds,
        )
    return key


async def ring(engine, stage, run, number=RINGS) -> str:
    address = TrunkAddress("127.0.0.1", 5060)
    await engine.put_permit(Permit(run.id, run.epoch, KEY, stage.trunk, address, clock.now() + timedelta(minutes=1)))
    call = OutgoingCall(uuid.uuid4().hex, run.id, run.epoch, KEY, number, CALLER_ID, 60)
    assert await engine.originate(call) is OriginateResult.ACCEPTED
    return call.id


async def press(stage, engines, **more):
    return await stop(stage.database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="anna", **more)


async def test_every_engine_is_fenced_and_quiesced(database, secret_box, stage, run, engines):
    async with simulated("e1", speed=1.0) as one, simulated("e2", speed=1.0) as two:
        with engines.own(one), engines.own(two):
            for engine, node in ((one, "n1"), (two, "n2")):
                await serve(database, secret_box, run, engine.id, node)
                await ring(engine, stage, run)
            report = (await press(stage, engines)).report
            for engine in (one, two):
                assert await engine.calls(run.id) == []
                assert list(await engine.permits()) == []
    assert {(found.engine_id, found.cancelled) for found in report.engines} == {("e1", 1), ("e2", 1)}
    assert all(found.fenced_at <= found.quiesced_at for found in report.engines)


async def test_one_engine_that_does_not_answer_is_enough_to_prove_nothing(database, secret_box, stage, run, engines):
    async with simulated("e1", speed=1.0) as one:
        with engines.own(one):
            await serve(database, secret_box, run, "e1")
            await serve(database, secret_box, run, "e2", "n2", url="http://127.0.0.1:9")
            ringing = await ring(one, stage, run)
            began = clock.boottime()
            with pytest.raises(StopNotProvenError, match=r"e2: .*does not answer"):
                await press(stage, engines)
            assert clock.boottime() - began >= TTL
            # what could be done is done
            assert ringing not in {call.id for call in await one.calls()}
            async with database.connection() as connection:
                assert (await runs_store.by_id(connection, run.id)).state is RunState.STOPPING
            await retire_engine(database, "e2", actor="ben")
            report = (await press(stage, engines)).report
    assert {found.engine_id: found.fenced_at is None for found in report.engines} == {"e1": False, "e2": True}
    (gone,) = [found for found in await list_engines(database) if found.id == "e2"]
    assert gone.retired_by == "ben"


class TestAnEngineThatSaysNothing:
    """It takes requests and answers none, as a process that is stopped does."""

    @pytest.fixture
    async def engine(self, database, secret_box, run, engines):
        async with simulated("e1", speed=1.0) as one:
            with engines.own(one):
                await serve(database, secret_box, run, "e1")
                yield one

    @staticmethod
    def slow(engine, monkeypatch, *, seconds: float) -> None:
        fence = engine.fence

        async def slowly(*given) -> None:
            await asyncio.sleep(seconds)
            await fence(*given)

        monkeypatch.setattr(engine, "fence", slowly)

    @pytest.mark.parametrize("ask", ["stop", "pause"])
    async def test_is_told_when_its_permits_have_run_out(self, engine, stage, engines, monkeypatch, ask):
        monkeypatch.setattr("outdial.services.stop.PATIENCE_SECONDS", 3600.0)
        monkeypatch.setattr(runs, "PATIENCE_SECONDS", 3600.0)
        self.slow(engine, monkeypatch, seconds=3600.0)
        began = clock.boottime()
        with pytest.raises((StopNotProvenError, PauseNotProvenError), match=r"e1: .*does not answer"):
            if ask == "stop":
                await press(stage, engines)
            else:
                await runs.pause(
                    stage.database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="anna"
                )
        assert clock.boottime() - began >= TTL

    async def test_is_waited_for_where_nobody_waits_for_the_answer(
        self, engine, database, stage, run, engines, monkeypatch
    ):
        monkeypatch.setattr(barrier, "ANSWER_SECONDS", 0.0)
        monkeypatch.setattr(barrier, "UNHEARD_SECONDS", -TTL)
        self.slow(engine, monkeypatch, seconds=0.3)
        with pytest.raises(StopNotProvenError):
            await press(stage, engines)
        async with database.connection() as connection:
            present = await runs_store.by_id(connection, run.id)
        assert present.state is RunState.STOPPING
        stopped = await prove_stop(database, engines, present, actor="outdial", tell=lambda *_: None, patient=True)
        assert stopped.run.state is RunState.STOPPED

    async def test_what_it_said_is_told(self, engine, stage, engines, monkeypatch):
        said = []

        async def fence(*_given) -> None:
            if said:
                await asyncio.sleep(3600.0)
            said.append("refused")
            raise EngineUnavailableError("Asterisk refuses the password.")

        monkeypatch.setattr(engine, "fence", fence)
        with pytest.raises(StopNotProvenError, match=r"e1: Asterisk refuses the password\."):
            await press(stage, engines)

    async def test_however_late_it_is_asked_it_gets_time_to_answer(self, engine, stage, engines, monkeypatch):
        monkeypatch.setattr(barrier, "ANSWER_SECONDS", 30.0)
        monkeypatch.setattr(Target, "unheard_until", property(lambda target: target.committed))
        self.slow(engine, monkeypatch, seconds=0.3)
        assert (await press(stage, engines)).run.state is RunState.STOPPED


class TestAnEngineThatHasAnswered:
    """Is given its time, and tried again, though an engine that says nothing would have been given up by then."""

    @pytest.fixture
    async def engine(self, database, secret_box, run, engines, monkeypatch):
        monkeypatch.setattr(Target, "unheard_until", property(lambda target: target.committed))
        async with simulated("e1", speed=1.0) as one:
            with engines.own(one):
                await serve(database, secret_box, run, "e1")
                yield one

    async def test_to_become_quiet(self, engine, stage, run, engines, monkeypatch):
        await ring(engine, stage, run)
        listed, answers = engine.calls, iter([EngineUnavailableError("It hiccups."), None])

        async def calls(run_id=None):
            if (trouble := next(answers, None)) is not None:
                raise trouble
            return await listed(run_id)

        monkeypatch.setattr(engine, "calls", calls)
        (found,) = (await press(stage, engines)).report.engines
        assert (found.cancelled, await engine.calls(run.id)) == (1, [])

    async def test_to_be_fenced_once_more_after_a_permit_was_being_put(
        self, engine, database, stage, run, engines, monkeypatch
    ):
        await note(database, run, seconds=0.4)
        fence, times = engine.fence, []

        async def later_slowly(*given) -> None:
            times.append(clock.boottime())
            await asyncio.sleep(0.0 if len(times) == 1 else 0.2)
            await fence(*given)

        monkeypatch.setattr(engine, "fence", later_slowly)
        assert (await press(stage, engines)).run.state is RunState.STOPPED
        assert len(times) == 2


@pytest.mark.parametrize("kind", [EngineKind.ASTERISK, EngineKind.SIMULATED])
async def test_the_end_of_permits_is_waited_for_where_nobody_answers_any_more(
    database, secret_box, stage, run, engines, monkeypatch, kind
):
    monkeypatch.setattr(Target, "unheard_until", property(lambda target: target.committed))
    await serve(database, secret_box, run, "far", kind=kind, url="http://127.0.0.1:9", lease=0.0)
    if kind is EngineKind.ASTERISK:
        await retire_engine(database, "far", actor="ben")
    began = clock.boottime()
    (found,) = (await press(stage, engines)).report.engines
    assert (found.engine_id, clock.boottime() - began >= TTL) == ("far", True)


async def test_an_engine_inside_another_process_is_silent_when_its_node_says_so(
    database, secret_box, stage, run, engines
):
    await serve(database, secret_box, run, "far", kind=EngineKind.SIMULATED)
    asked = asyncio.create_task(press(stage, engines))

    async def committed() -> bool:
        async with database.connection() as connection:
            return (await runs_store.by_id(connection, run.id)).state is RunState.STOPPING

    await until(committed)
    async with database.connection() as connection:
        await nodes.dropped(connection, run_id=run.id, node_id="n1", epoch=run.epoch + 1)
    report = (await asked).report
    assert [found.outcome for found in report.nodes] == [NodeOutcome.ACKNOWLEDGED]


async def test_or_when_its_lease_and_its_permits_have_run_out(database, secret_box, stage, run, engines):
    await serve(database, secret_box, run, "far", kind=EngineKind.SIMULATED, lease=0.2)
    began = clock.boottime()
    report = (await press(stage, engines)).report
    assert clock.boottime() - began >= TTL
    assert [found.outcome for found in report.nodes] == [NodeOutcome.LEASE_EXPIRED]


async def test_but_not_while_it_holds_a_lease_and_says_nothing(database, secret_box, stage, run, engines):
    await serve(database, secret_box, run, "far", kind=EngineKind.SIMULATED, lease=60.0)
    with pytest.raises(StopNotProvenError, match="lives inside another process"):
        await press(stage, engines)


async def test_a_node_that_says_nothing_delays_little_when_its_engine_is_silent(
    database, secret_box, stage, run, engines
):
    async with simulated("e1", speed=1.0) as engine:
        with engines.own(engine):
            await serve(database, secret_box, run, "e1")
            began = clock.boottime()
            report = (await press(stage, engines)).report
            assert clock.boottime() - began < TTL
    assert [found.outcome for found in report.nodes] == [NodeOutcome.NOT_ANSWERING]


async def test_the_longest_life_of_any_nodes_permits_counts(database, secret_box, stage, run, engines):
    await serve(database, secret_box, run, "far", kind=EngineKind.SIMULATED, lease=0.2, ttl=2 * TTL)
    began = clock.boottime()
    await press(stage, engines)
    assert clock.boottime() - began >= 2 * TTL


class TestPermitsBeingMade:
    """A node has lost its database, and the run's lock with it, while its requests that put a permit are under way."""

    @pytest.fixture
    async def engine(self, database, secret_box, run, engines):
        async with simulated("e1", speed=1.0) as opened:
            with engines.own(opened):
                await serve(database, secret_box, run, "e1")
                yield opened

    async def fenced(self, engine, run) -> None:
        """Until the stop has been at the engine: the permit that was there is gone."""

        async def gone() -> bool:
            return not await engine.permits()

        await until(gone)

    async def test_a_stop_waits_for_them_and_fences_once_more(self, engine, stage, run, engines, database):
        await ring(engine, stage, run)
        await note(database, run, seconds=0.8)
        began = clock.boottime()
        pressed = asyncio.create_task(press(stage, engines))
        await self.fenced(engine, run)
        # the node's requests arrive now, and what was frozen sends
        late = await ring(engine, stage, run)
        report = (await pressed).report
        assert clock.boottime() - began >= 0.75
        assert late not in {call.id for call in await engine.calls()}
        assert await engine.permits() == []
        assert [found.cancelled for found in report.engines] == [2]

    async def test_it_goes_on_as_soon_as_they_are_over(self, engine, stage, run, engines, database):
        await ring(engine, stage, run)
        key = await note(database, run, seconds=60)
        began = clock.boottime()
        pressed = asyncio.create_task(press(stage, engines))
        await self.fenced(engine, run)
        async with database.connection() as connection:
            assert await nodes.made(connection, run_id=run.id, node_id="n1", key=key)
        await pressed
        assert clock.boottime() - began < TTL

    async def test_what_never_ends_is_not_claimed(self, engine, stage, run, engines, database):
        await note(database, run, seconds=60)
        with pytest.raises(StopNotProvenError, match="A permit may still be put"):
            await press(stage, engines)

    async def test_a_pause_waits_too(self, engine, stage, run, engines, database):
        await ring(engine, stage, run)
        await note(database, run, seconds=0.4)
        began = clock.boottime()
        await runs.pause(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
        assert clock.boottime() - began >= 0.35

    async def test_a_pause_says_so_too(self, engine, stage, run, engines, database):
        """A frozen engine may hold a call that it has let through and not sent: it leaves as the engine thaws."""
        names = {"iid": stage.owner.iid, "campaign_id": stage.campaign_id, "actor": "test"}
        engine.freeze()
        began = clock.boottime()
        with pytest.raises(PauseNotProvenError, match=r"e1: .* Ask again"):
            await runs.pause(database, engines, **names)
        assert clock.boottime() - began >= TTL
        async with database.connection() as connection:
            assert (await runs_store.by_id(connection, run.id)).state is RunState.PAUSED
        with pytest.raises(PauseNotProvenError):
            await runs.pause(database, engines, **names)
        engine.thaw()
        assert (await runs.pause(database, engines, **names)).state is RunState.PAUSED

    async def test_a_run_that_pauses_itself_tells_it_in_the_log(self, engine, run, engines, database, capsys):
        engine.freeze()
        paused = await runs.pause_failing(database, engines, run, reason="calls fail")
        assert "e1: " in paused.problems
        assert "pause_not_proven" in capsys.readouterr().out
        assert "e1: " in await runs.prove_pause(database, engines, paused.run)
        engine.thaw()
        assert await runs.prove_pause(database, engines, paused.run) == ""
        assert "pause_proven" in capsys.readouterr().out

    async def test_nothing_is_left_to_prove_once_somebody_resumes_it(self, engine, stage, run, engines, database):
        engine.freeze()
        paused = await runs.pause_failing(database, engines, run, reason="calls fail")
        await runs.resume(database, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
        began = clock.boottime()
        assert await runs.prove_pause(database, engines, paused.run) == ""
        assert clock.boottime() - began < TTL


async def test_what_was_cancelled_is_counted_over_every_try(database, secret_box, stage, run, engines, monkeypatch):
    async with simulated("e1", speed=1.0) as engine:
        with engines.own(engine):
            await serve(database, secret_box, run, "e1")
            await ring(engine, stage, run)
            await ring(engine, stage, run)
            listed = engine.calls
            failures = iter([False, True])

            async def calls(run_id=None):
                if next(failures, False):
                    raise EngineUnavailableError("just now")
                return await listed(run_id)

            monkeypatch.setattr(engine, "calls", calls)
            report = (await press(stage, engines)).report
    assert [found.cancelled for found in report.engines] == [2]


async def test_calls_that_may_ring_on_are_waited_for_side_by_side(database, secret_box, stage, run, engines):
    # carriers that say nothing: nobody knows whether those calls have left, for one TTL, however many they are
    async with simulated("e1", speed=0.001) as engine:
        with engines.own(engine):
            await serve(database, secret_box, run, "e1")
            for _ in range(8):
                await ring(engine, stage, run)
            await press(stage, engines, options=Wishes(ringing=RingingCalls.LET_RING))
            assert [call.state for call in await engine.calls(run.id)] == [CallState.DIALING] * 8


class TestWishes:
    @pytest.fixture
    async def engine(self, database, secret_box, stage, run, engines):
        async with simulated("e1", speed=2.0) as opened:
            with engines.own(opened):
                await serve(database, secret_box, run, "e1")
                yield opened

    async def states(self, engine, run) -> list[CallState]:
        return sorted(call.state for call in await engine.calls(run.id))

    async def both(self, engine, stage, run) -> None:
        await ring(engine, stage, run, ANSWERS)

        async def talking() -> bool:
            return CallState.ANSWERED in await self.states(engine, run)

        await until(talking)
        await ring(engine, stage, run, RINGS)

        async def ringing() -> bool:
            return CallState.RINGING in await self.states(engine, run)

        await until(ringing)

    async def test_by_default_ringing_is_cancelled_and_talking_goes_on(self, engine, stage, run, engines):
        await self.both(engine, stage, run)
        await press(stage, engines)
        assert await self.states(engine, run) == [CallState.ANSWERED]

    async def test_ringing_may_go_on(self, engine, stage, run, engines):
        await self.both(engine, stage, run)
        report = (await press(stage, engines, options=Wishes(ringing=RingingCalls.LET_RING))).report
        assert await self.states(engine, run) == [CallState.ANSWERED, CallState.RINGING]
        assert report.ringing is RingingCalls.LET_RING

    async def test_everything_may_be_ended(self, engine, stage, run, engines):
        await self.both(engine, stage, run)
        report = (await press(stage, engines, options=Wishes(connected=ConnectedCalls.HANG_UP))).report
        assert await self.states(engine, run) == []
        assert (report.engines[0].cancelled, report.engines[0].hung_up) == (1, 1)

    async def test_a_stop_that_is_joined_keeps_the_wishes_it_was_asked_with_first(
        self, engine, stage, run, engines, database
    ):
        await self.both(engine, stage, run)
        engine.freeze()
        with pytest.raises(StopNotProvenError):
            await press(stage, engines, options=Wishes(connected=ConnectedCalls.HANG_UP))
        engine.thaw()
        report = (await press(stage, engines)).report
        assert report.connected is ConnectedCalls.HANG_UP
        assert await self.states(engine, run) == []

    async def on_tcp(self, engine, run, engines, database):
        """Silence the run as if its trunk were a TCP one; return what was found and how long it took."""
        target = Target(
            run=run,
            permits={"e1": [(run.epoch, KEY)]},
            committed=clock.boottime(),
            transport=Transport.TCP,
            ttl_seconds=TTL,
            addresses={"e1": [("127.0.0.1", 5060)]},
        )
        began = clock.boottime()
        (found,) = await barrier.silence(engines, target, Wishes(), deadline=began + 1, database=database)
        return found, clock.boottime() - began

    @pytest.fixture
    def line(self, engine, monkeypatch):
        """What the engine says of the line: which may be so old."""
        monkeypatch.setattr(barrier, "LINE_SECONDS", 0.4)
        said = {"up": True}

        async def line_up(_trunk_id: str, _address: TrunkAddress) -> bool:
            return said["up"]

        monkeypatch.setattr(engine, "line_up", line_up)
        return said

    async def test_on_tcp_the_line_must_have_been_up_after_the_last_call(
        self, engine, stage, run, engines, database, line
    ):
        await ring(engine, stage, run, RINGS)
        found, seconds = await self.on_tcp(engine, run, engines, database)
        assert found.silent
        assert seconds >= 0.4

    async def test_while_it_is_down_nothing_is_proven(self, engine, stage, run, engines, database, line):
        await ring(engine, stage, run, RINGS)
        line["up"] = False
        found, _ = await self.on_tcp(engine, run, engines, database)
        assert not found.silent
        assert "line of the trunk is down" in found.problem
        assert len(found.cancelled) == 1

    async def test_nothing_waits_for_a_line_longer_than_an_invite_is_tried(
        self, engine, stage, run, engines, database, line, monkeypatch
    ):
        line["up"] = False
        fenced = clock.boottime() - barrier.INVITE_SECONDS - TTL - 1
        monkeypatch.setattr(engines, "fenced_since", lambda *_: fenced)
        found, seconds = await self.on_tcp(engine, run, engines, database)
        assert found.silent
        assert seconds < 0.4


class TestTheReport:
    async def test_it_is_kept_and_told_again_word_for_word(self, stage, run, engines, database):
        first = await press(stage, engines)
        assert (await press(stage, engines)) == first
        async with database.connection() as connection:
            stored = await stops.read_report(connection, run.id)
        assert stored == {**first.report.as_json(), "talking": [], "untold": []}
        assert isinstance(first.report, StopReport)

    async def test_it_says_who_when_and_how_long(self, stage, run, engines):
        before = clock.now()
        report = (await press(stage, engines)).report
        assert report.requested_by == "anna"
        assert before <= report.requested_at <= report.stopped_at <= clock.now()
        assert report.latency_seconds == pytest.approx((report.stopped_at - report.requested_at).total_seconds())
        assert report.never_reached_count == 20

    async def test_every_step_is_told_in_order(self, stage, run, engines):
        steps = []
        await press(stage, engines, on_progress=lambda step: steps.append((step.step, step.elapsed_seconds)))
        assert [name for name, _ in steps] == ["committed", "fenced", "quiesced", "acknowledged", "stopped"]
        assert [seconds for _, seconds in steps] == sorted(seconds for _, seconds in steps)


class TestRefused:
    async def test_what_does_not_exist_and_what_is_another_tenants(self, stage, run, engines, database):
        for iid, campaign_id in ((stage.owner.iid, "cd-unknown"), ("st-other", stage.campaign_id)):
            with pytest.raises(NotFoundError):
                await stop(database, engines, iid=iid, campaign_id=campaign_id, actor="x")
        async with database.connection() as connection:
            assert (await runs_store.by_id(connection, run.id)).state is RunState.ACTIVE

    async def test_what_never_ran(self, stage, engines):
        with pytest.raises(ConflictError, match="never been started"):
            await press(stage, engines)

    async def test_what_has_completed(self, stage, run, engines, database):
        async with database.transaction() as connection:
            await runs_store.move_run(
                connection,
                run.id,
                before=RunState.ACTIVE,
                epoch=1,
                after=RunState.COMPLETED,
                actor="test",
                reason="",
            )
        with pytest.raises(IllegalMoveError, match="completed"):
            await press(stage, engines)


async def test_the_lists_are_free_again(stage, run, engines, database):
    await press(stage, engines)
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM run_lists") == 0

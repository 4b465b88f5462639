"""A stop books what it has cancelled of silent nodes while it still watches the engines, and nothing of others."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest

from dialing import CALLER_ID, phones, set_stage
from engines import simulated
from outdial import clock
from outdial.core.errors import DatabaseUnavailableError
from outdial.core.model import AttemptState, Disposition, Transport
from outdial.services import acknowledging, barrier, insisting, runs, stop
from outdial.services.barrier import Target, Wishes
from outdial.services.early_books import LOT, EarlyBooks
from outdial.services.engines import Engines
from outdial.store import attempts, nodes
from outdial.store import runs as runs_store
from outdial.store.attempts import AttemptNews
from outdial.telephony.engine import CallState, LiveCall, OriginateResult, OutgoingCall, Permit, TrunkAddress
from services.test_barrier import RINGS, serve
from services.test_two_stops import book_ringing, ringing_and_stopping
from values import KEY
from waiting import until

TTL = 0.5


def news_of(attempt_id, fenced_at):
    return stop._cancelled(attempt_id, "anna", fenced_at)


async def ended(database, ids) -> set[str]:
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT id FROM attempts WHERE id = ANY ($1::text[]) AND state = 'ended' AND disposition = 'cancelled'",
            list(ids),
        )
    return {row["id"] for row in rows}


@pytest.fixture
async def cancelled(database, secret_box):
    """A run that is stopping, the node n1 that has not heard of it, and three calls of it."""
    run, ringing = await ringing_and_stopping(database, secret_box, 3)
    async with database.connection() as connection:
        await nodes.serve(connection, run_id=run.id, node_id="n1", epoch=run.epoch - 1)
    return run, ringing


def books(database, run, *, begins: float | None = None) -> EarlyBooks:
    return EarlyBooks(
        database, run, begins=clock.boottime() if begins is None else begins, ttl_seconds=5.0, news_of=news_of
    )


class TestEarlyBooks:
    async def test_what_is_gone_of_a_silent_node_is_booked_at_once(self, database, cancelled):
        run, (first, *others) = cancelled
        early = books(database, run)
        working = asyncio.create_task(early.run())
        early.gone(frozenset([first]), clock.now())

        async def booked() -> bool:
            return await ended(database, [first]) == {first}

        await until(booked)
        assert not working.done()
        early.gone(frozenset(others), clock.now())
        early.close()
        await asyncio.wait_for(working, 20)
        assert await ended(database, others) == set(others)

    async def test_more_than_one_lot(self, database, cancelled):
        run, ringing = cancelled
        early = books(database, run)
        early.gone(frozenset([*ringing, *(uuid.uuid4().hex for _ in range(2 * LOT))]), clock.now())
        early.close()
        await asyncio.wait_for(early.run(), 20)
        assert await ended(database, ringing) == set(ringing)

    async def test_a_node_that_has_dropped_the_run_books_by_itself(self, database, cancelled):
        run, ringing = cancelled
        async with database.connection() as connection:
            await nodes.dropped(connection, run_id=run.id, node_id="n1", epoch=run.epoch)
        early = books(database, run)
        early.gone(frozenset(ringing), clock.now())
        early.close()
        await asyncio.wait_for(early.run(), 20)
        assert await ended(database, ringing) == set()

    async def test_one_that_only_dropped_it_for_an_earlier_pause_does_not(self, database, cancelled):
        run, ringing = cancelled
        async with database.connection() as connection:
            await nodes.dropped(connection, run_id=run.id, node_id="n1", epoch=run.epoch - 1)
        early = books(database, run)
        early.gone(frozenset(ringing), clock.now())
        early.close()
        await asyncio.wait_for(early.run(), 20)
        assert await ended(database, ringing) == set(ringing)

    async def test_nothing_is_booked_before_nodes_had_their_time(self, database, cancelled):
        run, ringing = cancelled
        early = books(database, run, begins=clock.boottime() + 60)
        early.gone(frozenset(ringing), clock.now())
        working = asyncio.create_task(early.run())
        done, _ = await asyncio.wait([working], timeout=0.2)
        assert not done
        assert await ended(database, ringing) == set()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)

    async def test_a_stop_that_is_done_before_that_does_not_wait_for_it(self, database, cancelled):
        run, ringing = cancelled
        early = books(database, run, begins=clock.boottime() + 60)
        early.gone(frozenset(ringing), clock.now())
        working = asyncio.create_task(early.run())
        await asyncio.sleep(0)
        early.close()
        await asyncio.wait_for(working, 20)
        assert await ended(database, ringing) == set()

    async def test_what_a_node_has_booked_meanwhile_stays(self, database, cancelled):
        run, (busy, *others) = cancelled
        async with database.connection() as connection:
            now = clock.now()
            news = AttemptNews(busy, AttemptState.ENDED, "n1", Disposition.BUSY, dialed_at=now, ended_at=now)
            await attempts.book(connection, [news])
        early = books(database, run)
        early.gone(frozenset([busy, *others]), clock.now())
        early.close()
        await asyncio.wait_for(early.run(), 20)
        assert await ended(database, [busy, *others]) == set(others)

    async def test_calls_of_another_run_are_not_its_own(self, database, cancelled):
        run, ringing = cancelled
        async with database.transaction() as connection:
            assert await attempts.left_by_nodes(connection, run.id + 1, run.epoch, ringing) == []
            assert sorted(await attempts.left_by_nodes(connection, run.id, run.epoch, ringing)) == sorted(ringing)

    async def test_what_is_booked_as_answered_is_left_to_its_node(self, database, cancelled):
        run, (talks, *others) = cancelled
        async with database.connection() as connection:
            await attempts.book(connection, [AttemptNews(talks, AttemptState.ANSWERED, "n1", answered_at=clock.now())])
        early = books(database, run)
        early.gone(frozenset([talks, *others]), clock.now())
        early.close()
        await asyncio.wait_for(early.run(), 20)
        assert await ended(database, [talks, *others]) == set(others)

    async def test_what_its_node_is_booking_just_now_is_neither_booked_nor_waited_for(self, database, cancelled):
        """The two may hold rows in different orders: whoever waits for the other is broken off a second later."""
        run, (busy, *others) = cancelled
        early = books(database, run)
        early.gone(frozenset([busy, *others]), clock.now())
        early.close()
        async with database.transaction() as connection:
            now = clock.now()
            news = AttemptNews(busy, AttemptState.ENDED, "n1", Disposition.BUSY, dialed_at=now, ended_at=now)
            await attempts.book(connection, [news])
            await asyncio.wait_for(early.run(), 20)
            assert await ended(database, others) == set(others)
        assert await ended(database, [busy]) == set()

    async def test_whoever_wants_the_run_alone_is_not_held_up_by_its_rows(self, database, cancelled):
        """A node that books has the run and waits for a row: it would wait for whoever waits for the run."""
        run, ringing = cancelled
        early = books(database, run)
        early.gone(frozenset(ringing), clock.now())
        early.close()
        async with database.transaction() as alone:
            await runs_store.lock_run(alone, run.id)
            working = asyncio.create_task(early.run())
            async with database.transaction() as watching:

                async def waits() -> bool:
                    return await watching.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") == 1

                await until(waits)
                free = await watching.fetch("SELECT id FROM attempts FOR UPDATE SKIP LOCKED")
                assert {row["id"] for row in free} >= set(ringing)
        await asyncio.wait_for(working, 20)
        assert await ended(database, ringing) == set(ringing)


class TestAStop:
    """The whole, at a simulated engine whose calls have the ids of attempts of a node that says nothing."""

    @pytest.fixture
    async def engines(self, database, secret_box):
        opened = Engines(database, secret_box, ttl_seconds=TTL)
        yield opened
        await opened.close()

    @pytest.fixture
    async def engine(self, engines):
        async with simulated("e1", speed=0.05) as one:
            with engines.own(one):
                yield one

    @pytest.fixture
    async def ringing(self, database, secret_box, engine):
        """A run and its attempts, each with a call that rings."""
        stage = await set_stage(database, secret_box, phones(4))
        run = (
            await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
        ).run
        await serve(database, secret_box, run, "e1")
        async with database.connection() as connection:
            ids = await book_ringing(connection, run, 4)
        address = TrunkAddress("127.0.0.1", 5060)
        until_then = clock.now() + timedelta(minutes=1)
        await engine.put_permit(Permit(run.id, run.epoch, KEY, stage.trunk, address, until_then))
        for attempt_id in ids:
            call = OutgoingCall(attempt_id, run.id, run.epoch, KEY, RINGS, CALLER_ID, 60)
            assert await engine.originate(call) is OriginateResult.ACCEPTED
        return run, ids

    async def stopping(self, database, run):
        async with database.transaction() as connection:
            await runs_store.lock_run(connection, run.id)
            return await stop.commit_stopping(connection, run, actor="anna")

    async def test_books_while_the_engine_is_watched_and_counts_it_all(
        self, database, engines, engine, ringing, monkeypatch
    ):
        run, ids = ringing
        monkeypatch.setattr(acknowledging, "EARLY_SECONDS", 0.0)
        monkeypatch.setattr(acknowledging, "GRACE_SECONDS", 60.0)
        listings, may_go_on = 0, asyncio.Event()
        real = engine.calls

        async def calls(run_id=None):
            nonlocal listings
            listings += 1
            found = await real(run_id)
            if listings == 3:
                # the first has cancelled, the second was empty: here is the one that makes the engine quiet
                await may_go_on.wait()
            return found

        monkeypatch.setattr(engine, "calls", calls)
        proving = asyncio.create_task(
            stop.prove_stop(database, engines, await self.stopping(database, run), actor="anna", tell=lambda *_: None)
        )

        async def booked() -> bool:
            return await ended(database, ids) == set(ids)

        await until(booked)
        assert not proving.done()
        may_go_on.set()
        stopped = await asyncio.wait_for(proving, 20)
        assert stopped.report.cancelled_count == len(ids)
        assert [found.cancelled for found in stopped.report.engines] == [len(ids)]

    async def test_calls_are_told_of_once_and_when_their_engine_lists_them_no_more(
        self, database, engines, engine, ringing
    ):
        run, ids = ringing
        present = await self.stopping(database, run)
        told = []

        def gone(attempt_ids, fenced_at):
            assert attempt_ids.isdisjoint(engine._calls)
            told.append((attempt_ids, fenced_at))

        target = Target(present, {"e1": [(run.epoch, KEY)]}, clock.boottime(), Transport.UDP, ttl_seconds=TTL)
        deadline = clock.boottime() + 20
        (found,) = await barrier.silence(engines, target, Wishes(), deadline=deadline, database=database, on_gone=gone)
        assert found.silent
        assert sorted(id_ for attempt_ids, _ in told for id_ in attempt_ids) == sorted(ids)
        assert {fenced_at for _, fenced_at in told} == {found.fenced_at}

    async def test_over_tcp_nothing_is_booked_before_the_line_is_proven(self, database, engines, ringing):
        """What is not listed any more may wait there for its connection; its number must not be called meanwhile."""
        run, ids = ringing
        present = await self.stopping(database, run)
        told = []
        target = Target(present, {"e1": [(run.epoch, KEY)]}, clock.boottime(), Transport.TCP, ttl_seconds=TTL)
        (found,) = await barrier.silence(
            engines,
            target,
            Wishes(),
            deadline=clock.boottime(),
            database=database,
            on_gone=lambda *_: told.append(1),
        )
        assert found.cancelled == frozenset(ids)
        assert not told

    async def test_what_was_seen_answered_is_left_to_its_node(self, database, engines, engine, ringing, monkeypatch):
        run, (crossing, *others) = ringing
        present = await self.stopping(database, run)
        told = set()
        self.cross(engine, run, crossing, monkeypatch)
        target = Target(present, {"e1": [(run.epoch, KEY)]}, clock.boottime(), Transport.UDP, ttl_seconds=TTL)
        deadline = clock.boottime() + 20
        (found,) = await barrier.silence(
            engines, target, Wishes(), deadline=deadline, database=database, on_gone=lambda ids, _: told.update(ids)
        )
        assert told == set(others)
        assert found.cancelled == {crossing, *others}
        assert found.crossed == {crossing}

    async def test_what_was_over_before_it_could_be_hung_up_is_too(
        self, database, engines, engine, ringing, monkeypatch
    ):
        run, (busy, *others) = ringing
        present = await self.stopping(database, run)
        real, told = engine.hang_up, set()

        async def hang_up(call_id):
            found = await real(call_id)
            return found and call_id != busy

        monkeypatch.setattr(engine, "hang_up", hang_up)
        target = Target(present, {"e1": [(run.epoch, KEY)]}, clock.boottime(), Transport.UDP, ttl_seconds=TTL)
        deadline = clock.boottime() + 20
        (found,) = await barrier.silence(
            engines, target, Wishes(), deadline=deadline, database=database, on_gone=lambda ids, _: told.update(ids)
        )
        assert told == set(others)
        assert found.cancelled == set(others)
        assert found.over == {busy}

    async def test_but_not_what_is_gone_when_it_is_hung_up_once_more(
        self, database, engines, engine, ringing, monkeypatch
    ):
        """It is listed for a moment after it was hung up."""
        run, ids = ringing
        present = await self.stopping(database, run)
        real, before, told = engine.calls, [], set()

        async def calls(run_id=None):
            found = list(await real(run_id))
            shown = [*found, *(before.pop() if before else [])]
            if found:
                before.append(found)
            return shown

        monkeypatch.setattr(engine, "calls", calls)
        target = Target(present, {"e1": [(run.epoch, KEY)]}, clock.boottime(), Transport.UDP, ttl_seconds=TTL)
        deadline = clock.boottime() + 20
        (found,) = await barrier.silence(
            engines, target, Wishes(), deadline=deadline, database=database, on_gone=lambda ids, _: told.update(ids)
        )
        assert found.crossed == found.over == frozenset()
        assert told == set(ids)

    async def test_and_is_what_its_node_says_of_it(self, database, engines, engine, ringing, monkeypatch):
        monkeypatch.setattr(acknowledging, "GRACE_SECONDS", 60.0)
        run, (crossing, *others) = ringing
        self.cross(engine, run, crossing, monkeypatch)
        present = await self.stopping(database, run)
        steps = []
        proving = asyncio.create_task(
            stop.prove_stop(database, engines, present, actor="anna", tell=lambda step, _: steps.append(step))
        )

        async def quiet() -> bool:
            return "quiesced" in steps

        await until(quiet)
        assert not proving.done()
        async with database.connection() as connection:
            now = clock.now()
            news = AttemptNews(
                crossing, AttemptState.ENDED, "n1", Disposition.ANSWERED_HUMAN, answered_at=now, ended_at=now
            )
            await attempts.book(connection, [news])
        stopped = await asyncio.wait_for(proving, 20)
        assert await ended(database, [crossing, *others]) == set(others)
        assert stopped.report.cancelled_count == len(others)

    @staticmethod
    def cross(engine, run, crossing, monkeypatch) -> None:
        """Have a call be answered in the moment it is hung up: after the first listing, and gone in the third."""
        real, listings = engine.calls, 0

        async def calls(run_id=None):
            nonlocal listings
            listings += 1
            found = await real(run_id)
            crossed = [LiveCall(crossing, run.id, run.epoch, CallState.ANSWERED)] if listings == 2 else []
            return [*found, *crossed]

        monkeypatch.setattr(engine, "calls", calls)

    async def test_a_database_that_is_away_meanwhile_leaves_it_to_the_last_commit(
        self, database, engines, engine, ringing, monkeypatch, capsys
    ):
        run, ids = ringing
        monkeypatch.setattr(acknowledging, "EARLY_SECONDS", 0.0)
        monkeypatch.setattr(insisting, "INSIST_SECONDS", 0.0)

        async def away(*_args):
            raise DatabaseUnavailableError("away")

        monkeypatch.setattr(attempts, "left_by_nodes", away)
        present = await self.stopping(database, run)
        stopped = await stop.prove_stop(database, engines, present, actor="anna", tell=lambda *_: None)
        assert stopped.report.cancelled_count == len(ids)
        assert "early_books_left" in capsys.readouterr().out

    async def test_anything_else_that_fails_beside_is_not_swallowed(self, database, engines, ringing, monkeypatch):
        run, _ = ringing
        monkeypatch.setattr(acknowledging, "EARLY_SECONDS", 0.0)

        async def broken(*_args):
            raise ZeroDivisionError

        monkeypatch.setattr(attempts, "left_by_nodes", broken)
        present = await self.stopping(database, run)
        with pytest.raises(ZeroDivisionError):
            await stop.prove_stop(database, engines, present, actor="anna", tell=lambda *_: None)

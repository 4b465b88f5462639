"""A stop whose database breaks off is not given up, and one whose nodes live says nothing before they have booked."""

from __future__ import annotations

import asyncio

import pytest

from dialing import phones, set_stage
from outdial import clock
from outdial.core.errors import DatabaseUnavailableError
from outdial.core.model import AttemptState, Disposition, RingingCalls, RunState, Transport
from outdial.services import barrier, insisting, runs
from outdial.services import stop as stops
from outdial.services.barrier import NodeOutcome, Target, Wishes
from outdial.services.engines import Engines
from outdial.store import attempts, nodes
from outdial.store.attempts import AttemptNews
from services.test_two_stops import ringing_and_stopping


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=0.5)
    yield opened
    await opened.close()


@pytest.fixture
def breaking(monkeypatch):
    """Ends the server's process of whoever comes to a statement, the first time."""

    def at(module, name: str) -> list[str]:
        real, broken = getattr(module, name), []

        async def first_breaks(connection, *args, **kwargs):
            if not broken:
                broken.append(name)
                await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            return await real(connection, *args, **kwargs)

        monkeypatch.setattr(module, name, first_breaks)
        return broken

    return at


class TestBrokenOff:
    @pytest.mark.parametrize(
        ("module", "name"),
        [
            (stops, "commit_stop"),
            (stops.schedules_store, "switch_off"),
            (stops.runs, "move_locked"),
            (barrier, "target_of"),
            (stops.store, "to_prove"),
            (barrier.nodes_store, "serving"),
            (stops.store, "release_lists"),
            (stops.store, "counts"),
            (stops.store, "store_report"),
        ],
    )
    async def test_a_stop_goes_on(self, database, secret_box, engines, breaking, module, name):
        stage = await set_stage(database, secret_box, phones(3))
        owner = {"iid": stage.owner.iid, "campaign_id": stage.campaign_id, "actor": "anna"}
        await runs.start(database, secret_box, **owner)
        broken = breaking(module, name)
        done = await stops.stop(database, engines, **owner)
        assert broken == [name]
        assert done.run.state is RunState.STOPPED
        assert done.report == await stops.report_of(database, done.run.id)
        async with database.connection() as connection:
            moves = await connection.fetch(
                "SELECT to_state FROM history WHERE to_state IN ('active', 'stopping', 'stopped') ORDER BY id"
            )
        assert [row["to_state"] for row in moves] == ["active", "stopping", "stopped"]

    async def test_what_is_away_for_longer_is_told(self, monkeypatch):
        monkeypatch.setattr(insisting, "INSIST_SECONDS", 0.12)
        tries = []

        async def away() -> None:
            tries.append(clock.boottime())
            raise DatabaseUnavailableError("away")

        with pytest.raises(DatabaseUnavailableError, match="away"):
            await insisting.insisting(away)
        assert len(tries) > 1

    async def test_other_errors_are_told_at_once(self):
        tries = []

        async def wrong() -> None:
            tries.append(1)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await insisting.insisting(wrong)
        assert tries == [1]


class TestLateBooks:
    """A node has dropped the run, and what became of its calls is known to it alone."""

    @pytest.fixture
    async def ringing(self, database, secret_box):
        run, ringing = await ringing_and_stopping(database, secret_box, 2)
        async with database.connection() as connection:
            await nodes.serve(connection, run_id=run.id, node_id="n1", epoch=run.epoch - 1)
            await nodes.dropped(connection, run_id=run.id, node_id="n1", epoch=run.epoch)
        target = Target(run, {"e1": []}, clock.boottime(), Transport.UDP, ttl_seconds=0.5)
        return target, ringing

    async def book(self, database, *news: AttemptNews) -> None:
        async with database.connection() as connection:
            await attempts.book(connection, news)

    async def test_they_are_waited_for(self, database, ringing, monkeypatch):
        monkeypatch.setattr(barrier, "BOOKED_SECONDS", 60.0)
        target, (busy, answered) = ringing
        waiting = asyncio.create_task(barrier.acknowledgements(database, target, Wishes()))
        now = clock.now()
        await self.book(database, AttemptNews(busy, AttemptState.ENDED, "n1", Disposition.BUSY, ended_at=now))
        # the grace time is over, and one of them is still to be booked
        done, _ = await asyncio.wait([waiting], timeout=barrier.GRACE_SECONDS * 2)
        assert not done
        await self.book(database, AttemptNews(answered, AttemptState.ANSWERED, "n1", answered_at=now))
        found = await asyncio.wait_for(waiting, 20)
        assert [node.node_id for node in found[NodeOutcome.ACKNOWLEDGED]] == ["n1"]

    async def test_not_for_ever(self, database, ringing, monkeypatch):
        monkeypatch.setattr(barrier, "BOOKED_SECONDS", 0.3)
        target, _ = ringing
        began = clock.boottime()
        found = await asyncio.wait_for(barrier.acknowledgements(database, target, Wishes()), 20)
        assert clock.boottime() - began >= 0.3
        assert [node.node_id for node in found[NodeOutcome.ACKNOWLEDGED]] == ["n1"]

    @pytest.mark.parametrize("why", ["its node is dead", "it may ring on"])
    async def test_not_at_all_where(self, database, ringing, monkeypatch, why):
        monkeypatch.setattr(barrier, "BOOKED_SECONDS", 60.0)
        target, _ = ringing
        wishes = Wishes()
        if why == "it may ring on":
            wishes = Wishes(ringing=RingingCalls.LET_RING)
        else:
            async with database.connection() as connection:
                await connection.execute("UPDATE nodes SET lease_until = clock_timestamp() - interval '1 s'")
        await asyncio.wait_for(barrier.acknowledgements(database, target, wishes), 20)


class TestGrace:
    """How long a stop that is quiet waits before it books what it has cancelled."""

    @pytest.fixture
    async def cancelled(self, database, secret_box, monkeypatch):
        """A run that went quiet long after its commit, and what it cancelled then."""
        monkeypatch.setattr(barrier, "SHORTEST_GRACE_SECONDS", 60.0)
        run, ringing = await ringing_and_stopping(database, secret_box, 2)
        async with database.connection() as connection:
            await nodes.serve(connection, run_id=run.id, node_id="n1", epoch=run.epoch - 1)
        committed = clock.boottime() - barrier.GRACE_SECONDS
        return Target(run, {"e1": []}, committed, Transport.UDP, ttl_seconds=0.5), ringing

    async def test_is_over_for_a_node_that_has_said_nothing_since_the_commit(self, database, cancelled):
        target, ended = cancelled
        found = await asyncio.wait_for(barrier.acknowledgements(database, target, Wishes(), ended), 20)
        assert [node.node_id for node in found[NodeOutcome.NOT_ANSWERING]] == ["n1"]

    async def test_goes_on_for_one_that_has_and_books(self, database, cancelled):
        target, ended = cancelled
        async with database.connection() as connection:
            await nodes.dropped(connection, run_id=target.run.id, node_id="n1", epoch=target.run.epoch)
        waiting = asyncio.create_task(barrier.acknowledgements(database, target, Wishes(), ended))
        done, _ = await asyncio.wait([waiting], timeout=barrier.GRACE_SECONDS * 2)
        assert not done
        async with database.connection() as connection:
            await attempts.book(connection, [stops._cancelled(id_, "n1", clock.now()) for id_ in ended])
        found = await asyncio.wait_for(waiting, 20)
        assert [node.node_id for node in found[NodeOutcome.ACKNOWLEDGED]] == ["n1"]

"""A stop that is quiet waits for its nodes where they know something, as long as that is worth it, and no longer."""

from __future__ import annotations

import asyncio

import pytest

from outdial import clock
from outdial.core.model import AttemptState, ConnectedCalls, Disposition, RingingCalls, Transport
from outdial.core.transfer import leg_id
from outdial.services import acknowledging
from outdial.services import stop as stops
from outdial.services.acknowledging import (
    EARLY_SECONDS,
    GRACE_SECONDS,
    IDLE_SECONDS,
    NodeOutcome,
    acknowledgements,
    patience,
)
from outdial.services.barrier import Silence, Target, Wishes
from outdial.store import attempts, nodes
from outdial.store.attempts import AttemptNews
from outdial.store.nodes import NodeRow
from services.test_two_stops import ringing_and_stopping

RESERVED, DIALING, RINGING, ANSWERED = (
    AttemptState.RESERVED,
    AttemptState.DIALING,
    AttemptState.RINGING,
    AttemptState.ANSWERED,
)
ID = "5f0c1ae0cc7f4e5a8a8f4ad3c1f5d3a1"
"""An attempt."""
LEG = leg_id(ID, 1)


def silence(**found: frozenset[str] | set[str]) -> Silence:
    return Silence("e1", silent=True, **{name: frozenset(ids) for name, ids in found.items()})


def names(found, outcome: NodeOutcome) -> list[str]:
    return [node.node_id for node in found[outcome]]


async def book(database, *news: AttemptNews) -> None:
    async with database.connection() as connection:
        await attempts.book(connection, news)


class TestPatience:
    """How long nodes that say nothing are waited for, by what is booked of their calls and what the engines showed."""

    def test_is_short_where_they_have_no_call(self):
        assert patience({}, [silence(cancelled={ID}, talking={"other"})]) == IDLE_SECONDS

    @pytest.mark.parametrize(
        ("state", "shown", "seconds"),
        [
            # what the stop has cancelled it books itself, a little later
            (DIALING, silence(cancelled={ID}), EARLY_SECONDS),
            (RINGING, silence(cancelled={ID}), EARLY_SECONDS),
            # but not what is booked as answered, or was answered or over as it was cancelled
            (ANSWERED, silence(cancelled={ID}), GRACE_SECONDS),
            (ANSWERED, silence(cancelled={ID}, talking={"other"}), GRACE_SECONDS),
            (RINGING, silence(cancelled={ID}, crossed={ID}), GRACE_SECONDS),
            (RINGING, silence(over={ID}), GRACE_SECONDS),
            (ANSWERED, silence(over={ID}), GRACE_SECONDS),
            # what goes on as it is booked has nothing to be told of
            (ANSWERED, silence(talking={ID}), IDLE_SECONDS),
            (RINGING, silence(ringing={ID}), IDLE_SECONDS),
            (DIALING, silence(ringing={ID}), IDLE_SECONDS),
            # an answer that is not booked yet, or an end of a conversation
            (RINGING, silence(talking={ID}), GRACE_SECONDS),
            (ANSWERED, silence(), GRACE_SECONDS),
            (ANSWERED, silence(ringing={ID}), GRACE_SECONDS),
            # busy, or never sent
            (RINGING, silence(), GRACE_SECONDS),
            (RESERVED, silence(), GRACE_SECONDS),
            # a conversation that was hung up
            (ANSWERED, silence(hung_up={ID}), GRACE_SECONDS),
            (ANSWERED, silence(hung_up={ID}, talking={ID}), GRACE_SECONDS),
            # somebody was on the line for whom a second call was placed, and that one crossed
            (ANSWERED, silence(talking={ID}, cancelled={LEG}), IDLE_SECONDS),
            (ANSWERED, silence(talking={ID}, cancelled={LEG}, crossed={LEG}), GRACE_SECONDS),
        ],
    )
    def test_is_as_long_as_they_know_something(self, state, shown, seconds):
        assert patience({ID: state}, [shown]) == seconds

    def test_is_the_longest_of_any_call(self):
        shown = silence(cancelled={"a", "b"}, talking={"c"})
        assert patience({"a": RINGING, "c": ANSWERED}, [shown]) == EARLY_SECONDS
        assert patience({"c": ANSWERED, "a": RINGING}, [shown]) == EARLY_SECONDS
        assert patience({"a": RINGING, "c": ANSWERED, "d": RINGING}, [shown]) == GRACE_SECONDS

    def test_takes_what_any_engine_shows(self):
        shown = [silence(cancelled={"a"}), silence(talking={"b"}), silence(ringing={"c"})]
        assert patience({"a": RINGING, "b": ANSWERED, "c": RINGING}, shown) == EARLY_SECONDS

    def test_is_whole_where_an_engine_was_given_up(self):
        """It shows nothing."""
        assert patience({ID: ANSWERED}, [Silence("e1", silent=True, problem="retired")]) == GRACE_SECONDS


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

    async def test_they_are_waited_for(self, database, ringing, monkeypatch):
        monkeypatch.setattr(acknowledging, "BOOKED_SECONDS", 60.0)
        target, (busy, answered) = ringing
        waiting = asyncio.create_task(acknowledgements(database, target, Wishes()))
        now = clock.now()
        await book(database, AttemptNews(busy, AttemptState.ENDED, "n1", Disposition.BUSY, ended_at=now))
        # the grace time is over, and one of them is still to be booked
        done, _ = await asyncio.wait([waiting], timeout=GRACE_SECONDS * 2)
        assert not done
        await book(database, AttemptNews(answered, ANSWERED, "n1", answered_at=now))
        found = await asyncio.wait_for(waiting, 20)
        assert names(found, NodeOutcome.ACKNOWLEDGED) == ["n1"]

    async def test_so_is_what_was_over_as_it_was_to_be_cancelled(self, database, ringing, monkeypatch):
        monkeypatch.setattr(acknowledging, "BOOKED_SECONDS", 60.0)
        target, (busy, cancelled) = ringing
        shown = silence(cancelled={cancelled}, over={busy})
        waiting = asyncio.create_task(acknowledgements(database, target, Wishes(), [shown]))
        done, _ = await asyncio.wait([waiting], timeout=GRACE_SECONDS * 3)
        assert not done
        await book(database, AttemptNews(busy, AttemptState.ENDED, "n1", Disposition.BUSY, ended_at=clock.now()))
        await asyncio.wait_for(waiting, 20)

    async def test_and_what_is_booked_as_answered_and_was_hung_up(self, database, ringing, monkeypatch):
        monkeypatch.setattr(acknowledging, "BOOKED_SECONDS", 60.0)
        target, (answered, cancelled) = ringing
        await book(database, AttemptNews(answered, ANSWERED, "n1", answered_at=clock.now()))
        shown = silence(cancelled={answered, cancelled})
        waiting = asyncio.create_task(acknowledgements(database, target, Wishes(), [shown]))
        done, _ = await asyncio.wait([waiting], timeout=GRACE_SECONDS * 3)
        assert not done
        now = clock.now()
        await book(database, AttemptNews(answered, AttemptState.ENDED, "n1", Disposition.ABANDONED, ended_at=now))
        await asyncio.wait_for(waiting, 20)

    async def test_not_a_conversation_that_goes_on(self, database, ringing, monkeypatch):
        monkeypatch.setattr(acknowledging, "BOOKED_SECONDS", 60.0)
        target, (talks, cancelled) = ringing
        await book(database, AttemptNews(talks, ANSWERED, "n1", answered_at=clock.now()))
        shown = silence(cancelled={cancelled}, talking={talks})
        await asyncio.wait_for(acknowledgements(database, target, Wishes(), [shown]), 20)

    async def test_not_what_the_stop_can_book_itself(self, database, ringing, monkeypatch):
        monkeypatch.setattr(acknowledging, "BOOKED_SECONDS", 60.0)
        target, ids = ringing
        await asyncio.wait_for(acknowledgements(database, target, Wishes(), [silence(cancelled=set(ids))]), 20)

    async def test_not_for_ever(self, database, ringing, monkeypatch):
        monkeypatch.setattr(acknowledging, "BOOKED_SECONDS", 0.3)
        target, _ = ringing
        began = clock.boottime()
        found = await asyncio.wait_for(acknowledgements(database, target, Wishes()), 20)
        assert clock.boottime() - began >= 0.3
        assert names(found, NodeOutcome.ACKNOWLEDGED) == ["n1"]

    @pytest.mark.parametrize("why", ["its node is dead", "it may ring on"])
    async def test_not_at_all_where(self, database, ringing, monkeypatch, why):
        monkeypatch.setattr(acknowledging, "BOOKED_SECONDS", 60.0)
        target, _ = ringing
        wishes = Wishes()
        if why == "it may ring on":
            wishes = Wishes(ringing=RingingCalls.LET_RING)
        else:
            async with database.connection() as connection:
                await connection.execute("UPDATE nodes SET lease_until = clock_timestamp() - interval '1 s'")
        await asyncio.wait_for(acknowledgements(database, target, wishes), 20)


class TestGrace:
    """How long a stop that is quiet waits before it books what it has cancelled."""

    @pytest.fixture
    async def cancelled(self, database, secret_box, monkeypatch):
        """A run that went quiet long after its commit, and what it cancelled then."""
        monkeypatch.setattr(acknowledging, "SHORTEST_GRACE_SECONDS", 60.0)
        run, ringing = await served_and_stopping(database, secret_box)
        committed = clock.boottime() - GRACE_SECONDS
        return Target(run, {"e1": []}, committed, Transport.UDP, ttl_seconds=0.5), ringing

    @pytest.mark.parametrize("crossed", [False, True])
    async def test_is_over_for_a_node_that_has_said_nothing_since_the_commit(self, database, cancelled, crossed):
        target, ended = cancelled
        shown = silence(cancelled=set(ended), crossed=set(ended) if crossed else set())
        found = await asyncio.wait_for(acknowledgements(database, target, Wishes(), [shown]), 20)
        assert names(found, NodeOutcome.NOT_ANSWERING) == ["n1"]

    async def test_goes_on_for_one_that_has_and_books(self, database, cancelled):
        target, ended = cancelled
        async with database.connection() as connection:
            await nodes.dropped(connection, run_id=target.run.id, node_id="n1", epoch=target.run.epoch)
        shown = silence(cancelled=set(ended))
        waiting = asyncio.create_task(acknowledgements(database, target, Wishes(), [shown]))
        done, _ = await asyncio.wait([waiting], timeout=GRACE_SECONDS * 2)
        assert not done
        await book(database, *(stops._cancelled(id_, "n1", clock.now()) for id_ in ended))
        found = await asyncio.wait_for(waiting, 20)
        assert names(found, NodeOutcome.ACKNOWLEDGED) == ["n1"]


class TestSilentNodes:
    """A node that says nothing right after the commit is waited for by what is booked of its own calls."""

    @pytest.fixture
    async def stopping(self, database, secret_box, monkeypatch):
        """A run that was quiet the moment it was committed, two calls of it, and a node that says nothing."""
        monkeypatch.setattr(acknowledging, "GRACE_SECONDS", 60.0)
        run, ringing = await served_and_stopping(database, secret_box)
        return Target(run, {"e1": []}, clock.boottime(), Transport.UDP, ttl_seconds=0.5), ringing

    async def silent(self, database, target, shown, wishes=None) -> None:
        """Assert that it is not waited for."""
        found = await asyncio.wait_for(acknowledgements(database, target, wishes or Wishes(), [shown]), 20)
        assert names(found, NodeOutcome.NOT_ANSWERING) == ["n1"]

    async def waited_for(self, database, target, shown, wishes=None) -> None:
        """Assert that it is, and end that wait by having it drop the run."""
        waiting = asyncio.create_task(acknowledgements(database, target, wishes or Wishes(), [shown]))
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        assert not done
        await self.tell(database, target)
        found = await asyncio.wait_for(waiting, 20)
        assert names(found, NodeOutcome.ACKNOWLEDGED) == ["n1"]

    async def tell(self, database, target) -> None:
        """Have the node drop the run, and tell with it what it alone knew, so that nothing more is waited for."""
        async with database.transaction() as connection:
            await connection.execute("UPDATE attempts SET state = 'ended', ended_at = now(), disposition = 'busy'")
            await nodes.dropped(connection, run_id=target.run.id, node_id="n1", epoch=target.run.epoch)

    @pytest.mark.parametrize(("store", "read"), [(attempts, "live_by_node"), (nodes, "serving")])
    async def test_one_that_tells_all_in_the_middle_of_a_look_has_answered(
        self, database, stopping, monkeypatch, store, read
    ):
        """A look reads what the nodes have and what they have said one after the other."""
        target, _ = stopping
        monkeypatch.setattr(acknowledging, "IDLE_SECONDS", 0.0)  # one that has nothing to tell is given up at once
        reads = getattr(store, read)
        looks = 0

        async def read_just_before_it_tells(*args):
            nonlocal looks
            looks += 1
            found = await reads(*args)
            if looks == 1:
                await self.tell(database, target)
            return found

        monkeypatch.setattr(store, read, read_just_before_it_tells)
        found = await asyncio.wait_for(acknowledgements(database, target, Wishes(), [silence()]), 20)
        assert names(found, NodeOutcome.ACKNOWLEDGED) == ["n1"]

    async def test_without_a_call_it_is_not(self, database, stopping):
        target, ringing = stopping
        await book(database, *(stops._cancelled(id_, "n1", clock.now()) for id_ in ringing))
        await self.silent(database, target, silence())

    async def test_it_gets_the_time_a_healthy_one_takes_all_the_same(self, database, stopping, monkeypatch):
        target, ringing = stopping
        monkeypatch.setattr(acknowledging, "IDLE_SECONDS", 60.0)
        await book(database, *(stops._cancelled(id_, "n1", clock.now()) for id_ in ringing))
        await self.waited_for(database, target, silence())

    async def test_what_the_stop_has_cancelled_it_books_itself(self, database, stopping):
        target, ringing = stopping
        await self.silent(database, target, silence(cancelled=set(ringing)))

    async def test_what_no_engine_showed_is_known_to_it_alone(self, database, stopping):
        target, (cancelled, _busy) = stopping
        await self.waited_for(database, target, silence(cancelled={cancelled}))

    async def test_a_conversation_goes_on(self, database, stopping):
        target, (talks, rings) = stopping
        await book(database, AttemptNews(talks, ANSWERED, "n1", answered_at=clock.now()))
        await self.silent(database, target, silence(cancelled={rings}, talking={talks}))

    async def test_one_that_is_over_is_not_told_as_one_that_goes_on(self, database, stopping):
        target, (talked, rings) = stopping
        await book(database, AttemptNews(talked, ANSWERED, "n1", answered_at=clock.now()))
        await self.waited_for(database, target, silence(cancelled={rings}))

    async def test_nor_is_one_that_was_hung_up(self, database, stopping):
        target, (talks, rings) = stopping
        await book(database, AttemptNews(talks, ANSWERED, "n1", answered_at=clock.now()))
        wishes = Wishes(connected=ConnectedCalls.HANG_UP)
        await self.waited_for(database, target, silence(cancelled={rings}, hung_up={talks}), wishes)

    async def test_phones_that_ring_on_keep_nobody(self, database, stopping):
        target, ringing = stopping
        await self.silent(database, target, silence(ringing=set(ringing)), Wishes(ringing=RingingCalls.LET_RING))

    async def test_calls_of_other_nodes_do_not_either(self, database, stopping):
        target, _ = stopping
        async with database.connection() as connection:
            await nodes.register(connection, NodeRow("n2", "n2", "h", 2, "app2", "e1"), ttl_seconds=60)
            await connection.execute("UPDATE attempts SET node_id = 'n2'")
        await self.silent(database, target, silence())


async def served_and_stopping(database, secret_box):
    """A run that is stopping, two ringing calls of it, and the node n1 that has not heard of the stop."""
    run, ringing = await ringing_and_stopping(database, secret_box, 2)
    async with database.connection() as connection:
        await nodes.serve(connection, run_id=run.id, node_id="n1", epoch=run.epoch - 1)
    return run, ringing

"""Reserving and booking: the database is the referee, whoever asks and however many at once."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import asyncpg
import pytest

from dialing import add_campaign, phones, set_stage
from outdial.core.model import (
    AttemptState,
    Disposition,
    DoneReason,
    EngineKind,
    OwnRules,
    RetryOrder,
    RetryRule,
    RunContactState,
    RunState,
)
from outdial.services import dnc, runs
from outdial.store import attempts, engines, nodes, reserve
from outdial.store import dnc as dnc_store
from outdial.store import runs as runs_store
from outdial.store.attempts import AttemptNews, ContactNews
from outdial.store.nodes import NodeRow
from outdial.store.reserve import Budget, Reservation, Verdict
from waiting import until

EPOCH = datetime.fromtimestamp(0, tz=UTC)


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(20), max_channels=10)


@pytest.fixture
async def run(stage):
    started = await runs.start(
        stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
    )
    return started.run


async def add_node(database, secret_box, node_id="n1") -> str:
    async with database.connection() as connection:
        await engines.put(
            connection,
            secret_box,
            engine_id="e1",
            kind=EngineKind.SIMULATED,
            url=None,
            username=None,
            password=None,
        )
        await nodes.register(connection, NodeRow(node_id, node_id, "h", 1, f"app-{node_id}", "e1"), ttl_seconds=60)
    return node_id


@pytest.fixture
async def node(database, secret_box) -> str:
    return await add_node(database, secret_box)


def wish(people, *, budgets=(), run_cap=10, trunk_cap=10, application_cap=None, denied=(), deferred=()):
    wanted = [(contact_id, uuid.uuid4().hex) for contact_id in people]
    return Reservation(denied, deferred, wanted, budgets, run_cap, trunk_cap, application_cap)


async def ask(database, run, node, wanted):
    async with database.connection() as connection:
        return await reserve.reserve(connection, run, node, wanted)


async def people(database, run, limit=20) -> list[int]:
    async with database.connection() as connection:
        return [one.contact_id for one in await reserve.candidates(connection, run, limit)]


async def states(database, run) -> dict[str, int]:
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT state, count(*) FROM run_contacts WHERE run_id = $1 GROUP BY 1", run.id)
    return {row["state"]: row["count"] for row in rows}


def ended(attempt_id, disposition=Disposition.BUSY, contact=None, **more):
    return AttemptNews(
        id=attempt_id,
        state=AttemptState.ENDED,
        by="n1",
        disposition=disposition,
        dialed_at=datetime.now(UTC),
        ended_at=datetime.now(UTC),
        contact=contact or ContactNews(RunContactState.DONE, done_reason=DoneReason.REACHED),
        **more,
    )


async def book(database, *news) -> frozenset[str]:
    async with database.connection() as connection:
        return await attempts.book(connection, news)


class TestReserve:
    async def test_it_claims_contacts_and_makes_attempts(self, database, run, node):
        wanted = wish((await people(database, run))[:3])
        verdict, ids = await ask(database, run, node, wanted)
        assert verdict is Verdict.RESERVED
        assert ids == {attempt_id for _, attempt_id in wanted.wanted}
        assert await states(database, run) == {"claimed": 3, "pending": 17}
        async with database.connection() as connection:
            found = await attempts.reserved_of_node(connection, node, older_than=timedelta(0))
        assert {(one.state, one.number, one.epoch, one.engine_id) for one in found} == {
            (AttemptState.RESERVED, 1, 1, "e1")
        }

    @pytest.mark.parametrize("state", [RunState.PAUSED, RunState.STOPPING])
    async def test_a_run_that_moved_on_gives_nobody(self, database, run, node, state):
        async with database.transaction() as connection:
            await runs_store.move_run(
                connection, run.id, before=RunState.ACTIVE, epoch=1, after=state, actor="test", reason=""
            )
        verdict, ids = await ask(database, run, node, wish(await people(database, run)))
        assert (verdict, ids) == (Verdict.MOVED_ON, frozenset())

    async def test_a_stale_epoch_gives_nobody(self, database, run, node):
        async with database.transaction() as connection:
            for before, after, epoch in (
                (RunState.ACTIVE, RunState.PAUSED, 1),
                (RunState.PAUSED, RunState.ACTIVE, 2),
            ):
                await runs_store.move_run(
                    connection, run.id, before=before, epoch=epoch, after=after, actor="test", reason=""
                )
        assert (await ask(database, run, node, wish(await people(database, run))))[0] is Verdict.MOVED_ON

    async def test_a_node_whose_life_was_ended_gets_nobody(self, database, run, node):
        async with database.connection() as connection:
            await nodes.end(connection, node)
        assert (await ask(database, run, node, wish(await people(database, run))))[0] is Verdict.NODE_ENDED

    async def test_a_reservation_that_waits_for_a_stop_sees_it(self, database, run, node):
        """The lock is taken first and the state read afterwards: read in one statement it would be stale."""
        found = await people(database, run)
        async with database.transaction() as stopping:
            await runs_store.lock_run(stopping, run.id)
            asked = asyncio.create_task(ask(database, run, node, wish(found)))

            async def waits() -> bool:
                async with database.connection() as connection:
                    return await connection.fetchval(
                        "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
                        "WHERE d.datname = current_database() AND locktype = 'advisory' AND NOT granted)"
                    )

            await until(waits)
            await runs_store.move_run(
                stopping,
                run.id,
                before=RunState.ACTIVE,
                epoch=1,
                after=RunState.STOPPING,
                actor="test",
                reason="stop",
            )
        assert (await asked)[0] is Verdict.MOVED_ON
        assert await states(database, run) == {"pending": 20}

    async def test_many_at_once_never_claim_anybody_twice_nor_pass_a_cap(self, database, run, node):
        async def greedy() -> frozenset[str]:
            got: frozenset[str] = frozenset()
            for _ in range(5):
                verdict, ids = await ask(database, run, node, wish((await people(database, run, 4)), run_cap=7))
                # whoever finds all of its people taken just now is told to look again
                assert verdict in (Verdict.RESERVED, Verdict.CONFLICT)
                assert ids == frozenset() or verdict is Verdict.RESERVED
                got |= ids
            return got

        sets = await asyncio.gather(*(greedy() for _ in range(6)))
        # the caps are counted under the budgets' rows, which nobody named here: name them, as the dialer does
        assert sum(map(len, sets)) == len(frozenset().union(*sets))

    async def test_caps_hold_among_many_who_name_the_budgets(self, database, run, node):
        async def greedy() -> int:
            got = 0
            for _ in range(8):
                async with database.connection() as connection:
                    facts = await reserve.facts(connection, run)
                budgets = [
                    Budget(reserve.run_budget(run.id), facts.run_next_at, EPOCH),
                    Budget(reserve.trunk_budget(run.trunk_id), facts.trunk_next_at, EPOCH),
                ]
                found = wish(await people(database, run, 4), budgets=budgets, run_cap=7)
                got += len((await ask(database, run, node, found))[1])
            return got

        assert sum(await asyncio.gather(*(greedy() for _ in range(6)))) == 7

    async def test_a_budget_somebody_else_moved_is_a_conflict(self, database, run, node):
        key = reserve.run_budget(run.id)
        first = Budget(key, None, EPOCH + timedelta(seconds=1))
        found = await people(database, run)
        # the row is made on first use, with an instant nobody has seen yet
        assert (await ask(database, run, node, wish(found[:1], budgets=[first])))[0] is Verdict.CONFLICT
        async with database.connection() as connection:
            seen = (await reserve.facts(connection, run)).run_next_at
        moved = Budget(key, seen, EPOCH + timedelta(seconds=1))
        assert (await ask(database, run, node, wish(found[:1], budgets=[moved])))[0] is Verdict.RESERVED
        assert (await ask(database, run, node, wish(found[1:2], budgets=[moved])))[0] is Verdict.CONFLICT

    async def test_caps_of_trunk_and_application_hold_too(self, database, run, node):
        found = await people(database, run)
        assert len((await ask(database, run, node, wish(found, trunk_cap=4)))[1]) == 4
        assert len((await ask(database, run, node, wish(await people(database, run), application_cap=6)))[1]) == 2

    async def test_a_number_with_a_live_call_of_the_account_is_left_alone(self, database, secret_box, stage, run, node):
        other = await add_campaign(database, stage.owner, phones(3), list_name="again", name="Again")
        second = (await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=other, actor="test")).run
        await ask(database, run, node, wish((await people(database, run))[:3]))
        assert await people(database, second) == []
        async with database.connection() as connection:
            everybody = [
                row["contact_id"]
                for row in await connection.fetch("SELECT contact_id FROM run_contacts WHERE run_id = $1", second.id)
            ]
        # even when asked for by name: the index decides
        assert (await ask(database, second, node, wish(everybody)))[1] == frozenset()

    async def test_two_runs_over_the_same_people_never_wait_for_each_other(
        self, database, secret_box, stage, run, node
    ):
        """Each reserves in an order of its own, on a trunk of its own: no shared budget orders them."""
        other = await add_campaign(database, stage.owner, phones(20)[::-1], list_name="again", name="Again")
        second = (await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=other, actor="test")).run

        async def everybody(one) -> list[int]:
            async with database.connection() as connection:
                rows = await connection.fetch(
                    "SELECT contact_id FROM run_contacts WHERE run_id = $1 ORDER BY sort_key", one.id
                )
            return [row["contact_id"] for row in rows]

        asked = {run.id: await everybody(run), second.id: await everybody(second)}

        async def take(one) -> int:
            # before the database would undo one of two that wait for each other, after a second
            async with asyncio.timeout(0.9):
                return len((await ask(database, one, node, wish(asked[one.id], run_cap=99, trunk_cap=99)))[1])

        for _ in range(30):
            taken = await asyncio.gather(take(run), take(second))
            assert sum(taken) == 20
            async with database.connection() as connection:
                await connection.execute("DELETE FROM attempts")
                await connection.execute("UPDATE run_contacts SET state = 'pending', attempts_count = 0")

    async def test_while_a_do_not_call_list_is_written_it_looks_again_instead_of_waiting(
        self, database, stage, run, node
    ):
        found = await people(database, run)
        async with database.transaction() as writing:
            await dnc_store.freeze(writing, stage.owner.account_id)
            async with asyncio.timeout(5):
                assert (await ask(database, run, node, wish(found)))[0] is Verdict.CONFLICT
        assert (await ask(database, run, node, wish(found)))[0] is Verdict.RESERVED

    async def test_a_number_listed_after_the_look_is_not_reserved(self, database, stage, run, node):
        found = await people(database, run)
        await dnc.add_numbers(database, account_id=stage.owner.account_id, phones=phones(20)[:19], actor="test")
        verdict, ids = await ask(database, run, node, wish(found))
        assert (verdict, len(ids)) == (Verdict.RESERVED, 1)

    async def test_an_entry_that_has_expired_counts_no_more(self, database, stage, run, node):
        await dnc.add_numbers(database, account_id=stage.owner.account_id, phones=phones(20), actor="test")
        async with database.connection() as connection:
            await connection.execute("UPDATE dnc_entries SET expires_at = clock_timestamp() - interval '1 second'")
        assert len((await ask(database, run, node, wish(await people(database, run))))[1]) == 10

    async def test_denied_contacts_are_done_and_deferred_ones_wait(self, database, run, node):
        found = await people(database, run)
        later = datetime.now(UTC) + timedelta(hours=1)
        await ask(
            database,
            run,
            node,
            wish([], denied=[(found[0], DoneReason.DNC)], deferred=[(found[1], later), (found[2], later)]),
        )
        assert await states(database, run) == {"done": 1, "waiting": 2, "pending": 17}
        assert not set(found[:3]) & set(await people(database, run))
        async with database.connection() as connection:
            assert await reserve.next_due(connection, run.id) == later


class TestDecisions:
    """What the gate said is kept: once per attempt and denial, and for who is put off when another rule does it."""

    ALLOWED: ClassVar = {"inputs": {"account_dnc": {"listed": False}}, "versions": {"phonenumbers": "9"}}

    @staticmethod
    def put_off(rule: str, until: datetime) -> dict:
        return {"rule": rule, "sentence": "Later.", "until": until.isoformat(), "inputs": {"zones": ["UTC"]}}

    async def told(self, database, contact_id, action="run_contact") -> list[dict | None]:
        async with database.connection() as connection:
            rows = await connection.fetch(
                "SELECT detail FROM history WHERE action = $1 AND contact_id = $2 ORDER BY id", action, contact_id
            )
        return [row["detail"] for row in rows]

    async def kept(self, database, contact_id):
        async with database.connection() as connection:
            return await connection.fetchval("SELECT screening FROM run_contacts WHERE contact_id = $1", contact_id)

    async def test_an_attempt_tells_what_it_was_allowed_by(self, database, run, node):
        (one,) = await people(database, run, 1)
        await ask(database, run, node, replace(wish([one]), decisions={one: self.ALLOWED}))
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT screening FROM attempts") == self.ALLOWED
        (told,) = await self.told(database, one, "attempt")
        assert told["screening"] == self.ALLOWED

    async def test_a_denial_is_history(self, database, run, node):
        (one,) = await people(database, run, 1)
        why = {"rule": "account_dnc", "sentence": "Listed.", "inputs": {"listed": True}}
        await ask(database, run, node, replace(wish([], denied=[(one, DoneReason.DNC)]), decisions={one: why}))
        assert await self.told(database, one) == [why]
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with database.connection() as connection:
                await connection.execute("UPDATE history SET detail = NULL WHERE contact_id = $1", one)

    async def test_who_is_put_off_again_by_the_same_rule_adds_no_history(self, database, run, node):
        (one,) = await people(database, run, 1)
        now = datetime.now(UTC)
        told = []
        for rule, hours in (("calling_hours", 1), ("calling_hours", 25), ("number_limit", 30), ("calling_hours", 49)):
            until = now + timedelta(hours=hours)
            why = self.put_off(rule, until)
            await ask(database, run, node, replace(wish([], deferred=[(one, until)]), decisions={one: why}))
            assert await self.kept(database, one) == why
            if hours != 25:
                told.append(why)
        assert await self.told(database, one) == told

    async def test_an_attempt_ends_what_was_said_before(self, database, run, node):
        (one,) = await people(database, run, 1)
        past = datetime.now(UTC) - timedelta(seconds=1)
        why = self.put_off("calling_hours", past)
        await ask(database, run, node, replace(wish([], deferred=[(one, past)]), decisions={one: why}))
        assert len((await ask(database, run, node, wish([one])))[1]) == 1
        assert await self.kept(database, one) is None


class TestOrder:
    async def kinds(self, database, run) -> dict[str, int]:
        """Make one of each kind, due; return their contact ids."""
        found = await people(database, run)
        named = dict(zip(("first", "put_off", "retry", "call_back"), found, strict=False))
        past = datetime.now(UTC) - timedelta(minutes=1)
        async with database.connection() as connection:
            await connection.execute("UPDATE run_contacts SET state = 'done', done_reason = 'dnc'")
            for name, contact_id in named.items():
                await connection.execute(
                    "UPDATE run_contacts SET state = $2, not_before = $3, callback_at = $4, attempts_count = $5, "
                    "done_reason = NULL WHERE contact_id = $1",
                    contact_id,
                    "pending" if name == "first" else "waiting",
                    None if name == "first" else past,
                    past if name == "call_back" else None,
                    0 if name in {"first", "put_off"} else 1,
                )
        return named

    @pytest.mark.parametrize(
        ("order", "names"),
        [
            (RetryOrder.AFTER_FIRST_TRIES, ["call_back", "first", "put_off", "retry"]),
            (RetryOrder.WHEN_DUE, ["call_back", "retry", "first", "put_off"]),
        ],
    )
    async def test_who_is_due_comes_in_the_order_of_the_rules(self, database, run, order, names):
        named = await self.kinds(database, run)
        ordered = replace(run, rules=replace(run.rules, own=OwnRules(retry_order=order)))
        assert await people(database, ordered) == [named[name] for name in names]
        assert await people(database, ordered, 1) == [named[names[0]]]

    async def test_how_attempts_ended_is_read_where_a_rule_asks(self, database, run, node):
        (one,) = await people(database, run, 1)
        await ask(database, run, node, wish([one]))
        async with database.connection() as connection:
            attempt_id = await connection.fetchval("SELECT id FROM attempts")
        again = ContactNews(RunContactState.WAITING, after_seconds=0)
        await book(database, ended(attempt_id, Disposition.BUSY, contact=again))
        asking = replace(run, rules=replace(run.rules, own=OwnRules(retry_rules=(RetryRule(Disposition.BUSY, 1),))))
        async with database.connection() as connection:
            for each, expected in ((run, []), (asking, [Disposition.BUSY])):
                found = {person.contact_id: person for person in await reserve.candidates(connection, each, 20)}
                assert [disposition for disposition, _ in found[one].tried] == expected


class TestBook:
    @pytest.fixture
    async def attempt(self, database, run, node):
        wanted = wish((await people(database, run))[:1])
        await ask(database, run, node, wanted)
        return wanted.wanted[0][1]

    async def row(self, database, attempt):
        async with database.connection() as connection:
            return await connection.fetchrow(
                "SELECT a.*, c.state AS contact_state, c.done_reason, c.attempts_count, c.not_before FROM attempts a "
                "JOIN run_contacts c USING (run_id, contact_id) WHERE a.id = $1",
                attempt,
            )

    async def test_an_attempt_goes_forward_step_by_step(self, database, attempt):
        for state in (AttemptState.DIALING, AttemptState.RINGING, AttemptState.ANSWERED):
            news = AttemptNews(id=attempt, state=state, by="n1", contact=ContactNews(RunContactState.DIALING))
            assert await book(database, news) == {attempt}
            assert (await self.row(database, attempt))["state"] == state
        await book(database, ended(attempt, Disposition.ANSWERED_HUMAN, cause=16, sip_code=200))
        row = await self.row(database, attempt)
        assert (row["state"], row["disposition"], row["contact_state"], row["done_reason"]) == (
            "ended",
            "answered_human",
            "done",
            "reached",
        )
        assert (row["cause"], row["sip_code"]) == (16, 200)

    async def test_it_never_goes_back_nor_ends_twice(self, database, attempt):
        await book(database, ended(attempt))
        assert await book(database, ended(attempt, Disposition.FAILED)) == frozenset()
        late = AttemptNews(id=attempt, state=AttemptState.RINGING, by="n1")
        assert await book(database, late) == frozenset()
        assert (await self.row(database, attempt))["disposition"] == "busy"

    async def test_what_was_never_sent_does_not_count(self, database, attempt):
        back = ContactNews(RunContactState.PENDING, uncounted=True)
        await book(database, ended(attempt, Disposition.CANCELLED, back))
        row = await self.row(database, attempt)
        assert (row["contact_state"], row["attempts_count"]) == ("pending", 0)

    @pytest.mark.parametrize(
        ("disposition", "reason"),
        [(Disposition.BUSY, "retry_cancelled"), (Disposition.CANCELLED, "stopped")],
    )
    async def test_a_stopping_run_tries_nothing_again(self, database, run, attempt, disposition, reason):
        async with database.transaction() as connection:
            await runs_store.move_run(
                connection,
                run.id,
                before=RunState.ACTIVE,
                epoch=1,
                after=RunState.STOPPING,
                actor="test",
                reason="stop",
            )
        later = ContactNews(RunContactState.WAITING, after_seconds=60)
        await book(database, ended(attempt, disposition, later))
        row = await self.row(database, attempt)
        assert (row["contact_state"], row["done_reason"], row["not_before"]) == ("done", reason, None)

    async def test_a_retry_that_is_put_back_under_a_stop_will_not_happen_either(self, database, run, attempt):
        async with database.transaction() as connection:
            # it was the second try
            await connection.execute("UPDATE run_contacts SET attempts_count = 2 WHERE state = 'claimed'")
            await runs_store.move_run(
                connection, run.id, before=RunState.ACTIVE, epoch=1, after=RunState.STOPPING, actor="x", reason="stop"
            )
        back = ContactNews(RunContactState.PENDING, uncounted=True)
        await book(database, ended(attempt, Disposition.CANCELLED, back))
        row = await self.row(database, attempt)
        assert (row["contact_state"], row["done_reason"], row["attempts_count"]) == ("done", "retry_cancelled", 1)

    async def test_who_was_never_attempted_stays_so_under_a_stop(self, database, run, attempt):
        async with database.transaction() as connection:
            await runs_store.move_run(
                connection, run.id, before=RunState.ACTIVE, epoch=1, after=RunState.STOPPING, actor="x", reason="stop"
            )
        back = ContactNews(RunContactState.PENDING, uncounted=True)
        await book(database, ended(attempt, Disposition.CANCELLED, back))
        row = await self.row(database, attempt)
        assert (row["contact_state"], row["done_reason"], row["attempts_count"]) == ("pending", None, 0)

    async def test_the_next_try_is_due_by_the_databases_clock(self, database, attempt):
        later = ContactNews(RunContactState.WAITING, after_seconds=600)
        await book(database, ended(attempt, Disposition.BUSY, later))
        async with database.connection() as connection:
            seconds = await connection.fetchval(
                "SELECT extract(epoch FROM not_before - clock_timestamp())::float FROM run_contacts "
                "WHERE not_before IS NOT NULL"
            )
        assert 590 < seconds <= 600

    async def test_each_step_is_in_the_history_once(self, database, attempt):
        for _ in range(2):
            await book(database, ended(attempt))
        async with database.connection() as connection:
            rows = await connection.fetch(
                "SELECT from_state, to_state FROM history WHERE attempt_id = $1 ORDER BY id", attempt
            )
        assert [tuple(row) for row in rows] == [(None, "reserved"), ("reserved", "ended")]

    async def test_many_who_book_the_same_at_once(self, database, run, node):
        wanted = wish((await people(database, run))[:10])
        await ask(database, run, node, wanted)
        news = [ended(attempt_id) for _, attempt_id in wanted.wanted]
        moved = await asyncio.gather(*(book(database, *news[place:], *news[:place]) for place in range(8)))
        assert sum(map(len, moved)) == 10


class TestNodes:
    async def test_a_lapsed_lease_is_taken_over_once(self, database, secret_box, node):
        await add_node(database, secret_box, "n2")
        await add_node(database, secret_box, "n3")
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE nodes SET lease_until = clock_timestamp() - interval '1 ms' WHERE id = 'n1'"
            )

        async def take(name: str):
            async with database.connection() as connection:
                return await nodes.take_over(connection, name, "e1", foreign_grace=timedelta(seconds=9))

        taken = await asyncio.gather(take("n2"), take("n3"))
        assert sorted(len(one) for one in taken) == [0, 1]
        async with database.connection() as connection:
            assert await nodes.renew(connection, "n1", ttl_seconds=1, engine_up=True) is False

    async def test_a_node_of_another_engine_waits_longer(self, database, secret_box, node):
        await add_node(database, secret_box, "n2")
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE nodes SET lease_until = clock_timestamp() - interval '1 s' WHERE id = 'n1'"
            )
            foreign = await nodes.take_over(connection, "n2", "e2", foreign_grace=timedelta(seconds=9))
            assert foreign == []
            assert len(await nodes.take_over(connection, "n2", "e2", foreign_grace=timedelta(0))) == 1

    async def test_what_a_dead_adopter_had_is_inherited(self, database, secret_box, run, node):
        await ask(database, run, node, wish((await people(database, run))[:1]))
        await add_node(database, secret_box, "n2")
        await add_node(database, secret_box, "n3")
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE nodes SET lease_until = clock_timestamp() - interval '1 s' WHERE id = 'n1'"
            )
            await nodes.take_over(connection, "n2", "e1", foreign_grace=timedelta(0))
            assert len(await attempts.live_of_nodes_adopted_by(connection, "n2", 9)) == 1
            assert await nodes.take_over(connection, "n3", "e1", foreign_grace=timedelta(0)) == []
            await nodes.end(connection, "n2")
            assert [one.id for one in await nodes.take_over(connection, "n3", "e1", foreign_grace=timedelta(0))] == [
                "n1"
            ]
            assert len(await attempts.live_of_nodes_adopted_by(connection, "n3", 9)) == 1

    async def test_a_node_of_their_own_engine_takes_them_from_an_adopter_of_another(
        self, database, secret_box, run, node
    ):
        """The adopter may have no way to that engine: the calls there would wait for it for ever."""
        await ask(database, run, node, wish((await people(database, run))[:1]))
        async with database.connection() as connection:
            await connection.execute("INSERT INTO engines (id, kind) VALUES ('e2', 'simulated')")
            await nodes.register(connection, NodeRow("n2", "n2", "h", 1, "app-n2", "e2"), ttl_seconds=60)
            await connection.execute(
                "UPDATE nodes SET lease_until = clock_timestamp() - interval '9 s' WHERE id = 'n1'"
            )
            assert len(await nodes.take_over(connection, "n2", "e2", foreign_grace=timedelta(0))) == 1
        await add_node(database, secret_box, "n3")
        async with database.connection() as connection:
            assert len(await nodes.take_over(connection, "n3", "e1", foreign_grace=timedelta(0))) == 1
            # and it stays theirs
            assert await nodes.take_over(connection, "n2", "e2", foreign_grace=timedelta(0)) == []
            assert len(await attempts.live_of_nodes_adopted_by(connection, "n3", 9)) == 1

    async def test_registering_again_after_an_answer_that_was_never_heard(self, database, secret_box, node):
        await add_node(database, secret_box, node)
        async with database.connection() as connection:
            assert await nodes.renew(connection, node, ttl_seconds=1, engine_up=True) is True

    async def test_ready_means_a_live_lease_and_an_engine_that_is_up(self, database, node):
        async with database.connection() as connection:
            assert await nodes.ready(connection) is False
            await nodes.renew(connection, node, ttl_seconds=60, engine_up=True)
            assert await nodes.ready(connection) is True
            await nodes.renew(connection, node, ttl_seconds=60, engine_up=False)
            assert await nodes.ready(connection) is False

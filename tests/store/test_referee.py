"""The rules the database itself enforces, whoever writes and whatever they meant to do."""

from __future__ import annotations

import uuid
from datetime import datetime

import asyncpg
import pytest

from dialing import phones, set_stage
from outdial.core.model import AttemptState, EngineKind, RunContactState, RunState
from outdial.services import runs
from outdial.store import engines, nodes
from outdial.store.nodes import NodeRow


@pytest.fixture
async def run(database, secret_box):
    stage = await set_stage(database, secret_box, phones(4))
    return (
        await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
    ).run


async def execute(database, statement, *arguments):
    async with database.connection() as connection:
        return await connection.execute(statement, *arguments)


async def fetch(database, statement, *arguments):
    async with database.connection() as connection:
        return await connection.fetch(statement, *arguments)


async def attempt(database, run, contact_id, *, phone="+15550000001", state="reserved", account_id=None) -> str:
    attempt_id = uuid.uuid4().hex
    over = state in {"ended", "unknown"}
    await execute(
        database,
        """
        INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id, engine_id,
                              node_id, epoch, number, state, disposition, ended_at, changed_by)
        VALUES ($1, $2, $3, $4, $5, $6, '+1', $7, 'e', 'n', 1, 1, $8, $9, CASE WHEN $10 THEN now() END, 'test')
        """,
        attempt_id,
        run.id,
        run.campaign_id,
        account_id or run.account_id,
        contact_id,
        phone,
        run.trunk_id,
        state,
        "busy" if over else None,
        over,
    )
    return attempt_id


LIVE = ["reserved", "dialing", "ringing", "answered"]


class TestAttempts:
    @pytest.mark.parametrize("first", LIVE)
    @pytest.mark.parametrize("second", LIVE)
    async def test_a_contact_has_one_live_attempt(self, database, run, first, second):
        await attempt(database, run, 1, state=first)
        with pytest.raises(asyncpg.UniqueViolationError):
            await attempt(database, run, 1, phone="+15550000002", state=second)

    @pytest.mark.parametrize("state", LIVE)
    async def test_a_number_has_one_live_attempt_in_its_account(self, database, run, state):
        await attempt(database, run, 1, state=state)
        with pytest.raises(asyncpg.UniqueViolationError):
            await attempt(database, run, 2, state=state)
        await attempt(database, run, 3, state=state, account_id="another account")

    @pytest.mark.parametrize("state", ["ended", "unknown"])
    async def test_what_is_over_stands_in_nobodys_way(self, database, run, state):
        await attempt(database, run, 1, state=state)
        await attempt(database, run, 1)

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE attempts SET state = 'ended', ended_at = now()",
            "UPDATE attempts SET state = 'ended', disposition = 'busy'",
            "UPDATE attempts SET disposition = 'busy'",
            "UPDATE attempts SET state = 'nonsense'",
            "UPDATE attempts SET id = 'ABC'",
        ],
    )
    async def test_an_end_has_a_disposition_and_an_instant_and_nothing_else_has(self, database, run, statement):
        await attempt(database, run, 1)
        with pytest.raises(asyncpg.CheckViolationError):
            await execute(database, statement)

    async def test_every_state_of_the_model_can_be_stored(self, database, run):
        for place, state in enumerate(AttemptState):
            await attempt(database, run, place, phone=f"+1555000{place:04d}", state=state)


class TestRunContacts:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE run_contacts SET state = 'waiting'",
            "UPDATE run_contacts SET not_before = now()",
            "UPDATE run_contacts SET state = 'done'",
            "UPDATE run_contacts SET done_reason = 'dnc'",
            "UPDATE run_contacts SET state = 'nonsense'",
        ],
    )
    async def test_waiting_has_an_instant_and_done_a_reason_and_nothing_else_has(self, database, run, statement):
        with pytest.raises(asyncpg.CheckViolationError):
            await execute(database, statement)

    async def test_one_number_is_one_contact_of_a_run(self, database, run):
        with pytest.raises(asyncpg.UniqueViolationError):
            await execute(
                database,
                "INSERT INTO run_contacts (run_id, contact_id, phone, dedupe_key, sort_key) "
                "SELECT run_id, 999999, phone, dedupe_key, sort_key FROM run_contacts LIMIT 1",
            )

    async def test_every_state_of_the_model_can_be_stored(self, database, run):
        for state in RunContactState:
            await execute(
                database,
                "UPDATE run_contacts SET state = $1::text, "
                "not_before = CASE WHEN $1::text = 'waiting' THEN now() END, "
                "done_reason = CASE WHEN $1::text = 'done' THEN 'reached' END",
                state,
            )


class TestHistory:
    async def steps(self, database, action) -> list[tuple]:
        rows = await fetch(database, "SELECT from_state, to_state FROM history WHERE action = $1 ORDER BY id", action)
        return [tuple(row) for row in rows]

    async def test_a_run_cannot_change_unnoticed(self, database, run):
        await execute(database, "UPDATE runs SET state = 'paused', epoch = epoch + 1, changed_by = 'somebody'")
        assert await self.steps(database, "run") == [(None, "active"), ("active", "paused")]

    async def test_nor_its_epoch_alone(self, database, run):
        await execute(database, "UPDATE runs SET epoch = epoch + 1")
        assert await self.steps(database, "run") == [(None, "active"), ("active", "active")]

    async def test_nor_an_attempt(self, database, run):
        await attempt(database, run, 1)
        await execute(database, "UPDATE attempts SET state = 'ringing'")
        await execute(
            database, "UPDATE attempts SET state = 'ended', disposition = 'busy', ended_at = now(), cause = 17"
        )
        assert await self.steps(database, "attempt") == [
            (None, "reserved"),
            ("reserved", "ringing"),
            ("ringing", "ended"),
        ]
        rows = await fetch(database, "SELECT detail FROM history WHERE action = 'attempt' ORDER BY id")
        (ended,) = await fetch(database, "SELECT ended_at FROM attempts")
        told = [row["detail"] for row in rows]
        assert told[0]["phone"].startswith("+")
        assert told[1] is None
        assert datetime.fromisoformat(told[2].pop("ended_at")) == ended["ended_at"]
        assert told[2] == {"disposition": "busy", "cause": 17}

    async def test_nor_a_contact_s_end_or_wait(self, database, run):
        await execute(
            database,
            "UPDATE run_contacts SET state = 'done', done_reason = 'dnc' "
            "WHERE contact_id = (SELECT min(contact_id) FROM run_contacts)",
        )
        rows = await fetch(database, "SELECT reason FROM history WHERE action = 'run_contact'")
        assert [row["reason"] for row in rows] == ["dnc"]

    async def test_what_changes_nothing_is_no_step(self, database, run):
        await execute(database, "UPDATE runs SET updated_at = now()")
        await execute(database, "UPDATE run_contacts SET updated_at = now()")
        assert await self.steps(database, "run") == [(None, "active")]
        assert await self.steps(database, "run_contact") == []


class TestRuns:
    @pytest.mark.parametrize("state", RunState)
    async def test_every_state_of_the_model_can_be_stored(self, database, run, state):
        await execute(database, "UPDATE runs SET state = $1", state)

    async def test_a_list_serves_one_run(self, database, run):
        with pytest.raises(asyncpg.UniqueViolationError):
            await execute(database, "INSERT INTO run_lists SELECT * FROM run_lists")

    @pytest.mark.parametrize("column", ["max_concurrent_calls", "calls_per_second"])
    async def test_limits_are_positive(self, database, run, column):
        with pytest.raises(asyncpg.CheckViolationError):
            await execute(database, f"UPDATE runs SET {column} = 0")

    async def test_a_stasis_app_belongs_to_one_life(self, database, secret_box):
        async with database.connection() as connection:
            await engines.put(
                connection,
                secret_box,
                engine_id="e",
                kind=EngineKind.SIMULATED,
                url=None,
                username=None,
                password=None,
            )
            await nodes.register(connection, NodeRow("n1", "n", "h", 1, "app", "e"), ttl_seconds=1)
            with pytest.raises(asyncpg.UniqueViolationError):
                await nodes.register(connection, NodeRow("n2", "n", "h", 1, "app", "e"), ttl_seconds=1)

    async def test_the_lock_of_a_run_is_its_own(self, database):
        rows = await fetch(database, "SELECT outdial_run_lock_key(n) AS key FROM generate_series(1::bigint, 1000) n")
        assert len({row["key"] for row in rows}) == 1000
        # far from the do-not-call locks, whose namespace is the upper half of two integers
        assert all(row["key"] >> 48 == 100 for row in rows)

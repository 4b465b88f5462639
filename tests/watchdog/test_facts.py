"""What the watchdog reads of the database, and the alarms it keeps there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from core.test_watch import SEEN
from dialing import set_stage
from outdial.core.ids import permit_name
from outdial.core.model import EngineKind, RunState
from outdial.core.watch import Breach, judge, read_permission
from outdial.services import dnc, runs
from outdial.store import engines as engines_store
from outdial.store import nodes as nodes_store
from outdial.store import watch as store
from outdial.store.nodes import NodeRow
from outdial.store.watch import Alarm
from values import KEY

PHONE, OTHER = "+15550000110", "+15550000111"


@pytest.fixture
async def reserved(database, secret_box):
    """A started run with one attempt, and an INVITE of it."""
    stage = await set_stage(database, secret_box, [PHONE, OTHER])
    owner = stage.owner
    run = (await runs.start(database, secret_box, iid=owner.iid, campaign_id=stage.campaign_id, actor="test")).run
    async with database.transaction() as connection:
        kind = EngineKind.ASTERISK
        await engines_store.put(
            connection, secret_box, engine_id="ast-1", kind=kind, url="http://x", username="u", password="p"
        )
        node = NodeRow("n1", "n1", "h", 1, "app", "ast-1")
        await nodes_store.register(connection, node, ttl_seconds=1.5)
        await nodes_store.serve(connection, run_id=run.id, node_id="n1", epoch=run.epoch)
        await nodes_store.making(
            connection,
            run_id=run.id,
            node_id="n1",
            engine_id="ast-1",
            epoch=run.epoch,
            key=KEY,
            address=("127.0.0.1", 5070),
            seconds=1,
        )
        await connection.execute(
            """
            INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                  engine_id, node_id, epoch, number, state, changed_by)
            SELECT repeat('a', 32), id, campaign_id, account_id, 1, $2, '+15550100999', trunk_id, 'ast-1', 'n1',
                   epoch, 1, 'reserved', 'n1' FROM runs WHERE id = $1
            """,
            run.id,
            PHONE,
        )
    permission = read_permission(permit_name(run.id, run.epoch, KEY))
    return stage, run, replace(SEEN, number=PHONE, permission=permission, sent_at=datetime.now(UTC))


async def facts(database, *sightings):
    async with database.snapshot() as connection:
        return await store.facts(connection, sightings)


async def test_of_a_call_in_order(database, reserved):
    stage, _, seen = reserved
    (found,) = await facts(database, seen)
    assert found.run.account_id == stage.owner.account_id
    assert (found.run.state, found.run.epoch, found.run.permit_life) == (RunState.ACTIVE, 1, timedelta(seconds=1.5))
    assert found.permit_known
    assert found.phone == PHONE
    assert [attempt.id for attempt in found.attempts] == ["a" * 32]
    assert found.read_at > seen.sent_at
    assert judge(seen, found).breaches == ()


async def test_of_several_calls_each_has_its_own(database, reserved):
    _, run, seen = reserved
    unknown = replace(seen, call_id="c2", permission=read_permission(permit_name(run.id, 1, "f" * 32)))
    nobody = replace(seen, call_id="c3", permission=read_permission(permit_name(10**9, 1, KEY)))
    bare = replace(seen, call_id="c4", permission=None)
    # another engine's Call-ID may be the same
    other = replace(seen, engine_name="ast-2", number=OTHER)
    found = await facts(database, seen, unknown, nobody, bare, other)
    assert [judge(one, it).breaches for one, it in zip((seen, unknown, nobody, bare, other), found, strict=True)] == [
        (),
        (Breach.UNKNOWN_PERMIT,),
        (Breach.UNKNOWN_PERMIT,),
        (Breach.NO_PERMIT,),
        (Breach.NO_ATTEMPT,),
    ]


async def test_a_transfer_that_was_written_down_is_a_call_there_was_leave_for(database, reserved):
    _, run, seen = reserved
    desk = replace(seen, call_id="c5", number="desk")
    (nobody,) = await facts(database, desk)
    assert judge(desk, nobody).breaches == (Breach.NO_ATTEMPT,)
    async with database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO transfers (id, attempt_id, run_id, epoch, engine_id, dialed)
            VALUES (repeat('a', 32) || '-t3', repeat('a', 32), $1, $2, 'ast-1', 'desk')
            """,
            run.id,
            run.epoch,
        )
    desk = replace(desk, sent_at=datetime.now(UTC))
    (found,) = await facts(database, desk)
    verdict = judge(desk, found)
    assert (verdict.breaches, verdict.attempt.id) == ((), "a" * 32 + "-t3")
    again = replace(desk, call_id="c6")
    assert judge(again, found, calls={"a" * 32 + "-t3": "c5"}).breaches == (Breach.DIALED_AGAIN,)
    # a number of the same digits is another call
    (other,) = await facts(database, replace(desk, number=OTHER))
    assert other.attempts == ()


async def test_a_number_that_was_listed_before_its_attempt(database, reserved):
    stage, _, seen = reserved
    await dnc.add_numbers(database, account_id=stage.owner.account_id, phones=[OTHER], actor="anna")
    (found,) = await facts(database, replace(seen, number=OTHER, sent_at=datetime.now(UTC)))
    assert [entry.expires_at for entry in found.dnc] == [None]
    (clean,) = await facts(database, seen)
    assert clean.dnc == ()


async def test_engines_are_those_that_can_be_commanded(database, secret_box, reserved):
    async with database.connection() as connection:
        (engine,) = await store.engines(connection, secret_box)
        assert (engine.id, engine.url, engine.username, engine.password) == ("ast-1", "http://x", "u", "p")
        assert "'p'" not in repr(engine)
        await engines_store.retire(connection, "ast-1", actor="anna")
        assert await store.engines(connection, secret_box) == []


async def test_engines_that_dial_are_known(database, reserved):
    async with database.connection() as connection:
        assert await store.engines_dialing(connection, since=timedelta(minutes=1)) == {}
        await connection.execute("UPDATE attempts SET state = 'ringing'")
        assert await store.engines_dialing(connection, since=timedelta(minutes=1)) == {"ast-1": 1}
        assert await store.engines_dialing(connection, since=timedelta()) == {}


class TestAlarms:
    @pytest.fixture
    async def kept(self, database, reserved) -> Alarm:
        _, _, seen = reserved
        (found,) = await facts(database, seen)
        async with database.transaction() as connection:
            return await store.add_alarm(
                connection,
                seen,
                (Breach.RUN_STOPPED, Breach.NO_ATTEMPT),
                run=found.run,
                attempt_id=None,
                fence={"removed": {"ast-1": ["x"]}, "problems": []},
            )

    async def test_are_found_by_their_account_and_by_everybody(self, database, reserved, kept):
        stage, _, seen = reserved
        async with database.transaction() as connection:
            nobodys = await store.add_alarm(
                connection,
                replace(seen, call_id="c9", permission=None),
                (Breach.NO_PERMIT,),
                run=None,
                attempt_id=None,
                fence={"removed": {}, "problems": ["none"]},
            )
        async with database.connection() as connection:
            assert await store.alarms(connection, account_id=None, after=0, limit=10) == [kept, nobodys]
            assert await store.alarms(connection, account_id=None, after=kept.id, limit=10) == [nobodys]
            assert await store.alarms(connection, account_id=stage.owner.account_id, after=0, limit=10) == [kept]
            assert await store.alarms(connection, account_id="another", after=0, limit=10) == []

    async def test_one_call_raises_one(self, database, reserved, kept):
        _, _, seen = reserved
        async with database.transaction() as connection:
            again = await store.add_alarm(connection, seen, (Breach.NO_ATTEMPT,), run=None, attempt_id=None, fence={})
            assert again is None
            assert await connection.fetchval("SELECT count(*) FROM history WHERE action = 'watchdog_alarm'") == 1

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE watchdog_alarms SET number = ''",
            "DELETE FROM watchdog_alarms",
            "TRUNCATE watchdog_alarms",
        ],
    )
    async def test_nobody_changes_them(self, database, kept, statement):
        async with database.connection() as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="rows of watchdog_alarms are evidence"):
                await connection.execute(statement)

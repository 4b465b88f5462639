"""Run contacts at scale and by the numbers: folds equal the rows, and no statement reads a whole run."""

from __future__ import annotations

import json
import re

import pytest

from dialing import add_campaign, phones, set_stage, with_rules
from outdial.core.model import AttemptState, DialingOrder, Disposition, DoneReason, EngineKind, RunContactState
from outdial.services import runs
from outdial.store import engines, nodes, reserve, run_contacts
from outdial.store import runs as runs_store
from outdial.store.nodes import NodeRow


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(12))


async def start(stage, campaign_id=None):
    return (
        await runs.start(
            stage.database,
            stage.secrets,
            iid=stage.owner.iid,
            campaign_id=campaign_id or stage.campaign_id,
            actor="test",
        )
    ).run


@pytest.fixture
async def large(database, secret_box):
    """A run of 50,000 contacts that was loaded a moment ago, beside a small one; nothing was analyzed."""
    stage = await set_stage(database, secret_box, phones(3))
    await start(stage)
    many = await add_campaign(database, stage.owner, phones(1, area=777), list_name="many", name="Many")
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO contacts (list_id, phone, dedupe_phone) SELECT l.id, p, p FROM contact_lists l, "
            "LATERAL (SELECT '+1' || (2000000000 + n)::text AS p FROM generate_series(1, 49999) n) x "
            "WHERE l.name = 'many'"
        )
    run = await start(stage, many)
    while await runs.load_more(database, run):
        pass
    return run


class TestScale:
    async def test_everybody_is_loaded_once(self, large, database):
        async with database.connection() as connection:
            row = await connection.fetchrow(
                "SELECT count(*), count(DISTINCT phone), count(DISTINCT sort_key) FROM run_contacts WHERE run_id = $1",
                large.id,
            )
            assert tuple(row) == (50_000, 50_000, 50_000)
            assert (await runs_store.by_id(connection, large.id)).loaded

    async def test_looking_for_candidates_reads_a_handful_of_pages(self, large, database):
        async with database.connection() as connection:
            plan = await self.explain(connection, CANDIDATES, large.id, large.account_id)
            assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] < 200
            found = await reserve.candidates(connection, large, 16)
        assert len(found) == 16

    async def test_who_is_called_by_hand_is_found_in_a_handful_of_pages(self, large, database):
        async with database.connection() as connection:
            for asked in (0, 1):
                plan = await self.explain(connection, BY_HAND, large.id)
                assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] < 20
                found = (await reserve.facts(connection, large)).asked
                assert len(found) == asked
                await connection.execute(
                    "UPDATE run_contacts SET asked_at = now(), asked_by = 'test' WHERE contact_id = "
                    "(SELECT max(contact_id) FROM run_contacts WHERE run_id = $1)",
                    large.id,
                )
            (last,) = found
            people = [one.contact_id for one in await reserve.candidates(connection, large, 16, (), found)]
            assert (people[0], len(people), len(set(people))) == (last, 16, 16)
            assert await reserve.ahead_of(connection, large, last, most=100) == 0
            assert await reserve.ahead_of(connection, large, people[1], most=100) == 1

    async def explain(self, connection, statement: str, *arguments) -> dict:
        text = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *arguments)
        return json.loads(text)[0] if isinstance(text, str) else text[0]

    async def test_reserving_reads_a_handful_of_pages(self, large, database, secret_box):
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
            await nodes.register(connection, NodeRow("n", "n", "h", 1, "app", "e"), ttl_seconds=60)
            people = [one.contact_id for one in await reserve.candidates(connection, large, 16)]
            plan = await self.explain(
                connection,
                "SELECT * FROM outdial_reserve($1, 1, 'n', '{}', '{}', '{}', '{}', '{}', '{}', $2, $3, '{}', '{}', "
                "'{}', '{}', 50, 50, NULL, '{}')",
                large.id,
                people,
                [f"{place:032x}" for place in range(16)],
            )
            # 16 contacts and attempts with their indexes and history; all of the run would be some 600 pages
            assert plan["Plan"]["Shared Hit Blocks"] < 5_000
            assert await connection.fetchval("SELECT count(*) FROM attempts") == 16

    async def test_the_pages_shown_to_people_cover_the_end_too(self, large, database):
        async with database.connection() as connection:
            rows, total = await run_contacts.page(connection, large.id, offset=49_990, limit=100)
        assert (len(rows), total) == (10, 50_000)


BY_HAND = """
SELECT m.contact_id FROM run_contacts m WHERE m.run_id = $1 AND m.asked_at IS NOT NULL ORDER BY m.asked_at LIMIT 1000
"""

CANDIDATES = re.sub(
    r"\s+",
    " ",
    """
    SELECT rc.contact_id FROM run_contacts rc
     WHERE rc.run_id = $1 AND rc.state = 'pending'
       AND NOT EXISTS (SELECT FROM attempts a WHERE a.account_id = $2 AND a.phone = rc.phone
                          AND a.state IN ('reserved', 'dialing', 'ringing', 'answered'))
     ORDER BY rc.sort_key LIMIT 16
    """,
)


class TestFolds:
    async def test_they_equal_the_rows(self, stage, database):
        run = await start(stage)
        async with database.connection() as connection:
            await connection.execute(
                """
                UPDATE run_contacts SET state = 'done',
                       done_reason = CASE WHEN contact_id % 2 = 0 THEN 'reached' ELSE 'dnc' END
                 WHERE contact_id IN (SELECT contact_id FROM run_contacts ORDER BY contact_id LIMIT 6)
                """
            )
            found = await run_contacts.counts(connection, run.id)
        assert found.contacts == {RunContactState.DONE: 6, RunContactState.PENDING: 6}
        assert found.done == {DoneReason.REACHED: 3, DoneReason.DNC: 3}
        assert sum(found.contacts.values()) == 12

    async def test_attempts_of_which_nothing_was_sent_are_no_calls(self, stage, database):
        run = await start(stage)
        async with database.connection() as connection:
            for place, (state, disposition, dialed) in enumerate(
                [("ended", "busy", True), ("ended", "cancelled", False), ("ringing", None, True)]
            ):
                await connection.execute(
                    """
                    INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                          engine_id, node_id, epoch, number, state, disposition, dialed_at, ended_at,
                                          changed_by)
                    VALUES ($1, $2, 'c', 'a', $3, $4, '+1', 't', 'e', 'n', 1, 1, $5, $6,
                            CASE WHEN $7 THEN now() END, CASE WHEN $6::text IS NOT NULL THEN now() END, 'test')
                    """,
                    f"{place:032x}",
                    run.id,
                    place,
                    f"+1555000{place:04d}",
                    state,
                    disposition,
                    dialed,
                )
            found = await run_contacts.counts(connection, run.id)
        assert found.dispositions == {Disposition.BUSY: 1}
        assert found.live == {AttemptState.RINGING: 1}
        assert (found.placed, found.answered) == (2, 0)


async def test_orders_over_several_lists(database, secret_box):
    for way in DialingOrder:
        stage = await set_stage(
            database, secret_box, phones(3), name=f"app-{way}", rules=with_rules(order=way), account=f"Account {way}"
        )
        both = await add_campaign(
            database, stage.owner, phones(3, area=600), list_name="second", name="Both", rules=with_rules(order=way)
        )
        async with database.connection() as connection:
            await connection.execute(
                "INSERT INTO campaign_lists (campaign_id, list_id, position) "
                "SELECT $1, id, 1 FROM contact_lists WHERE name = 'people' AND iid = $2",
                both,
                stage.owner.iid,
            )
        run = await start(stage, both)
        async with database.connection() as connection:
            rows = await connection.fetch("SELECT phone FROM run_contacts WHERE run_id = $1 ORDER BY sort_key", run.id)
        first_in = [*phones(3, area=600), *phones(3)]
        assert [row["phone"] for row in rows] == (first_in if way is DialingOrder.FIFO else first_in[::-1])


async def test_a_crash_between_two_lots_loses_and_doubles_nobody(stage, database, monkeypatch):
    monkeypatch.setattr(runs, "FIRST_LOT", 4)
    run = await start(stage)

    class CrashError(Exception):
        pass

    with pytest.raises(CrashError):
        async with database.transaction() as connection:
            await run_contacts.load_lot(connection, run, limit=4)
            raise CrashError
    while await runs.load_more(database, run):
        pass
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT phone FROM run_contacts WHERE run_id = $1 ORDER BY sort_key", run.id)
    assert [row["phone"] for row in rows] == phones(12)

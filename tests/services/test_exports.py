"""Files of runs: read in lots, never ahead of whoever takes them, and nothing is kept open meanwhile."""

from __future__ import annotations

import csv
import io

import pytest

from outdial.services import exports, run_views
from outdial.services.trunks import TrunkDraft, add_trunk
from runs import insert_run
from tenants import make_tenants

CONTACTS, ATTEMPTS, LOT = 95, 90, 10


@pytest.fixture
async def run(database, secret_box):
    owner = (await make_tenants(database, secret_box)).one
    draft = TrunkDraft(name="t", host="127.0.0.1", caller_ids=("+15550100001",))
    trunk = await add_trunk(database, secret_box, owner.iid, draft)
    async with database.transaction() as connection:
        run_id = await insert_run(connection, owner, trunk_id=trunk.id, state="paused")
        await connection.execute(
            """
            INSERT INTO run_contacts (run_id, contact_id, phone, dedupe_key, sort_key)
            SELECT $1, n, '+1' || (2120000000 + n), n::text, -n FROM generate_series(1, $2) n
            """,
            run_id,
            CONTACTS,
        )
        await connection.execute(
            """
            INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                  engine_id, node_id, epoch, number, state, disposition, reserved_at, ended_at,
                                  changed_by)
            SELECT md5(n::text), $1, 'cd', $3, n, '+1' || (2120000000 + n), '+15550100001', 't', 'e', 'n', 1, 1,
                   'ended', 'busy', timestamptz '2026-03-01' + n * interval '1 s', now(), 'test'
              FROM generate_series(1, $2) n
            """,
            run_id,
            ATTEMPTS,
            owner.account_id,
        )
        instance_id = await connection.fetchval("SELECT instance_id FROM runs WHERE id = $1", run_id)
    return await run_views.get_run(database, iid=owner.iid, instance_id=instance_id)


@pytest.fixture
def lots(monkeypatch) -> list[int]:
    """How many rows each lot had that was read."""
    found: list[int] = []

    def noting(read):
        async def reading(*args, limit: int, **options):
            lot = await read(*args, limit=limit, **options)
            found.append(len(lot))
            return lot

        return reading

    monkeypatch.setattr(exports, "LOT", LOT)
    monkeypatch.setattr(exports.contacts_store, "lot", noting(exports.contacts_store.lot))
    monkeypatch.setattr(exports.attempts_store, "page", noting(exports.attempts_store.page))
    return found


def lent(database) -> int:
    """How many connections somebody has."""
    return database._pool.get_size() - database._pool.get_idle_size() - len(database._idle)


SESSIONS = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND xact_start IS NOT NULL AND backend_type = 'client backend'
"""


@pytest.mark.parametrize(("export", "count"), [(exports.contacts_csv, CONTACTS), (exports.attempts_csv, ATTEMPTS)])
async def test_no_lot_is_read_before_the_one_before_is_taken(database, run, lots, export, count):
    pieces = export(database, run)
    text = (await anext(pieces)).decode()
    assert lots == []
    taken = 0
    async for piece in pieces:
        taken += 1
        text += piece.decode()
        # whoever reads slowly stands here: one lot is in memory, no connection is lent, no transaction open
        assert len(lots) == taken
        assert piece.count(b"\r\n") == lots[-1] <= LOT
        assert lent(database) == 0
        async with database.connection() as connection:
            assert lent(database) == 1
            assert await connection.fetchval(SESSIONS) == 1
    assert sum(lots) == count
    assert len(lots) == count // LOT + 1
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert header == list(exports.CONTACT_COLUMNS if count == CONTACTS else exports.ATTEMPT_COLUMNS)
    assert len({row[0] for row in rows}) == len(rows) == count


async def test_a_reader_that_goes_away_ends_the_file(database, run, lots):
    pieces = exports.contacts_csv(database, run)
    await anext(pieces)
    await anext(pieces)
    await pieces.aclose()
    assert lots == [LOT]
    assert lent(database) == 0

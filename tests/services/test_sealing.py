"""Sealing: every row in exactly one seal, however late its transaction ends; and nobody waits for it."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from outdial.core.history import ChainCheck
from outdial.services import access, sealing
from outdial.store import history, seals
from outdial.store.database import Database
from waiting import until


@pytest.fixture
async def account(database, secret_box) -> str:
    return (await access.create_application(database, secret_box, account="Acme", name="one")).account_id


async def happen(connection, account: str, what: str) -> None:
    await history.append(connection, account, "test", what, actor="anna")


async def sealed_ids(database: Database, account: str) -> list[int]:
    """What is in seals, in the chain's order, after checking the chain against the rows."""
    check, found = ChainCheck(), []
    async with database.connection() as connection:
        for seal, ids in await seals.page(connection, account, number=1, through=10**9, limit=10**6):
            rows = await seals.rows(connection, ids)
            check.take(seal, [row.document() for row in rows], f"seal {seal.number}")
            found += ids
    return found


async def all_ids(database: Database, account: str) -> list[int]:
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT id FROM history WHERE account_id = $1 ORDER BY id", account)
    return [row["id"] for row in rows]


async def test_each_row_is_sealed_once_and_only_what_is_new(database, account):
    assert await sealing.seal_all(database) == len(await all_ids(database, account))
    assert await sealing.seal_all(database) == 0
    async with database.connection() as connection:
        for number in range(3):
            await happen(connection, account, f"{number}")
    assert await sealing.seal_all(database) == 3
    assert await sealed_ids(database, account) == await all_ids(database, account)
    async with database.connection() as connection:
        assert await seals.strays(connection, account) == []


@pytest.mark.parametrize("ending", ["commit", "rollback"])
async def test_a_transaction_that_is_open_over_many_rounds_is_left_out_until_it_ends_and_then_not(
    database, account, dsn, ending
):
    await sealing.seal_all(database)
    late = await asyncpg.connect(dsn)
    await late.execute("BEGIN")
    await late.execute(f"INSERT INTO history (account_id, action, actor) VALUES ('{account}', 'late', 'x')")
    try:
        for number in range(5):
            async with database.connection() as connection:
                await happen(connection, account, f"{number}")
            # the open transaction holds up neither the writer nor the sealer
            assert await sealing.seal_all(database) == 1
            # another within the same transaction, with an id above what is sealed already
            await late.execute(f"INSERT INTO history (account_id, action, actor) VALUES ('{account}', 'late', 'x')")
        await late.execute(ending)
    finally:
        await late.close()
    assert await sealing.seal_all(database) == (6 if ending == "commit" else 0)
    assert await sealing.seal_all(database) == 0
    found = await sealed_ids(database, account)
    assert sorted(found) == await all_ids(database, account)
    assert len(set(found)) == len(found)
    # the late rows are in the chain after those that were committed before them
    assert (found != sorted(found)) is (ending == "commit")


@pytest.mark.timeout(120)
async def test_writers_and_sealers_at_once_leave_nothing_out(database, account):
    done = asyncio.Event()

    async def write(writer: int) -> None:
        for number in range(40):
            async with database.transaction() as connection:
                await happen(connection, account, f"{writer}:{number}")
                if number % 3 == 0:
                    # let others overtake
                    await asyncio.sleep(0)
                await happen(connection, account, f"{writer}:{number} too")

    async def seal() -> None:
        while not done.is_set():
            await sealing.seal_some(database)

    sealers = [asyncio.create_task(seal()) for _ in range(2)]
    await asyncio.gather(*(write(writer) for writer in range(5)))
    done.set()
    await asyncio.gather(*sealers)
    await sealing.seal_all(database)
    found = await sealed_ids(database, account)
    assert len(found) >= 400
    assert sorted(found) == await all_ids(database, account)


async def test_whoever_writes_waits_for_no_sealer(database, account, dsn):
    await sealing.seal_all(database)
    async with database.connection() as connection:
        await happen(connection, account, "before")
    async with database.transaction() as sealer:
        assert await seals.take_turn(sealer, wait=True)
        found = await seals.progress(sealer)
        assert [len(lot) async for lot in seals.unsealed(sealer, found, lot=10)] == [1]
        # a sealer that is frozen here, in the middle of its round
        async with database.connection() as connection:
            await connection.execute("SET lock_timeout = '1ms'")
            await happen(connection, account, "meanwhile")
            await connection.execute("RESET lock_timeout")
        assert await sealing.seal_some(database) == 0


async def test_a_waiting_sealer_seals_what_was_committed_while_it_waited(database, account):
    await sealing.seal_all(database)
    async with database.transaction() as first:
        assert await seals.take_turn(first, wait=True)
        waiting = asyncio.create_task(sealing.seal_all(database))
        async with database.connection() as connection:
            query = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
            await until(lambda: connection.fetchval(query))
            await happen(connection, account, "meanwhile")
    assert await waiting == 1


async def test_a_row_that_belongs_in_no_chain_cannot_be_written(database, account):
    async with database.connection() as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute("INSERT INTO history (action, actor) VALUES ('lost', 'x')")


async def test_a_lot_larger_than_a_seal_makes_several(database, account, monkeypatch):
    monkeypatch.setattr(sealing, "LARGEST", 4)
    async with database.connection() as connection:
        for number in range(10):
            await happen(connection, account, f"{number}")
    await sealing.seal_all(database)
    assert await sealed_ids(database, account) == await all_ids(database, account)
    async with database.connection() as connection:
        found = await seals.page(connection, account, number=1, through=99, limit=99)
    assert max(seal.count for seal, _ in found) == 4
    assert len(found) >= 3


async def test_rows_from_another_cluster_are_sealed_once_whatever_their_transactions_were_called(database, account):
    """As after a dump was restored: the transactions of the old cluster mean nothing here."""
    await sealing.seal_all(database)
    async with database.transaction() as connection:
        await connection.execute("UPDATE history_sealing SET cluster = 1, done = '900000:900000:'")
        # sealed there and not, with numbers this cluster comes to later
        guards = ("history_stay_as_they_are", "history_is_only_erased")
        for guard in guards:
            await connection.execute(f"ALTER TABLE history DISABLE TRIGGER {guard}")
        await connection.execute("UPDATE history SET xid = pg_current_xact_id()::text::bigint::text::xid8")
        await connection.execute("UPDATE history SET xid = ((pg_current_xact_id()::text::bigint) + 3)::text::xid8")
        for guard in guards:
            await connection.execute(f"ALTER TABLE history ENABLE ALWAYS TRIGGER {guard}")
        await happen(connection, account, "dumped before it was sealed")
    assert await sealing.seal_all(database) == 1
    for number in range(8):
        async with database.connection() as connection:
            await happen(connection, account, f"here {number}")
        assert await sealing.seal_all(database) == 1
    assert await sealed_ids(database, account) == await all_ids(database, account)
    async with database.connection() as connection:
        assert await seals.strays(connection, account) == []


async def test_the_first_round_of_a_cluster_waits_for_those_who_write(database, account, dsn, monkeypatch):
    late = await asyncpg.connect(dsn)
    await late.execute("BEGIN")
    await late.execute(f"INSERT INTO history (account_id, action, actor) VALUES ('{account}', 'late', 'x')")
    try:
        assert await sealing.seal_some(database) == 0
        await late.execute("COMMIT")
    finally:
        await late.close()
    await sealing.seal_all(database)
    assert await sealed_ids(database, account) == await all_ids(database, account)


async def test_a_round_that_is_broken_off_seals_nothing(database, account):
    await sealing.seal_all(database)
    async with database.connection() as connection:
        await happen(connection, account, "one")
    with pytest.raises(RuntimeError, match="cut"):
        async with database.transaction() as connection:
            await seals.take_turn(connection, wait=True)
            await sealing._seal(connection, await seals.progress(connection))
            raise RuntimeError("cut")
    assert await sealing.seal_all(database) == 1
    assert await sealed_ids(database, account) == await all_ids(database, account)

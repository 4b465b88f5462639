"""History, its seals and signed reports only grow, for the application's own role too; a superuser is found out."""

from __future__ import annotations

import asyncpg
import pytest

from outdial.services import access, history_export, sealing
from outdial.services.history_export import HistoryNotWholeError
from outdial.store import history

TABLES = ("history", "history_seals", "signed_reports")


@pytest.fixture
async def account(database, secret_box) -> str:
    made = await access.create_application(database, secret_box, account="Acme", name="one")
    async with database.connection() as connection:
        for number in range(3):
            await history.append(connection, made.account_id, "test", f"{number}", actor="anna")
    await sealing.seal_all(database)
    return made.account_id


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("statement", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
@pytest.mark.parametrize("role", ["application", "superuser"])
async def test_no_statement_changes_or_deletes(database, account, table, statement, role):
    column = {"history": "actor", "history_seals": "sealed_at", "signed_reports": "signed_at"}[table]
    async with database.connection() as connection:
        await connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO outdial")
        if role == "application":
            await connection.execute("SET ROLE outdial")
        assert await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is (
            role == "superuser"
        )
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match=f"rows of {table} are evidence"):
            await connection.execute(statement.format(table, column, column))
        await connection.execute("RESET ROLE")


async def test_nor_as_a_replica_does(postgres, dsn, account):
    superuser = await asyncpg.connect(dsn)
    try:
        assert await superuser.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        await superuser.execute("SET session_replication_role = replica")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await superuser.execute("DELETE FROM history")
    finally:
        await superuser.close()


BY_FORCE = {
    "changed a row": ("UPDATE history SET actor = 'otto' WHERE to_state = '1'", "the rows of seal 1 are not those"),
    "deleted a row": ("DELETE FROM history WHERE to_state = '1'", "its row .* is gone"),
    "put a row in": (
        """
        INSERT INTO history (account_id, action, actor, xid) SELECT account_id, 'test', 'otto', '3' FROM history LIMIT 1
        """,
        "row .* is in no seal",
    ),
    "deleted the first seal": ("DELETE FROM history_seals WHERE number = 1", "the seals before it are gone"),
    "changed a seal": (
        "UPDATE history_seals SET sealed_at = now() WHERE number = 1",
        "the hash of seal 1 is not that of what it says",
    ),
    "took a row out of its seal": (
        "UPDATE history_seals SET ids = ids[2:] WHERE number = 1",
        "the hash of seal 1 is not that of what it says|are not those",
    ),
}


@pytest.mark.parametrize("what", BY_FORCE)
async def test_whoever_switches_the_triggers_off_is_found_out_by_the_chain(database, account, dsn, what):
    statement, why = BY_FORCE[what]
    async with database.connection() as connection:
        await history.append(connection, account, "test", "later", actor="anna")
    held = await history_export.verify(database, account)
    assert held.seals == 2
    superuser = await asyncpg.connect(dsn)
    try:
        for table in TABLES:
            await superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await superuser.execute(statement)
    finally:
        await superuser.close()
    with pytest.raises(HistoryNotWholeError, match=why):
        await history_export.verify(database, account)


async def test_a_whole_chain_made_anew_is_found_out_by_what_was_signed_or_exported_before(database, account, dsn):
    """Who may write everything can also seal everything again; the hash that others hold is another then."""
    before = await history_export.verify(database, account)
    superuser = await asyncpg.connect(dsn)
    try:
        for table in TABLES:
            await superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await superuser.execute("UPDATE history SET actor = 'otto'")
        await superuser.execute("DELETE FROM history_seals")
        await superuser.execute("UPDATE history_sealing SET cluster = NULL, done = NULL")
    finally:
        await superuser.close()
    after = await history_export.verify(database, account)
    assert after.rows == before.rows
    assert after.head != before.head

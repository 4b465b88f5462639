"""Migrations on the embedded server and on one that somebody else runs (over TCP, the system's version)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from conftest import named
from outdial.core.errors import DatabaseUnavailableError, StartupError
from outdial.store import migrations
from outdial.store.database import Database, connect
from waiting import until

VERSIONS = Path(migrations.__file__).parent / "versions"


@pytest.fixture(params=["embedded", "external"])
def fresh(request) -> str:
    """A database without a schema, on each kind of server."""
    return request.getfixturevalue("empty_dsn" if request.param == "embedded" else "external_dsn")


async def value(dsn: str, query: str, *arguments: object) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


SCHEMA = """
SELECT coalesce(string_agg(line, E'\\n' ORDER BY line), '') FROM (
    SELECT format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default) AS line
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
              WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
    UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
) AS lines
"""


async def test_an_empty_database_gets_the_whole_schema_and_then_needs_nothing(fresh):
    assert await migrations.upgrade(fresh) == len(migrations.revisions())
    schema = await value(fresh, SCHEMA)
    assert await migrations.upgrade(fresh) == 0
    assert await value(fresh, SCHEMA) == schema
    await migrations.require_current(fresh)
    for line in ("runs_live", "attempts_live_phone", "outdial_history_run()", "run_contacts_history"):
        assert line in schema


async def test_both_kinds_of_server_end_with_the_same_schema(empty_dsn, external_dsn):
    schemas = []
    for dsn in (empty_dsn, external_dsn):
        await migrations.upgrade(dsn)
        schemas.append(await value(dsn, SCHEMA))
    assert schemas[0].splitlines() == schemas[1].splitlines()


async def test_of_two_processes_that_race_one_migrates(fresh):
    script = (
        "import asyncio, sys; from outdial.store import migrations;"
        "sys.stdin.readline(); print(asyncio.run(migrations.upgrade(sys.argv[1])))"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script, fresh],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(3)
    ]
    answers = await asyncio.gather(*(asyncio.to_thread(racer.communicate, "go\n", 30) for racer in racers))
    assert sorted(int(output) for output, _ in answers) == [0, 0, len(migrations.revisions())]
    await migrations.require_current(fresh)


async def test_two_upgrades_within_one_process_do_not_disturb_each_other(fresh):
    assert sorted(await asyncio.gather(migrations.upgrade(fresh), migrations.upgrade(fresh))) == [
        0,
        len(migrations.revisions()),
    ]


async def test_a_migration_that_fails_changes_nothing(fresh):
    await execute(fresh, "CREATE TABLE campaigns (mine text)")
    before = await value(fresh, SCHEMA)
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrations.upgrade(fresh)
    assert await value(fresh, SCHEMA) == before
    await execute(fresh, "DROP TABLE campaigns")
    assert await migrations.upgrade(fresh) == len(migrations.revisions())


async def test_an_older_schema_is_refused_without_migrate(fresh):
    with pytest.raises(StartupError) as refusal:
        await migrations.require_current(fresh)
    newest = migrations.revisions()[-1]
    assert (
        refusal.value.message == f"The database has no schema yet, this outdial needs {newest}: run `outdial migrate`."
    )


async def test_a_newer_schema_is_refused_whatever_is_asked(fresh):
    await migrations.upgrade(fresh)
    await execute(fresh, "UPDATE alembic_version SET version_num = '9999'")
    schema = await value(fresh, SCHEMA)
    for attempt in (migrations.require_current, migrations.upgrade):
        with pytest.raises(StartupError) as refusal:
            await attempt(fresh)
        assert refusal.value.message == (
            f"The database has schema 9999, newer than this outdial knows (up to {migrations.revisions()[-1]}): "
            "upgrade outdial on this machine."
        )
    assert await value(fresh, SCHEMA) == schema


async def test_an_account_that_may_not_create_tables_is_told(external_dsn):
    await execute(external_dsn, "DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN PASSWORD 'guest'")
    guest = external_dsn.replace("postgres:p%40ss%2Fword@", "guest:guest@")
    try:
        with pytest.raises(StartupError, match="may not create tables: make it the owner of the database"):
            await migrations.upgrade(guest)
    finally:
        await execute(external_dsn, "DROP ROLE guest")


async def test_losing_the_server_half_way_is_said_and_changes_nothing(fresh):
    blocker = await asyncpg.connect(fresh)
    try:
        # the migration waits for the lock, so the moment of its end is ours to choose
        await blocker.execute("SELECT pg_advisory_lock($1)", migrations._LOCK)
        upgrade = asyncio.create_task(migrations.upgrade(fresh))
        waiting = "FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        await until(lambda: blocker.fetchval(f"SELECT EXISTS (SELECT {waiting})"))
        await blocker.execute(f"SELECT pg_terminate_backend(pid) {waiting}")
        with pytest.raises(DatabaseUnavailableError, match="nothing was changed"):
            await upgrade
    finally:
        await blocker.close()
    assert await value(fresh, "SELECT to_regclass('campaigns')") is None


async def test_a_database_that_does_not_exist_or_an_address_that_is_none_is_said(external_postgres):
    with pytest.raises(StartupError, match=r'database "nowhere" does not exist.*OUTDIAL_DATABASE_URL'):
        await migrations.upgrade(named(external_postgres, "nowhere"))
    with pytest.raises(StartupError, match=r"looks like postgresql://"):
        await migrations.upgrade("mysql://root@127.0.0.1/outdial")
    with pytest.raises(StartupError, match=r"password authentication failed"):
        await migrations.upgrade(external_postgres.replace("p%40ss", "wrong"))


def test_every_script_has_its_revision_and_every_revision_its_script():
    scripts = sorted(path.name.partition("_")[0] for path in VERSIONS.glob("*.sql"))
    assert scripts == list(migrations.revisions())
    for path in VERSIONS.glob("*.sql"):
        revision = VERSIONS / f"revision_{path.name.partition('_')[0]}.py"
        assert f'script.run("{path.name}")' in revision.read_text()


async def test_the_system_server_counts_as_supported(external_postgres, external_dsn):
    connection = await connect(external_dsn)
    try:
        assert connection.get_server_version().major >= 15
        assert await connection.fetchval("SELECT inet_server_addr()::text") == "127.0.0.1/32"
    finally:
        await connection.close()
    await migrations.upgrade(external_dsn)
    database = await Database.open(external_dsn, pool_size=2)
    await database.close()


async def test_what_an_account_holds_already_is_counted(empty_dsn, monkeypatch):
    upgrade = migrations.command.upgrade
    monkeypatch.setattr(migrations.command, "upgrade", lambda config, _: upgrade(config, "0004"))
    await migrations.upgrade(empty_dsn)
    monkeypatch.undo()
    await execute(
        empty_dsn,
        """
        INSERT INTO accounts (id, name) VALUES ('a', 'a'), ('b', 'b');
        INSERT INTO applications (iid, account_id, name) VALUES ('i', 'a', 'i');
        INSERT INTO contact_lists (id, iid, account_id, name, created_by, updated_by)
        VALUES ('l1', 'i', 'a', 'l1', 'x', 'x'), ('l2', 'i', 'a', 'l2', 'x', 'x');
        INSERT INTO contacts (list_id, phone) VALUES ('l1', '+15550100001'), ('l1', '+15550100002');
        """,
    )
    await migrations.upgrade(empty_dsn)
    found = "SELECT string_agg(account_id || lists_count || contacts_count, ' ' ORDER BY account_id) FROM account_usage"
    assert await value(empty_dsn, found) == "a22 b00"
    assert await value(empty_dsn, "SELECT contacts_count FROM contact_lists WHERE id = 'l1'") == 2

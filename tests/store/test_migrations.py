from __future__ import annotations

from outdial.store import migrations


async def test_a_current_database_needs_nothing(dsn):
    assert await migrations.upgrade(dsn) == 0
    await migrations.require_current(dsn)


async def test_the_fixtures_database_has_the_tables(database):
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO accounts (id, name) VALUES ('a', 'A')")
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM accounts") == 1

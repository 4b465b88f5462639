"""A process wired and unwired: embedded and external database, schema rules, errors half-way."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from pydantic import SecretStr

from outdial.config import Settings
from outdial.context import open_context
from outdial.core.errors import DatabaseUnavailableError, StartupError
from outdial.embedded_postgres import processes
from outdial.store import migrations


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(data_dir=tmp_path / "data", database_url=None, database_pool_size=3)


def is_running(settings: Settings) -> bool:
    process = processes.postmaster(settings.data_dir.resolve() / "postgres" / "cluster")
    if process is not None:
        process.close()
    return process is not None


class TestEmbedded:
    async def test_a_new_folder_is_ready_without_being_told_to_migrate(self, settings):
        async with open_context(settings) as context:
            async with context.database.transaction() as connection:
                await connection.execute("INSERT INTO accounts (id, name) VALUES ('a', 'A')")
            assert context.secrets.decrypt(context.secrets.encrypt("x")) == "x"
            assert context.settings is settings
            assert is_running(settings)
        assert not is_running(settings)
        async with open_context(settings) as context, context.database.connection() as connection:
            assert await connection.fetchval("SELECT name FROM accounts") == "A"

    async def test_two_share_the_server_until_the_last_one_leaves(self, settings):
        async with open_context(settings) as outer:
            async with open_context(settings) as inner:
                assert inner.dsn == outer.dsn
            assert is_running(settings)
            async with outer.database.connection() as connection:
                assert await connection.fetchval("SELECT 1") == 1
        assert not is_running(settings)

    async def test_an_old_schema_is_refused_unless_told_to_migrate(self, settings, monkeypatch):
        async with open_context(settings):
            pass
        known = migrations.revisions()
        monkeypatch.setattr(migrations, "revisions", lambda: (*known, "9999"))
        with pytest.raises(StartupError, match=rf"schema {known[-1]}, this outdial needs 9999: run `outdial migrate`"):
            async with open_context(settings):
                pytest.fail("opened on an old schema")
        assert not is_running(settings), "a refused start leaves no server"

    async def test_an_error_inside_closes_everything_and_stays_what_it_is(self, settings):
        with pytest.raises(ZeroDivisionError):
            async with open_context(settings):
                raise ZeroDivisionError
        assert not is_running(settings)

    async def test_a_cancelled_process_closes_everything(self, settings):
        opened = asyncio.Event()

        async def process() -> None:
            async with open_context(settings):
                opened.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(process())
        await opened.wait()
        assert is_running(settings)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not is_running(settings)

    async def test_the_address_with_its_password_does_not_print(self, settings):
        async with open_context(settings) as context:
            assert context.dsn.startswith("postgresql://outdial:")
            assert context.dsn not in repr(context)


class TestExternal:
    @pytest.fixture
    def external(self, settings, external_dsn) -> Settings:
        return settings.model_copy(update={"database_url": SecretStr(external_dsn)})

    async def test_an_empty_database_is_migrated_only_when_told(self, external):
        with pytest.raises(StartupError, match="run `outdial migrate`"):
            async with open_context(external):
                pytest.fail("opened without a schema")
        async with open_context(external, migrate=True) as context, context.database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM campaigns") == 0
        async with open_context(external):
            pass

    async def test_no_embedded_server_is_started(self, external):
        async with open_context(external, migrate=True):
            assert not (external.data_dir / "postgres").exists()

    async def test_a_newer_schema_is_refused_even_when_told_to_migrate(self, external, external_dsn):
        async with open_context(external, migrate=True):
            pass
        connection = await asyncpg.connect(external_dsn)
        await connection.execute("UPDATE alembic_version SET version_num = '9999'")
        await connection.close()
        with pytest.raises(StartupError, match="upgrade outdial on this machine"):
            async with open_context(external, migrate=True):
                pytest.fail("opened on a newer schema")

    async def test_a_server_that_is_away_is_said(self, settings):
        away = settings.model_copy(update={"database_url": SecretStr("postgresql://a:b@127.0.0.1:1/c")})
        with pytest.raises(DatabaseUnavailableError, match="cannot be reached"):
            async with open_context(away):
                pytest.fail("opened without a server")

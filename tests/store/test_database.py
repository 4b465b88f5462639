"""Connections against the real server: edges, transactions, codecs, listening through losses."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

import outdial
from outdial.core.errors import BusyError, DatabaseUnavailableError, StartupError
from outdial.embedded_postgres import EmbeddedPostgres, processes
from outdial.store import database as module
from outdial.store.database import Database, connect
from waiting import until


@asynccontextmanager
async def opened(dsn: str, *, pool_size: int = 2, application_name: str = "outdial"):
    database = await Database.open(dsn, pool_size=pool_size, application_name=application_name)
    try:
        yield database
    finally:
        await database.close()


async def terminate(dsn: str, application_name: str) -> int:
    """End the sessions of that name; return how many there were."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1",
            application_name,
        )
    finally:
        await connection.close()


class TestConnections:
    async def test_a_transaction_commits_at_its_end_and_rolls_back_on_any_error(self, database):
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO accounts (id, name) VALUES ('kept', 'kept')")
        with pytest.raises(ZeroDivisionError):
            async with database.transaction() as connection:
                await connection.execute("INSERT INTO accounts (id, name) VALUES ('lost', 'lost')")
                raise ZeroDivisionError
        async with database.connection() as connection:
            assert [row["id"] for row in await connection.fetch("SELECT id FROM accounts")] == ["kept"]

    async def test_a_statement_of_a_snapshot_ends_in_the_time_it_is_given(self, dsn):
        async with opened(dsn, pool_size=1) as database:
            with pytest.raises(BusyError, match=r"within 0\.1 seconds"):
                async with database.snapshot(statement_seconds=0.1) as connection:
                    await connection.execute("SELECT pg_sleep(600)")
            async with database.snapshot(statement_seconds=60) as connection:
                assert await connection.fetchval("SHOW statement_timeout") == "1min"
            # the session has none of it
            async with database.connection() as connection:
                assert await connection.fetchval("SHOW statement_timeout") == "0"

    async def test_sessions_are_set_up_for_outdial(self, dsn):
        async with opened(dsn, application_name="outdial api") as database, database.connection() as connection:
            shown = {name: await connection.fetchval(f"SHOW {name}") for name in module.SERVER_SETTINGS}
            assert shown == module.SERVER_SETTINGS
            assert await connection.fetchval("SHOW application_name") == "outdial api"
            assert await connection.fetchval("SHOW transaction_isolation") == "read committed"

    async def test_times_come_back_aware(self, database):
        async with database.connection() as connection:
            assert (await connection.fetchval("SELECT clock_timestamp()")).utcoffset().total_seconds() == 0

    async def test_the_pool_has_its_size_and_says_when_it_is_used_up(self, dsn, monkeypatch):
        monkeypatch.setattr(module, "ACQUIRE_SECONDS", 0.05)
        async with opened(dsn, pool_size=2) as database, database.connection(), database.connection():
            with pytest.raises(DatabaseUnavailableError, match="No database connection became free"):
                async with database.connection():
                    pytest.fail("a third connection out of two")

    async def test_a_cancelled_query_gives_its_connection_back(self, dsn):
        async with opened(dsn, pool_size=1) as database:
            async with asyncio.TaskGroup() as group:

                async def sleep() -> None:
                    async with database.transaction() as connection:
                        await connection.execute("SELECT pg_sleep(60)")

                task = group.create_task(sleep())
                await until(lambda: _is_active(dsn, "SELECT pg_sleep(60)"))
                task.cancel()
            async with database.connection() as connection:
                assert await connection.fetchval("SELECT 1") == 1
            assert not await _is_active(dsn, "SELECT pg_sleep(60)")

    @pytest.mark.parametrize("word", ["pg_advisory_lock", "pg_try_advisory_lock", "set session", "with hold"])
    def test_no_source_takes_a_lock_or_setting_that_would_outlive_its_transaction(self, word):
        """Releasing a pooled connection sends no reset, so nothing may need one."""
        sources = [path for kind in ("*.py", "*.sql") for path in Path(outdial.__file__).parent.rglob(kind)]
        assert len(sources) > 20
        assert [path.name for path in sources if word in path.read_text(encoding="utf-8").lower()] == []

    def test_every_temporary_table_ends_with_its_transaction(self):
        texts = [path.read_text(encoding="utf-8").lower() for path in Path(outdial.__file__).parent.rglob("*.py")]
        assert all(text.count("create temp") == text.count("on commit drop") for text in texts)

    async def test_a_caller_torn_away_between_prepare_and_execute_leaves_nothing_behind(self, dsn):
        """The server would stay in the implicit transaction that the preparing opened, and refuse the snapshot."""
        async with opened(dsn, pool_size=1) as database:
            with pytest.raises(asyncio.CancelledError):
                async with database.connection() as connection:
                    await connection.prepare("SELECT count(*) FROM runs")
                    raise asyncio.CancelledError
            async with database.snapshot() as connection:
                assert await connection.fetchval("SHOW transaction_isolation") == "repeatable read"

    async def test_closing_cuts_what_is_still_lent(self, dsn, monkeypatch):
        monkeypatch.setattr(module, "CLOSE_SECONDS", 0.05)
        database = await Database.open(dsn, pool_size=2)
        lent = database.connection()
        connection = await lent.__aenter__()
        await database.close()
        assert module._is_closed(connection)
        with pytest.raises(DatabaseUnavailableError):
            async with database.connection():
                pytest.fail("a connection from a closed pool")


async def _is_active(dsn: str, query: str) -> bool:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query = $1 AND state = 'active')", query
        )
    finally:
        await connection.close()


class TestEdges:
    async def test_a_server_that_is_not_there(self):
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            address = f"postgresql://a:b@127.0.0.1:{closed.getsockname()[1]}/c"
            with pytest.raises(DatabaseUnavailableError, match="PostgreSQL cannot be reached"):
                await Database.open(address, pool_size=2)

    async def test_a_server_that_never_answers(self, monkeypatch):
        monkeypatch.setattr(module, "CONNECT_SECONDS", 0.1)
        with (
            socket.create_server(("127.0.0.1", 0)) as silent,
            pytest.raises(DatabaseUnavailableError, match="PostgreSQL cannot be reached: TimeoutError"),
        ):
            await Database.open(f"postgresql://a:b@127.0.0.1:{silent.getsockname()[1]}/c", pool_size=2)

    async def test_a_server_that_is_too_old(self, dsn, monkeypatch):
        monkeypatch.setattr(module, "OLDEST_SERVER", 99)
        with pytest.raises(StartupError, match=r"needs PostgreSQL 99 or newer; the server is version \d+"):
            await Database.open(dsn, pool_size=2)

    async def test_a_session_lost_in_the_middle_of_a_transaction(self, dsn):
        async with opened(dsn, pool_size=1, application_name="victim") as database:
            with pytest.raises(DatabaseUnavailableError) as loss:
                async with database.transaction() as connection:
                    await connection.execute("INSERT INTO accounts (id, name) VALUES ('a', 'a')")
                    assert await terminate(dsn, "victim") == 1
                    await connection.execute("INSERT INTO accounts (id, name) VALUES ('b', 'b')")
            assert loss.value.retryable
            assert loss.value.status == 503
            async with database.connection() as connection:
                assert await connection.fetchval("SELECT count(*) FROM accounts") == 0

    async def test_a_session_lost_as_its_user_is_to_end_does_not_keep_that_one(self, dsn):
        """The rollback fails, and tells that in place of the cancellation: whoever tries again would never end."""
        async with opened(dsn, pool_size=1) as database:
            lent, tries = [], []

            async def insists() -> None:
                while True:
                    try:
                        async with database.transaction() as connection:
                            lent.append(connection)
                            await connection.execute("SELECT pg_sleep(60)")
                    except DatabaseUnavailableError:
                        tries.append(1)

            working = asyncio.create_task(insists())
            await until(lambda: _is_active(dsn, "SELECT pg_sleep(60)"))
            lent[0]._con._transport.abort()
            working.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(working, 20)
            assert tries == []

    async def test_a_time_that_ran_out_before_is_no_reason_to_end(self, dsn):
        """Only a cancellation that came while the connection was lent is one."""
        async with opened(dsn, pool_size=1, application_name="victim") as database:

            async def cleans_up() -> None:
                try:
                    await asyncio.sleep(60)
                finally:
                    with pytest.raises(DatabaseUnavailableError):
                        async with database.transaction() as connection:
                            await terminate(dsn, "victim")
                            await connection.execute("SELECT 1")
                    cleaned.append(1)

            cleaned = []
            working = asyncio.create_task(cleans_up())
            await asyncio.sleep(0)
            working.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(working, 20)
            assert cleaned == [1]

    async def test_a_session_lost_before_the_commit(self, dsn):
        async with opened(dsn, pool_size=1, application_name="victim") as database:
            with pytest.raises(DatabaseUnavailableError):
                async with database.transaction() as connection:
                    await connection.execute("INSERT INTO accounts (id, name) VALUES ('a', 'a')")
                    await terminate(dsn, "victim")
                    await until(lambda: module._is_closed(connection))

    async def test_a_session_lost_as_it_is_given_back_says_nothing_about_what_was_done(self, dsn):
        async with opened(dsn, pool_size=1, application_name="victim") as database:
            with pytest.raises(FileNotFoundError):
                async with database.connection() as connection:
                    await connection.execute("INSERT INTO accounts (id, name) VALUES ('a', 'a')")
                    # in a thread that is waited for: this loop must not hear of it before the connection is given back
                    ending = threading.Thread(target=lambda: asyncio.run(terminate(dsn, "victim")))
                    ending.start()
                    ending.join()
                    assert not module._is_closed(connection)
                    raise FileNotFoundError
            async with database.connection() as connection:
                assert await connection.fetchval("SELECT count(*) FROM accounts") == 1

    async def test_a_session_lost_within_a_copy_cannot_be_rolled_back_either(self, dsn):
        """Seen as the server's processes were killed: asyncpg could not begin the COPY, nor the ROLLBACK after it."""
        async with opened(dsn, pool_size=1) as database:
            with pytest.raises(DatabaseUnavailableError, match="lost") as caught:
                async with database.transaction() as connection:
                    busy = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
                    await asyncio.sleep(0)  # until the statement is sent
                    raise asyncpg.InternalClientError("cannot switch to state 21; another operation (2) is in progress")
            assert isinstance(caught.value.__cause__, asyncpg.InterfaceError)
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await busy
            async with database.connection() as connection:
                assert await connection.fetchval("SELECT 1") == 1

    async def test_errors_of_the_statement_stay_what_they_are(self, database):
        with pytest.raises(asyncpg.UniqueViolationError):
            async with database.transaction() as connection:
                for _ in range(2):
                    await connection.execute("INSERT INTO accounts (id, name) VALUES ('a', 'a')")
        with pytest.raises(FileNotFoundError):
            async with database.connection():
                raise FileNotFoundError

    async def test_a_frozen_process_does_not_keep_its_locks(self, dsn, monkeypatch):
        monkeypatch.setitem(module.SERVER_SETTINGS, "idle_in_transaction_session_timeout", "100ms")
        async with opened(dsn, pool_size=2) as database:
            with pytest.raises(DatabaseUnavailableError):
                async with database.transaction() as frozen:
                    await frozen.execute("SELECT pg_advisory_xact_lock(1)")
                    async with database.transaction() as other:
                        # waits for the frozen one's lock, which the server takes away
                        await other.execute("SELECT pg_advisory_xact_lock(1)")
                    await frozen.execute("SELECT 1")

    async def test_what_went_wrong_is_said_without_the_rows_values(self, dsn):
        error = module._why(asyncpg.PostgresError("duplicate key\nDETAIL:  Key (phone)=(+15550100001) already exists."))
        assert error == "duplicate key"

    async def test_the_server_killed_and_restarted_under_an_open_pool(self, tmp_path):
        server = await EmbeddedPostgres.start(tmp_path, durable=False)
        keeper = asyncio.create_task(server.keep_running())
        told: list[str] = []
        async with opened(server.dsn, pool_size=3) as database:
            await database.listen("news", told.append)
            async with database.connection() as first, database.connection() as second:
                await asyncio.gather(first.execute("SELECT 1"), second.execute("SELECT 1"))
            process = processes.postmaster(tmp_path / "postgres" / "cluster")
            process.send(signal.SIGKILL)
            await process.ended()
            process.close()

            async def works() -> bool:
                try:
                    async with database.connection() as connection:
                        return await connection.fetchval("SELECT 1") == 1
                except DatabaseUnavailableError:
                    return False

            await until(works)
            await until(lambda: told == [""])
            async with database.connection() as connection:
                await connection.execute("NOTIFY news, 'again'")
            await until(lambda: told == ["", "again"])
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        await server.stop()


class TestJson:
    @pytest.mark.parametrize(
        "document",
        [None, True, 0, 1.5, "", "ünï\u2028", [], {}, {"a": [1, {"b": None}]}, {"deep": [[[["x"]]]]}],
        ids=repr,
    )
    async def test_documents_survive_the_way_there_and_back(self, database, document):
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT $1::jsonb", document) == document

    async def test_copy_speaks_it_too(self, database):
        async with database.transaction() as connection:
            await connection.execute("CREATE TABLE documents (document jsonb)")
            rows = [({"number": number},) for number in range(100)]
            await connection.copy_records_to_table("documents", records=rows)
            total = await connection.fetchval("SELECT sum((document->>'number')::int) FROM documents")
            assert total == sum(range(100))

    async def test_null_is_not_a_document(self, database):
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT 'null'::jsonb") is None
            assert await connection.fetchval("SELECT '{}'::jsonb || NULL") is None


class TestListening:
    async def test_each_listener_hears_its_channel_once(self, database):
        heard: dict[str, list[str]] = {"one": [], "two": [], "again": []}
        await database.listen("channel_one", heard["one"].append)
        await database.listen("channel_two", heard["two"].append)
        await database.listen("channel_one", heard["again"].append)
        async with database.transaction() as connection:
            for number in range(3):
                await connection.execute("SELECT pg_notify('channel_one', $1)", str(number))
            await connection.execute("NOTIFY channel_two")
            await connection.execute("NOTIFY channel_three, 'x'")
        await until(lambda: heard == {"one": ["0", "1", "2"], "two": [""], "again": ["0", "1", "2"]})

    async def test_a_lost_connection_comes_back_and_says_look_for_yourself(self, dsn):
        async with opened(dsn, application_name="node") as database:
            heard: list[str] = []
            await database.listen("runs", heard.append)
            for _ in range(3):
                heard.clear()
                assert await terminate(dsn, "node listen") == 1
                await until(lambda: heard == [""])
                async with database.connection() as connection:
                    await connection.execute("NOTIFY runs, '7'")
                await until(lambda: heard == ["", "7"])

    async def test_a_channel_added_after_a_loss_is_heard(self, dsn):
        async with opened(dsn, application_name="node") as database:
            heard: list[str] = []
            await database.listen("runs", heard.append)
            await terminate(dsn, "node listen")
            await database.listen("nodes", heard.append)
            async with database.connection() as connection:
                await connection.execute("NOTIFY nodes, 'n'")
                await until(lambda: "n" in heard)
                await connection.execute("NOTIFY runs, 'r'")
            await until(lambda: "r" in heard)

    async def test_a_peer_that_falls_silent_is_given_up(self, dsn, monkeypatch):
        """A machine that lost its power closes nothing: only an unanswered question tells."""
        monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.2)
        async with opened(dsn, application_name="node") as database:
            heard: list[str] = []
            await database.listen("runs", heard.append)
            backend = database._listener._connection.get_server_pid()
            os.kill(backend, signal.SIGSTOP)
            try:
                begun = time.monotonic()
                await until(lambda: heard == [""])
                assert time.monotonic() - begun < 10
                assert database._listener._connection.get_server_pid() != backend
            finally:
                os.kill(backend, signal.SIGCONT)

    async def test_listening_to_a_server_that_is_gone_is_said(self, dsn):
        async with opened(dsn) as database:
            database._listener._dsn = dsn.replace("host=", "host=%2Fnowhere")
            with pytest.raises(DatabaseUnavailableError):
                await database.listen("runs", print)


async def test_a_single_connection_knows_the_codecs(dsn):
    connection = await connect(dsn, application_name="one")
    try:
        assert await connection.fetchval("SELECT '{\"a\": 1}'::jsonb") == {"a": 1}
    finally:
        await connection.close()


async def test_a_connection_goes_to_who_waits_before_it_is_kept(dsn):
    database = await Database.open(dsn, pool_size=1)
    served = []

    async def ask(number: int) -> None:
        async with database.connection() as connection:
            await connection.fetchval("SELECT pg_sleep(0.01)")
            served.append(number)

    await asyncio.gather(*(ask(number) for number in range(5)))
    assert sorted(served) == list(range(5))
    await ask(5)
    await database.close()


async def test_a_connection_that_is_lost_while_nobody_uses_it_is_replaced(dsn, database):
    async with database.connection() as connection:
        first = await connection.fetchval("SELECT pg_backend_pid()")
    killer = await Database.open(dsn, pool_size=1)
    async with killer.connection() as connection:
        assert await connection.fetchval("SELECT pg_terminate_backend($1, 5000)", first)
    await killer.close()

    async def another() -> bool:
        try:
            async with database.connection() as connection:
                return await connection.fetchval("SELECT pg_backend_pid()") != first
        except DatabaseUnavailableError:
            return False

    await until(another)

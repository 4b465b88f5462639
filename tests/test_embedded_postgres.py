"""The embedded server: started, shared, killed, and refused with a sentence; always the real one."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from outdial.core.errors import StartupError
from outdial.embedded_postgres import EmbeddedPostgres, account, processes
from outdial.embedded_postgres.cluster import Cluster
from postgres_user import PostgresUser, launched, possible_ways
from waiting import until

IS_ROOT = os.geteuid() == 0
NOBODY = 65534


def ways() -> list[str]:
    """Every way of running the server that this machine permits; root has at least one."""
    if not IS_ROOT:
        return ["same"]
    namespace = subprocess.run(launched("namespace", NOBODY, "/bin/true"), check=False, capture_output=True)
    return [*possible_ways(), *(["namespace"] if namespace.returncode == 0 else [])]


@pytest.fixture
def folder(tmp_path) -> Iterator[Path]:
    """A data folder of which no server may be left; a failed test's server is ended here."""
    yield tmp_path / "data"
    data = Cluster(tmp_path / "data").data
    left = processes.all_of(data) if data.is_dir() else []
    for process in left:
        process.send(signal.SIGKILL)
        process.close()
    assert not left, "a server was left running"


@asynccontextmanager
async def using(folder: Path, *, durable: bool = False) -> AsyncIterator[EmbeddedPostgres]:
    server = await EmbeddedPostgres.start(folder, durable=durable)
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def value(dsn: str, query: str, *arguments: object) -> object:
    async with connected(dsn) as connection:
        return await connection.fetchval(query, *arguments)


def postmaster_pid(folder: Path) -> int | None:
    process = processes.postmaster(Cluster(folder).data)
    if process is None:
        return None
    process.close()
    return process.pid


def uid_of(folder: Path) -> int:
    return Path(f"/proc/{postmaster_pid(folder)}").stat().st_uid


def living(cluster: Path) -> list[int]:
    """Process ids of the server, and of initdb's."""
    found = processes.all_of(cluster) if cluster.is_dir() else []
    for process in found:
        process.close()
    return [process.pid for process in found]


def has_launched(cluster: Path) -> bool:
    """Whether a server runs that is not one of initdb's, which have more arguments."""
    lines = (Path(f"/proc/{pid}/cmdline") for pid in living(cluster))
    return any(line.read_bytes().count(b"\0") == 3 for line in lines)


def sockets_outside() -> set[Path]:
    return {path for parent in ("/run", "/tmp") for path in Path(parent).glob("outdial-*")}


async def until_server_ended(folder: Path) -> None:
    """Nobody of the server lives any more: its lock is free."""
    with Cluster(folder).server_lock.open("r+") as lock:
        await asyncio.wait_for(asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX), 30)


def kill_postmaster(folder: Path) -> None:
    pid = postmaster_pid(folder)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


class TestStart:
    async def test_a_new_folder_gets_a_server_that_keeps_to_itself(self, folder):
        async with using(folder, durable=True) as server, connected(server.admin_dsn) as admin:
            settings = {
                name: await admin.fetchval(f"SHOW {name}")
                for name in (
                    "listen_addresses",
                    "data_checksums",
                    "fsync",
                    "synchronous_commit",
                    "server_encoding",
                    "timezone",
                    "password_encryption",
                    "max_locks_per_transaction",
                )
            }
            assert settings == {
                "listen_addresses": "",
                "data_checksums": "on",
                "fsync": "on",
                "synchronous_commit": "on",
                "server_encoding": "UTF8",
                "timezone": "UTC",
                "password_encryption": "scram-sha-256",
                "max_locks_per_transaction": "256",
            }
            methods = await admin.fetch("SELECT DISTINCT auth_method FROM pg_hba_file_rules")
            assert [row["auth_method"] for row in methods] == ["scram-sha-256"]
            assert postmaster_pid(folder) is not None
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(server.dsn.replace("postgresql://outdial:", "postgresql://outdial:no"))
        assert postmaster_pid(folder) is None

    async def test_outdials_role_owns_its_database_and_no_more(self, folder):
        async with using(folder) as server, connected(server.dsn) as connection:
            await connection.execute("CREATE TABLE t (id integer)")
            rights = await connection.fetchrow("SELECT * FROM pg_roles WHERE rolname = current_user")
            assert not any(rights[name] for name in ("rolsuper", "rolcreaterole", "rolcreatedb", "rolbypassrls"))
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetchval("SELECT pg_read_file('/etc/passwd')")

    async def test_names_fold_and_sort_alike_on_every_machine(self, folder):
        async with using(folder) as server:
            assert await value(server.dsn, "SELECT lower('ÄÖ')") == "äö"
            provider = "SELECT datlocprovider::text FROM pg_database WHERE datname = 'outdial'"
            assert await value(server.dsn, provider) == "b"

    async def test_secrets_are_for_their_owner_alone(self, folder):
        async with using(folder):
            cluster = Cluster(folder)
            assert (cluster.folder / "password").stat().st_mode & 0o777 == 0o600
            assert cluster.data.stat().st_mode & 0o777 == 0o700
            assert not (cluster.folder / "password.new").exists()
            assert len(cluster.password()) > 40

    async def test_what_the_log_tells_leaves_out_numbers_and_statements(self, folder):
        async with using(folder) as server:
            async with connected(server.dsn) as connection:
                await connection.execute("CREATE TABLE t (phone text PRIMARY KEY)")
                await connection.execute("INSERT INTO t VALUES ($1)", "+15550100001")
                with pytest.raises(asyncpg.UniqueViolationError):
                    await connection.execute("INSERT INTO t VALUES ('+15550100001')")
            text = Cluster(folder).log.read_text()
        assert "duplicate key value" in text
        assert "5550100001" not in text

    async def test_settings_of_the_operator_win_and_survive_a_restart(self, folder):
        async with using(folder):
            (Cluster(folder).data / "local.conf").write_text("work_mem = '7MB'\nmax_connections = 33\n")
            (Cluster(folder).data / "local.conf").chmod(0o644)
        async with using(folder) as server:
            assert await value(server.dsn, "SHOW work_mem") == "7MB"
            assert await value(server.dsn, "SHOW max_connections") == "33"

    async def test_variables_meant_for_other_databases_do_not_reach_it(self, folder, monkeypatch):
        for name, text in {"PGDATA": "/nonexistent", "PGPORT": "1", "PGHOST": "nowhere.invalid", "PGUSER": "x"}.items():
            monkeypatch.setenv(name, text)
        async with using(folder) as server:
            assert await value(server.dsn, "SELECT current_user") == "outdial"

    async def test_stopping_twice_does_nothing(self, folder):
        server = await EmbeddedPostgres.start(folder, durable=False)
        await server.stop()
        await server.stop()
        assert postmaster_pid(folder) is None

    async def test_a_start_that_was_killed_half_way_is_completed(self, folder):
        async with using(folder) as server, connected(server.admin_dsn) as admin:
            await admin.execute("DROP DATABASE outdial")
            await admin.execute("DROP ROLE outdial")
        async with using(folder) as server:
            assert await value(server.dsn, "SELECT current_database()") == "outdial"

    async def test_a_half_made_cluster_is_made_anew(self, folder):
        draft = Cluster(folder).folder / "cluster.new"
        draft.mkdir(parents=True)
        (draft / "PG_VERSION").write_text("18\n")
        async with using(folder) as server:
            assert await value(server.dsn, "SELECT 1") == 1
        assert not draft.exists()

    async def test_a_cancelled_start_leaves_no_lock_and_no_server(self, folder):
        task = asyncio.create_task(EmbeddedPostgres.start(folder, durable=False))
        cluster = Cluster(folder)
        await until(lambda: processes.read_pid_file(cluster.data) is not None)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not living(cluster.data)
        async with using(folder) as server:
            assert await value(server.dsn, "SELECT 1") == 1

    async def test_cancelled_before_the_server_has_said_who_it_is_it_leaves_none_either(self, folder):
        deep = folder / ("a" * 90) / ("b" * 90)
        cluster = Cluster(deep)
        task = asyncio.create_task(EmbeddedPostgres.start(deep, durable=False))
        await until(lambda: has_launched(cluster.data))
        # on most runs it has not written its file yet
        before = sockets_outside()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not living(cluster.data)
        assert before - sockets_outside(), "its folder for sockets is taken away"


class TestSharing:
    async def test_the_second_joins_and_the_last_one_stops_it(self, folder):
        with PostgresUser(folder) as first, PostgresUser(folder) as second:
            # both start at once in an empty folder: one makes the cluster
            assert first.answer() == (dsn := second.answer())
            pid = postmaster_pid(folder)
            first.leave()
            assert postmaster_pid(folder) == pid
            assert await value(dsn, "SELECT 1") == 1
            second.leave()
            assert postmaster_pid(folder) is None
            await until_server_ended(folder)

    async def test_leaving_at_once_still_stops_it(self, folder):
        servers = [await EmbeddedPostgres.start(folder, durable=False) for _ in range(8)]
        await asyncio.gather(*(server.stop() for server in servers))
        assert postmaster_pid(folder) is None

    async def test_a_killed_user_does_not_keep_it_running(self, folder):
        with PostgresUser(folder) as first:
            first.answer()
            pid = postmaster_pid(folder)
            first.kill()
            assert postmaster_pid(folder) == pid
        async with using(folder):
            assert postmaster_pid(folder) == pid
        assert postmaster_pid(folder) is None

    async def test_ctrl_c_in_the_starters_terminal_is_not_meant_for_it(self, folder):
        with PostgresUser(folder) as starter:
            dsn = starter.answer()
            async with connected(dsn) as connection, using(folder):
                os.killpg(starter.pid, signal.SIGINT)
                assert starter.process.wait(timeout=30) != 0
                assert await connection.fetchval("SELECT 1") == 1
                assert os.getsid(postmaster_pid(folder)) != starter.pid

    async def test_somebody_who_starts_while_the_last_one_stops_gets_a_server(self, folder):
        for _ in range(3):
            leaving = await EmbeddedPostgres.start(folder, durable=False)
            _, staying = await asyncio.gather(leaving.stop(), EmbeddedPostgres.start(folder, durable=False))
            assert await value(staying.dsn, "SELECT 1") == 1
            await staying.stop()


class TestCrash:
    async def test_nothing_acknowledged_is_lost_when_everything_is_killed(self, folder):
        with PostgresUser(folder) as starter:
            dsn = starter.answer()
            connection = await asyncpg.connect(dsn)
            await connection.execute("CREATE TABLE t (id integer)")
            await connection.executemany("INSERT INTO t VALUES ($1)", [(number,) for number in range(500)])
            kill_postmaster(folder)
            starter.kill()
            connection.terminate()
        assert (Cluster(folder).data / "postmaster.pid").exists(), "nobody has tidied up"
        async with using(folder, durable=True) as server:
            assert await value(server.dsn, "SELECT count(*) FROM t") == 500

    @pytest.mark.parametrize("seconds", [0.35, 0.55, 0.75])
    async def test_a_starter_killed_at_any_moment_of_the_first_start_spoils_nothing(self, folder, seconds):
        """Somewhere between the first folder and the first answer; an initdb may still run when the next one starts."""
        with PostgresUser(folder) as starter:
            await asyncio.sleep(seconds)
            starter.kill()
        async with using(folder) as server:
            assert await value(server.dsn, "SELECT 1") == 1

    async def test_a_session_that_outlives_its_postmaster_does_not_block_the_next_start(self, folder):
        server = await EmbeddedPostgres.start(folder, durable=False)
        connection = await asyncpg.connect(server.dsn)
        # never waits, so it never notices that its postmaster is gone
        busy = asyncio.create_task(connection.execute("DO $$ BEGIN LOOP END LOOP; END $$"))
        pid = connection.get_server_pid()
        await until(lambda: is_busy(server.dsn, pid))
        kill_postmaster(folder)
        async with using(folder) as again:
            assert await value(again.dsn, "SELECT 1") == 1
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await busy
            connection.terminate()
            await server.stop()

    async def test_process_numbers_given_to_others_meanwhile_do_not_confuse_it(self, folder):
        async with using(folder) as server:
            dsn = server.dsn
        cluster = Cluster(folder)
        owner = cluster.data.stat().st_uid
        with subprocess.Popen(["sleep", "60"], user=owner if IS_ROOT else None) as bystander:
            try:
                for path in (cluster.data / "postmaster.pid", cluster.folder / "run" / ".s.PGSQL.5432.lock"):
                    lines = [bystander.pid, cluster.data, 1700000000, 5432, cluster.folder / "run", "", "1 1", "ready"]
                    path.write_text("".join(f"{line}\n" for line in lines))
                    os.chown(path, owner, -1)
                async with using(folder) as server:
                    assert await value(server.dsn, "SELECT 1") == 1
                    assert server.dsn == dsn
                assert bystander.poll() is None, "a stranger's process was ended"
            finally:
                bystander.kill()

    async def test_a_lost_server_is_brought_back_for_everybody(self, folder):
        async with using(folder) as first, using(folder) as second:
            keepers = [asyncio.create_task(server.keep_running()) for server in (first, second)]
            before = (first.dsn, postmaster_pid(folder))
            kill_postmaster(folder)
            await until(lambda: postmaster_pid(folder) not in {None, before[1]})
            await until(lambda: answers(first.dsn))
            assert await value(second.dsn, "SELECT 1") == 1
            assert first.dsn == second.dsn == before[0]
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
        assert postmaster_pid(folder) is None


async def is_busy(dsn: str, pid: int) -> bool:
    return await value(dsn, "SELECT state FROM pg_stat_activity WHERE pid = $1", pid) == "active"


async def answers(dsn: str) -> bool:
    try:
        return await value(dsn, "SELECT 1") == 1
    except (OSError, asyncpg.PostgresError):
        return False


class TestFolders:
    async def test_a_path_longer_than_a_socket_address_works(self, folder):
        deep = folder / ("a" * 90) / ("b" * 90)
        async with using(deep) as server:
            assert await value(server.dsn, "SELECT 1") == 1
            sockets = processes.read_pid_file(Cluster(deep).data).sockets
            assert sockets.stat().st_mode & 0o777 == 0o700
            dsn = server.dsn
        async with using(deep) as server:
            assert server.dsn == dsn
        assert postmaster_pid(deep) is None
        assert not sockets.exists()

    async def test_a_path_with_odd_characters_works(self, folder):
        async with using(folder / "it's 100% o'dial ü") as server:
            assert await value(server.dsn, "SELECT 1") == 1

    async def test_a_socket_folder_somebody_else_made_is_refused(self, folder):
        deep = folder / ("a" * 90) / ("b" * 90)
        async with using(deep):
            sockets = processes.read_pid_file(Cluster(deep).data).sockets
        sockets.symlink_to(folder)
        try:
            with pytest.raises(StartupError, match=r"belongs to somebody else: remove it"):
                await EmbeddedPostgres.start(deep, durable=False)
        finally:
            sockets.unlink()

    @pytest.mark.parametrize("way", ways())
    async def test_every_way_of_running_it_serves_and_survives_a_crash(self, way, monkeypatch):
        """As root below folders that only root may enter (except for the plain way); else as ourselves."""
        real = account.candidates
        with tempfile.TemporaryDirectory() as name:
            Path(name).chmod(0o755 if way == "account" else 0o700)
            monkeypatch.setattr(account, "candidates", lambda data: [a for a in real(data) if a.way == way])
            for _ in range(2):
                async with using(Path(name) / "data") as server:
                    assert await value(server.dsn, "SELECT 1") == 1
                    kill_postmaster(Path(name) / "data")
            async with using(Path(name) / "data") as server:
                assert await value(server.admin_dsn, "SELECT pg_reload_conf()")
                uid = uid_of(Path(name) / "data")
                assert (uid == 0) == (way == "namespace")
            assert postmaster_pid(Path(name) / "data") is None

    if IS_ROOT:

        async def test_an_ordinary_account_needs_none_of_this(self):
            with tempfile.TemporaryDirectory() as name:
                os.chown(name, NOBODY, NOBODY)
                data = Path(name) / "data"
                with PostgresUser(data, uid=NOBODY) as user:
                    assert await value(user.answer(), "SELECT 1") == 1
                    assert uid_of(data) == NOBODY
                    user.leave()
                # root then finds it and keeps the account it belongs to
                async with using(data) as server:
                    assert await value(server.dsn, "SELECT 1") == 1
                    assert uid_of(data) == NOBODY

        async def test_the_folder_of_another_account_is_refused(self, folder):
            async with using(folder):
                pass
            with PostgresUser(folder, uid=NOBODY) as user:
                answer = user.answer()
            assert answer.startswith("refused: The database ")
            # which one depends on what the test's own account may read
            assert "cannot be used (Permission denied)" in answer or "belongs to account" in answer
            assert "set OUTDIAL_DATA_DIR to a folder" in answer

        @pytest.mark.parametrize(
            ("dropped", "kept"),
            [
                pytest.param(("-dac_read_search",), 1 << 1, id="the capabilities of an ordinary container"),
                pytest.param(("-sys_ptrace", "-sys_admin"), 1 << 2, id="no looking into other accounts' processes"),
            ],
        )
        async def test_a_root_with_fewer_capabilities(self, folder, dropped, kept):
            folder.mkdir(mode=0o700)
            prefix = ("setpriv", f"--bounding-set={','.join(dropped)}", "--inh-caps=-all")
            for crash in (True, False):
                with PostgresUser(folder, before=prefix) as user:
                    assert await value(user.answer(), "SELECT 1") == 1
                    status = Path(f"/proc/{postmaster_pid(folder)}/status").read_text()
                    assert int(status.split("CapEff:")[1].split()[0], 16) == kept
                    if crash:
                        kill_postmaster(folder)
                    else:
                        user.leave()
            assert postmaster_pid(folder) is None

        async def test_a_root_without_any_capability_is_told_what_it_may_do(self, folder):
            folder.mkdir(mode=0o700)
            with PostgresUser(folder, before=("setpriv", "--bounding-set=-all", "--inh-caps=-all")) as user:
                answer = user.answer()
            assert answer.startswith("refused: PostgreSQL refuses to run as root, and no other account may use")
            assert "OUTDIAL_DATA_DIR" in answer

        async def test_no_way_at_all_is_said_in_a_sentence(self, folder, monkeypatch):
            real = account.candidates
            folder.mkdir(mode=0o700)
            monkeypatch.setattr(account, "candidates", lambda data: [a for a in real(data) if a.way == "account"])
            with pytest.raises(StartupError, match=r"refuses to run as root.*OUTDIAL_DATA_DIR"):
                await EmbeddedPostgres.start(folder, durable=False)


def until_full(mount: Path, *, left: int = 0, first: str = "true") -> tuple[tuple[str, ...], str]:
    """Return a prefix that runs a command where ``left`` MB are left, and what the system calls the lack of more.

    A file system of its own in a mount namespace, which goes away with the process; where mounting is not permitted,
    a limit on the size of files. ``first`` is done while there is still space.
    """
    mount.mkdir()
    unshare = ("unshare", "--mount", *(() if IS_ROOT else ("--map-root-user",)), "sh", "-c")
    mounting = f"mount -t tmpfs -o size=150m none {mount}"
    if subprocess.run([*unshare, f"{mounting} && {sys.executable} -c ''"], check=False).returncode == 0:
        fill = f"head -c {150 - left}m /dev/zero >{mount}/filler 2>{mount}/out || true"
        return (*unshare, f'{mounting} && {first} && {fill} && exec "$@"', "sh"), "No space left on device"
    return ("sh", "-c", f'{first} && ulimit -f {left * 200 + 1} && exec "$@"', "sh"), "File too large"


class TestRefusals:
    @pytest.mark.parametrize("left", [0, 12], ids=["nothing left", "too little for a cluster"])
    async def test_a_full_disk(self, tmp_path, left):
        mount = tmp_path / "small"
        prefix, reason = until_full(mount, left=left)
        with PostgresUser(mount / "data", before=prefix) as user:
            answer = user.answer()
        assert answer.startswith(f"refused: The database folder {mount}/data/postgres cannot be used ({reason}): ")

    async def test_a_disk_that_is_full_at_a_later_start(self, tmp_path):
        mount = tmp_path / "small"
        first = f"echo leave | {sys.executable} {Path(__file__).parent}/postgres_user.py {mount}/data >/dev/null"
        prefix, reason = until_full(mount, first=f"export PYTHONPATH={os.pathsep.join(sys.path)} && {first}")
        with PostgresUser(mount / "data", before=prefix) as user:
            assert f"cannot be used ({reason}): " in user.answer()

    async def test_a_file_where_the_folder_should_be(self, folder):
        folder.write_text("")
        with pytest.raises(StartupError, match=r"cannot be used \(.+\): set OUTDIAL_DATA_DIR"):
            await EmbeddedPostgres.start(folder, durable=False)

    async def test_a_folder_that_cannot_be_written(self):
        with pytest.raises(StartupError, match=r"/proc/outdial/postgres cannot be used \(.+\): "):
            await EmbeddedPostgres.start(Path("/proc/outdial"), durable=False)

    async def test_another_major_version(self, folder):
        async with using(folder):
            pass
        (Cluster(folder).data / "PG_VERSION").write_text("17\n")
        with pytest.raises(
            StartupError, match=r"made by PostgreSQL 17, this outdial brings \d+: install embedded-post"
        ):
            await EmbeddedPostgres.start(folder, durable=False)

    async def test_a_lost_password(self, folder):
        async with using(folder):
            pass
        (Cluster(folder).folder / "password").unlink()
        with pytest.raises(StartupError, match=r"password of the database is missing: put .*/password back"):
            await EmbeddedPostgres.start(folder, durable=False)

    async def test_a_wrong_password_leaves_no_server_behind(self, folder):
        async with using(folder):
            pass
        (Cluster(folder).folder / "password").write_text("wrong")
        with pytest.raises(StartupError, match=r"refuses its own password"):
            await EmbeddedPostgres.start(folder, durable=False)
        await until_server_ended(folder)

    async def test_a_mistake_in_the_operators_settings_is_quoted(self, folder):
        async with using(folder):
            (Cluster(folder).data / "local.conf").write_text("shared_bufers = '1GB'\n")
            (Cluster(folder).data / "local.conf").chmod(0o644)
        with pytest.raises(
            StartupError, match=r'unrecognized configuration parameter "shared_bufers" in file ".*local'
        ):
            await EmbeddedPostgres.start(folder, durable=False)

    async def test_strangers_files_in_the_clusters_folder_are_not_touched(self, folder):
        data = Cluster(folder).data
        data.mkdir(parents=True)
        (data / "thesis.txt").write_text("mine")
        with pytest.raises(StartupError, match=r"cannot be used \(Directory not empty\)"):
            await EmbeddedPostgres.start(folder, durable=False)
        assert (data / "thesis.txt").read_text() == "mine"

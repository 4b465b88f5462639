"""A PostgreSQL somebody else runs: reached over TCP, of the system's version where there is one."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from outdial import embedded_postgres
from outdial.embedded_postgres import account

START_SECONDS = 60.0


def programs() -> Path:
    """The oldest system PostgreSQL that outdial supports, else the embedded one's programs."""
    found = {int(path.name): path / "bin" for path in Path("/usr/lib/postgresql").glob("[0-9]*")}
    supported = [found[version] for version in sorted(found) if version >= 15 and (found[version] / "initdb").exists()]
    return supported[0] if supported else embedded_postgres.programs()


class Server:
    """One that can be ended as a crash would, and started again on the same port."""

    def __init__(self, folder: Path, program: Path | None = None) -> None:
        """``program`` is run in place of PostgreSQL's own ``postgres``."""
        self._folder, self._data, self._log = folder, folder / "data", folder / "log"
        self._program = program or programs() / "postgres"
        self._account: account.Account
        self.port = 0

    async def make(self) -> None:
        """Make its cluster."""
        password = self._folder / "password"
        self._data.mkdir(mode=0o700)
        self._account, _ = await account.choose(self._data, programs() / "postgres")
        password.write_text("p@ss/word")
        self._account.own(password)
        common = (f"--pgdata={self._data}", f"--pwfile={password}", "--username=postgres", "--auth=scram-sha-256")
        words = (*common, "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")
        outcome = await self._account.run(self._data, programs() / "initdb", *words)
        assert outcome.code == 0, outcome.errors
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._log.touch()
        self._account.own(self._log)

    @property
    def address(self) -> str:
        """The superuser's."""
        return f"postgresql://postgres:p%40ss%2Fword@127.0.0.1:{self.port}/postgres"

    async def start(self) -> bool:
        """Start it and wait until it answers; False when it does not come up, e.g. because processes of the one before
        still live."""
        options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off"}
        words = (word for name, value in options.items() for word in ("-c", f"{name}={value}"))
        # what it holds open as long as any process of it lives
        told, tell = os.pipe()
        os.set_blocking(told, False)
        try:
            try:
                # to a file: the server would keep a pipe open
                with self._log.open("ab") as log:
                    await self._account.launch(
                        self._data, self._program, "-D", str(self._data), *words, output=log.fileno(), keep=(tell,)
                    )
            finally:
                os.close(tell)
            return await self._until_it_answers(told)
        finally:
            os.close(told)

    async def _until_it_answers(self, told: int) -> bool:
        began = time.monotonic()
        while time.monotonic() - began < START_SECONDS:
            ended = _is_at_its_end(told)
            try:
                connection = await asyncpg.connect(self.address, timeout=5)
            except (OSError, asyncpg.PostgresError, TimeoutError):
                if ended:
                    return False
                await asyncio.sleep(0.02)
            else:
                await connection.close()
                return True
        return False

    async def stop(self) -> None:
        """End it at once, without a word to its clients."""
        words = ("stop", "-D", str(self._data), "-m", "immediate", "-w")
        await self._account.run(self._data, programs() / "pg_ctl", *words)

    def pids(self) -> list[int]:
        """The postmaster, first, and its children; nothing when it does not run."""
        try:
            postmaster = int((self._data / "postmaster.pid").read_text().splitlines()[0])
            children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        except (OSError, ValueError, IndexError):
            return []
        return [postmaster, *map(int, children)]

    def said(self) -> str:
        """What it wrote."""
        return self._log.read_text(errors="replace")


def _is_at_its_end(pipe: int) -> bool:
    try:
        return os.read(pipe, 1) == b""
    except BlockingIOError:
        return False


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Run it and give the superuser's address."""
    server = Server(folder)
    asyncio.run(server.make())
    try:
        assert asyncio.run(server.start()), server.said()
        yield server.address
    finally:
        asyncio.run(server.stop())

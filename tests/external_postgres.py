"""A PostgreSQL somebody else runs: reached over TCP, of the system's version where there is one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from outdial import embedded_postgres
from outdial.embedded_postgres import account


def programs() -> Path:
    """The oldest system PostgreSQL that outdial supports, else the embedded one's programs."""
    found = {int(path.name): path / "bin" for path in Path("/usr/lib/postgresql").glob("[0-9]*")}
    supported = [found[version] for version in sorted(found) if version >= 15 and (found[version] / "initdb").exists()]
    return supported[0] if supported else embedded_postgres.programs()


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Run it and give the superuser's address."""
    data, password = folder / "data", folder / "password"
    data.mkdir(mode=0o700)
    chosen, _ = asyncio.run(account.choose(data, programs() / "postgres"))
    password.write_text("p@ss/word")
    chosen.own(password)
    common = (f"--pgdata={data}", f"--pwfile={password}", "--username=postgres", "--auth=scram-sha-256", "--no-sync")
    outcome = asyncio.run(chosen.run(data, programs() / "initdb", *common, "--encoding=UTF8", "--locale=C.UTF-8"))
    assert outcome.code == 0, outcome.errors
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "log"
    log.touch()
    chosen.own(log)
    options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories='' -c fsync=off"
    start = ("start", "-D", str(data), "-w", "-t", "60", "-l", str(log), "-o", options)
    try:
        # its output goes to files: the server would keep a pipe open
        outcome = asyncio.run(chosen.run(data, programs() / "pg_ctl", *start, "-s"))
        assert outcome.code == 0, log.read_text()
        yield f"postgresql://postgres:p%40ss%2Fword@127.0.0.1:{port}/postgres"
    finally:
        asyncio.run(chosen.run(data, programs() / "pg_ctl", "stop", "-D", str(data), "-m", "immediate", "-w"))

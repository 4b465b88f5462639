"""PostgreSQL's own programs for backups: pg_dump and pg_restore of the server's version, run as clients of it."""

from __future__ import annotations

import asyncio
import os
import re
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from outdial import embedded_postgres
from outdial.core.errors import OutdialError, StartupError

CHUNK: Final = 1 << 20

_SYSTEM: Final = Path("/usr/lib/postgresql")
"""Where Debian and its like keep the programs of each version, ``15/bin`` among them."""

_SAID: Final = 4000
"""Bytes that are kept of what a program complains about."""


class BackupFailedError(OutdialError):
    """pg_dump or pg_restore could not do its work; the sentence has its first complaint. Nothing is left half-done
    under a final name."""

    code = "backup_failed"


async def find(server_major: int, folder: Path | None) -> Path:
    """Return the folder with the programs of a server's major version: ``folder`` where it is given, else outdial's
    own, the system's, or those in PATH. Raises StartupError."""
    if folder is not None:
        found = await _major(folder)
        if found != server_major:
            has = "holds no pg_dump and pg_restore that run" if found is None else f"is of PostgreSQL {found}"
            raise StartupError(f"{folder} {has}; the server is PostgreSQL {server_major}: name its own programs.")
        return folder
    for place in _places():
        if await _major(place) == server_major:
            return place
    raise StartupError(
        f"There is no pg_dump of PostgreSQL {server_major}, which the server is, on this machine: install the client "
        f"programs of that version (Debian: postgresql-client-{server_major}), or say where they are with --programs."
    )


def _places() -> Iterable[Path]:
    # where there is no embedded PostgreSQL it is somebody else's server anyway
    with suppress(StartupError):
        yield embedded_postgres.programs()
    yield from sorted(_SYSTEM.glob("*/bin"))
    yield from (Path(word) for word in os.environ.get("PATH", "").split(os.pathsep) if word)


async def _major(folder: Path) -> int | None:
    """Return the version of both programs in a folder; None where they are not there or differ."""
    versions = set()
    for name in ("pg_dump", "pg_restore"):
        if not (folder / name).is_file():
            return None
        process = await asyncio.create_subprocess_exec(folder / name, "--version", stdin=DEVNULL, stdout=PIPE)
        output, _ = await process.communicate()
        found = re.search(rb"\) (\d+)", output)
        versions.add(int(found[1]) if found and process.returncode == 0 else None)
    return versions.pop() if len(versions) == 1 else None


async def dump(programs: Path, dsn: str, snapshot: str, take: Callable[[bytes], None]) -> None:
    """Dump the database as a snapshot sees it; ``take`` gets it piece by piece, outside the event loop.

    Raises BackupFailedError, and what ``take`` raises.
    """
    words = ("--format=custom", "--schema=public", "--no-owner", "--no-privileges", "--no-unlogged-table-data")
    async with _running(programs / "pg_dump", dsn, *words, f"--snapshot={snapshot}") as (process, said):
        assert process.stdout is not None  # noqa: S101 - asked for
        while piece := await process.stdout.read(CHUNK):
            await asyncio.to_thread(take, piece)
        await _require_done(process, said, "pg_dump")


async def restore(programs: Path, dsn: str, pieces: Iterable[bytes]) -> None:
    """Restore a dump, all or nothing. Raises BackupFailedError, and what ``pieces`` raises."""
    words = ("--exit-on-error", "--single-transaction", "--schema=public", "--no-owner", "--no-privileges")
    async with _running(programs / "pg_restore", dsn, *words) as (process, said):
        assert process.stdin is not None  # noqa: S101 - asked for
        source = iter(pieces)
        # it has ended with a complaint of its own, which is told below
        with suppress(BrokenPipeError, ConnectionResetError):
            while (piece := await asyncio.to_thread(next, source, b"")) != b"":
                process.stdin.write(piece)
                await process.stdin.drain()
            process.stdin.close()
            await process.stdin.wait_closed()
        await _require_done(process, said, "pg_restore")


@asynccontextmanager
async def _running(
    program: Path, dsn: str, *words: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, asyncio.Task[bytes]]]:
    """Run a program that has the database's address, without its password where others can see it; ends with the
    block."""
    address, environment = _address(dsn)
    to_server = "pg_restore" in program.name
    process = await asyncio.create_subprocess_exec(
        program,
        *words,
        f"--dbname={address}",
        "--no-password",
        stdin=PIPE if to_server else DEVNULL,
        stdout=DEVNULL if to_server else PIPE,
        stderr=PIPE,
        env=environment,
        limit=CHUNK,
    )
    assert process.stderr is not None  # noqa: S101 - asked for
    said = asyncio.create_task(_gather(process.stderr))
    try:
        yield process, said
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await said


async def _gather(stream: asyncio.StreamReader) -> bytes:
    """Read to the end, and keep the beginning."""
    kept = b""
    while piece := await stream.read(CHUNK):
        kept = (kept + piece)[:_SAID]
    return kept


async def _require_done(process: asyncio.subprocess.Process, said: asyncio.Task[bytes], name: str) -> None:
    code = await process.wait()
    if code != 0:
        lines = (await said).decode(errors="replace").splitlines()
        # the first line of what went wrong: those after it may hold rows, and numbers in them
        telling = next((line for line in lines if "error:" in line or "FATAL" in line), lines[0] if lines else "")
        reason = re.sub(r"^pg_\w+: (error: )?", "", telling) or f"it ended with {code}"
        raise BackupFailedError(f"{name} failed: {reason}.")


def _address(dsn: str) -> tuple[str, dict[str, str]]:
    """Return a database's address without its password, and an environment with it."""
    parts = urlsplit(dsn)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment["PGAPPNAME"] = "outdial backup"
    if parts.password is not None:
        environment["PGPASSWORD"] = unquote(parts.password)
        user, _, host = parts.netloc.rpartition("@")
        parts = parts._replace(netloc=f"{user.partition(':')[0]}@{host}")
    return parts.geturl(), environment

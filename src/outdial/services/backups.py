"""Backups: the database as one snapshot shows it, and the files of the data folder that it speaks of at that instant.

What waits on disk for the database (opt-outs, recordings that are not listed yet) is copied before the snapshot: what
leaves the disk meanwhile is then in the snapshot, and nothing is in neither. Recordings and imports are listed from the
snapshot itself and copied after the dump; one that was removed meanwhile is left out, and the manifest says so.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import outdial
from outdial.core.backup import DATABASE, KEY, LeftOut, Manifest, Member, write_manifest
from outdial.core.errors import FileError, InvalidInputError
from outdial.secretbox import SecretBox
from outdial.services import imports, postgres_programs, recordings, sealing
from outdial.services.backup_file import Backup, BackupWriter, open_backup, remove_left
from outdial.store import backups as store
from outdial.store.backups import KeptFile
from outdial.store.database import Database

__all__ = ["KEY_PURPOSE", "Backup", "BackupProgress", "back_up", "open_backup"]

OPT_OUTS: Final = "opt-outs"
"""Folder of what people asked for on calls and is not on a list yet (``dialer.opt_outs``)."""

SWITCH: Final = "emergency-stop"
"""The file that asks for an emergency stop, where it lies in the data folder."""

KEY_PURPOSE: Final = "backup"
"""What a backup's key id is derived for."""

SUFFIX: Final = ".outdial"
_PREFIX: Final = "outdial-"


@dataclass(frozen=True, slots=True)
class BackupProgress:
    """How far a backup or a restore is."""

    step: str
    """``files``, ``database``, or another word of what is being done."""
    done: int
    """Files or bytes."""
    of: int | None = None
    """How many there are; None: nobody knows yet."""


async def back_up(
    database: Database,
    dsn: str,
    secrets: SecretBox,
    *,
    data_dir: Path,
    target: Path,
    key: str | None,
    programs: Path | None = None,
    on_progress: Callable[[BackupProgress], None] = lambda _: None,
) -> Backup:
    """Write a backup to a file, or to one named by the instant in a folder, and return it; the server may run on.

    The file gets its name once it is whole and on the disk, and takes the place of one that bears it. ``key`` is put
    into it as it is; without it secrets in the database are of use only together with the key. Raises
    DatabaseUnavailableError, StartupError (no programs of the server's version), BackupFailedError, ConflictError,
    FileError.
    """
    await sealing.seal_all(database)
    async with database.connection() as connection:
        programs = await postgres_programs.find(connection.get_server_version().major, programs)
    if await asyncio.to_thread(target.is_dir):
        await asyncio.to_thread(remove_left, target, f"{_PREFIX}*{SUFFIX}")
        async with database.connection() as connection:
            at = (await store.facts(connection)).taken_at
        target = target / f"{_PREFIX}{at:%Y%m%dT%H%M%SZ}{SUFFIX}"
    elif not await asyncio.to_thread(target.parent.is_dir):
        raise InvalidInputError([f"There is no folder {target.parent} to write a backup to."])
    writing = _Writing(await asyncio.to_thread(BackupWriter, target), data_dir, on_progress)
    try:
        manifest = await writing.write(database, dsn, secrets, programs, key)
        await asyncio.to_thread(writing.writer.finish, manifest)
    finally:
        writing.writer.abandon()
    return await asyncio.to_thread(open_backup, target)


class _Writing:
    """One backup that is being written."""

    def __init__(self, writer: BackupWriter, data_dir: Path, on_progress: Callable[[BackupProgress], None]) -> None:
        self.writer = writer
        self._data_dir = data_dir
        self._on_progress = on_progress
        self._files = 0
        self._missing: list[tuple[KeptFile, Path]] = []

    async def write(self, database: Database, dsn: str, secrets: SecretBox, programs: Path, key: str | None) -> bytes:
        """Write every member but the manifest, which is returned."""
        waiting = await asyncio.to_thread(self._waiting)
        for path in waiting:
            await asyncio.to_thread(self._copy, path, None)
        async with store.snapshot(dsn) as (connection, name):
            facts = await store.facts(connection)
            kept = [
                *((one, Path(recordings.FOLDER, one.file)) for one in await store.recordings(connection)),
                *((one, Path(imports.FOLDER, one.file)) for one in await store.unfinished_imports(connection)),
            ]
            with self.writer.member(DATABASE) as member:

                def take(piece: bytes) -> None:
                    member.write(piece)
                    self._on_progress(BackupProgress("database", member.size))

                await postgres_programs.dump(programs, dsn, name, take)
            rows = await store.counts(connection)
        total = self._files + len(kept)
        for one, path in kept:
            if not await asyncio.to_thread(self._copy, path, one.size):
                self._missing.append((one, path))
            self._on_progress(BackupProgress("files", self._files + len(self._missing), total))
        if key is not None:
            with self.writer.member(KEY) as member:
                member.write(key.encode())
        manifest = Manifest(
            outdial_version=outdial.__version__,
            schema=facts.schema,
            postgres_version=facts.postgres_version,
            taken_at=facts.taken_at,
            host=platform.node(),
            key_id=secrets.derive(KEY_PURPOSE),
            with_key=key is not None,
            rows=rows,
            heads=facts.heads,
            live_runs=facts.live_runs,
            live_attempts=facts.live_attempts,
            left_out=tuple(await self._left_out(database)),
            members=self.writer.members,
        )
        return write_manifest(manifest)

    def _waiting(self) -> list[Path]:
        """Return what waits on disk for the database, and the emergency switch, by their paths in the data folder."""
        unlisted = Path(recordings.FOLDER, recordings.UNLISTED)
        try:
            found = [
                *sorted((self._data_dir / OPT_OUTS).glob("*")),
                *sorted((self._data_dir / unlisted).glob("*.wav")),
                self._data_dir / SWITCH,
            ]
            return [path.relative_to(self._data_dir) for path in found if path.is_file()]
        except OSError as error:
            raise FileError(f"{error.filename} cannot be read ({error.strerror}).") from error

    def _copy(self, path: Path, size: int | None) -> bool:
        """Copy a file, no more than ``size`` bytes of it; False when it is not there, or shorter than that."""
        try:
            with (self._data_dir / path).open("rb") as file:
                if size is not None and file.seek(0, 2) < size:
                    return False
                file.seek(0)
                self._files += 1
                with self.writer.member(f"files/{self._files:06}", path=str(path)) as member:
                    left = size
                    while piece := file.read(recordings.CHUNK if left is None else min(recordings.CHUNK, left)):
                        member.write(piece)
                        left = None if left is None else left - len(piece)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise FileError(f"{self._data_dir / path} cannot be read ({error.strerror}).") from error
        return True

    async def _left_out(self, database: Database) -> Iterable[LeftOut]:
        if not self._missing:
            return []
        async with database.connection() as connection:
            gone = await store.gone(connection, [one.id for one, _ in self._missing])
        return [LeftOut(str(path), _why(one, gone)) for one, path in self._missing]


def _why(file: KeptFile, gone: frozenset[str]) -> str:
    if file.id in gone:
        return "removed, or no longer needed, since the snapshot"
    if file.host is not None and file.host != platform.node():
        return f"on the machine {file.host}"
    return "not in the data folder, or not whole there"


def total_size(members: Iterable[Member]) -> int:
    """Return how many bytes the members have."""
    return sum(member.size for member in members)

"""Recordings of what people said on calls: found, read and removed by whoever ran the campaign."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import platform
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final
from uuid import uuid4

from outdial.core import recording as core
from outdial.core.errors import FileElsewhereError, FileError, NotFoundError
from outdial.services.fields import is_storable
from outdial.store import history
from outdial.store import recordings as store
from outdial.store.database import Connection, Database
from outdial.store.recordings import Recording

FOLDER: Final = "recordings"
"""Where the files are, within the data folder."""

UNLISTED: Final = "unlisted"
"""Within that, those the database does not know of yet."""

CHUNK: Final = 64 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True, slots=True)
class OpenRecording:
    """A recording that is being read."""

    recording: Recording
    file: BinaryIO

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield it piece by piece, and close it."""
        try:
            while chunk := await asyncio.to_thread(self.file.read, CHUNK):
                yield chunk
        finally:
            self.file.close()


def save(folder: Path, name: str, audio: bytes) -> None:
    """Write a recording where :func:`list_one` finds it, on disk when this returns, for its owner's eyes only. Raises
    OSError."""
    path = unlisted(folder, name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # another process of this folder may be writing the same one
    draft = _draft(path)
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(audio)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _draft(path: Path) -> Path:
    return path.with_name(f"{path.stem}.{uuid4().hex}.part")


def tidy(folder: Path, *, older_than: timedelta) -> None:
    """Remove drafts whose process did not live to end them. Raises OSError."""
    for draft in folder.rglob("*.part"):
        with contextlib.suppress(FileNotFoundError):
            # who writes one touches it all the while
            if time.time() - draft.stat().st_mtime > older_than.total_seconds():
                draft.unlink()


def unlisted(folder: Path, name: str) -> Path:
    """Return where a recording is until the database knows of it."""
    return folder / UNLISTED / f"{name}.wav"


def left(folder: Path) -> Iterator[str]:
    """Yield the names of those the database does not know of yet."""
    for path in sorted((folder / UNLISTED).glob("*.wav")):
        if core.parse_name(path.stem) is not None:
            yield path.stem


async def list_one(database: Database, folder: Path, name: str) -> None:
    """Let the database know of a recording that was saved, and put its file in its place, by account, run and attempt.

    What was interrupted is done by doing it again. One that was removed since, and was found once more at its engine or
    in this folder, is removed once more; of somebody who was erased none is kept. Raises NotFoundError for an attempt
    of another database, FileError.
    """
    parsed = core.parse_name(name)
    assert parsed is not None  # noqa: S101 - names are ours
    attempt_id, step = parsed
    async with database.connection() as connection:
        whose = await store.whose(connection, attempt_id)
    if whose is None:
        raise NotFoundError(f"There is no attempt {attempt_id}: its recording is of another database.")
    if whose.erased:
        try:
            await asyncio.to_thread(unlisted(folder, name).unlink, missing_ok=True)
        except OSError as error:
            raise FileError(f"The recording {name} cannot be removed ({error.strerror}).") from error
        return
    recording_id = core.id_of(name)
    place = Path(whose.account_id, whose.run_instance_id, attempt_id, f"{recording_id}.wav")
    source = unlisted(folder, name)
    try:
        audio = await asyncio.to_thread(_placed, source, folder / place)
        recording = Recording(
            id=recording_id,
            attempt_id=attempt_id,
            step=step,
            duration_seconds=core.seconds_of(audio),
            size_bytes=len(audio),
            sha256=hashlib.sha256(audio).hexdigest(),
            host=platform.node(),
            file=str(place),
            recorded_at=datetime.now(UTC),
        )
        async with database.transaction() as connection:
            if await store.insert(connection, recording):
                await history.append(
                    connection,
                    whose.account_id,
                    "recording",
                    "added",
                    actor=f"attempt {attempt_id}",
                    campaign_id=whose.campaign_id,
                    recording_id=recording_id,
                    attempt_id=attempt_id,
                )
            elif await store.is_removed(connection, recording_id) or await _is_erased(connection, attempt_id):
                await asyncio.to_thread((folder / place).unlink, missing_ok=True)
        await asyncio.to_thread(source.unlink, missing_ok=True)
    except OSError as error:
        raise FileError(f"The recording {source} cannot be put in its place ({error.strerror}).") from error


async def _is_erased(connection: Connection, attempt_id: str) -> bool:
    return bool(await store.erased_attempts(connection, [attempt_id]))


def _placed(source: Path, target: Path) -> bytes:
    """Have the file in both places, so that it is in one of them whatever happens; return what it holds.

    Processes that share the folder may do so at the same time: who comes late finds it in its place.
    """
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = _draft(target)
    with contextlib.suppress(FileNotFoundError):
        os.link(source, draft)
        draft.replace(target)
        # two names of one file: replacing does nothing then (POSIX, rename)
        draft.unlink(missing_ok=True)
    return target.read_bytes()


async def list_recordings(database: Database, *, iid: str, attempt_id: str) -> list[Recording]:
    """Return what was recorded in an attempt, oldest first. Raises NotFoundError, alike for other tenants' attempts."""
    async with database.connection() as connection:
        if not (is_storable(attempt_id) and await store.has_attempt(connection, iid, attempt_id)):
            raise NotFoundError(f"There is no attempt {attempt_id}.")
        return await store.of_attempt(connection, attempt_id)


async def open_recording(database: Database, folder: Path, *, iid: str, recording_id: str) -> OpenRecording:
    """Return a recording, its file open; whoever asks closes it, or reads it to its end.

    Raises NotFoundError, alike for other tenants' recordings, FileElsewhereError when the file is on another machine,
    FileError.
    """
    async with database.connection() as connection:
        found = await _found(connection, iid, recording_id)
    path = folder / found.file
    try:
        return OpenRecording(found, await asyncio.to_thread(path.open, "rb"))
    except FileNotFoundError:
        raise _elsewhere(found) from None
    except OSError as error:
        raise FileError(f"The recording {path} cannot be read ({error.strerror}).") from error


async def remove_recording(database: Database, folder: Path, *, iid: str, recording_id: str, actor: str) -> Recording:
    """Remove a recording and return it: its file is gone when this returns, and history keeps that there was one.

    Raises NotFoundError, FileElsewhereError when the file is on another machine, FileError.
    """
    async with database.transaction() as connection:
        found = await _found(connection, iid, recording_id, lock=True)
        whose = await store.whose(connection, found.attempt_id)
        assert whose is not None  # noqa: S101 - an attempt with a recording stays
        await store.mark_removed(connection, found.id)
        await history.append(
            connection,
            whose.account_id,
            "recording",
            "removed",
            actor=actor,
            campaign_id=whose.campaign_id,
            recording_id=found.id,
            attempt_id=found.attempt_id,
        )
        # last, and before the commit: should that fail, asking again ends it
        path = folder / found.file
        try:
            if found.host != platform.node() and not await asyncio.to_thread(path.exists):
                raise _elsewhere(found)
            await asyncio.to_thread(_unlink, path, folder, found)
        except OSError as error:
            raise FileError(f"The recording {path} cannot be removed ({error.strerror}).") from error
    return found


async def remove_erased(database: Database, folder: Path, *, limit: int) -> int:
    """Remove the files in this folder of persons who were erased; return how many that were. Those of other machines
    are theirs to remove. Raises FileError."""
    async with database.connection() as connection:
        waiting = await store.to_erase(connection, limit=limit)
        parsed = {name: core.parse_name(name) for name in await asyncio.to_thread(lambda: list(left(folder)))}
        attempts = {name: found[0] for name, found in parsed.items() if found is not None}
        erased = await store.erased_attempts(connection, sorted(set(attempts.values())))
    count = 0
    for recording in waiting:
        path = folder / recording.file
        try:
            if recording.host != platform.node() and not await asyncio.to_thread(path.exists):
                continue
            await asyncio.to_thread(_unlink, path, folder, recording)
        except OSError as error:
            raise FileError(f"The recording {path} cannot be removed ({error.strerror}).") from error
        async with database.connection() as connection:
            await store.mark_removed(connection, recording.id)
        count += 1
    for name, attempt_id in attempts.items():
        if attempt_id in erased:
            await asyncio.to_thread(unlisted(folder, name).unlink, missing_ok=True)
            count += 1
    return count


async def remove_expired(
    database: Database, folder: Path, *, account_id: str, days: int, at_once: int, actor: str
) -> int:
    """Remove an account's recordings that were made on this machine more than so many days ago, some at a time, each
    time with a row of history; return how many. Raises FileError, at last, for the first that could not be removed."""
    count, after, trouble = 0, "", ""
    while True:
        async with database.transaction() as connection:
            lot = await store.expired(connection, account_id, platform.node(), days=days, after=after, limit=at_once)
            removed = []
            for recording in lot:
                try:
                    await asyncio.to_thread(_unlink, folder / recording.file, folder, recording)
                except OSError as error:
                    trouble = (
                        trouble or f"The recording {folder / recording.file} cannot be removed ({error.strerror})."
                    )
                else:
                    await store.mark_removed(connection, recording.id)
                    removed.append(recording.id)
            if removed:
                await history.append(
                    connection,
                    account_id,
                    "retention",
                    "removed",
                    actor=actor,
                    kind="recordings",
                    recording_ids=removed,
                    count=len(removed),
                    days=days,
                )
        if not lot:
            break
        count, after = count + len(removed), lot[-1].id
    if trouble:
        raise FileError(trouble)
    return count


def _unlink(path: Path, folder: Path, recording: Recording) -> None:
    """Remove a recording's file, and what a crash has left of it where it was before it was listed."""
    path.unlink(missing_ok=True)
    for name in left(folder):
        if core.id_of(name) == recording.id:
            unlisted(folder, name).unlink(missing_ok=True)


def _elsewhere(recording: Recording) -> FileElsewhereError:
    return FileElsewhereError(
        f"The file of the recording {recording.id} is not in this data folder; it was made on the machine "
        f"{recording.host}: ask a server there, or let the machines share the folder `{FOLDER}`."
    )


async def _found(connection: Connection, iid: str, recording_id: str, *, lock: bool = False) -> Recording:
    named = _NAME.fullmatch(recording_id) is not None
    found = await store.by_id(connection, iid, recording_id, lock=lock) if named else None
    if found is None:
        raise NotFoundError(f"There is no recording {recording_id}.")
    return found

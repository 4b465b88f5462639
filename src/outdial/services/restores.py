"""Restoring a backup: first everything that speaks against it, then the files, then the database, then what makes it
safe (``store.restores``), which alone ends the restore.

The installation that the backup was made of must not run any more; nothing here can stop it. What is restored dials
nobody until a person resumes a run.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from outdial.config import Settings
from outdial.core.backup import DATABASE, KEY, Member, differences
from outdial.core.canonical import instant
from outdial.core.errors import ConflictError, DatabaseUnavailableError, FileError, StartupError
from outdial.embedded_postgres import EmbeddedPostgres
from outdial.embedded_postgres.cluster import Cluster
from outdial.locks import is_held
from outdial.secretbox import KEY_FILE, SecretBox, keep_key, key_text
from outdial.services import postgres_programs, recordings
from outdial.services.backup_file import Backup, BackupInvalidError, open_backup
from outdial.services.backups import KEY_PURPOSE, BackupProgress
from outdial.store import backups as backups_store
from outdial.store import migrations
from outdial.store import restores as store
from outdial.store.database import Connection, connect, edge
from outdial.store.restores import LeftRun, MadeSafe, Present

__all__ = ["LeftRun", "MadeSafe", "Restored", "restore"]

GONE_SECONDS: Final = 3.0
"""How long sessions of the database that are about to end are waited for."""

_LOOK_SECONDS: Final = 0.05

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored, and what was done so that nothing of it dials by itself."""

    backup: Backup
    migrated: int
    """Revisions that were applied to bring the schema up to date."""
    files: int
    files_besides: int
    """Files of recordings that were in the data folder and that the backup does not know of; they stay."""
    without_key: bool
    """The secrets in the database cannot be read."""
    safe: MadeSafe


async def restore(
    settings: Settings,
    path: Path,
    *,
    replace: bool,
    keep_schedules: bool,
    without_key: bool,
    actor: str,
    programs: Path | None = None,
    on_progress: Callable[[BackupProgress], None] = lambda _: None,
) -> Restored:
    """Restore a backup to the installation of the settings, whose servers are down.

    What was active is paused, what was live is ``unknown`` and dialed no more, schedules are off unless they are to be
    kept. ``replace`` lets go of what the database holds; ``without_key`` of the secrets in it.

    Raises BackupInvalidError, ConflictError (a server runs here, the database is not empty, the key is another),
    StartupError (a newer schema, no programs), BackupFailedError, DatabaseUnavailableError, FileError; then everything
    is as it was, but for files.
    """
    backup = await asyncio.to_thread(open_backup, path)
    manifest = backup.manifest
    if manifest.schema not in migrations.revisions():
        raise StartupError(
            f"The backup has schema {manifest.schema}, newer than this outdial knows (up to "
            f"{migrations.revisions()[-1]}): restore it with outdial {manifest.outdial_version} or newer."
        )
    data_dir = settings.data_dir.resolve()
    _refuse_running(data_dir)
    key = _key_to_keep(settings, backup, without_key=without_key)
    async with _database(settings) as (dsn, connection):
        _refuse_full(await _alone(connection), replace=replace)
        major = connection.get_server_version().major
        if major < int(manifest.postgres_version.partition(".")[0]):
            raise StartupError(
                f"The backup is of PostgreSQL {manifest.postgres_version}, and the server is {major}: restore it to "
                "that version or a newer one."
            )
        programs = await postgres_programs.find(major, programs)
        if key is not None:
            _keep(settings, key)
        for done, member in enumerate(manifest.files, 1):
            await asyncio.to_thread(_put, backup, member, data_dir)
            on_progress(BackupProgress("files", done, len(manifest.files)))
        with edge():
            await store.begin(connection, manifest_sha256=backup.manifest_sha256)
        try:
            await postgres_programs.restore(programs, dsn, _dump(backup, on_progress))
            on_progress(BackupProgress("making safe", 0))
            with edge():
                await _require_whole(connection, backup)
            migrated = await migrations.upgrade(dsn, restoring=True)
            with edge():
                safe = await store.finish(
                    connection,
                    taken_at=manifest.taken_at,
                    keep_schedules=keep_schedules,
                    without_key=without_key,
                    actor=actor,
                    told={
                        "manifest_sha256": backup.manifest_sha256,
                        "taken_at": instant(manifest.taken_at),
                        "outdial_version": manifest.outdial_version,
                        "schema": manifest.schema,
                        "host": manifest.host,
                    },
                )
        except BaseException:
            await _undo(connection)
            raise
        with edge():
            # planned without numbers, the first claims would read whole tables
            await connection.execute("ANALYZE")
    return Restored(
        backup=backup,
        migrated=migrated,
        files=len(manifest.files),
        files_besides=await asyncio.to_thread(_besides, data_dir, manifest.files),
        without_key=without_key,
        safe=safe,
    )


def _refuse_running(data_dir: Path) -> None:
    locks = (Cluster(data_dir).users_lock, data_dir / "asterisk" / "users.lock")
    try:
        used = any(is_held(path) for path in locks)
    except OSError as error:
        raise StartupError(
            f"{error.filename} cannot be looked at ({error.strerror}): run this as its owner."
        ) from error
    if used:
        raise ConflictError(
            f"A server, a dialer or a command of outdial's uses the data folder {data_dir}: end it, then restore again."
        )


def _key_to_keep(settings: Settings, backup: Backup, *, without_key: bool) -> str | None:
    """Return the key of the backup where it is to be put into the data folder; None where it is there already, or is
    done without. Raises ConflictError."""
    there, wanted = key_text(settings), backup.manifest.key_id
    if there is not None and SecretBox(there).derive(KEY_PURPOSE) == wanted:
        if without_key:
            raise ConflictError("The secret key is the one of the backup: leave --without-key away.")
        return None
    inside = next((member for member in backup.manifest.members if member.name == KEY), None)
    if there is None and inside is not None and not without_key:
        return b"".join(backup.chunks(inside)).decode("ascii", errors="replace")
    if without_key:
        return None
    place = settings.data_dir / KEY_FILE
    means = (
        f"put the {KEY_FILE} of that installation there, or set OUTDIAL_SECRET_KEY. Without it its secrets cannot be "
        "read (clients, trunks, webhooks, pre-call fetches, the signing key): to restore all the same and set them "
        "anew, --without-key."
    )
    if there is None:
        raise ConflictError(f"The backup does not hold the secret key, and there is none at {place}: {means}")
    where = place if settings.secret_key is None else "OUTDIAL_SECRET_KEY"
    remedy = "move it away, the backup holds its own" if inside is not None and settings.secret_key is None else means
    raise ConflictError(f"The secret key in {where} is not the one of the backup: {remedy}")


def _keep(settings: Settings, key: str) -> None:
    try:
        keep_key(settings, key)
    except OSError as error:
        place = settings.data_dir / KEY_FILE
        raise FileError(f"The secret key {place} cannot be written ({error.strerror}).") from error


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[tuple[str, Connection]]:
    """Yield the database's address and a connection to it, the embedded server started where that is the one."""
    if settings.database_url is not None:
        dsn = settings.database_url.get_secret_value()
        server = None
    else:
        server = await EmbeddedPostgres.start(settings.data_dir)
        dsn = server.dsn
    try:
        connection = await connect(dsn, application_name="outdial restore")
        try:
            yield dsn, connection
        finally:
            await connection.close()
    finally:
        if server is not None:
            await server.stop()


async def _alone(connection: Connection) -> Present:
    """Return what is in the database, once nobody else is connected. Raises ConflictError when somebody stays."""
    until = asyncio.get_running_loop().time() + GONE_SECONDS
    while True:
        with edge():
            present = await store.look(connection)
        if not present.sessions:
            return present
        if asyncio.get_running_loop().time() > until:
            names = ", ".join(sorted(set(present.sessions)))
            raise ConflictError(f"Others are connected to the database ({names}): end them, then restore again.")
        await asyncio.sleep(_LOOK_SECONDS)


def _refuse_full(present: Present, *, replace: bool) -> None:
    if present.empty or replace:
        return
    has = "tables that are not outdial's" if present.accounts < 0 else f"the data of {present.accounts} accounts"
    raise ConflictError(
        f"The database is not empty: it holds {has}. Restore to a new OUTDIAL_DATA_DIR or database, or let all of that "
        "go with --replace."
    )


def _put(backup: Backup, member: Member, data_dir: Path) -> None:
    """Put a file where it belongs, whole or not at all. Raises FileError, BackupInvalidError."""
    assert member.path is not None  # noqa: S101 - a file of the data folder
    target = data_dir / member.path
    draft = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        digest = hashlib.sha256()
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                for piece in backup.chunks(member):
                    digest.update(piece)
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            if digest.hexdigest() != member.sha256:
                raise BackupInvalidError(f"The backup {backup.path} has changed while it was read.")
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(
            f"{target} cannot be written ({error.strerror}): free some space, then restore again."
        ) from error


def _dump(backup: Backup, on_progress: Callable[[BackupProgress], None]) -> Iterator[bytes]:
    """Yield the database's dump; what was read must be what was checked."""
    member = next(one for one in backup.manifest.members if one.name == DATABASE)
    digest, done = hashlib.sha256(), 0
    for piece in backup.chunks(member):
        digest.update(piece)
        done += len(piece)
        on_progress(BackupProgress("database", done, member.size))
        yield piece
    if digest.hexdigest() != member.sha256:
        raise BackupInvalidError(f"The backup {backup.path} has changed while it was read.")


async def _require_whole(connection: Connection, backup: Backup) -> None:
    """Check that everything has arrived, before anything of it is changed. Raises BackupInvalidError."""
    expected = backup.manifest.rows
    found = list(differences(expected, await backups_store.counts(connection, among=expected)))
    if not found and await backups_store.heads(connection) != backup.manifest.heads:
        found = ["the last seals of the history are others"]
    if found:
        raise BackupInvalidError(f"What was restored is not what was backed up: {'; '.join(found)}.")


async def _undo(connection: Connection) -> None:
    try:
        await store.undo(connection)
    except DatabaseUnavailableError as error:
        # the mark stays: nothing works with the database before a restore has ended
        _log.error("restore_not_undone", reason=error.message)


def _besides(data_dir: Path, files: tuple[Member, ...]) -> int:
    known = {member.path for member in files}
    folder = data_dir / recordings.FOLDER
    return sum(1 for path in folder.rglob("*.wav") if path.is_file() and str(path.relative_to(data_dir)) not in known)

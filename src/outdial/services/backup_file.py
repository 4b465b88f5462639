"""The file of a backup: written member by member, whole under its name or not there at all, and checked by itself."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from outdial.core.backup import MANIFEST, Manifest, Member, NotABackupError, read_manifest
from outdial.core.canonical import NotJsonError
from outdial.core.errors import ConflictError, FileError, OutdialError
from outdial.core.shapes import ShapeError

CHUNK: Final = 1 << 20
"""Bytes read and written at a time."""

LARGEST_MANIFEST: Final = 1 << 30

_BLOCK: Final = tarfile.BLOCKSIZE
_END: Final = bytes(2 * _BLOCK)
"""Ends a tar file (POSIX, pax)."""

_DRAFT: Final = ".part"


class BackupInvalidError(OutdialError):
    """A file is no backup, or not as it was when it was made: cut off, damaged or changed. Nothing is restored."""

    code = "backup_invalid"


class BackupWriter:
    """A backup that is being written, under a name of its own; :meth:`finish` gives it the right one.

    Raises ConflictError when another process is writing the same, FileError when it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._draft = path.with_name(path.name + _DRAFT)
        self._members: list[Member] = []
        with self._telling():
            descriptor = os.open(self._draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._file: BinaryIO = os.fdopen(descriptor, "r+b")
        if not (_lock(self._file) and self._is_ours()):
            self._file.close()
            raise ConflictError(f"Another backup is being written to {path}.")
        with self._telling():
            # what a killed process has left
            os.fchmod(descriptor, 0o600)
            self._file.truncate(0)

    @property
    def members(self) -> tuple[Member, ...]:
        """What has been written."""
        return tuple(self._members)

    def _is_ours(self) -> bool:
        """Whether the file that is locked still bears the draft's name: another process may have finished it between
        our opening and our locking it."""
        try:
            return os.path.samestat(self._draft.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    @contextlib.contextmanager
    def member(self, name: str, *, path: str | None = None) -> Iterator[_MemberWriter]:
        """Write a member of which nobody knows how long it will be."""
        with self._telling():
            begin = self._file.tell()
            self._file.write(bytes(_BLOCK))
        writer = _MemberWriter(self)
        yield writer
        with self._telling():
            self._file.write(bytes(-writer.size % _BLOCK))
            end = self._file.tell()
            self._file.seek(begin)
            self._file.write(_header(name, writer.size))
            self._file.seek(end)
        self._members.append(Member(name, writer.size, writer.hash.hexdigest(), path))

    def write(self, data: bytes) -> None:
        """Write on; for members."""
        with self._telling():
            self._file.write(data)

    def finish(self, manifest: bytes) -> None:
        """Write the manifest, and give the file its name once it is on the disk."""
        with self._telling():
            self._file.write(_header(MANIFEST, len(manifest)))
            self._file.write(manifest)
            self._file.write(bytes(-len(manifest) % _BLOCK) + _END)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._draft.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        self._file.close()

    def abandon(self) -> None:
        """Leave nothing behind; does nothing once it is finished."""
        if not self._file.closed:
            self._draft.unlink(missing_ok=True)
            # what could not be written yet need not be
            with contextlib.suppress(OSError):
                self._file.close()

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
            remedy = "free some space or name another disk" if full else "name another place"
            raise FileError(f"The backup {self.path} cannot be written ({error.strerror}): {remedy}.") from error


class _MemberWriter:
    """One member that is being written."""

    def __init__(self, writer: BackupWriter) -> None:
        self._writer = writer
        self.size = 0
        self.hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._writer.write(data)
        self.hash.update(data)
        self.size += len(data)


def remove_left(folder: Path, pattern: str) -> None:
    """Remove what killed processes have left of backups in a folder. Raises FileError."""
    try:
        for draft in folder.glob(pattern + _DRAFT):
            with draft.open("r+b") as file:
                if _lock(file):
                    draft.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"{error.filename} cannot be removed ({error.strerror}).") from error


def _lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _header(name: str, size: int) -> bytes:
    found = tarfile.TarInfo(name)
    found.size, found.mode = size, 0o600
    # sizes beyond 8 GB and yet one block
    return found.tobuf(tarfile.GNU_FORMAT)


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that is whole and unchanged."""

    path: Path
    manifest: Manifest
    manifest_sha256: str
    """Says which backup it is: everything in it follows from this."""
    places: Mapping[str, int]
    """Where each member begins in the file."""

    def chunks(self, member: Member) -> Iterator[bytes]:
        """Yield a member piece by piece. Raises BackupInvalidError when the file has become shorter, OSError."""
        with self.path.open("rb") as file:
            file.seek(self.places[member.name])
            yield from _pieces(file, member.size)


def open_backup(path: Path) -> Backup:
    """Check a backup from its first to its last byte, and return it. Raises BackupInvalidError, FileError."""
    try:
        with path.open("rb") as file:
            return _checked(path, file)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}.") from error


def _checked(path: Path, file: BinaryIO) -> Backup:
    found = _members(file)
    if MANIFEST not in found:
        raise BackupInvalidError(
            f"{path} is no whole backup: it has no manifest, so it was cut off or is something else."
        )
    begin, size = found.pop(MANIFEST)
    file.seek(begin)
    data = b"".join(_pieces(file, size))
    try:
        manifest = read_manifest(data)
    except (NotABackupError, NotJsonError, ShapeError) as error:
        raise BackupInvalidError(f"{path} is no backup that this outdial can read: {error}.") from error
    named = {member.name: member for member in manifest.members}
    for name in sorted(named.keys() ^ found.keys()):
        lacks = "is missing" if name in named else "does not belong there"
        raise BackupInvalidError(f"The backup {path} is not as it was made: its member {name} {lacks}.")
    for member in manifest.members:
        begin, size = found[member.name]
        file.seek(begin)
        digest = hashlib.sha256()
        for piece in _pieces(file, size):
            digest.update(piece)
        if (size, digest.hexdigest()) != (member.size, member.sha256):
            raise BackupInvalidError(
                f"The backup {path} is not as it was made: its member {member.name} was changed or damaged."
            )
    places = {name: begin for name, (begin, _) in found.items()}
    return Backup(path, manifest, hashlib.sha256(data).hexdigest(), places)


def _members(file: BinaryIO) -> dict[str, tuple[int, int]]:
    """Return where each member lies and how long it is: plain ones only, all of them within the file, the manifest
    last, and nothing after it."""
    end = file.seek(0, io.SEEK_END)
    found: dict[str, tuple[int, int]] = {}
    at = 0
    while at < end and MANIFEST not in found:
        file.seek(at)
        block = file.read(_BLOCK)
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            raise BackupInvalidError("The file is no whole backup: it was cut off, or is something else.") from None
        plain = header.type == tarfile.REGTYPE and 0 <= header.size <= end - at - _BLOCK
        if not plain or header.name in found or (header.name == MANIFEST and header.size > LARGEST_MANIFEST):
            raise BackupInvalidError(
                f"The file is no whole backup: its member {header.name[:100]!r} is cut off or odd."
            )
        found[header.name] = (at + _BLOCK, header.size)
        at += _BLOCK + header.size + -header.size % _BLOCK
    file.seek(at)
    if MANIFEST in found and file.read(len(_END) + 1) != _END:
        raise BackupInvalidError("The file is no whole backup: it does not end after its manifest.")
    return found


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    left = size
    while left:
        piece = file.read(min(CHUNK, left))
        if not piece:
            raise BackupInvalidError("The file of the backup has become shorter while it was read.")
        left -= len(piece)
        yield piece

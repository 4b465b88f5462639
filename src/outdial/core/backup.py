"""What a backup holds, and what its manifest says of it.

A backup is a tar file of plain members, the manifest last::

    files/000001 …    files of the data folder that the database speaks of
    database.dump     the database, as pg_dump writes it (custom format)
    secret.key        only where it was asked for
    manifest.json     what each of them is, with its hash; in canonical form (RFC 8785)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Final

from outdial.core.canonical import Json, canonical, instant, read, read_instant
from outdial.core.shapes import at, counts, fields, flag, many, maybe, one_of, sha256, text, whole

KIND: Final = "outdial backup"
VERSION: Final = 1
"""Of the format; a later one may say what this outdial cannot read."""

DATABASE: Final = "database.dump"
KEY: Final = "secret.key"
MANIFEST: Final = "manifest.json"

MARGIN: Final = 1_000_000
"""How far a restore raises epochs, and the numbers that rows get by themselves, at least."""

EPOCHS_PER_SECOND: Final = 4
ROWS_PER_SECOND: Final = 100_000
"""And for each second since the backup: more than any installation gives out, be it the one that was backed up, or one
that was restored from the same backup a moment before. So nothing made by those bears the name of anything to come. An
epoch is an ``integer``: a backup of seventeen years would be too old."""

FOLDERS: Final = frozenset({"recordings", "imports", "opt-outs"})
"""Of the data folder, from which files are taken."""

LOOSE_FILES: Final = frozenset({"emergency-stop"})
"""Files right in the data folder that are taken, where they are there."""

_SHAPE: Final = fields(
    {
        "kind": one_of(KIND),
        "version": whole,
        "outdialVersion": text,
        "schema": text,
        "postgresVersion": text,
        "takenAt": at,
        "host": text,
        "keyId": text,
        "withKey": flag,
        "rows": counts,
        "heads": many(fields({"accountId": text, "number": whole, "sha256": sha256})),
        "liveRuns": whole,
        "liveAttempts": whole,
        "leftOut": many(fields({"path": text, "why": text})),
        "members": many(fields({"name": text, "path": maybe(text), "bytes": whole, "sha256": sha256})),
    }
)


@dataclass(frozen=True, slots=True)
class Margins:
    """How far a restore raises what is given out."""

    epochs: int
    rows: int


def margins(taken_at: datetime, now: datetime) -> Margins:
    """Return how far a restore now raises what is given out; a clock that is behind the backup's counts as even."""
    seconds = max((now - taken_at).total_seconds(), 0.0)
    epochs, rows = (math.ceil(each * seconds) for each in (EPOCHS_PER_SECOND, ROWS_PER_SECOND))
    return Margins(epochs=MARGIN + epochs, rows=MARGIN + rows)


class NotABackupError(ValueError):
    """A manifest cannot be taken for one; its words say why."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a backup."""

    name: str
    size: int
    """Bytes."""
    sha256: str
    path: str | None = None
    """Where the file is in the data folder; None for what is no file of it."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that the database speaks of and that is not in the backup."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Head:
    """The last seal of an account's history."""

    account_id: str
    number: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is of, and what is in it."""

    outdial_version: str
    schema: str
    """Revision of the database's schema."""
    postgres_version: str
    taken_at: datetime
    """The instant of the snapshot, by the database's clock."""
    host: str
    """The machine it was made on."""
    key_id: str
    """Tells keys apart and says nothing of them (``SecretBox.derive``)."""
    with_key: bool
    rows: Mapping[str, int]
    """How many rows the main tables have."""
    heads: tuple[Head, ...]
    """The last seal of each account that has one."""
    live_runs: int
    live_attempts: int
    left_out: tuple[LeftOut, ...]
    members: tuple[Member, ...]

    @property
    def files(self) -> tuple[Member, ...]:
        """Those that are files of the data folder."""
        return tuple(member for member in self.members if member.path is not None)


def write_manifest(manifest: Manifest) -> bytes:
    """Return the manifest as it stands in the backup."""
    document: dict[str, Json] = {
        "kind": KIND,
        "version": VERSION,
        "outdialVersion": manifest.outdial_version,
        "schema": manifest.schema,
        "postgresVersion": manifest.postgres_version,
        "takenAt": instant(manifest.taken_at),
        "host": manifest.host,
        "keyId": manifest.key_id,
        "withKey": manifest.with_key,
        "rows": dict(manifest.rows),
        "heads": [{"accountId": one.account_id, "number": one.number, "sha256": one.sha256} for one in manifest.heads],
        "liveRuns": manifest.live_runs,
        "liveAttempts": manifest.live_attempts,
        "leftOut": [{"path": one.path, "why": one.why} for one in manifest.left_out],
        "members": [
            {"name": one.name, "path": one.path, "bytes": one.size, "sha256": one.sha256} for one in manifest.members
        ],
    }
    return canonical(document)


def read_manifest(data: bytes) -> Manifest:
    """Return the manifest. Raises NotABackupError, also for one of a later format or with a path that leads out of the
    data folder; ValueError and ShapeError for what is no JSON document of its shape."""
    document = read(data)
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise NotABackupError("its manifest is not that of an outdial backup")
    if document.get("version") != VERSION:
        raise NotABackupError(f"its format is {document.get('version')}, this outdial reads {VERSION}")
    _SHAPE(document, "")
    members = tuple(
        Member(one["name"], one["bytes"], one["sha256"], one["path"] and _inside(one["path"]))
        for one in document["members"]
    )
    if len({member.name for member in members}) < len(members):
        raise NotABackupError("two members have one name")
    if DATABASE not in {member.name for member in members}:
        raise NotABackupError("it holds no database")
    return Manifest(
        outdial_version=document["outdialVersion"],
        schema=document["schema"],
        postgres_version=document["postgresVersion"],
        taken_at=read_instant(document["takenAt"]),
        host=document["host"],
        key_id=document["keyId"],
        with_key=document["withKey"],
        rows=document["rows"],
        heads=tuple(Head(one["accountId"], one["number"], one["sha256"]) for one in document["heads"]),
        live_runs=document["liveRuns"],
        live_attempts=document["liveAttempts"],
        left_out=tuple(LeftOut(one["path"], one["why"]) for one in document["leftOut"]),
        members=members,
    )


def _inside(path: str) -> str:
    """Return a path that leads to a place which a backup takes files from."""
    parts = PurePosixPath(path).parts
    plain = str(PurePosixPath(path)) == path and "\0" not in path and ".." not in parts
    if not plain or not (path in LOOSE_FILES or (len(parts) > 1 and parts[0] in FOLDERS)):
        raise NotABackupError(f"the path {path!r} is none that a backup has files of")
    return path


def differences(expected: Mapping[str, int], found: Mapping[str, int]) -> Iterable[str]:
    """Yield what differs between the rows a backup was made of and those that are there now."""
    for table, count in expected.items():
        if found.get(table) != count:
            yield f"{table} has {found.get(table, 0)} rows, not {count}"

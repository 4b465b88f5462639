"""Writes archives of evidence: what was decided, by which rules and data, what was dialed, and the chain that vouches
for it, in one signed file that :mod:`outdial.services.archive_check` checks with nothing else."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, Final

from outdial import rule_data, signing
from outdial.core import archive
from outdial.core.attempt_limits import AttemptLimit
from outdial.core.canonical import Json, canonical, read
from outdial.core.errors import ArchiveTooLargeError
from outdial.core.evidence import Evidence, limit_document
from outdial.core.history_file import Asked
from outdial.core.model import CallingHours
from outdial.core.stop_proof import signed_bytes
from outdial.secretbox import SecretBox
from outdial.services import history_export, signing_keys
from outdial.store import evidence as store
from outdial.store import signing_keys as keys_store
from outdial.store.database import Database
from outdial.store.runs import rules_from

IN_MEMORY: Final = 1 << 20
"""Bytes of a member that are kept in memory; larger ones are written to a temporary file."""

PIECE: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Written:
    """What an archive holds."""

    decisions: int
    attempts: int
    bytes: int
    key_id: str


class _Member:
    """A member that is being written: its hash and its length are known when it is whole."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        self.name = name
        self.file = file
        self._hash = hashlib.sha256()
        self._bytes = 0
        self._lines = 0

    def write(self, piece: bytes) -> None:
        self.file.write(piece)
        self._hash.update(piece)
        self._bytes += len(piece)
        self._lines += piece.count(b"\n")

    def document(self) -> dict[str, Json]:
        return {"name": self.name, "bytes": self._bytes, "lines": self._lines, "sha256": self._hash.hexdigest()}


async def write(
    database: Database, secrets: SecretBox, asked: Asked, out: IO[bytes], *, most_rows: int | None = None
) -> Written:
    """Write the archive of an account, a campaign or a run, up to what has happened by now; the same state makes the
    same bytes. The event loop has its turn while it is made. Raises DatabaseUnavailableError, RulePackError, and
    ArchiveTooLargeError for more than ``most_rows`` rows of history (None: however many)."""
    evidence = Evidence()
    with ExitStack() as stack:
        members = {
            name: _Member(name, stack.enter_context(tempfile.SpooledTemporaryFile(IN_MEMORY)))
            for name in archive.MEMBERS
        }
        await _history(database, asked, members[archive.HISTORY], evidence, most_rows)
        async with database.snapshot() as connection:
            runs = await store.run_rules(connection, sorted(evidence.run_ids))
            limits = await store.every_limit(connection, asked.account_id, asked.campaign_id)
        versions = await _in_thread(_derive, members, runs, limits, evidence)
        manifest, key_id = await _manifest(database, secrets, asked, versions, list(members.values()))
        await _in_thread(_tar, out, list(members.values()), manifest)
        return Written(len(evidence.decisions), len(evidence.calls), out.tell(), key_id)


async def made(database: Database, secrets: SecretBox, asked: Asked, *, most_rows: int) -> Iterator[bytes]:
    """Make the archive, and return its pieces once it is whole; otherwise as :func:`write`."""
    with ExitStack() as stack:
        file = stack.enter_context(tempfile.SpooledTemporaryFile(IN_MEMORY))
        await write(database, secrets, asked, file, most_rows=most_rows)
        file.seek(0)
        return _pieces(file, stack.pop_all())


def _pieces(file: IO[bytes], held: ExitStack) -> Iterator[bytes]:
    with held:
        while piece := file.read(PIECE):
            yield piece


async def _in_thread(work: Callable[..., Any], *arguments: Any) -> Any:
    """Do work in a thread, so that calls and the node's lease do not wait for it."""
    working = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        # a thread cannot be cancelled: the files it writes are closed once it has ended
        await asyncio.gather(working, return_exceptions=True)
        raise


async def _history(
    database: Database, asked: Asked, member: _Member, evidence: Evidence, most_rows: int | None
) -> None:
    rows = 0
    async for piece in history_export.export(database, asked):
        # a piece is a seal with its rows
        rows += await _in_thread(_take, piece, member, evidence)
        if most_rows is not None and rows > most_rows:
            raise ArchiveTooLargeError(
                f"The evidence is of more than {most_rows} rows of history, which is the most that the API makes an "
                "archive of; make it on the server: outdial compliance export."
            )


def _take(piece: bytes, member: _Member, evidence: Evidence) -> int:
    """Write a piece of the history and read its rows; return how many there are, digests of others' and of erased ones
    too."""
    rows = 0
    member.write(piece)
    for text in piece.splitlines():
        document = read(text)
        if document["kind"] == "row":
            rows += 1
            evidence.take(document["row"])
        elif document["kind"] == "others":
            rows += len(document["sha256"])
        elif document["kind"] == "erased":
            rows += len(document["rows"])
    return rows


def _derive(
    members: dict[str, _Member],
    runs: list[store.RunRules],
    limits: list[tuple[AttemptLimit, datetime | None]],
    evidence: Evidence,
) -> dict[str, str]:
    """Write all members beside the history; return the versions of rule data."""
    _lines(members[archive.RUNS], (_run(one) for one in runs))
    _lines(members[archive.LIMITS], (limit_document(*one) for one in limits))
    versions = _rule_data(members, [rules_from(one.rules).calling_hours for one in runs], evidence)
    for name, lines in archive.derived(evidence, [limit for limit, _ in limits]).items():
        for piece in lines:
            members[name].write(piece)
    return versions


def _run(run: store.RunRules) -> dict[str, Json]:
    return {
        "runId": run.run_id,
        "instanceId": run.instance_id,
        "campaignId": run.campaign_id,
        "iid": run.iid,
        "rules": run.rules,
    }


def _lines(member: _Member, documents: Iterable[Json]) -> None:
    for document in documents:
        member.write(archive.line(document))


def _rule_data(members: dict[str, _Member], hours: list[CallingHours], evidence: Evidence) -> dict[str, str]:
    """Write what calling hours were decided by; return the versions of what has no version in its own name."""
    packs = sorted({one.rule_pack for one in hours if one.rule_pack is not None})
    named = {included for name in packs for included in (*rule_data.load_pack(name).includes, name)}
    _lines(
        members[archive.PACKS],
        ({"pack": name, "document": rule_data.pack_text(name)} for name in _included_first(named)),
    )
    years = [one.at.year for one in evidence.decisions] or [0]
    codes = sorted(
        {code for one in hours for code in one.holidays}
        | {code for name in packs for code in rule_data.load_pack(name).calendars()}
    )
    _lines(members[archive.CALENDARS], (_calendar(code, min(years) - 1, max(years) + 1) for code in codes))
    zones = sorted({zone for one in evidence.decisions for zone in zones_of(one.decision)})
    data = ((zone, rule_data.zone_data(zone)) for zone in zones)
    _lines(
        members[archive.ZONES],
        ({"zone": zone, "data": base64.b64encode(found).decode()} for zone, found in data if found is not None),
    )
    versions = rule_data.versions(with_holidays=bool(codes))
    return {"tzdata": versions.tzdata, "holidays": versions.holidays}


def _included_first(names: Iterable[str]) -> list[str]:
    """Return packs in an order in which each can be read: no pack that is included includes another."""
    return sorted(names, key=lambda name: (bool(rule_data.load_pack(name).includes), name))


def _calendar(code: str, first_year: int, last_year: int) -> dict[str, Json]:
    found = rule_data.holiday_calendar(code, first_year, last_year)
    dates = {on.isoformat(): name for on, name in found.dates.items()}
    return {"code": code, "firstYear": first_year, "lastYear": last_year, "dates": dates}


def zones_of(decision: dict[str, Json]) -> list[str]:
    """Return the zones that a stored decision names."""
    inputs = decision["inputs"]
    looked = [inputs] if "rule" in decision else list(inputs.values())
    return [zone for one in looked if isinstance(one, dict) for zone in one.get("zones", ())]


async def _manifest(
    database: Database, secrets: SecretBox, asked: Asked, versions: dict[str, str], members: list[_Member]
) -> tuple[bytes, str]:
    while True:
        key = await signing_keys.in_use(database, secrets)
        async with database.connection() as connection:
            private = await keys_store.private_of(connection, secrets, key.id)
        if private is None:
            # replaced this moment
            continue
        document = {
            "kind": archive.KIND,
            "version": archive.VERSION,
            "of": asked.document(),
            "data": versions,
            "members": [one.document() for one in members],
        }
        return sealed(document, private, key.public), key.id


def sealed(document: dict[str, Json], private: str, public: bytes) -> bytes:
    """Return a manifest with its signature."""
    signature = {
        "algorithm": signing.ALGORITHM,
        "keyId": signing.key_id(public),
        "publicKey": signing.to_text(public),
        "value": "",
    }
    whole = {**document, "signature": signature}
    signature["value"] = signing.to_text(signing.sign(private, signed_bytes(whole)))
    return canonical(whole) + b"\n"


def _tar(out: IO[bytes], members: list[_Member], manifest: bytes) -> None:
    """Write the file: nothing in it but names, lengths and contents, so that it depends on them alone."""
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for member in members:
            member.file.seek(0)
            tar.addfile(entry(member.name, member.document()["bytes"]), member.file)
        tar.addfile(entry(archive.MANIFEST, len(manifest)), io.BytesIO(manifest))


def entry(name: str, size: int) -> tarfile.TarInfo:
    """Return a member's header."""
    found = tarfile.TarInfo(name)
    found.size, found.mode, found.mtime = size, 0o644, 0
    return found

"""The file an export of history is: JSON lines that prove themselves.

One object a line, each in its canonical form::

    {"kind": "history", "version": 2, "accountId", "campaignId", "instanceId", "runId"}
    {"kind": "seal", "seal": {…}, "listed": true}          then its rows, `count` of them:
    {"kind": "row", "row": {…}}
    {"kind": "others", "sha256": ["…", …]}                 rows that are not of what was asked for, as digests
    {"kind": "erased", "rows": [{"id", "sha256"}, …]}      rows whose person was erased, as what is left of them
    {"kind": "end", "seals", "rows", "erased", "head"}

A seal none of whose rows was asked for is not listed: its fields alone keep the chain whole. A file of a whole account
begins with seal 1 and lists every row, and each row that was erased is named by an erasure that it holds too. Files of
version 1, from before rows could be erased, have no such lines, and no number of them at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from outdial.core.canonical import Json, NotJsonError, canonical, read
from outdial.core.history import ChainCheck, ChainError, Entry, ErasedRow, Seal, check_row, read_hash, read_seal

VERSION: Final = 2
READ: Final = (1, VERSION)
"""Versions that are read."""

LONGEST_LINE: Final = 16 << 20
"""Bytes of a line that are read; outdial writes none near as long: a seal is of 500 rows, a row of one thing."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an export is of: an account, or one campaign or run of it."""

    account_id: str
    campaign_id: str | None = None
    instance_id: str | None = None
    run_id: int | None = None

    def document(self) -> dict[str, Json]:
        """Return it for the first line."""
        return {
            "accountId": self.account_id,
            "campaignId": self.campaign_id,
            "instanceId": self.instance_id,
            "runId": self.run_id,
        }

    @property
    def whole(self) -> bool:
        """Whether everything of the account is asked for."""
        return self.campaign_id is None and self.run_id is None


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What a file proves."""

    asked: Asked
    seals: int
    rows: int
    """Those that stand in it in full."""
    head: Seal | None
    """The last seal; None: nothing has ever happened."""
    erased: int = 0
    """Rows whose person was erased."""


def line(document: dict[str, Json]) -> bytes:
    """Return one line of a file."""
    return canonical(document) + b"\n"


def first_line(asked: Asked) -> bytes:
    """Return the line a file begins with."""
    return line({"kind": "history", "version": VERSION, **asked.document()})


def seal_lines(seal: Seal, entries: Iterable[Entry] | None) -> Iterable[bytes]:
    """Yield the lines of a seal and its rows; None: they are not listed."""
    yield line({"kind": "seal", "seal": seal.document(), "listed": entries is not None})
    for kind, together in groupby(entries or (), type):
        if kind is bytes:
            yield line({"kind": "others", "sha256": [entry.hex() for entry in together if isinstance(entry, bytes)]})
        elif kind is ErasedRow:
            left = (entry for entry in together if isinstance(entry, ErasedRow))
            yield line({"kind": "erased", "rows": [{"id": one.id, "sha256": one.digest.hex()} for one in left]})
        else:
            for entry in together:
                yield line({"kind": "row", "row": entry})


def last_line(*, seals: int, rows: int, head: Seal | None, erased: int = 0) -> bytes:
    """Return the line a file ends with."""
    sha256 = None if head is None else head.sha256.hex()
    return line({"kind": "end", "seals": seals, "rows": rows, "erased": erased, "head": sha256})


def check_file(lines: Iterable[bytes]) -> FileCheck:
    """Check a file, from its lines alone; memory is that of one seal's rows. Raises ChainError that names the line."""
    reading = _Reading()
    for number, text in enumerate(lines, 1):
        reading.take(text, f"line {number}")
    return reading.done()


@dataclass(slots=True)
class _Reading:
    """A file that is being read."""

    asked: Asked | None = None
    version: int = VERSION
    chain: ChainCheck = field(default_factory=ChainCheck)
    seal: Seal | None = None
    """The one whose rows are being read."""
    place: str = ""
    """Where it stands."""
    entries: list[Entry] = field(default_factory=list)
    ended: bool = False

    def take(self, text: bytes, where: str) -> None:
        if len(text) > LONGEST_LINE:
            raise ChainError(where, f"it is longer than {LONGEST_LINE} bytes, and no line that outdial writes is")
        try:
            document = read(text)
            same = isinstance(document, dict) and line(document) == text
        except NotJsonError as error:
            raise ChainError(where, str(error)) from error
        if not same:
            raise ChainError(where, "it is not in canonical form: somebody has changed or cut the file")
        if self.ended:
            raise ChainError(where, "something follows the last line")
        kind = document.get("kind")
        if kind == "history" and self.asked is None:
            self.asked = _asked(document, where)
            self.version = document["version"]
            return
        lines: dict[str, Callable[[dict[str, Json], str], None]] = {}
        if self.asked is not None:
            lines |= {"seal": self._begin, "end": self._end}
        if self.seal is not None:
            lines |= {"row": self._row, "others": self._others}
            lines |= {"erased": self._erased} if self.version > 1 else {}
        if not isinstance(kind, str) or kind not in lines:
            raise ChainError(where, f"a line of the kind {kind!r} does not belong here")
        lines[kind](document, where)

    def _begin(self, document: dict[str, Json], where: str) -> None:
        self._close()
        if document.keys() != {"kind", "seal", "listed"} or not isinstance(document["listed"], bool):
            raise ChainError(where, "a seal's line has the fields kind, seal, listed and no other")
        seal = read_seal(document["seal"], where)
        asked = self._known()
        if seal.account_id != asked.account_id:
            raise ChainError(where, "the seal is of another account than the file")
        if asked.whole and not document["listed"]:
            raise ChainError(where, "a file of a whole account lists the rows of every seal")
        if asked.whole and self.chain.head is None and seal.number != 1:
            raise ChainError(where, "a file of a whole account begins with seal 1")
        if document["listed"]:
            self.seal, self.place = seal, where
        else:
            self.chain.take(seal, None, where)

    def _row(self, document: dict[str, Json], where: str) -> None:
        if document.keys() != {"kind", "row"}:
            raise ChainError(where, "a row's line has the fields kind, row and no other")
        row = document["row"]
        check_row(row, where)
        if not _belongs(row, self._known()):
            raise ChainError(where, "the row is not of what the file says it is of")
        self.entries.append(row)

    def _others(self, document: dict[str, Json], where: str) -> None:
        if document.keys() != {"kind", "sha256"} or not isinstance(document["sha256"], list):
            raise ChainError(where, "a line of digests has the fields kind, sha256 and no other")
        if self._known().whole:
            raise ChainError(where, "a file of a whole account has every row in full")
        self.entries.extend(read_hash(text, where) for text in document["sha256"])

    def _erased(self, document: dict[str, Json], where: str) -> None:
        rows = document.get("rows")
        if document.keys() != {"kind", "rows"} or not isinstance(rows, list):
            raise ChainError(where, "a line of erased rows has the fields kind, rows and no other")
        for one in rows:
            if not isinstance(one, dict) or one.keys() != {"id", "sha256"} or type(one["id"]) is not int:
                raise ChainError(where, "what is left of an erased row is its id and its digest, and nothing else")
            self.entries.append(ErasedRow(one["id"], read_hash(one["sha256"], where)))

    def _close(self) -> None:
        if self.seal is not None:
            self.chain.take(self.seal, self.entries, self.place)
            self.seal, self.entries = None, []

    def _end(self, document: dict[str, Json], where: str) -> None:
        self._close()
        head = self.chain.head
        found = {
            "kind": "end",
            "seals": self.chain.seals,
            "rows": self.chain.rows,
            "head": None if head is None else head.sha256.hex(),
        }
        if self.version > 1:
            found["erased"] = self.chain.erased
        if document != found:
            raise ChainError(where, f"the file ends with {self.chain.seals} seals and {self.chain.rows} rows, not so")
        if self._known().whole:
            self.chain.require_explained()
        self.ended = True

    def _known(self) -> Asked:
        assert self.asked is not None  # noqa: S101 - the first line was taken before any other
        return self.asked

    def done(self) -> FileCheck:
        if self.asked is None or not self.ended:
            raise ChainError("end", "the file is cut off: its last line is missing")
        chain = self.chain
        return FileCheck(self._known(), chain.seals, chain.rows, chain.head, chain.erased)


def _belongs(row: dict[str, Json], asked: Asked) -> bool:
    """Whether a row can be of what a file says it is of."""
    if asked.run_id is not None and row["runId"] != asked.run_id:
        return False
    if asked.campaign_id is not None and row["campaignId"] not in (asked.campaign_id, None):
        # rows of a run's contacts name the run alone
        return False
    detail = row["detail"]
    named = detail.get("instance_id") if row["action"] == "run" and isinstance(detail, dict) else None
    return asked.instance_id is None or named in (asked.instance_id, None)


def _asked(document: dict[str, Json], where: str) -> Asked:
    fields = {"kind", "version", "accountId", "campaignId", "instanceId", "runId"}
    version = document.get("version")
    if document.keys() != fields or type(version) is not int or version not in READ:
        raise ChainError(where, f"it is no export of history of version {' or '.join(map(str, READ))}")
    texts = [document[name] for name in ("accountId", "campaignId", "instanceId")]
    run_id = document["runId"]
    if not isinstance(texts[0], str) or not all(text is None or isinstance(text, str) for text in texts):
        raise ChainError(where, "it does not say whose history it is")
    if run_id is not None and type(run_id) is not int:
        raise ChainError(where, "`runId` is no whole number")
    account_id, campaign_id, instance_id = texts
    return Asked(account_id, campaign_id=campaign_id, instance_id=instance_id, run_id=run_id)

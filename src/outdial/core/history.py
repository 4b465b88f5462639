"""History as evidence: what of a row is hashed, how seals chain the rows of an account, and how a chain is checked.

Each account has one chain. A *seal* holds up to some hundred rows in the order of their ids::

    digest of a row   SHA-256(canonical form of the row)
    rows of a seal    SHA-256(digest, digest, …)              32 bytes each, in order
    hash of a seal    SHA-256(canonical form of its fields)   the hash of the seal before among them

so whoever knows the hash of one seal can tell whether anything before it was changed, left out or put in. Canonical
forms are those of :mod:`outdial.core.canonical`. A row may stand as its digest where what it says is not to be told.

A row that told of a person who was erased (``services.erasures``) keeps its digest and loses what it said; the same
transaction appends a row ``erasure`` that names it, so each row that is gone is accounted for by one that is not. Rows
have a *salt* since erasing was made: without it, what is known of a row and all numbers there are would tell which of
them has the digest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Final, TypeAlias

from outdial.core import ids
from outdial.core.canonical import Json, NotJsonError, canonical, instant, read_instant

BEFORE_THE_FIRST: Final = bytes(32)
"""Stands for the hash of the seal before the first."""

DIGEST_BYTES: Final = 32
_ROW_KEYS: Final = frozenset(
    {
        *("id", "at", "accountId", "campaignId", "runId", "contactId", "attemptId"),
        *("action", "from", "to", "actor", "reason", "detail"),
    }
)


_ROW_TEXTS: Final = ("accountId", "campaignId", "contactId", "attemptId", "from", "to")

ERASURE: Final = "erasure"
"""The action of a row that tells of an erasure; ``rows`` of its detail are the ids of those that it has erased."""

SALT_BYTES: Final = 16
_SALT: Final = re.compile(f"[0-9a-f]{{{SALT_BYTES * 2}}}")


_contact_id: Final = lru_cache(maxsize=4096)(ids.contact_id)
"""A contact's rows come close together."""


class ChainError(Exception):
    """A chain does not hold; the sentence says where and why."""

    def __init__(self, where: str, sentence: str) -> None:
        super().__init__(f"{where}: {sentence}")
        self.where = where
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One thing that happened."""

    id: int
    at: datetime
    """When it was written down, by the database's clock."""
    account_id: str | None
    """None: the run says whose it is."""
    campaign_id: str | None
    run_id: int | None
    contact_id: int | None
    attempt_id: str | None
    action: str
    """The kind of thing."""
    before: str | None
    after: str | None
    actor: str
    reason: str
    detail: Json
    salt: bytes | None = None
    """Random; None: the row is from before rows had one, or erased."""
    erased: bytes | None = None
    """Its digest, where it was erased; what it said is gone then."""

    def document(self) -> dict[str, Json]:
        """Return what of it is hashed and exported: everything. Only of a row that was not erased."""
        salt = {} if self.salt is None else {"salt": self.salt.hex()}
        return salt | {
            "id": self.id,
            "at": instant(self.at),
            "accountId": self.account_id,
            "campaignId": self.campaign_id,
            "runId": self.run_id,
            "contactId": None if self.contact_id is None else _contact_id(self.contact_id),
            "attemptId": self.attempt_id,
            "action": self.action,
            "from": self.before,
            "to": self.after,
            "actor": self.actor,
            "reason": self.reason,
            "detail": self.detail,
        }

    def entry(self) -> dict[str, Json] | ErasedRow:
        """Return what stands for it in its seal."""
        return self.document() if self.erased is None else ErasedRow(self.id, self.erased)

    def digest(self) -> bytes:
        """Return its digest."""
        return row_digest(self.document()) if self.erased is None else self.erased


@dataclass(frozen=True, slots=True)
class ErasedRow:
    """What is left of a row that was erased."""

    id: int
    digest: bytes


Entry: TypeAlias = "dict[str, Json] | ErasedRow | bytes"
"""A row of a seal: its document, what is left of it, or its digest alone."""


@dataclass(frozen=True, slots=True)
class Seal:
    """One link of an account's chain."""

    account_id: str
    number: int
    """1, 2, … without a gap."""
    count: int
    """Rows it holds."""
    from_id: int
    to_id: int
    """Lowest and highest id of them; others may lie between."""
    rows: bytes
    """Hash of their digests."""
    previous: bytes
    """Hash of the seal before it; :data:`BEFORE_THE_FIRST` for number 1."""
    sealed_at: datetime
    sha256: bytes
    """Its own hash."""

    def document(self) -> dict[str, Json]:
        """Return it for files."""
        return {**self.hashed(), "sha256": self.sha256.hex()}

    def hashed(self) -> dict[str, Json]:
        """Return what its own hash is made of."""
        return {
            "accountId": self.account_id,
            "number": self.number,
            "count": self.count,
            "fromId": self.from_id,
            "toId": self.to_id,
            "rows": self.rows.hex(),
            "previous": self.previous.hex(),
            "sealedAt": instant(self.sealed_at),
        }


def row_digest(document: dict[str, Json]) -> bytes:
    """Return the digest of a row's document."""
    return hashlib.sha256(canonical(document)).digest()


def rows_hash(digests: Sequence[bytes]) -> bytes:
    """Return the hash of a seal's rows."""
    return hashlib.sha256(b"".join(digests)).digest()


def seal_hash(seal: Seal) -> bytes:
    """Return what a seal's own hash must be."""
    return hashlib.sha256(canonical(seal.hashed())).digest()


def make_seal(
    account_id: str,
    *,
    after: Seal | None,
    rows: Sequence[HistoryRow],
    sealed_at: datetime,
) -> Seal:
    """Return the seal of some rows, which are in the order of their ids, after the account's last one."""
    seal = Seal(
        account_id=account_id,
        number=1 if after is None else after.number + 1,
        count=len(rows),
        from_id=rows[0].id,
        to_id=rows[-1].id,
        rows=rows_hash([row.digest() for row in rows]),
        previous=BEFORE_THE_FIRST if after is None else after.sha256,
        sealed_at=sealed_at,
        sha256=b"",
    )
    return replace(seal, sha256=seal_hash(seal))


def read_seal(document: Json, where: str) -> Seal:
    """Return a seal as a file has it. Raises ChainError when it is none."""
    fields = {"accountId", "number", "count", "fromId", "toId", "rows", "previous", "sealedAt", "sha256"}
    if not isinstance(document, dict) or document.keys() != fields:
        raise ChainError(where, f"a seal has the fields {', '.join(sorted(fields))} and no other")
    numbers = [document[name] for name in ("number", "count", "fromId", "toId")]
    if not all(type(number) is int and number > 0 for number in numbers) or not isinstance(document["accountId"], str):
        raise ChainError(where, "its number, count or ids are no whole numbers, or it names no account")
    try:
        sealed_at = read_instant(str(document["sealedAt"]))
    except NotJsonError as error:
        raise ChainError(where, str(error)) from error
    return Seal(
        account_id=document["accountId"],
        number=document["number"],
        count=document["count"],
        from_id=document["fromId"],
        to_id=document["toId"],
        rows=read_hash(document["rows"], where),
        previous=read_hash(document["previous"], where),
        sealed_at=sealed_at,
        sha256=read_hash(document["sha256"], where),
    )


def read_hash(text: Json, where: str) -> bytes:
    """Return a hash as a file has it, 64 small hexadecimal digits. Raises ChainError for anything else."""
    try:
        found = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        found = b""
    if len(found) != DIGEST_BYTES or found.hex() != text:
        raise ChainError(where, f"{str(text)[:80]!r} is no SHA-256 in 64 hexadecimal digits")
    return found


def check_row(document: Json, where: str) -> None:
    """Check that a document is a row's; what it says is vouched for by the seal. Raises ChainError."""
    if not isinstance(document, dict) or document.keys() - {"salt"} != _ROW_KEYS:
        raise ChainError(where, f"a row has the fields {', '.join(sorted(_ROW_KEYS))}, salt and no other")
    if "salt" in document and not (isinstance(document["salt"], str) and _SALT.fullmatch(document["salt"])):
        raise ChainError(where, f"its salt is not {SALT_BYTES} bytes in hexadecimal digits")
    numbers, texts, maybe = (document["id"], document["runId"]), ("action", "actor", "reason"), _ROW_TEXTS
    if type(numbers[0]) is not int or not (numbers[1] is None or type(numbers[1]) is int):
        raise ChainError(where, "its id or its run's is no whole number")
    if not all(isinstance(document[name], str) for name in texts) or not all(
        document[name] is None or isinstance(document[name], str) for name in maybe
    ):
        raise ChainError(where, "a field of it that is text is none")
    try:
        read_instant(str(document["at"]))
    except NotJsonError as error:
        raise ChainError(where, str(error)) from error


class ChainCheck:
    """Follows a chain, seal by seal. The first one it is given may be any; each after it must be the next."""

    def __init__(self) -> None:
        self.head: Seal | None = None
        """The last seal that held."""
        self.seals = 0
        self.rows = 0
        """Rows that were seen in full."""
        self.erased = 0
        """Rows that were erased."""
        self._unexplained: dict[int, str] = {}
        self._named: set[int] = set()

    @property
    def unexplained(self) -> Mapping[int, str]:
        """Erased rows that no row ``erasure`` has named so far, each with the place of its seal."""
        return {row_id: where for row_id, where in self._unexplained.items() if row_id not in self._named}

    def require_explained(self) -> None:
        """Raise ChainError when a row is said to be erased and the chain has no erasure of it; for a chain that was
        seen in full."""
        for row_id, where in self.unexplained.items():
            raise ChainError(where, f"row {row_id} is said to be erased, and no row of the chain tells of its erasure")

    def take(self, seal: Seal, entries: Sequence[Entry] | None, where: str) -> None:
        """Check one seal with its rows; None: its rows are not at hand, and the seal alone vouches for them. Raises
        ChainError."""
        if seal_hash(seal) != seal.sha256:
            raise ChainError(where, f"the hash of seal {seal.number} is not that of what it says")
        self._follows(seal, where)
        if entries is not None:
            self._holds(seal, entries, where)
        self.head = seal
        self.seals += 1

    def _follows(self, seal: Seal, where: str) -> None:
        if seal.number == 1 and seal.previous != BEFORE_THE_FIRST:
            raise ChainError(where, "seal 1 has another before it")
        head = self.head
        if head is None:
            return
        if seal.account_id != head.account_id:
            raise ChainError(where, f"seal {seal.number} is of another account than the one before it")
        if seal.number != head.number + 1:
            raise ChainError(where, f"seal {seal.number} comes after seal {head.number}: something between is missing")
        if seal.previous != head.sha256:
            raise ChainError(where, f"seal {seal.number} does not name the hash of seal {head.number} before it")

    def _holds(self, seal: Seal, entries: Sequence[Entry], where: str) -> None:
        if len(entries) != seal.count:
            raise ChainError(where, f"seal {seal.number} holds {seal.count} rows, here are {len(entries)}")
        if rows_hash([_digest(entry) for entry in entries]) != seal.rows:
            raise ChainError(where, f"the rows of seal {seal.number} are not those it was made of")
        known = [_id(entry) for entry in entries if not isinstance(entry, bytes)]
        if known != sorted(set(known)) or (known and not seal.from_id <= known[0] <= known[-1] <= seal.to_id):
            raise ChainError(where, f"the rows of seal {seal.number} are not in the order of their ids")
        erased = [entry.id for entry in entries if isinstance(entry, ErasedRow)]
        self.rows += len(known) - len(erased)
        self.erased += len(erased)
        self._unexplained.update((row_id, where) for row_id in erased)
        for entry in entries:
            if isinstance(entry, dict) and entry["action"] == ERASURE:
                self._named.update(erased_by(entry))


def erased_by(row: Mapping[str, Json]) -> frozenset[int]:
    """Return the ids of the rows that an erasure's row names."""
    named = row["detail"].get("rows") if isinstance(row["detail"], dict) else None
    return frozenset(one for one in named if type(one) is int) if isinstance(named, list) else frozenset()


def _digest(entry: Entry) -> bytes:
    if isinstance(entry, ErasedRow):
        return entry.digest
    return entry if isinstance(entry, bytes) else row_digest(entry)


def _id(entry: dict[str, Json] | ErasedRow) -> int:
    row_id: int = entry.id if isinstance(entry, ErasedRow) else entry["id"]
    return row_id

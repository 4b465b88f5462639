"""History as evidence: what of a row is hashed, how seals chain the rows of an account, and how a chain is checked.

Each account has one chain. A *seal* holds up to some hundred rows in the order of their ids::

    digest of a row   SHA-256(canonical form of the row)
    rows of a seal    SHA-256(digest, digest, …)              32 bytes each, in order
    hash of a seal    SHA-256(canonical form of its fields)   the hash of the seal before among them

so whoever knows the hash of one seal can tell whether anything before it was changed, left out or put in. Canonical
forms are those of :mod:`outdial.core.canonical`. A row may stand as its digest where what it says is not to be told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Final

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

    def document(self) -> dict[str, Json]:
        """Return what of it is hashed and exported: everything."""
        return {
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
        rows=rows_hash([row_digest(row.document()) for row in rows]),
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
    if not isinstance(document, dict) or document.keys() != _ROW_KEYS:
        raise ChainError(where, f"a row has the fields {', '.join(sorted(_ROW_KEYS))} and no other")
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

    def take(self, seal: Seal, entries: Sequence[dict[str, Json] | bytes] | None, where: str) -> None:
        """Check one seal with its rows, each as its document or as its digest; None: its rows are not at hand, and the
        seal alone vouches for them. Raises ChainError."""
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

    def _holds(self, seal: Seal, entries: Sequence[dict[str, Json] | bytes], where: str) -> None:
        if len(entries) != seal.count:
            raise ChainError(where, f"seal {seal.number} holds {seal.count} rows, here are {len(entries)}")
        digests = [entry if isinstance(entry, bytes) else row_digest(entry) for entry in entries]
        if rows_hash(digests) != seal.rows:
            raise ChainError(where, f"the rows of seal {seal.number} are not those it was made of")
        known = [entry["id"] for entry in entries if not isinstance(entry, bytes)]
        if known != sorted(set(known)) or (known and not seal.from_id <= known[0] <= known[-1] <= seal.to_id):
            raise ChainError(where, f"the rows of seal {seal.number} are not in the order of their ids")
        self.rows += len(known)

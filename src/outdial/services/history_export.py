"""History as a file that proves itself, written while it is read; and the same proof against the database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from outdial.core.errors import NotFoundError, OutdialError
from outdial.core.history import ERASURE, ChainCheck, ChainError, Entry, ErasedRow, Seal, erased_by
from outdial.core.history_file import Asked, first_line, last_line, seal_lines
from outdial.core.model import Run
from outdial.services import sealing
from outdial.store import campaigns as campaigns_store
from outdial.store import seals as store
from outdial.store.database import Connection, Database

PAGE: Final = 20
"""Seals in memory at a time, some 10,000 rows."""

_LAST: Final = 2**62


class HistoryNotWholeError(OutdialError):
    """The chain of an account's history does not hold; the sentence says where. Somebody has changed the database past
    outdial, or it is damaged: compare with an export, a backup or a signed report from before."""

    code = "history_not_whole"


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What an account's chain in the database proves."""

    account_id: str
    seals: int
    rows: int
    head: str | None
    """Hash of the last seal; None: nothing has ever happened."""
    erased: int = 0
    """Rows whose person was erased; beyond ``rows``, which are whole."""


def of_account(account_id: str) -> Asked:
    """Return what is asked for to get everything of an account."""
    return Asked(account_id)


def of_run(run: Run) -> Asked:
    """Return what is asked for to get one run."""
    return Asked(run.account_id, campaign_id=run.campaign_id, instance_id=run.instance_id, run_id=run.id)


async def of_campaign(database: Database, iid: str, campaign_id: str) -> Asked:
    """Return what is asked for to get a campaign with all its runs. Raises NotFoundError."""
    async with database.connection() as connection:
        found = await campaigns_store.by_id(connection, iid, campaign_id)
    if found is None:
        raise NotFoundError(f"There is no campaign with the id {campaign_id}.")
    return Asked(found.account_id, campaign_id=campaign_id)


async def export(database: Database, asked: Asked) -> AsyncIterator[bytes]:
    """Yield the lines of the file, up to what was committed when it was begun; see :mod:`outdial.core.history_file`.

    Raises DatabaseUnavailableError.
    """
    await sealing.seal_all(database)
    async with database.connection() as connection:
        head = await store.head(connection, asked.account_id)
        number = await _first(connection, asked)
    yield first_line(asked)
    told = _Told()
    while head is not None and number is not None:
        while number <= head.number:
            async with database.connection() as connection:
                page = await store.page(connection, asked.account_id, number=number, through=head.number, limit=PAGE)
                written = [(seal, await _entries(connection, ids, asked)) for seal, ids in page]
            for seal, entries in written:
                told.take(entries)
                yield b"".join(seal_lines(seal, entries))
            number += len(page)
        if not asked.whole or not told.unexplained:
            break
        # somebody was erased while this was read: the file goes on until it has the row that says so
        await sealing.seal_all(database)
        async with database.connection() as connection:
            further = await store.head(connection, asked.account_id)
        if further is None or further.number == head.number:
            # no erasure tells of it: who checks the file finds that
            break
        head = further
    yield last_line(seals=told.seals, rows=told.rows, erased=told.erased, head=head if told.seals else None)


@dataclass(slots=True)
class _Told:
    """What a file has told so far."""

    seals: int = 0
    rows: int = 0
    erased: int = 0
    unexplained: set[int] = field(default_factory=set)
    """Erased rows whose erasure is not among them."""

    def take(self, entries: list[Entry] | None) -> None:
        """Count one more seal's."""
        self.seals += 1
        for entry in entries or ():
            if isinstance(entry, ErasedRow):
                self.erased += 1
                self.unexplained.add(entry.id)
            elif not isinstance(entry, bytes):
                self.rows += 1
                if entry["action"] == ERASURE:
                    self.unexplained -= erased_by(entry)


async def _first(connection: Connection, asked: Asked) -> int | None:
    """Return the number of the first seal of the file; None when nothing of it has happened."""
    if asked.run_id is not None:
        row_id = await store.first_of_run(connection, asked.run_id)
    elif asked.campaign_id is not None:
        row_id = await store.first_of_campaign(connection, asked.campaign_id)
    else:
        return 1
    return None if row_id is None else await store.first_number(connection, asked.account_id, row_id)


async def _entries(connection: Connection, ids: list[int], asked: Asked) -> list[Entry] | None:
    """Return a seal's rows, others' as digests; None when all are others'."""
    wanted = frozenset(ids)
    if asked.run_id is not None:
        wanted = await store.of_run(connection, ids, asked.run_id)
    elif asked.campaign_id is not None:
        wanted = await store.of_campaign(connection, ids, asked.campaign_id)
    if not wanted:
        return None
    rows = await store.rows(connection, ids)
    # of whoever was erased nothing is told beside the digest, whomever the file is of
    return [row.entry() if row.id in wanted or row.erased is not None else row.digest() for row in rows]


async def verify(database: Database, account_id: str) -> ChainReport:
    """Check an account's chain against the rows in the database, and against what signed reports say of it.

    Raises HistoryNotWholeError that says where it does not hold, DatabaseUnavailableError.
    """
    try:
        check = await _checked(database, account_id)
        if check.unexplained:
            # somebody may have been erased between the sealing and the look
            check = await _checked(database, account_id)
            check.require_explained()
    except ChainError as error:
        raise HistoryNotWholeError(f"The history of the account does not hold: {error}.") from error
    head = check.head
    return ChainReport(account_id, check.seals, check.rows, None if head is None else head.sha256.hex(), check.erased)


async def _checked(database: Database, account_id: str) -> ChainCheck:
    """Follow an account's whole chain, but for whether each row that is said to be erased was. Raises ChainError."""
    await sealing.seal_all(database)
    check = ChainCheck()
    async with database.snapshot() as connection:
        signed = await store.signed_heads(connection, account_id)
        number, hashes = 1, dict[int, bytes]()
        while page := await store.page(connection, account_id, number=number, through=_LAST, limit=PAGE):
            for seal, ids in page:
                await _holds(connection, check, seal, ids)
                hashes[seal.number] = seal.sha256
            number = page[-1][0].number + 1
        strays = await store.strays(connection, account_id)
    _agree(signed, hashes, strays)
    return check


def _agree(signed: list[tuple[str, int, bytes]], hashes: dict[int, bytes], strays: list[int]) -> None:
    for instance_id, number, sha256 in signed:
        if hashes.get(number) != sha256:
            raise ChainError(f"seal {number}", f"the signed report of the run {instance_id} names another hash")
    if strays:
        raise ChainError(f"row {strays[0]}", "it is in no seal: it was not there when its time was sealed")


async def _holds(connection: Connection, check: ChainCheck, seal: Seal, ids: list[int]) -> None:
    where = f"seal {seal.number}"
    if check.head is None and seal.number != 1:
        raise ChainError(where, "the seals before it are gone")
    rows = await store.rows(connection, ids)
    gone = sorted(set(ids) - {row.id for row in rows})
    if gone:
        raise ChainError(where, f"its row {gone[0]} is gone")
    check.take(seal, [row.entry() for row in rows], where)

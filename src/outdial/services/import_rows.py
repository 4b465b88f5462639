"""Adding the rows of an open table to a contact list, lot by lot.

One thread reads and checks rows while the database stores those before. Each lot of rows is one transaction, in which
whoever counts them counts.
"""

from __future__ import annotations

import asyncio
import csv
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, Final

from outdial.core.contact_import import ImportProgress, RowError
from outdial.core.errors import FileError, InvalidInputError
from outdial.secretbox import SecretBox
from outdial.services.contact_columns import Columns
from outdial.services.contact_lists import ERASED, full, no_list_named, room
from outdial.services.contact_rows import RowReader
from outdial.services.csv_source import Record, Rows
from outdial.services.table_source import TableSource
from outdial.services.threads import finished
from outdial.store import contacts as store
from outdial.store import dnc, dnc_hashes
from outdial.store.contacts import NewContacts, OpenList
from outdial.store.database import Connection, Database

LOT_ROWS: Final = 10_000
LOT_BYTES: Final = 8 << 20
"""A lot ends with whichever comes first; it bounds memory and how long others who add to the account wait. Bytes are
those of ASCII: what is counted is characters, as COPY gets them."""

LOOKS: Final = 10
"""Lots that are looked through for known numbers after one that had some, before the next is tried without."""

MOST_EXAMPLES: Final = 5
"""Problems told in the report itself."""

MOST_ERRORS: Final = 1000
"""Errors of one lot that are handed to whoever keeps them; all are counted."""

LONGEST_REASON: Final = 1000
"""Characters."""

_BETWEEN_CELLS: Final = "\0"
"""A row that can be stored has no such character."""

Beside = Callable[[Connection, ImportProgress, Sequence[RowError]], Awaitable[None]]
"""What happens in the transaction of each lot: its counts, and why some of its rows are left out."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where rows go, and in whose name."""

    iid: str
    account_id: str
    list_id: str
    list_name: str
    default_region: str | None
    actor: str
    secrets: SecretBox | None = None
    """By which erased numbers are recognized; without it nothing is added where there are any."""


@dataclass(slots=True)
class Lot:
    """Rows read but not yet stored."""

    rows: NewContacts = field(default_factory=NewContacts)
    lines: list[int] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)
    """What each of ``rows`` was read from; its cells as one text, since lists would keep the garbage collector busy."""
    count: int = 0
    """Rows read, the bad ones included."""
    size: int = 0
    """Characters of ``rows``."""
    bad: int = 0
    numbers_left_out: int = 0
    """Other numbers of rows that are right."""
    errors: list[RowError] = field(default_factory=list)
    position: int = 0

    def record(self, place: int) -> Record:
        """Return what one of ``rows`` was read from."""
        return Record(self.lines[place], self.cells[place].split(_BETWEEN_CELLS), None)

    def take(self, rows: Rows, read: NewContacts, start: int, most: int) -> int:
        """Take what rows hold from one on, at most so many and no more than fit; return how many."""
        lines = read.lines[start : start + min(most, LOT_ROWS - self.count)]
        # the last may go beyond
        fitting = bisect_left(list(accumulate(map(len, lines))), LOT_BYTES - self.size) + 1
        lines = lines[:fitting]
        part = slice(start, start + len(lines))
        if read.others:
            ahead = len(self.rows) - start
            taken = range(start, start + len(lines))
            self.rows.others.update({at + ahead: read.others[at] for at in taken if at in read.others})
        self.rows.phones += read.phones[part]
        self.rows.lines += lines
        self.lines += rows.lines[part]
        self.cells += map(_BETWEEN_CELLS.join, rows.cells[part])
        self.count += len(lines)
        self.size += sum(map(len, lines))
        return len(lines)

    def drop(self, phones: frozenset[str]) -> list[Record]:
        """Leave out the rows that have any of some numbers, whose persons were erased; return those rows."""
        if not phones:
            return []
        gone = self.rows.with_any(phones)
        kept = [place for place in range(len(self.rows)) if place not in gone]
        dropped = [self.record(place) for place in sorted(gone)]
        self.rows = self.rows.only(kept)
        self.lines = [self.lines[place] for place in kept]
        self.cells = [self.cells[place] for place in kept]
        self.bad += len(dropped)
        for record in dropped:
            self.refuse(record.line, ERASED)
        return dropped

    def leave(self, line: int, problems: Sequence[str]) -> None:
        """Count a row that is wrong."""
        self.count += 1
        self.bad += 1
        self.refuse(line, "; ".join(problems))

    def trim(self, line: int, problems: Sequence[str]) -> None:
        """Note why other numbers of a row that is right are left out."""
        self.numbers_left_out += len(problems)
        self.refuse(line, "; ".join(problems))

    def refuse(self, line: int, reason: str) -> None:
        """Note why a row is left out, as far as that is kept."""
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(RowError(line, reason[:LONGEST_REASON]))


async def add_rows(
    database: Database,
    source: TableSource,
    columns: Columns,
    to: Target,
    *,
    skip: int,
    errors: ErrorFile,
    beside: Beside,
    on_lot: Callable[[ImportProgress], None],
) -> None:
    """Add the rows of a table after the first ``skip`` to a list; good rows are kept, others told.

    ``on_lot`` gets what each lot adds, once it is stored. Raises InvalidInputError and FileError when the file cannot
    be read on, NotFoundError when the list is deleted meanwhile, and whatever ``beside`` raises.
    """
    lots = _lots(source, columns, errors, to.default_region, skip)
    looks = _Looks()
    lot = await asyncio.to_thread(next, lots)
    while lot.count:
        done, lot = await _store(database, to, source, lot, lots, errors, beside, looks)
        on_lot(done)


@dataclass(slots=True)
class _Looks:
    """Whether a list is looked through for the numbers of a lot before that is added, or the lot is just tried."""

    left: int = 0
    """Lots that are still looked for."""


async def _store(
    database: Database,
    to: Target,
    source: TableSource,
    lot: Lot,
    lots: Iterator[Lot],
    errors: ErrorFile,
    beside: Beside,
    looks: _Looks,
) -> tuple[ImportProgress, Lot]:
    """Store a lot and read the next one; return what it adds, and the next lot."""
    reading: asyncio.Task[Lot] | None = None
    following = Lot()
    dropped: list[Record] = []

    async def add(connection: Connection, opened: OpenList, *, unseen: bool) -> tuple[ImportProgress, Sequence[int]]:
        nonlocal reading
        picked = await store.pick(connection, opened, lot.rows.phones, room=room(opened), unseen=unseen)
        for place in picked.beyond:
            lot.refuse(lot.lines[place], full(opened))
        done = ImportProgress(
            rows=lot.count,
            added=len(picked.new),
            duplicates=len(lot.rows) - len(picked.new) - len(picked.beyond),
            bad=lot.bad,
            numbers_left_out=lot.numbers_left_out,
            beyond=len(picked.beyond),
            on_dnc=on_dnc,
            position=lot.position,
            size=source.size,
        )
        await beside(connection, done, lot.errors)
        if reading is None:
            # only now, when the server works alone for a while: a thread that computes slows short exchanges down
            reading = asyncio.create_task(asyncio.to_thread(next, lots))
        await store.insert(connection, opened, lot.rows, picked.new, actor=to.actor)
        return done, picked.beyond

    try:
        async with database.transaction() as connection:
            opened = await store.open_list_by_id(connection, to.iid, to.list_id)
            if opened is None:
                # deleted since the import began
                raise no_list_named(to.list_name)
            dropped = lot.drop(await dnc_hashes.refused(connection, to.secrets, to.iid, lot.rows.numbers()))
            on_dnc = await dnc.listed_count(connection, to.account_id, lot.rows.phones)
            added = None
            if not looks.left and await store.looks_unseen(connection, opened, lot.rows.phones, room=room(opened)):
                try:
                    # a savepoint: what a number that is there after all has undone is done again
                    async with connection.transaction():
                        added = await add(connection, opened, unseen=True)
                except store.SeenError:
                    looks.left = LOOKS
            if added is None:
                added = await add(connection, opened, unseen=False)
                looks.left = LOOKS if added[0].duplicates else max(0, looks.left - 1)
    finally:
        # whatever happened, the thread must be done with the file before that is closed
        if reading is not None:
            # a lot takes well under a second
            following = await finished(reading)
    done, beyond = added
    for record, reason in [(one, ERASED) for one in dropped] + [(lot.record(at), full(opened)) for at in beyond]:
        errors.add(record, [reason])
    return done, following


def _lots(source: TableSource, columns: Columns, errors: ErrorFile, region: str | None, skip: int) -> Iterator[Lot]:
    """Yield lots of checked rows, and empty ones after the last."""
    reader = RowReader(columns, default_region=region)
    lot = Lot()
    for found in source.rows():
        rows, skip = found.after(skip), max(0, skip - len(found.lines))
        read, place = reader.read(rows), 0
        ends = iter((*read.wrong, len(rows.lines)))
        end = next(ends)
        while place < len(rows.lines):
            if place < end:
                taken = lot.take(rows, read.contacts, place, end - place)
                for at in range(place, place + taken) if read.left_out else ():
                    if at in read.left_out:
                        lot.trim(rows.lines[at], read.left_out[at])
                        errors.add(Record(rows.lines[at], rows.cells[at], rows.problem), read.left_out[at])
                place += taken
            else:
                lot.leave(rows.lines[place], read.wrong[place])
                errors.add(Record(rows.lines[place], rows.cells[place], rows.problem), read.wrong[place])
                place, end = place + 1, next(ends)
            if lot.count >= LOT_ROWS or lot.size >= LOT_BYTES:
                lot.position = source.position
                yield lot
                lot = Lot()
    lot.position = source.size
    yield lot
    while True:
        yield Lot()


class ErrorFile:
    """The file of bad rows: line, reason and the row as it was, under the columns' own names."""

    def __init__(self, path: Path | None, source: Path, header: Sequence[str], *, more: bool = False) -> None:
        """Begin the file, or with ``more`` go on with what is there; None writes none. Raises FileError."""
        self.examples: list[str] = []
        self._path = path
        self._any = more
        self._file: IO[str] | None = None
        if path is None:
            return
        try:
            if path.exists() and path.samefile(source):
                raise InvalidInputError(["The error file is the imported file itself; name another."])
            # with a byte order mark, by which Excel knows the encoding
            encoding = "utf-8" if more else "utf-8-sig"
            self._file = path.open("a" if more else "w", encoding=encoding, errors="replace", newline="")
        except OSError as error:
            raise FileError(f"The error file {path} cannot be written: {error.strerror}.") from error
        self._writer: Any = csv.writer(self._file)
        if not more:
            self._write(["line", "reason", *header])

    def add(self, record: Record, problems: Sequence[str]) -> None:
        """Tell a bad row. Raises FileError."""
        reason = "; ".join(problems)
        self._any = True
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(f"Line {record.line}: {reason}.")
        if self._file is not None:
            self._write([record.line, reason, *record.cells])

    def _write(self, cells: Sequence[object]) -> None:
        try:
            self._writer.writerow(cells)
        except OSError as error:
            raise FileError(f"The error file {self._path} cannot be written: {error.strerror}.") from error

    def close(self) -> None:
        """Close the file, and remove it when there is nothing in it. Raises FileError."""
        if self._file is None or self._path is None:
            return
        try:
            self._file.close()
            if not self._any and self._path.is_file():
                self._path.unlink()
        except OSError as error:
            raise FileError(f"The error file {self._path} cannot be written: {error.strerror}.") from error

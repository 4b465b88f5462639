"""Importing contacts from CSV files and Excel workbooks.

One thread reads and checks rows while the database stores those before. Each lot of rows is one transaction, so an
import that breaks off keeps what it has; run again, it adds nothing twice to a list without duplicates.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from outdial.core.errors import ConflictError, FileError, InvalidInputError, NotFoundError
from outdial.services.access import get_application
from outdial.services.contact_columns import NO_MAPPING, ColumnMapping, Columns, columns_of
from outdial.services.contact_lists import checked, create_list, find_list, full, no_list_named, room
from outdial.services.csv_source import Record
from outdial.services.fields import LONGEST_DESCRIPTION, name_problems, require
from outdial.services.table_source import TableSource, open_table
from outdial.store import contacts as store
from outdial.store.contacts import Added, ContactRow
from outdial.store.database import Database

LOT_ROWS: Final = 10_000
LOT_BYTES: Final = 8 << 20
"""A lot ends with whichever comes first; it bounds memory and how long others who add to the list wait."""

MOST_EXAMPLES: Final = 5
"""Problems told in the report itself."""

SOURCE: Final = "localDrive"
"""What the wire calls lists that come from a file."""


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far an import is; all counts are of what is stored already."""

    rows: int
    added: int
    duplicates: int
    bad: int
    beyond: int
    position: int
    """How much of the file is read, of ``size``: bytes of a CSV file, rows of a sheet."""
    size: int


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a file; ``rows`` = ``added`` + ``duplicates`` + ``bad`` + ``beyond``."""

    rows: int
    """Rows after the first, without empty ones."""
    added: int
    duplicates: int
    """Left out: the list does not allow duplicates and has their number, or the file has it twice."""
    bad: int
    """Left out: something is wrong with them."""
    beyond: int
    """Left out: the list or the account was full."""
    list_id: str
    list_created: bool
    error_file: Path | None
    """Line, reason and cells of each bad row; None when there is none, or no file was asked for."""
    examples: tuple[str, ...]
    """The first few problems, as sentences with their line."""


@dataclass(slots=True)
class _Lot:
    """Rows read but not yet stored."""

    rows: list[ContactRow] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    """What each of ``rows`` was read from."""
    count: int = 0
    """Rows read, the bad ones included."""
    bad: int = 0
    position: int = 0


async def import_file(
    database: Database,
    *,
    iid: str,
    account_id: str,
    list_name: str,
    path: Path,
    default_region: str | None,
    create: bool,
    on_progress: Callable[[ImportProgress], None],
    error_file: Path | None,
    actor: str,
    mapping: ColumnMapping = NO_MAPPING,
    sheet: str | None = None,
) -> ImportReport:
    """Add the rows of a file to the application's contact list of that name; good rows are kept, bad ones told.

    The first line names the columns; one must be called phone or the like, unless ``mapping`` says which it is.
    ``create`` makes the list when there is none. ``on_progress`` is called after each lot, from the event loop.
    ``error_file`` is overwritten, and removed when no row is bad. ``sheet`` is for workbooks, None = the first.

    Raises InvalidInputError when the file is no such table, FileError when a file cannot be read or written,
    NotFoundError for an unknown list or application.
    """
    require(name_problems("list_name", list_name))
    if (await get_application(database, iid)).account_id != account_id:
        raise NotFoundError(f"There is no application {iid}.")
    with ExitStack() as stack:
        source = await asyncio.to_thread(open_table, path, sheet=sheet)
        stack.callback(source.close)
        columns = columns_of(source.header, default_region=default_region, mapping=mapping)
        errors = _Errors(error_file, path, source.header)
        stack.callback(errors.close)
        list_id, created = await _list(database, iid, account_id, list_name, path, create=create, actor=actor)
        lots = _lots(source, columns, errors, default_region)
        rows = added = bad = beyond = 0
        lot = await asyncio.to_thread(next, lots)
        while lot.count:
            stored, following = await _store(database, iid, list_name, lot, lots, errors, actor)
            rows += lot.count
            added += stored.count
            bad += lot.bad
            beyond += len(stored.beyond)
            on_progress(
                ImportProgress(
                    rows=rows,
                    added=added,
                    duplicates=rows - bad - added - beyond,
                    bad=bad,
                    beyond=beyond,
                    position=lot.position,
                    size=source.size,
                )
            )
            lot = following
        return ImportReport(
            rows=rows,
            added=added,
            duplicates=rows - bad - added - beyond,
            bad=bad,
            beyond=beyond,
            list_id=list_id,
            list_created=created,
            error_file=error_file if bad or beyond else None,
            examples=tuple(errors.examples),
        )


async def _list(
    database: Database, iid: str, account_id: str, name: str, path: Path, *, create: bool, actor: str
) -> tuple[str, bool]:
    """Return the id of the list and whether it has just been made."""
    if create:
        try:
            made = await create_list(
                database,
                iid=iid,
                account_id=account_id,
                name=name,
                description=f"Imported from {path.name}".encode(errors="replace").decode()[:LONGEST_DESCRIPTION],
                source=SOURCE,
                allow_duplicates=False,
                api_version=2,
                actor=actor,
            )
        except ConflictError:
            pass
        else:
            return made.id, True
    return (await find_list(database, iid, name)).id, False


async def _store(
    database: Database, iid: str, list_name: str, lot: _Lot, lots: Iterator[_Lot], errors: _Errors, actor: str
) -> tuple[Added, _Lot]:
    """Store a lot and read the next one; return what became of it, and the next lot."""
    reading = asyncio.create_task(asyncio.to_thread(next, lots))
    following = _Lot()
    try:
        async with database.transaction() as connection:
            to = await store.open_list(connection, iid, list_name)
            if to is None:
                # deleted since the import began
                raise no_list_named(list_name)
            added = await store.add(connection, to, lot.rows, room=room(to), actor=actor)
    finally:
        # whatever happened, the thread must be done with the file before that is closed
        following = await _finished(reading)
    for place in added.beyond:
        errors.add(lot.records[place], [full(to)])
    return added, following


async def _finished(reading: asyncio.Task[_Lot]) -> _Lot:
    """Wait for the task to its end even when cancelled meanwhile; a lot takes well under a second."""
    while not reading.done():
        try:
            await asyncio.shield(reading)
        except asyncio.CancelledError:
            await asyncio.wait([reading])
            raise
    return reading.result()


def _lots(source: TableSource, columns: Columns, errors: _Errors, region: str | None) -> Iterator[_Lot]:
    """Yield lots of checked rows, and empty ones after the last."""
    lot, size = _Lot(), 0
    for record in source.records():
        lot.count += 1
        try:
            row = _row(record, columns, region)
        except InvalidInputError as error:
            lot.bad += 1
            errors.add(record, error.problems)
        else:
            lot.rows.append(row)
            lot.records.append(record)
            size += len(memoryview(row.attributes))
        if lot.count >= LOT_ROWS or size >= LOT_BYTES:
            lot.position = source.position
            yield lot
            lot, size = _Lot(), 0
    lot.position = source.size
    yield lot
    while True:
        yield _Lot()


def _row(record: Record, columns: Columns, region: str | None) -> ContactRow:
    if record.problem is not None:
        raise InvalidInputError([record.problem])
    return checked(columns.contact(record.cells), default_region=region)


class _Errors:
    """The file of bad rows: line, reason and the row as it was, under the columns' own names."""

    def __init__(self, path: Path | None, source: Path, header: Sequence[str]) -> None:
        self.examples: list[str] = []
        self._path = path
        self._any = False
        self._file: IO[str] | None = None
        if path is None:
            return
        try:
            if path.exists() and path.samefile(source):
                raise InvalidInputError(["The error file is the imported file itself; name another."])
            # with a byte order mark, by which Excel knows the encoding
            self._file = path.open("w", encoding="utf-8-sig", errors="replace", newline="")
        except OSError as error:
            raise FileError(f"The error file {path} cannot be written: {error.strerror}.") from error
        self._writer: Any = csv.writer(self._file)
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

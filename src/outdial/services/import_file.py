"""Importing a file of contacts at once, by the process that has it; ``services.imports`` is for all others.

An import that breaks off keeps what it has; run again, it adds nothing twice to a list without duplicates.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from outdial.core.contact_import import ImportProgress, RowError
from outdial.core.errors import ConflictError, LimitReachedError, NotFoundError
from outdial.services.access import get_application
from outdial.services.contact_columns import NO_MAPPING, ColumnMapping, columns_of
from outdial.services.contact_lists import create_list, find_list
from outdial.services.fields import LONGEST_DESCRIPTION, name_problems, require
from outdial.services.import_rows import ErrorFile, Target, add_rows
from outdial.services.table_source import open_table
from outdial.store.database import Connection, Database

SOURCE: Final = "localDrive"
"""What the wire calls lists that come from a file."""


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
    numbers_left_out: int
    """Other numbers of contacts that are wrong; their contacts are imported without them."""
    list_id: str
    list_created: bool
    error_file: Path | None
    """Line, reason and cells of each bad row; None when there is none, or no file was asked for."""
    examples: tuple[str, ...]
    """The first few problems, as sentences with their line."""


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
    progress = ImportProgress()

    def count(lot: ImportProgress) -> None:
        nonlocal progress
        progress = progress.plus(lot)
        on_progress(progress)

    with ExitStack() as stack:
        source = await asyncio.to_thread(open_table, path, sheet=sheet)
        stack.callback(source.close)
        columns = columns_of(source.header, default_region=default_region, mapping=mapping)
        errors = ErrorFile(error_file, path, source.header)
        stack.callback(errors.close)
        list_id, created = await made_list(
            database, iid=iid, account_id=account_id, name=list_name, file_name=path.name, create=create, actor=actor
        )
        to = Target(iid, account_id, list_id, list_name, default_region, actor)
        await add_rows(database, source, columns, to, skip=0, errors=errors, beside=_nothing_beside, on_lot=count)
        return ImportReport(
            rows=progress.rows,
            added=progress.added,
            duplicates=progress.duplicates,
            bad=progress.bad,
            beyond=progress.beyond,
            numbers_left_out=progress.numbers_left_out,
            list_id=list_id,
            list_created=created,
            error_file=error_file if progress.bad or progress.beyond or progress.numbers_left_out else None,
            examples=tuple(errors.examples),
        )


async def _nothing_beside(connection: Connection, lot: ImportProgress, errors: Sequence[RowError]) -> None:
    """Leave the transaction of a lot as it is."""
    del connection, lot, errors


async def made_list(
    database: Database, *, iid: str, account_id: str, name: str, file_name: str, create: bool, actor: str
) -> tuple[str, bool]:
    """Return the id of the list a file is imported to, and whether it has just been made.

    Raises NotFoundError, and LimitReachedError when the account can have no more lists.
    """
    try:
        return (await find_list(database, iid, name)).id, False
    except NotFoundError:
        if not create:
            raise
    try:
        made = await create_list(
            database,
            iid=iid,
            account_id=account_id,
            name=name,
            description=f"Imported from {file_name}".encode(errors="replace").decode()[:LONGEST_DESCRIPTION],
            source=SOURCE,
            allow_duplicates=False,
            api_version=2,
            actor=actor,
        )
    except LimitReachedError:
        raise
    except ConflictError:
        # somebody made it in this moment
        return (await find_list(database, iid, name)).id, False
    return made.id, True

"""Imports as things: a file is uploaded in pieces, then any process that has it adds its rows, one at a time.

The database is the referee: an upload goes on where its row says, an import is run by whoever holds its lease, and each
lot of rows is counted in the transaction that adds it. So a crash at any moment loses nothing and adds nothing twice.
The file is kept in the folder of imports until the import has ended.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from outdial.core import ids
from outdial.core.contact_import import Import, ImportAction, ImportProgress, ImportState, RowError, move
from outdial.core.errors import (
    FileElsewhereError,
    FileError,
    ImportBusyError,
    InvalidInputError,
    LimitReachedError,
    NotFoundError,
    TooLargeError,
    WrongOffsetError,
)
from outdial.core.paging import Page
from outdial.core.phone import region_problem
from outdial.secretbox import SecretBox
from outdial.services.access import get_application
from outdial.services.contact_columns import NO_MAPPING, ColumnMapping, columns_of
from outdial.services.contact_lists import find_list
from outdial.services.fields import is_storable, line_problems, name_problems, require
from outdial.services.import_file import made_list
from outdial.services.import_rows import LONGEST_REASON, ErrorFile, Target, add_rows
from outdial.services.table_source import open_table
from outdial.store import imports as store
from outdial.store.database import Connection, Database

__all__ = ["Import", "ImportDraft", "ImportProgress", "ImportState", "RowError"]

LARGEST_FILE: Final = 1 << 30
"""Bytes; a million people of a hundred columns."""

LARGEST_PIECE: Final = 16 << 20
"""Bytes of one piece of an upload; it is held in memory."""

MOST_ERRORS_KEPT: Final = 10_000
"""Errors of one import that can be read back; all are counted."""

LEASE_SECONDS: Final = 30.0
"""After a crash somebody else may go on so long after the last lot."""

OPENING_SECONDS: Final = 180.0
"""The lease until the first lot: a workbook is parsed whole before."""

FOLDER: Final = "imports"
"""Where files are kept, within the data folder."""

LONGEST_FILE_NAME: Final = 255
LONGEST_SHEET_NAME: Final = 100
"""Characters."""


@dataclass(frozen=True, slots=True)
class ImportDraft:
    """An import as somebody wants it."""

    list_name: str
    file_name: str
    create_list: bool = True
    """Make the list where there is none."""
    sheet: str | None = None
    """Of a workbook; None = the first."""
    mapping: ColumnMapping = NO_MAPPING
    default_region: str | None = None
    """Country of numbers without ``+``."""


class _LostError(Exception):
    """The import is no longer this runner's: cancelled, or taken over after a long silence."""


async def create(database: Database, *, iid: str, account_id: str, draft: ImportDraft, actor: str) -> Import:
    """Begin an import, whose file is then uploaded with :func:`append`.

    Raises InvalidInputError with all wrong fields, NotFoundError for an unknown application, or an unknown list when
    none is to be made.
    """
    require(
        name_problems("list_name", draft.list_name)
        + ([] if draft.file_name.strip() else ["`file_name` must not be empty."])
        + line_problems("file_name", draft.file_name, longest=LONGEST_FILE_NAME)
        + line_problems("sheet", draft.sheet or "", longest=LONGEST_SHEET_NAME)
        + ([] if draft.default_region is None else region_problem(draft.default_region))
    )
    if (await get_application(database, iid)).account_id != account_id:
        raise NotFoundError(f"There is no application {iid}.")
    if not draft.create_list:
        await find_list(database, iid, draft.list_name)
    import_id = ids.import_id(uuid.uuid4())
    async with database.transaction() as connection:
        await store.insert(
            connection,
            import_id=import_id,
            iid=iid,
            account_id=account_id,
            file_name=draft.file_name,
            sheet=draft.sheet,
            mapping=draft.mapping.words(),
            default_region=draft.default_region,
            list_name=draft.list_name,
            create_list=draft.create_list,
            actor=actor,
        )
        return await _required(connection, iid, import_id)


async def append(database: Database, folder: Path, iid: str, import_id: str, *, offset: int, data: bytes) -> int:
    """Add a piece to the file of an import and return how many bytes have arrived; they are on the disk then.

    ``folder`` is where files of imports are kept. Raises NotFoundError, IllegalMoveError when the upload is over,
    WrongOffsetError when the piece does not begin where what has arrived ends, TooLargeError, FileElsewhereError when
    what has arrived is not in the folder, FileError.
    """
    if len(data) > LARGEST_PIECE:
        raise TooLargeError(f"A piece of {len(data)} bytes is too large; at most {LARGEST_PIECE} at a time.")
    async with database.transaction() as connection:
        # locked while the piece is written: two that send the same one wait for each other
        found = await _required(connection, iid, import_id, lock=True)
        move(found.state, ImportAction.FINISH_UPLOAD)
        if offset != found.received_bytes:
            raise WrongOffsetError(
                f"{found.received_bytes} bytes of the file have arrived, so the next piece begins there, not at "
                f"{offset}.",
                found.received_bytes,
            )
        if offset + len(data) > LARGEST_FILE:
            raise TooLargeError(f"The file is larger than {LARGEST_FILE >> 20} MB, the most that can be imported.")
        await asyncio.to_thread(_write, folder, found.id, offset, data)
        await store.received(connection, found.id, offset + len(data))
    return offset + len(data)


async def finish_upload(database: Database, folder: Path, iid: str, import_id: str, *, actor: str) -> Import:
    """Say that the file is complete: from now on the import can be run.

    Raises NotFoundError, IllegalMoveError, FileElsewhereError when the file is not in the folder, FileError.
    """
    async with database.transaction() as connection:
        found = await _required(connection, iid, import_id, lock=True)
        after = move(found.state, ImportAction.FINISH_UPLOAD)
        # a piece that was written but not counted is cut off; an empty file is a file too
        await asyncio.to_thread(_write, folder, found.id, found.received_bytes, b"")
        await store.set_state(connection, found.id, before=found.state, after=after, actor=actor)
        return await _required(connection, iid, import_id)


async def run(
    database: Database,
    folder: Path,
    iid: str,
    import_id: str,
    *,
    actor: str,
    on_progress: Callable[[ImportProgress], None] = lambda _: None,
    error_file: Path | None = None,
    secrets: SecretBox | None = None,
) -> Import:
    """Add the rows of a file that has arrived, from where the import is, and return it as it ended: done or cancelled.

    Rows whose person was erased and is never to be called are left out; ``secrets`` recognizes them, and without it
    nothing is added where there are any. ``on_progress`` is called after each lot, from the event loop. ``error_file``
    gets each row that is left out, with line and reason; a run that goes on appends to it, and may tell rows again that
    it told before a crash.

    Raises NotFoundError; IllegalMoveError when there is nothing to run; ImportBusyError while another process runs it;
    InvalidInputError, NotFoundError or LimitReachedError when the import failed, which its state then says; FileError
    or DatabaseUnavailableError when it can be run again.
    """
    found = await progress(database, iid, import_id)
    move(found.state, ImportAction.COMPLETE)
    runner = uuid.uuid4().hex
    async with database.connection() as connection:
        claimed = await store.claim(connection, found.id, runner=runner, lease_seconds=OPENING_SECONDS)
    if not claimed:
        raise _busy(await progress(database, iid, import_id))
    # what it says now cannot be changed by anybody else
    found = await progress(database, iid, import_id)
    try:
        await _add(database, folder, found, runner, on_progress, error_file, secrets)
        await _end(database, folder, found, runner, ImportAction.COMPLETE, actor=actor)
    except _LostError:
        after = await progress(database, iid, import_id)
        if after.state is not ImportState.CANCELLED:
            raise _busy(after) from None
        await asyncio.to_thread(_path(folder, found.id).unlink, missing_ok=True)
        return after
    except (InvalidInputError, NotFoundError, LimitReachedError) as error:
        failure = " ".join(error.messages)[:LONGEST_REASON]
        await _end(database, folder, found, runner, ImportAction.FAIL, actor=actor, failure=failure)
        raise
    except BaseException:
        # whoever comes next need not wait until the lease ends; where the database is away, they must
        async with database.connection() as connection:
            await store.release(connection, found.id, runner=runner)
        raise
    return await progress(database, iid, import_id)


async def _add(
    database: Database,
    folder: Path,
    found: Import,
    runner: str,
    on_progress: Callable[[ImportProgress], None],
    error_file: Path | None,
    secrets: SecretBox | None,
) -> None:
    """Add the rows from where the import is."""
    reached = found.progress()

    async def count(connection: Connection, lot: ImportProgress, errors: Sequence[RowError]) -> None:
        mine = await store.advance(
            connection, found.id, runner=runner, before=reached.rows, lot=lot, lease_seconds=LEASE_SECONDS
        )
        if not mine:
            raise _LostError
        await store.add_errors(connection, found.id, errors, most=MOST_ERRORS_KEPT)

    def tell(lot: ImportProgress) -> None:
        nonlocal reached
        reached = reached.plus(lot)
        on_progress(reached)

    with ExitStack() as stack:
        path = _path(folder, found.id)
        if not path.is_file():
            raise FileError(f"The file of import {found.id} is not on this machine, or not in {folder}.")
        source = await asyncio.to_thread(open_table, path, sheet=found.sheet, name=found.file_name)
        stack.callback(source.close)
        columns = columns_of(
            source.header, default_region=found.default_region, mapping=ColumnMapping.of(found.mapping)
        )
        errors = ErrorFile(error_file, path, source.header, more=found.rows > 0)
        stack.callback(errors.close)
        list_id, created = found.list_id, False
        if list_id is None:
            list_id, created = await made_list(
                database,
                iid=found.iid,
                account_id=found.account_id,
                name=found.list_name,
                file_name=found.file_name,
                create=found.create_list,
                actor=found.created_by,
            )
        async with database.connection() as connection:
            if not await store.found_list(
                connection,
                found.id,
                runner=runner,
                list_id=list_id,
                created=created,
                size=source.size,
                columns=columns.uses,
            ):
                raise _LostError
        to = Target(
            iid=found.iid,
            account_id=found.account_id,
            list_id=list_id,
            list_name=found.list_name,
            default_region=found.default_region,
            actor=found.created_by,
            secrets=secrets,
        )
        await add_rows(database, source, columns, to, skip=found.rows, errors=errors, beside=count, on_lot=tell)


async def _end(
    database: Database,
    folder: Path,
    found: Import,
    runner: str,
    action: ImportAction,
    *,
    actor: str,
    failure: str = "",
) -> None:
    """Move an import that this runner has to its end; what somebody else has decided meanwhile stays."""
    async with database.connection() as connection:
        moved = await store.set_state(
            connection,
            found.id,
            before=found.state,
            after=move(found.state, action),
            actor=actor,
            runner=runner,
            failure=failure,
        )
    if not moved and action is ImportAction.COMPLETE:
        raise _LostError
    if moved:
        await asyncio.to_thread(_path(folder, found.id).unlink, missing_ok=True)


async def fail(database: Database, folder: Path, iid: str, import_id: str, *, actor: str, failure: str) -> None:
    """End an import that nobody runs, since running it again would come to no other end; rows added before stay, and
    ``failure`` tells its owner why.

    Raises NotFoundError, IllegalMoveError when there is nothing to run, ImportBusyError while another process runs it.
    """
    found = await progress(database, iid, import_id)
    move(found.state, ImportAction.FAIL)
    runner = uuid.uuid4().hex
    async with database.connection() as connection:
        claimed = await store.claim(connection, found.id, runner=runner, lease_seconds=LEASE_SECONDS)
    if not claimed:
        raise _busy(await progress(database, iid, import_id))
    await _end(database, folder, found, runner, ImportAction.FAIL, actor=actor, failure=failure)


async def cancel(database: Database, folder: Path, iid: str, import_id: str, *, actor: str) -> Import:
    """End an import for good; a process that runs it stops before its next lot. Rows added before stay.

    Raises NotFoundError, IllegalMoveError when it has ended already.
    """
    async with database.transaction() as connection:
        found = await _required(connection, iid, import_id, lock=True)
        after = move(found.state, ImportAction.CANCEL)
        await store.set_state(connection, found.id, before=found.state, after=after, actor=actor)
        ended = await _required(connection, iid, import_id)
    await asyncio.to_thread(_path(folder, found.id).unlink, missing_ok=True)
    return ended


async def progress(database: Database, iid: str, import_id: str) -> Import:
    """Return an import of the application and how far it is; raise NotFoundError."""
    async with database.connection() as connection:
        return await _required(connection, iid, import_id)


async def list_imports(database: Database, iid: str, *, skip: int, limit: int) -> Page[Import]:
    """Return imports of the application, newest first."""
    async with database.snapshot() as connection:
        items = await store.imports_of(connection, iid, skip=skip, limit=limit)
        total = await store.imports_count(connection, iid)
    return Page(items=tuple(items), skip=skip, limit=limit, total=total)


async def errors(database: Database, iid: str, import_id: str, *, skip: int, limit: int) -> Page[RowError]:
    """Return why rows were left out, by line: of the first ``MOST_ERRORS_KEPT``; raise NotFoundError."""
    async with database.snapshot() as connection:
        await _required(connection, iid, import_id)
        items = await store.errors(connection, import_id, skip=skip, limit=limit)
        total = await store.errors_count(connection, import_id)
    return Page(items=tuple(items), skip=skip, limit=limit, total=total)


async def _required(connection: Connection, iid: str, import_id: str, *, lock: bool = False) -> Import:
    found = await store.by_id(connection, iid, import_id, lock=lock) if is_storable(import_id) else None
    if found is None:
        raise NotFoundError(f"There is no import {import_id}.")
    return found


def _busy(found: Import) -> ImportBusyError:
    return ImportBusyError(
        f"The import {found.id} is run by another process. If that has crashed, try again in "
        f"{OPENING_SECONDS if found.rows == 0 else LEASE_SECONDS:.0f} seconds."
    )


def _path(folder: Path, import_id: str) -> Path:
    """Return where the file of an import is; its id has come from the database."""
    return folder / import_id


def _write(folder: Path, import_id: str, offset: int, data: bytes) -> None:
    """Write a piece and cut off whatever was behind it; return when it is on the disk."""
    path = _path(folder, import_id)
    elsewhere = FileElsewhereError(
        f"The file of import {import_id} is not whole at this server: it was sent to one with another data folder. "
        "Send the rest to that one, or begin a new import."
    )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # people's data: for this account only; and no file of a rest whose beginning is elsewhere
        descriptor = os.open(path, os.O_RDWR | (0 if offset else os.O_CREAT) | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < offset:
                raise elsewhere
            os.ftruncate(descriptor, offset)
            view = memoryview(data)
            while view:
                written = os.pwrite(descriptor, view, offset)
                view, offset = view[written:], offset + written
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise elsewhere from error
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror}.") from error

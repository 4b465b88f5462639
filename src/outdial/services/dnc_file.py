"""A file of numbers that was sent here: its bytes are kept while they are needed, and its numbers found.

Nothing of it keeps the event loop waiting. The bytes have no name on the disk: they are gone with the process, however
that ends.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from outdial.core.errors import FileError
from outdial.core.phone import region_problem
from outdial.services import dnc
from outdial.services.fields import line_problems, require
from outdial.services.imports import LONGEST_FILE_NAME, LONGEST_SHEET_NAME
from outdial.services.number_file import NumberFile, path_of
from outdial.services.threads import in_thread

LARGEST_FILE: Final = 64 << 20
"""Bytes; five million numbers, one a line."""

MOST_COLUMNS: Final = 20
LONGEST_COLUMN: Final = 255
"""Characters of a column's name."""

_NAMELESS: Final = "the file"


@dataclass(frozen=True, slots=True)
class FileDraft:
    """A file as whoever sends it describes it, and what its numbers are to be listed with."""

    name: str = ""
    """As its owner calls it."""
    columns: tuple[str, ...] = ()
    """Which hold numbers, as for :class:`NumberFile`."""
    sheet: str | None = None
    """Of a workbook; None = the first."""
    default_region: str | None = None
    """Country of numbers without ``+``."""
    reason: str = ""
    expires_at: datetime | None = None


def require_draft(draft: FileDraft) -> None:
    """Raise InvalidInputError for what is wrong whatever the file holds, before any of it is read."""
    columns = [] if len(draft.columns) <= MOST_COLUMNS else [f"`column` is given more than {MOST_COLUMNS} times."]
    require(
        line_problems("fileName", draft.name, longest=LONGEST_FILE_NAME)
        + (columns or [each for one in draft.columns for each in line_problems("column", one, longest=LONGEST_COLUMN)])
        + line_problems("sheet", draft.sheet or "", longest=LONGEST_SHEET_NAME)
        + ([] if draft.default_region is None else [f"{each}." for each in region_problem(draft.default_region)])
    )
    dnc.require_addition(iid=None, list_name=None, reason=draft.reason, expires_at=draft.expires_at)


class Received:
    """What has arrived of a file."""

    def __init__(self, file: Any, folder: Path) -> None:
        self._file = file
        self._folder = folder

    @property
    def path(self) -> Path:
        """Where it can be read; there is no such path any more once it is let go."""
        return path_of(self._file)

    async def write(self, piece: bytes) -> None:
        """Add what comes next. Raises FileError, when the disk is full above all."""
        await in_thread(lambda: self._write(piece))

    def _write(self, piece: bytes) -> None:
        view = memoryview(piece)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise _unwritable(self._folder, error) from error


@asynccontextmanager
async def receiving(folder: Path) -> AsyncIterator[Received]:
    """Keep what arrives of a file on the disk of that folder for as long as the block lasts. Raises FileError."""
    file = await in_thread(lambda: _nameless(folder))
    try:
        yield Received(file, folder)
    finally:
        await in_thread(file.close)


def _nameless(folder: Path) -> Any:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # unbuffered: closing it must not try once more to write what found no room
        return tempfile.TemporaryFile(dir=folder, buffering=0)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> FileError:
    return FileError(f"The file that was sent cannot be kept in {folder}: {error.strerror}.")


@asynccontextmanager
async def opened(received: Received, draft: FileDraft) -> AsyncIterator[NumberFile]:
    """Find the numbers of a file that is here whole, by its draft.

    Raises FileError, and InvalidInputError for what is no table, or has no such column or sheet, or several columns
    that fit.
    """
    file = await in_thread(
        lambda: NumberFile(
            received.path,
            columns=draft.columns,
            sheet=draft.sheet,
            default_region=draft.default_region,
            name=draft.name or _NAMELESS,
            option="`column`",
        )
    )
    try:
        yield file
    finally:
        await in_thread(file.close)

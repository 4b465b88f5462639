"""Tables that people import: what is asked of every kind of file, and which kind one is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from outdial.core.errors import FileError, InvalidInputError
from outdial.services.csv_source import CsvSource, Record, Rows
from outdial.services.workbook_source import OLE, ZIP, WorkbookSource


class TableSource(Protocol):
    """An open table: its header, then its rows. All of it blocks."""

    @property
    def header(self) -> Sequence[str]: ...

    @property
    def header_line(self) -> int:
        """Where the header is in the file, from 1: empty rows may come before it."""
        ...

    @property
    def size(self) -> int:
        """How much there is to read: bytes of a CSV file, rows of a sheet."""
        ...

    @property
    def quoted(self) -> bool:
        """Whether quotes tell where cells end, so that a stray one can take the lines after it into its cell."""
        ...

    @property
    def position(self) -> int:
        """How much of it is read."""
        ...

    def rows(self) -> Iterator[Rows]:
        """Yield the rows that are left, without empty ones. Raises FileError and InvalidInputError."""
        ...

    def records(self) -> Iterator[Record]:
        """Yield them one by one."""
        ...

    def close(self) -> None: ...


def open_table(path: Path, *, sheet: str | None = None, name: str | None = None) -> TableSource:
    """Open a CSV file or an Excel workbook, told apart by how they begin.

    ``sheet`` is for workbooks, None = the first; ``name`` is what the file's owner calls it.

    Raises FileError, and InvalidInputError when it is no table.
    """
    name = name or path.name
    try:
        if not path.is_file():
            # missing, a folder, or a pipe: a pipe cannot be read twice
            reason = "it is not a regular file" if path.exists() else "there is no such file"
            raise FileError(f"{path} cannot be read: {reason}.")
        with path.open("rb") as file:
            start = file.read(len(ZIP))
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}.") from error
    if start.startswith((ZIP, OLE)):
        return WorkbookSource(path, sheet=sheet, name=name)
    if name.lower().endswith((".xlsx", ".xlsm")):
        raise InvalidInputError([f"{name} is damaged or no Excel workbook (.xlsx)."])
    if sheet is not None:
        raise InvalidInputError([f"{name} is no Excel workbook, so it has no sheet {sheet}."])
    return CsvSource(path, name=name)

"""The process that reads one Excel workbook and writes its rows to standard output, a JSON line each.

A process of its own, since the parser holds a whole sheet in memory and ends the program when there is not enough: a
file of two kilobytes whose only cell is the last one of the sheet asks for half a terabyte. Here it meets limits of
memory and processor time that end only this. Run by path, it imports nothing of outdial.

First line: the number of rows. Then a list of cells for each row, also empty ones. A line that is a text is what is
wrong with the file, and the last.
"""

from __future__ import annotations

import resource
import signal
import sys
import zipfile
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import python_calamine as calamine

MEMORY_BYTES: Final = 2 << 30
"""Address space of the reader; a million rows of ten columns take a third of it."""

CPU_SECONDS: Final = 120
"""A million rows of ten columns take ten."""

LARGEST_UNPACKED: Final = 4 << 30
"""Bytes a workbook may say it has when unpacked."""

MOST_ROWS: Final = 1 << 20
"""Excel's own limit; a sheet with more is not Excel's."""

NO_MEMORY: Final = 3
"""Exit code: what the limit of memory allows did not suffice."""

_EXACT: Final = 1e15
"""Whole numbers below it are digits in a spreadsheet, and exact in a float."""

_WIDEST: Final = 16_384
_LOT: Final = 1 << 16


class _UnreadableError(Exception):
    """The workbook cannot be read; the text says why, after the file's name."""


def main(path: str, sheet: str | None) -> None:
    """Write the sheet (None = the first) to standard output."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    # whoever reads may go away at any time
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        _write(path, sheet, sys.stdout.buffer)
    except MemoryError:
        # nothing can be said any more, and nothing must be printed
        sys.exit(NO_MEMORY)


def _write(path: str, sheet: str | None, to: BinaryIO) -> None:
    encoder, buffer = msgspec.json.Encoder(), bytearray()
    try:
        found = _sheet(path, sheet)
        buffer += b"%d\n" % _extent(found)[0]
        for row in found.iter_rows():
            buffer += encoder.encode([cell if type(cell) is str else text_of(cell) for cell in row])
            buffer += b"\n"
            if len(buffer) >= _LOT:
                to.write(buffer)
                buffer.clear()
    except _UnreadableError as error:
        buffer += encoder.encode(str(error)) + b"\n"
    except calamine.CalamineError:
        buffer += encoder.encode("is damaged or no Excel workbook (.xlsx)") + b"\n"
    to.write(buffer)
    to.flush()


def _sheet(path: str, name: str | None) -> calamine.CalamineSheet:
    _look_inside(Path(path))
    workbook = calamine.CalamineWorkbook.from_path(path)
    tables = [one for one in workbook.sheets_metadata if one.typ is calamine.SheetTypeEnum.WorkSheet]
    if name is None:
        seen = [one.name for one in tables if one.visible is calamine.SheetVisibleEnum.Visible]
        if not seen:
            raise _UnreadableError("has no sheet that can be seen")
        name = seen[0]
    elif name not in {one.name for one in tables}:
        raise _UnreadableError(f"has no sheet {name}; it has: {', '.join(one.name for one in tables)[:200]}")
    found = workbook.get_sheet_by_name(name)
    rows, columns = _extent(found)
    if rows > MOST_ROWS or columns > _WIDEST:
        raise _UnreadableError(f"has {rows} rows and {columns} columns; Excel's most are {MOST_ROWS} and {_WIDEST}")
    return found


def _extent(sheet: calamine.CalamineSheet) -> tuple[int, int]:
    """Return how many rows and columns there are up to the last cell that holds something."""
    row, column = sheet.end or (-1, -1)
    return row + 1, column + 1


def _look_inside(path: Path) -> None:
    """Refuse what is no workbook or too large, by the archive's own table of contents."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError):
        raise _UnreadableError("is damaged or no Excel workbook (.xlsx)") from None
    if not any(part.filename.startswith("xl/workbook") and part.filename.endswith(".xml") for part in parts):
        raise _UnreadableError("is an archive, but no Excel workbook (.xlsx)")
    if any(part.flag_bits & 1 for part in parts):
        raise _UnreadableError("is encrypted; save it without a password")
    unpacked = sum(part.file_size for part in parts)
    if unpacked > LARGEST_UNPACKED:
        raise _UnreadableError(
            f"has {unpacked >> 20} MB when unpacked; at most {LARGEST_UNPACKED >> 20} can be read. Save it as CSV"
        )


def text_of(cell: Any) -> str:
    """Return a cell as CSV would hold it: whole numbers as digits, times ISO 8601, truth as Excel shows it."""
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    # Excel knows floats only
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < _EXACT:
        return str(int(cell))
    if isinstance(cell, (date, datetime, time)):
        return cell.isoformat()
    return str(cell)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if sys.argv[2:] else None)

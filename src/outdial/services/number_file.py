"""Phone numbers of a file: one a line, or columns of a CSV file or an Excel workbook."""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final

from outdial.core.contact_import import ImportProgress
from outdial.core.errors import FileError, InvalidInputError
from outdial.core.phone import parse_phone, region_problem
from outdial.services.contact_columns import column_places, nameless, phone_places
from outdial.services.csv_source import Record
from outdial.services.fields import require
from outdial.services.import_rows import ErrorFile
from outdial.services.table_source import open_table
from outdial.services.workbook_source import DESCRIPTORS

MOST_TOLD: Final = 1000
"""Rows of which the reason is kept why they could not be read; all are counted, and all are in the error file."""

LARGEST_PIPE: Final = 256 << 20
"""Bytes that are read from what is no regular file; ten million numbers have half of it."""

_TOLD_EVERY: Final = 1000
"""Rows between two words on how far it is."""
_LONGEST_SHOWN: Final = 60
_PIECE: Final = 1 << 20
_HEADLESS: Final = (
    "the row has {count} cells, and no first line names the columns: put one above, e.g. phone,name, or leave one cell "
    "a line"
)
_BEYOND: Final = "the row has {count} cells, the first line {width}; a value with a separator needs quotes"
_LINES: Final = (
    "a cell goes over more than one line: where a quote is missing or too many, the rows in it were not read; write it "
    "in one line"
)


@contextmanager
def regular(path: Path) -> Iterator[Path]:
    """Give the path of a regular file with the same content, which can be read more than once: of a pipe one without a
    name, gone with this process.

    Raises FileError, also for more than ``LARGEST_PIPE``. Blocks until the pipe ends.
    """
    try:
        mode = path.stat().st_mode
        copied = None if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else _copy(path)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}.") from error
    if copied is None:
        yield path
        return
    with copied:
        yield path_of(copied)


def path_of(file: BinaryIO) -> Path:
    """Return the path of an open file that need not have a name; it is one for as long as the file is open here."""
    return DESCRIPTORS / str(file.fileno())


def _copy(path: Path) -> BinaryIO:
    with ExitStack() as opened:
        copy = opened.enter_context(tempfile.TemporaryFile())
        with path.open("rb", buffering=0) as pipe:
            while piece := pipe.read(_PIECE):
                copy.write(piece)
                if copy.tell() > LARGEST_PIPE:
                    raise FileError(f"{path} gives more than {LARGEST_PIPE >> 20} MB; write it to a file first.")
        copy.flush()
        opened.pop_all()
        return copy


class NumberFile:
    """An open file of numbers."""

    def __init__(
        self,
        path: Path,
        *,
        columns: Sequence[str] = (),
        sheet: str | None = None,
        default_region: str | None = None,
        error_file: Path | None = None,
        name: str | None = None,
        option: str = "--column",
    ) -> None:
        """Open the file and find its numbers.

        ``columns`` names theirs, in the first line, or says ``column 2`` for the second. Without it that is the one
        called phone or the like, or the only one there is; and where the first line holds a number instead of names,
        each line holds one and nothing else. ``sheet`` is for workbooks, None = the first. ``error_file`` gets every
        row of which something cannot be read, with its line and the reason. ``name`` is what its owner calls it, and
        ``option`` what they name columns with.

        Raises FileError, and InvalidInputError for what is no table, has no such column or several that fit, or for an
        unknown region. Blocks, as all of this class.
        """
        require([] if default_region is None else region_problem(default_region))
        self.rows = 0
        """Read so far, without empty ones; a first line that names the columns is none."""
        self.unreadable = 0
        """Of them, those of which something could not be read."""
        self.line = 0
        """Of the last row of which all numbers were yielded, from 1."""
        self.problems: list[str] = []
        """A sentence for each of the unreadable, the first ``MOST_TOLD``."""
        self._region = default_region
        self._source = open_table(path, sheet=sheet, name=name)
        try:
            header = self._source.header
            self._alone = not columns and _is_row(header, default_region)
            self._places = [0] if self._alone else _places(header, columns, option)
            self._first_is_row = self._alone or any(_is_meant(header[each], default_region) for each in self._places)
            self._names = [nameless(place) for place in range(len(header))] if self._first_is_row else list(header)
            self._errors = ErrorFile(error_file, path, ["phone"] if self._alone else self._names)
        except BaseException:
            self._source.close()
            raise

    @property
    def size(self) -> int:
        """How much there is to read, as progress tells it: bytes of a CSV file, rows of a sheet."""
        return self._source.size

    def numbers(self, on_progress: Callable[[ImportProgress], None] | None = None) -> Iterator[str]:
        """Yield the numbers that can be read, E.164, row by row; tell the others. ``on_progress`` hears of it now and
        then.

        Raises FileError, and InvalidInputError when the file is no table from some row on.
        """
        # only a file that begins with it has its first row taken for names
        first = [Record(self._source.header_line, list(self._source.header), None)] if self._first_is_row else []
        for record in chain(first, self._source.records()):
            self.rows += 1
            if on_progress is not None and self.rows % _TOLD_EVERY == 1:
                on_progress(
                    ImportProgress(
                        rows=self.rows, bad=self.unreadable, position=self._source.position, size=self._source.size
                    )
                )
            numbers, reasons = self._read(record)
            if reasons:
                self._tell(record, reasons)
            yield from numbers[:-1]
            # whoever takes the last one has all of the row
            self.line = record.line
            yield from numbers[-1:]

    def _read(self, record: Record) -> tuple[list[str], list[str]]:
        """Return the numbers of a row, and what is wrong with it: of a row that is wrong elsewhere they count too."""
        cells, width = record.cells, len(self._source.header)
        if record.problem is not None:
            return [], [record.problem]
        filled = [cell for cell in cells if cell.strip()]
        if self._alone:
            if len(filled) > 1:
                return [], [_HEADLESS.format(count=len(filled))]
            named = [("", filled[0] if filled else "")]
        elif any(cell.strip() for cell in cells[width:]):
            # which cell holds what is not known
            return [], [_BEYOND.format(count=len(cells), width=width)]
        else:
            given = [(self._names[at], cells[at] if at < len(cells) else "") for at in self._places]
            several = len(given) > 1
            # of several columns not all need to be filled
            label = "{name}: " if several else ""
            named = [(label.format(name=name[:_LONGEST_SHOWN]), cell) for name, cell in given if cell.strip()] or [
                ("", "")
            ]
        numbers, reasons = [], []
        if self._source.quoted and any(_goes_on(cell) for cell in cells):
            reasons.append(_LINES)
        for label, cell in named:
            try:
                numbers.append(_number(cell, self._region))
            except InvalidInputError as error:
                reasons += [label + message for message in error.messages]
        return numbers, reasons

    def _tell(self, record: Record, reasons: Sequence[str]) -> None:
        self.unreadable += 1
        self._errors.add(record, reasons)
        if len(self.problems) < MOST_TOLD:
            cells = [record.cells[place] for place in self._places if place < len(record.cells)]
            shown = ", ".join(cell for cell in cells if cell.strip())
            self.problems.append(f"Line {record.line}: {shown[:_LONGEST_SHOWN]!r}: {'; '.join(reasons)}.")

    def close(self) -> None:
        """Close it, and the error file, which is removed when nothing is in it. Raises FileError."""
        self._source.close()
        self._errors.close()


@dataclass(slots=True)
class Tally:
    """What was done with numbers so far, those of a file among them."""

    file: NumberFile | None = None
    changed: int = 0
    unchanged: int = 0
    line: int = 0
    """Of the file: all that was to be done up to the end of it is done; 0: nothing is, or there is no file."""

    def count(self, changed: int, unchanged: int) -> None:
        """Note a transaction that is committed: with it is done whatever was read before it."""
        self.changed += changed
        self.unchanged += unchanged
        self.line = 0 if self.file is None else self.file.line


def _number(cell: str, region: str | None) -> str:
    if _goes_on(cell):
        # what is between digits does not count, and two numbers would be read as one
        raise InvalidInputError(["the cell of the phone number has more than one line"])
    return parse_phone(cell, region)


def _goes_on(cell: str) -> bool:
    return len(cell.strip().splitlines()) > 1


def _reads(text: str, region: str | None) -> bool:
    try:
        parse_phone(text, region)
    except InvalidInputError:
        return False
    return True


def _is_row(header: Sequence[str], region: str | None) -> bool:
    """Whether the first line holds a number and not names: one that can be read, or, alone, one that was meant."""
    first, *others = header
    return _reads(first, region) or (not any(cell.strip() for cell in others) and any(sign.isdigit() for sign in first))


def _is_meant(cell: str, region: str | None) -> bool:
    """Whether a cell of the first line holds a number and no name, perhaps a mistyped one: digits above all."""
    digits = sum(sign.isdigit() for sign in cell)
    return _reads(cell, region) or digits > sum(sign.isalpha() for sign in cell)


def _places(header: Sequence[str], columns: Sequence[str], option: str) -> list[int]:
    """Return where numbers are; raise InvalidInputError where that is not certain."""
    shown = ", ".join(name.strip() for name in header)[: 3 * _LONGEST_SHOWN]
    if not columns:
        found = [0] if len(header) == 1 else phone_places(header)
        if len(found) == 1:
            return found
        fit = ", ".join(header[place].strip() for place in found)[: 3 * _LONGEST_SHOWN]
        raise InvalidInputError(
            [
                f"Several columns may hold the numbers: {fit}. Say which with {option}, once for each."
                if found
                else "The first line names no column for phone numbers, or holds a number: name it phone, or say which "
                f"it is with {option}. It names: {shown}."
            ]
        )
    problems = []
    places: list[int] = []
    for column in columns:
        found = column_places(header, column)
        if len(found) == 1:
            places += found
        else:
            count = f"{len(found)} such columns" if found else "no such column"
            problems.append(f"{option} {column[:_LONGEST_SHOWN]}: the first line has {count}. It names: {shown}.")
    require(problems)
    return list(dict.fromkeys(places))

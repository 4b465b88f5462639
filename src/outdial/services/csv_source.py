"""Reading CSV files as people have them: any usual encoding, separator and line end, broken rows told one by one.

The file is read twice, once to find out its encoding, and never held in memory.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, TypedDict

from outdial.core.errors import FileError, InvalidInputError

LONGEST_LINE: Final = 1 << 20
"""Characters; a longer line is no row of a table."""

MOST_LINES: Final = 100
"""Lines one row may have (in quoted cells); more means that a quote is missing, and rows would be swallowed."""

_SEPARATORS: Final = ",;\t|"
_SEPARATOR_LINE: Final = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)
"""What Excel understands as the first line."""

_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    # before UTF-16, whose mark begins the same way
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNDEFINED_IN_CP1252: Final = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_CHUNK: Final = 1 << 20
_BLOCK: Final = 1 << 17
"""Characters of lines that are read at once."""

_ONE_BY_ONE: Final = 1000
"""Rows."""


class Record(NamedTuple):
    """One row of the table, or why it cannot be read."""

    line: int
    """Where it starts in the file, from 1."""
    cells: list[str]
    """As read; of a row that cannot be read, its first line in one cell."""
    problem: str | None


class Rows(NamedTuple):
    """Some rows of the table that follow one another, or one that cannot be read: reading row by row costs more than
    all that is done with most of them."""

    lines: Sequence[int]
    """Where each starts in the file, from 1."""
    cells: Sequence[list[str]]
    """Of each; none is empty."""
    problem: str | None = None
    """Why the only one cannot be read; its first line is its only cell."""

    def records(self) -> Iterator[Record]:
        """Yield them one by one."""
        for line, cells in zip(self.lines, self.cells, strict=True):
            yield Record(line, cells, self.problem)

    def after(self, count: int) -> Rows:
        """Return all but the first ``count``."""
        return Rows(self.lines[count:], self.cells[count:], self.problem)


class CsvSource:
    """An open CSV file: its header, then its rows."""

    quoted: Final = True

    def __init__(self, path: Path, *, name: str | None = None) -> None:
        """Open the file and read its header; ``name`` is what its owner calls it.

        Raises FileError, and InvalidInputError when it is no CSV file or has no header. Blocks, as all of this class.
        """
        self._path = path
        self._name = name or path.name
        try:
            self.size = path.stat().st_size
            self._bytes: BinaryIO = path.open("rb")
        except OSError as error:
            raise FileError(f"{path} cannot be read: {error.strerror}.") from error
        try:
            self._open_text()
        except BaseException:
            self.close()
            raise

    def _open_text(self) -> None:
        try:
            encoding = _encoding(self._bytes)
            self._bytes.seek(0)
        except OSError as error:
            raise FileError(f"{self._path} cannot be read: {error.strerror}.") from error
        # what is no character in UTF-16 is shown as such; the other encodings have been found to fit
        text = io.TextIOWrapper(self._bytes, encoding=encoding, errors="replace", newline="")
        self._lines = _Lines(text, self._name)
        self._dialect: _Dialect = {"delimiter": self._separator(), "strict": True, "skipinitialspace": True}
        rows = self._read()
        first = next(rows, None)
        if first is None:
            raise InvalidInputError([f"{self._name} is empty; its first line must name the columns."])
        if first.problem is not None:
            raise InvalidInputError([f"The first line of {self._name} cannot be read: {first.problem}."])
        self.header, self.header_line = first.cells[0], first.lines[0]
        self._rows = chain([first.after(1)], rows)

    def _separator(self) -> str:
        """Return what separates cells: what the first line that says something has most of, outside quotes."""
        for line in self._lines.peek():
            chosen = _SEPARATOR_LINE.fullmatch(line)
            if chosen:
                self._lines.skip_peeked()
                return chosen[1]
            if line.strip():
                bare = re.sub(r'"[^"]*"', "", line)
                return max(_SEPARATORS, key=bare.count)
        return ","

    @property
    def position(self) -> int:
        """Bytes read so far, of ``size``."""
        return self._bytes.tell()

    def rows(self) -> Iterator[Rows]:
        """Yield the rows that are left, without empty ones. Raises FileError, and InvalidInputError for no table."""
        return self._rows

    def records(self) -> Iterator[Record]:
        """Yield them one by one."""
        return chain.from_iterable(rows.records() for rows in self._rows)

    def _read(self) -> Iterator[Rows]:
        """Read many lines at once, and where quotes are wrong or a row has many lines, some rows one by one."""
        try:
            while block := self._lines.take():
                first = self._lines.first_of_block
                cells, places, done = self._block(block)
                lines: Sequence[int] = range(first, first + done) if places is None else [first + at for at in places]
                if not all(map(any, cells)):
                    lines = [line for line, row in zip(lines, cells, strict=True) if any(row)]
                    cells = list(filter(any, cells))
                if cells:
                    yield Rows(lines, cells)
                if done < len(block):
                    self._lines.put_back(block[done:])
                    # where one is wrong there may be more, and each costs a block
                    for _ in range(_ONE_BY_ONE):
                        for record in self._row():
                            yield Rows([record.line], [record.cells], record.problem)
        except OSError as error:
            raise FileError(f"{self._path} cannot be read: {error.strerror}.") from error

    def _block(self, block: Sequence[str]) -> tuple[list[list[str]], list[int] | None, int]:
        """Return the rows of some lines until something is wrong, at which line each begins (None = each is one line),
        and how many lines they are."""
        try:
            cells = list(csv.reader(block, **self._dialect))
        except csv.Error:
            # what is wrong is found below
            cells = []
        if len(cells) == len(block):
            return cells, None, len(block)
        cells, places, done = [], [], 0
        rows = csv.reader(block, **self._dialect)
        try:
            for row in rows:
                if rows.line_num - done > MOST_LINES:
                    break
                cells.append(row)
                places.append(done)
                done = rows.line_num
        except csv.Error:
            # of the rows before nothing is wrong
            pass
        return cells, places, done

    def _row(self) -> Iterator[Record]:
        """Yield the next row, or its first line as one that cannot be read."""
        lines = self._lines
        lines.taken.clear()
        try:
            cells = next(csv.reader(lines, **self._dialect))
        except StopIteration:
            return
        except (csv.Error, _TooManyLinesError):
            yield Record(lines.first, [lines.taken[0].rstrip("\r\n")], _WRONG_QUOTES)
            lines.put_back_all_but_first()
        else:
            if any(cells):
                yield Record(lines.first, cells, None)

    def close(self) -> None:
        """Close the file."""
        self._bytes.close()


class _Dialect(TypedDict):
    """How cells are told apart."""

    delimiter: str
    strict: bool
    skipinitialspace: bool


_WRONG_QUOTES: Final = 'the quotes are wrong: a cell that begins with " ends with ", and a " within it is written twice'


class _TooManyLinesError(Exception):
    """A row goes on for more than ``MOST_LINES``."""


class _Lines:
    """Gives the csv module its lines, remembers those of the row being read, and takes lines back."""

    def __init__(self, text: io.TextIOWrapper, name: str) -> None:
        self.taken: list[str] = []
        """Lines of the row being read; whoever reads rows clears it before each."""
        self.first_of_block = 1
        """Number of the first line of the block taken last."""
        self._count = 0
        self._text = text
        self._name = name
        self._again: deque[str] = deque()

    @property
    def first(self) -> int:
        """Number of the first line of the row being read."""
        return self._count - len(self.taken) + 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self.taken) >= MOST_LINES:
            raise _TooManyLinesError
        line = self._again.popleft() if self._again else self._text.readline(LONGEST_LINE)
        if not line:
            raise StopIteration
        self._count += 1
        if len(line) >= LONGEST_LINE:
            raise self._too_long(self._count)
        self.taken.append(line)
        return line

    def take(self) -> list[str]:
        """Return the next lines, some thousands at once; none at the end. They count as read."""
        block = list(self._again)
        self._again.clear()
        if not block:
            text = self._text.read(_BLOCK)
            if text and not text.endswith("\n"):
                text += self._text.readline(LONGEST_LINE)
            block = io.StringIO(text, newline="").readlines()
        if block and len(max(block, key=len)) >= LONGEST_LINE:
            line = next(place for place, line in enumerate(block, 1) if len(line) >= LONGEST_LINE)
            if line == 1:
                raise self._too_long(self._count + 1)
            # the rows before it first
            self._again.extend(block[line - 1 :])
            block = block[: line - 1]
        self.first_of_block = self._count + 1
        self._count += len(block)
        return block

    def put_back(self, lines: list[str]) -> None:
        """Let the last lines of a block be read again."""
        self._again.extendleft(reversed(lines))
        self._count -= len(lines)

    def _too_long(self, line: int) -> InvalidInputError:
        return InvalidInputError([f"Line {line} of {self._name} is too long; is it a CSV file?"])

    def put_back_all_but_first(self) -> None:
        """Let the lines after the first of this row be read again, as rows of their own."""
        again = self.taken[1:]
        self._again.extendleft(reversed(again))
        self._count -= len(again)
        self.taken.clear()

    def peek(self) -> Iterator[str]:
        """Yield the next lines, which will be read again."""
        while line := self._text.readline(LONGEST_LINE):
            self._again.append(line)
            yield line

    def skip_peeked(self) -> None:
        """Do not read again what was peeked at."""
        self._count += len(self._again)
        self._again.clear()


def _encoding(file: BinaryIO) -> str:
    head = file.read(64)
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding
    if len(head) > 1 and not head[0] and head[1]:
        return "utf-16-be"
    if len(head) > 1 and head[0] and not head[1]:
        return "utf-16-le"
    return "utf-8" if _decodes(file, "utf-8") else _windows_encoding(file)


def _decodes(file: BinaryIO, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    file.seek(0)
    try:
        while chunk := file.read(_CHUNK):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _windows_encoding(file: BinaryIO) -> str:
    """Return what Excel writes on Windows in the west, or Latin-1, where every byte is a character."""
    file.seek(0)
    while chunk := file.read(_CHUNK):
        if _UNDEFINED_IN_CP1252.search(chunk):
            return "latin-1"
    return "cp1252"

"""Reading Excel workbooks (.xlsx), whatever is in them: another process parses, within limits, and hands rows over."""

from __future__ import annotations

import mmap
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from outdial.core.errors import FileError, InvalidInputError
from outdial.services import workbook_reader
from outdial.services.csv_source import Record, Rows

LARGEST_WORKBOOK: Final = 100 << 20
"""Bytes; a million people of ten columns have some 60 MB."""

ZIP: Final = b"PK\x03\x04"
OLE: Final = b"\xd0\xcf\x11\xe0"
"""How files of Excel begin: since 2007, and before or with a password."""

DESCRIPTORS: Final = Path("/proc/self/fd")
"""Where a file that a process has open is, also one without a name."""

_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")
_LONGEST_LINE: Final = 32 << 20
"""Bytes of one row as JSON; Excel's own limits allow more, a person's row does not."""

_ROWS_AT_ONCE: Final = 1000
_CHARACTERS_AT_ONCE: Final = 1 << 17
"""Whichever comes first."""


class WorkbookSource:
    """An open sheet of a workbook: its header, then its rows."""

    quoted: Final = False

    def __init__(self, path: Path, *, sheet: str | None, name: str | None = None) -> None:
        """Open the file and read the header of the sheet of that name, None = the first that can be seen; ``name`` is
        what the file's owner calls it.

        Raises FileError, and InvalidInputError when it is no workbook, too large, or has no header. Blocks, as all of
        this class.
        """
        self._name = name or path.name
        self.position = 0
        """Rows read so far, of ``size``."""
        try:
            _refuse(path, self._name)
        except OSError as error:
            raise FileError(f"{path} cannot be read: {error.strerror}.") from error
        # what has no name is lent to the other process, which has it under the same number
        lent = [int(path.name)] if path.parent == DESCRIPTORS else []
        words = [str(path if lent else path.resolve()), *([] if sheet is None else [sheet])]
        self._reader = subprocess.Popen(  # noqa: S603 - our own program, and the file as its argument
            # -P: the folder of that program must not stand on the path
            [sys.executable, "-P", workbook_reader.__file__, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=lent,
        )
        try:
            self.size, first = self._start()
            self.header, self.header_line = first.cells, first.line
        except BaseException:
            self.close()
            raise

    def _start(self) -> tuple[int, Record]:
        """Return the number of rows and the first, which names the columns."""
        size = self._line()
        header = next(self.records(), None)
        if not isinstance(size, int) or header is None:
            raise InvalidInputError([f"The sheet of {self._name} is empty; its first row must name the columns."])
        return size, header

    def rows(self) -> Iterator[Rows]:
        """Yield the rows that are left, without empty ones. Raises InvalidInputError when the reader met its limits."""
        lines: list[int] = []
        cells: list[list[str]] = []
        size = 0
        for record in self.records():
            lines.append(record.line)
            cells.append(record.cells)
            size += sum(map(len, record.cells))
            if len(lines) >= _ROWS_AT_ONCE or size >= _CHARACTERS_AT_ONCE:
                yield Rows(lines, cells)
                lines, cells, size = [], [], 0
        yield Rows(lines, cells)

    def records(self) -> Iterator[Record]:
        """Yield them one by one."""
        while isinstance(cells := self._line(), list):
            self.position += 1
            # sheets are rectangles: what is empty at the end of a row is not there
            while cells and not cells[-1]:
                cells.pop()
            if cells:
                yield Record(self.position, cells, None)

    def _line(self) -> object:
        """Return what the reader says next, None at its end. Raises InvalidInputError for what it says is wrong."""
        assert self._reader.stdout is not None  # noqa: S101 - opened above
        line = self._reader.stdout.readline(_LONGEST_LINE)
        if len(line) >= _LONGEST_LINE:
            raise InvalidInputError([f"A row of {self._name} is too long."])
        if not line.endswith(b"\n"):
            self._ended(self._reader.wait())
            return None
        said = msgspec.json.decode(line)
        if isinstance(said, str):
            raise InvalidInputError([f"{self._name} {said}."])
        return said

    def _ended(self, code: int) -> None:
        if code in {-signal.SIGXCPU, -signal.SIGKILL}:
            raise InvalidInputError(
                [f"{self._name} takes more than {workbook_reader.CPU_SECONDS} seconds to read; save it as CSV."]
            )
        # the parser aborts when it gets no memory
        if code in {-signal.SIGABRT, -signal.SIGSEGV, workbook_reader.NO_MEMORY}:
            raise InvalidInputError(
                [f"{self._name} needs more than {workbook_reader.MEMORY_BYTES >> 20} MB to read; save it as CSV."]
            )
        if code:
            raise InvalidInputError([f"{self._name} cannot be read as an Excel workbook; save it as CSV."])

    def close(self) -> None:
        """End the reader and wait for its end."""
        self._reader.kill()
        self._reader.wait()
        if self._reader.stdout is not None:
            self._reader.stdout.close()


def _refuse(path: Path, name: str) -> None:
    size = path.stat().st_size
    if size > LARGEST_WORKBOOK:
        raise InvalidInputError(
            [f"{name} has {size >> 20} MB; a workbook may have {LARGEST_WORKBOOK >> 20}. Save it as CSV."]
        )
    with path.open("rb") as file:
        if not file.read(len(OLE)).startswith(OLE):
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            locked = content.find(_ENCRYPTED) >= 0
    if locked:
        raise InvalidInputError([f"{name} is protected by a password; save it without one."])
    raise InvalidInputError([f"{name} is an Excel workbook of before 2007; save it as .xlsx or CSV."])

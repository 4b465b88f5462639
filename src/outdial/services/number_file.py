"""Phone numbers of a file: one a line, or one column of a CSV file or an Excel workbook."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from outdial.core.contact_import import ImportProgress
from outdial.core.errors import InvalidInputError
from outdial.core.phone import parse_phone, region_problem
from outdial.services.contact_columns import ColumnMapping, columns_of
from outdial.services.csv_source import Record
from outdial.services.fields import require
from outdial.services.import_rows import ErrorFile
from outdial.services.table_source import open_table

MOST_TOLD: Final = 1000
"""Rows that could not be read of which the reason is kept; all are counted, and all are in the error file."""

_TOLD_EVERY: Final = 1000
"""Rows between two words on how far it is."""
_LONGEST_SHOWN: Final = 60
_HEADLESS: Final = (
    "the row has {count} cells, and no first line names the columns: put one above, e.g. phone,name, or leave one cell "
    "a line"
)


class NumberFile:
    """An open file of numbers."""

    def __init__(
        self,
        path: Path,
        *,
        column: str | None = None,
        sheet: str | None = None,
        default_region: str | None = None,
        error_file: Path | None = None,
    ) -> None:
        """Open the file and find its numbers.

        ``column`` names theirs, in the first line. Without it that is the one called phone or the like, or the only
        one there is; and where the first line holds a number instead of names, each line holds one and nothing else.
        ``sheet`` is for workbooks, None = the first. ``error_file`` gets every row that cannot be read, with its line
        and the reason.

        Raises FileError, and InvalidInputError for what is no table, has no such column, or for an unknown region.
        Blocks, as all of this class.
        """
        require([] if default_region is None else region_problem(default_region))
        self.rows = 0
        """Read so far, without empty ones; a first line that names the columns is none."""
        self.unreadable = 0
        """Of them."""
        self.problems: list[str] = []
        """A sentence for each of those, the first ``MOST_TOLD``."""
        self._region = default_region
        self._source = open_table(path, sheet=sheet)
        try:
            header = self._source.header
            self._headless = column is None and _is_row(header, default_region)
            self._place = 0 if self._headless else _place(header, column, default_region)
            self._errors = ErrorFile(error_file, path, ["phone"] if self._headless else header)
        except BaseException:
            self._source.close()
            raise

    def numbers(self, on_progress: Callable[[ImportProgress], None] | None = None) -> Iterator[str]:
        """Yield the numbers that can be read, E.164, row by row; tell the others. ``on_progress`` hears of it now and
        then.

        Raises FileError, and InvalidInputError when the file is no table from some row on.
        """
        # only a file that begins with it has its first row taken for names
        first = [Record(self._source.header_line, list(self._source.header), None)] if self._headless else []
        for record in chain(first, self._source.records()):
            self.rows += 1
            if on_progress is not None and self.rows % _TOLD_EVERY == 1:
                on_progress(
                    ImportProgress(
                        rows=self.rows, bad=self.unreadable, position=self._source.position, size=self._source.size
                    )
                )
            try:
                number = parse_phone(self._cell(record), self._region)
            except InvalidInputError as error:
                self._tell(record, error.messages)
            else:
                yield number

    def _cell(self, record: Record) -> str:
        if record.problem is not None:
            raise InvalidInputError([record.problem])
        filled = [cell for cell in record.cells if cell.strip()]
        if self._headless:
            if len(filled) > 1:
                raise InvalidInputError([_HEADLESS.format(count=len(filled))])
            return filled[0] if filled else ""
        return record.cells[self._place] if self._place < len(record.cells) else ""

    def _tell(self, record: Record, reasons: Sequence[str]) -> None:
        self.unreadable += 1
        self._errors.add(record, reasons)
        if len(self.problems) < MOST_TOLD:
            shown = record.cells[self._place] if self._place < len(record.cells) else ""
            self.problems.append(f"Line {record.line}: {shown[:_LONGEST_SHOWN]!r}: {'; '.join(reasons)}.")

    def close(self) -> None:
        """Close it, and the error file, which is removed when nothing is in it. Raises FileError."""
        self._source.close()
        self._errors.close()


def _is_row(header: Sequence[str], region: str | None) -> bool:
    """Whether the first line holds a number and not names: one that can be read, or, alone, one that was meant."""
    first, *others = header
    try:
        parse_phone(first, region)
    except InvalidInputError:
        return not any(cell.strip() for cell in others) and any(sign.isdigit() for sign in first)
    return True


def _place(header: Sequence[str], column: str | None, region: str | None) -> int:
    if column is None and len(header) == 1:
        return 0
    mapping = ColumnMapping() if column is None else ColumnMapping.of({"phone": column})
    try:
        return columns_of(header, default_region=region, mapping=mapping).phone
    except InvalidInputError as error:
        raise InvalidInputError([*error.messages, *([] if column else ["Or say which it is with --column."])]) from None

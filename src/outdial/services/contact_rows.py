"""From the cells of rows to contacts that can be stored: the way of a million rows, so each step is counted.

Many rows are read at once, column by column, by what Python does for a whole column in one call. A row that is not
plain, or might be wrong, takes the usual way, which also says what is wrong. That both read the same is shown by a
differential test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

from outdial.core.errors import InvalidInputError
from outdial.core.phone import parse_phones
from outdial.core.zones import valid_zone
from outdial.services.contact_columns import LONGEST_CELL, Columns
from outdial.services.contact_lists import LARGEST_ATTRIBUTES, checked, other_numbers
from outdial.services.csv_source import Record, Rows
from outdial.services.fields import is_storable
from outdial.store.contact_text import (
    NO_VALUE,
    attribute_texts,
    contact_line,
    is_bare,
    lines_of,
    name_texts,
    value_text,
)
from outdial.store.contacts import NewContacts

_PLAIN_PRIORITY_DIGITS: Final = 4

_LONGEST_IN_JSON: Final = 6
"""Bytes that one character can become."""


@dataclass(frozen=True, slots=True)
class ReadRows:
    """What some rows hold."""

    contacts: NewContacts
    """Of each row, in their order; in the place of one that is wrong is an empty number."""
    wrong: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """What is wrong with rows, by their places."""
    left_out: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """Of rows that are right, what is wrong with other numbers, which are left out, by the rows' places."""


class RowReader:
    """Reads rows of one table."""

    def __init__(self, columns: Columns, *, default_region: str | None) -> None:
        self._columns = columns
        self._region = default_region
        self._places = [place for place, _ in columns.attributes]
        self._names = name_texts([name for _, name in columns.attributes])
        """None when one cannot be stored: no row is plain then."""

    def read(self, rows: Rows) -> ReadRows:
        """Return the contacts in some rows, and everything that is wrong with the others."""
        plain = None if rows.problem else self._plain(rows.cells)
        read = ReadRows(plain or NewContacts([""] * len(rows.cells), [""] * len(rows.cells)))
        if "" in read.contacts.phones:
            for place, record in enumerate(rows.records()):
                if not read.contacts.phones[place]:
                    self._usual(place, record, read)
        if self._columns.others:
            self._others(rows.cells, read)
        return read

    def _others(self, cells: Sequence[list[str]], read: ReadRows) -> None:
        """Read the other numbers of the rows that are right."""
        for place, phone in enumerate(read.contacts.phones):
            if not phone:
                continue
            row = cells[place]
            found, wrong = other_numbers(
                {word: row[at] for at, word in self._columns.others if at < len(row) and row[at]}, phone, self._region
            )
            if found:
                read.contacts.others[place] = found
            if wrong:
                read.left_out[place] = wrong

    def _usual(self, place: int, record: Record, read: ReadRows) -> None:
        if record.problem is not None:
            read.wrong[place] = (record.problem,)
            return
        try:
            row = checked(self._columns.contact(record.cells), default_region=self._region)
        except InvalidInputError as error:
            read.wrong[place] = error.problems
        else:
            read.contacts.phones[place] = row.phone
            read.contacts.lines[place] = contact_line(row)

    def _plain(self, cells: Sequence[list[str]]) -> NewContacts | None:
        """Return the contacts in rows, with an empty number in the place of each row that is not plain; None when
        nothing can be said of any."""
        count = self._columns.count
        if self._names is None or not cells:
            return None
        if set(map(len, cells)) != {count}:
            # a row that is too long may be wrong: it is left out here
            cells = [row + [""] * (count - len(row)) if len(row) <= count else [""] * count for row in cells]
        columns = [list(map(itemgetter(place), cells)) for place in range(count)]
        longest = [max(map(len, column)) for column in columns]
        if max(longest) > LONGEST_CELL or self._may_be_large(longest):
            return None
        attributes = attribute_texts(self._names, [columns[place] for place in self._places])
        phones = parse_phones(columns[self._columns.phone], self._region)
        time_zones = _by_value(_time_zone, columns, self._columns.time_zone, NO_VALUE)
        unique_ids = _unique_ids(columns, self._columns.unique_id)
        priorities = _by_value(_priority, columns, self._columns.priority, "0")
        lines = lines_of(phones, time_zones, unique_ids, priorities, attributes)
        doubtful = [part for part in (phones, time_zones, unique_ids, priorities, *attributes.doubtful) if None in part]
        if doubtful:
            phones = ["" if None in parts else phone for phone, *parts in zip(phones, *doubtful, strict=True)]
        return NewContacts([phone or "" for phone in phones], lines)

    def _may_be_large(self, longest: Sequence[int]) -> bool:
        """Whether one of the rows with such cells may have more attributes than can be stored."""
        size = sum(longest[place] * _LONGEST_IN_JSON for place in self._places)
        return size + sum(len(name.encode()) + len('"":"",') for name in self._names or ()) > LARGEST_ATTRIBUTES


def _by_value(
    text_of: Callable[[str], str | None], columns: Sequence[Sequence[str]], place: int | None, absent: str
) -> Sequence[str | None]:
    """Return a column's texts where few cells differ; None for those that are not plain."""
    if place is None:
        return [absent] * len(columns[0])
    texts = {cell: text_of(cell) for cell in set(columns[place])}
    return [texts[cell] for cell in columns[place]]


def _time_zone(cell: str) -> str | None:
    found = cell.strip()
    return NO_VALUE if not found else found if valid_zone(found) else None


def _priority(cell: str) -> str | None:
    if not cell:
        return "0"
    plain = cell.isascii() and cell.isdecimal() and len(cell) <= _PLAIN_PRIORITY_DIGITS
    return str(int(cell)) if plain else None


def _unique_ids(columns: Sequence[Sequence[str]], place: int | None) -> Sequence[str | None]:
    if place is None:
        return [NO_VALUE] * len(columns[0])
    if is_bare(columns[place]):
        return [cell.strip() or NO_VALUE for cell in columns[place]]
    return [value_text(cell.strip() or None) if is_storable(cell) else None for cell in columns[place]]

"""From the cells of a row to a contact that can be stored: the way of a million rows, so each step is counted.

What is plain is read here; whatever is not, or might be wrong, takes the usual way, which also says what is wrong. That
both read the same is shown by a differential test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from outdial.core.errors import InvalidInputError
from outdial.core.phone import is_plain, parse_phone
from outdial.core.zones import valid_zone
from outdial.services.contact_columns import LONGEST_CELL, Columns
from outdial.services.contact_lists import LARGEST_ATTRIBUTES, checked
from outdial.services.csv_source import Record
from outdial.services.fields import is_storable
from outdial.store.contacts import ContactRow, NewContacts

_PLAIN_PRIORITY_DIGITS: Final = 4

_encode = msgspec.json.Encoder().encode


class _NotPlainError(Exception):
    """A cell must take the usual way."""


class RowReader:
    """Reads rows of one table."""

    def __init__(self, columns: Columns, *, default_region: str | None) -> None:
        self._columns = columns
        self._region = default_region

    def read(self, record: Record, to: NewContacts) -> int:
        """Add the contact in a row; return how many bytes its attributes have.

        Raises InvalidInputError with everything that is wrong with it.
        """
        row = self._plain(record)
        if row is None:
            row = self._usual(record)
        to.phones.append(row[0])
        to.time_zones.append(row[1])
        to.unique_ids.append(row[2])
        to.priorities.append(row[3])
        to.attributes.append(row[4])
        return len(memoryview(row[4]))

    def _usual(self, record: Record) -> ContactRow:
        if record.problem is not None:
            raise InvalidInputError([record.problem])
        return checked(self._columns.contact(record.cells), default_region=self._region)

    def _plain(self, record: Record) -> tuple[str, str | None, str | None, int, msgspec.Raw] | None:
        """Return the contact in a plain row, None when the usual way must be taken."""
        cells = record.cells
        if record.problem is not None or len(cells) != self._columns.count or max(map(len, cells)) > LONGEST_CELL:
            return None
        try:
            phone = cells[self._columns.phone]
            return (
                phone if is_plain(phone) else parse_phone(phone, self._region),
                self._time_zone(cells),
                self._unique_id(cells),
                self._priority(cells),
                self._attributes(cells),
            )
        except (InvalidInputError, UnicodeEncodeError, _NotPlainError):
            # the usual way finds it again, and whatever else is wrong
            return None

    def _time_zone(self, cells: Sequence[str]) -> str | None:
        place = self._columns.time_zone
        found = None if place is None else cells[place].strip() or None
        if found is not None and not valid_zone(found):
            raise _NotPlainError
        return found

    def _unique_id(self, cells: Sequence[str]) -> str | None:
        place = self._columns.unique_id
        found = None if place is None else cells[place].strip() or None
        if found is not None and not is_storable(found):
            raise _NotPlainError
        return found

    def _priority(self, cells: Sequence[str]) -> int:
        place = self._columns.priority
        text = "" if place is None else cells[place]
        if text and not (text.isascii() and text.isdecimal() and len(text) <= _PLAIN_PRIORITY_DIGITS):
            raise _NotPlainError
        return int(text) if text else 0

    def _attributes(self, cells: Sequence[str]) -> msgspec.Raw:
        found = _encode({name: cells[place] for place, name in self._columns.attributes if cells[place]})
        # how JSON writes U+0000, which cannot be stored
        if len(found) > LARGEST_ATTRIBUTES or b"\\u0000" in found:
            raise _NotPlainError
        return msgspec.Raw(found)

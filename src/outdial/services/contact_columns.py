"""Which column of a table holds what of a contact: found by the usual names, or as somebody says.

A mapping comes first; what it leaves open is found by name, and every other column is kept as an attribute.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from outdial.core.contact_list import ColumnUse
from outdial.core.errors import InvalidInputError
from outdial.core.numbers import MOST_NUMBERS
from outdial.core.phone import parse_phone
from outdial.services.contact_lists import LONGEST_SHOWN, ContactDraft
from outdial.services.fields import is_storable

# Headers as compared: without accents, small letters and digits only. Of several that fit, the first named is taken.
_PHONE: Final = (
    "phonenumber",
    "phone",
    "phoneno",
    "telephonenumber",
    "telephone",
    "tel",
    "telefon",
    "telefono",
    "telefone",
    "mobilenumber",
    "mobilephone",
    "mobile",
    "cellphone",
    "cell",
    "msisdn",
    "number",
)
_PHONE_ENDS: Final = (
    "phone",
    "phonenumber",
    "mobile",
    "mobilenumber",
    "telefon",
    "telefono",
    "telefone",
    "msisdn",
    "nummer",
    "handy",
)
"""What follows a word in such a name; not ``number``, as of orders."""

_TIME_ZONE: Final = ("timezone", "tz")
_UNIQUE_ID: Final = ("uniqueid", "uniqueidentifier", "externalid")
_PRIORITY: Final = ("contactpriority", "priority")
_SPELLINGS: Final = MappingProxyType(
    {"phone": _PHONE, "timeZone": _TIME_ZONE, "uniqueId": _UNIQUE_ID, "priority": _PRIORITY}
)

_NAMES: Final = {"firstname": "firstName", "lastname": "lastName"}
"""Attributes that flows and the wire know by one spelling."""

MOST_COLUMNS: Final = 150
LONGEST_CELL: Final = 300
"""Characters. Both are the vendor's limits (kore-api.md, section 4)."""

_FIELDS: Final = MappingProxyType(
    {"phone": "phone", "timeZone": "time_zone", "uniqueId": "unique_id", "priority": "priority"}
)
"""What a mapping can name besides attributes: the word people write, and the field here."""

OTHER_WORDS: Final = tuple(f"phone{place}" for place in range(2, MOST_NUMBERS + 1))
"""So are other numbers of a contact named, in the order in which they are tried. They are never found by a column's
name: a table may well have a second number that nobody wants called."""

_WIRE_FIELDS: Final = MappingProxyType(
    {"phone": "phoneNumber", "timeZone": "timeZone", "uniqueId": "uniqueId", "priority": "contactPriority"}
)
"""What the wire calls them."""

_NOISE: Final = re.compile(r"[^a-z0-9]")


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Which column is what, by its name in the first line; None = found by the usual names."""

    phone: str | None = None
    time_zone: str | None = None
    unique_id: str | None = None
    priority: str | None = None
    others: tuple[tuple[str, str], ...] = ()
    """Words for other numbers, in their order, and the columns they are read from."""
    attributes: tuple[tuple[str, str], ...] = ()
    """Name of an attribute and the column it is read from."""

    @classmethod
    def parse(cls, pairs: Sequence[str]) -> ColumnMapping:
        """Return the mapping that texts like ``phone=Telefon`` say; ``phone``, ``phone2`` to ``phone5``, ``timeZone``,
        ``uniqueId`` and ``priority`` are fields, any other word before the ``=`` names an attribute.

        Raises InvalidInputError with all that are wrong.
        """
        found: dict[str, str] = {}
        problems = []
        for pair in pairs:
            word, separator, column = (part.strip() for part in pair.partition("="))
            if not (word and separator and column):
                problems.append(f"{pair[:LONGEST_SHOWN]!r} is no mapping; write it like phone=Telefon.")
            elif word in found:
                problems.append(f"{word[:LONGEST_SHOWN]} is mapped twice.")
            else:
                found[word] = column
        return cls.of(found, problems)

    @classmethod
    def of(cls, words: Mapping[str, str], problems: Sequence[str] = ()) -> ColumnMapping:
        """Return the mapping of fields and attributes to columns, the opposite of :meth:`words`.

        Raises InvalidInputError with the problems found before and those found here.
        """
        found, columns = [*problems], Counter(words.values())
        found += [f"The column {name[:LONGEST_SHOWN]} is mapped twice." for name, count in columns.items() if count > 1]
        if len(words) > MOST_COLUMNS:
            found.append(f"{len(words)} columns are mapped; at most {MOST_COLUMNS} can be imported.")
        found += [
            f"The name {text[:LONGEST_SHOWN]!r}… is too long; at most {LONGEST_CELL} characters are allowed."
            for pair in words.items()
            for text in pair
            if len(text) > LONGEST_CELL
        ]
        if not all(is_storable(text) for pair in words.items() for text in pair):
            found.append("A mapping contains a character that cannot be stored.")
        if found:
            raise InvalidInputError(found)
        return cls(
            **{_FIELDS[word]: column for word, column in words.items() if word in _FIELDS},
            others=tuple((word, words[word]) for word in OTHER_WORDS if word in words),
            attributes=tuple(
                (word, column) for word, column in words.items() if word not in _FIELDS and word not in OTHER_WORDS
            ),
        )

    def words(self) -> dict[str, str]:
        """Return fields and attributes with their columns, in the words people write."""
        said = {word: getattr(self, name) for word, name in _FIELDS.items()}
        named = {word: column for word, column in said.items() if column is not None}
        return {**named, **dict(self.others), **dict(self.attributes)}


NO_MAPPING: Final = ColumnMapping()
"""Every column is found by its name."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Places of a contact's fields in a row."""

    count: int
    phone: int
    time_zone: int | None
    unique_id: int | None
    priority: int | None
    attributes: tuple[tuple[int, str], ...]
    """Place and name of every other column."""
    others: tuple[tuple[int, str], ...] = ()
    """Place of each other number, in the order in which they are tried, and the word that a mapping has for it."""
    uses: tuple[ColumnUse, ...] = ()
    """Of every column what it is called and what it holds, by place."""

    def contact(self, cells: Sequence[str]) -> ContactDraft:
        """Return the contact in a row, without its other numbers, which are read for many rows at once; raise
        InvalidInputError when its cells do not fit the columns."""
        if len(cells) != self.count:
            cells = self._fitted(cells)
        if max(map(len, cells)) > LONGEST_CELL:
            raise InvalidInputError(self._too_long(cells))
        # not a generator expression per field: this runs a million times
        return ContactDraft(
            phone=cells[self.phone],
            time_zone=None if self.time_zone is None else cells[self.time_zone].strip() or None,
            unique_id=None if self.unique_id is None else cells[self.unique_id].strip() or None,
            priority=0 if self.priority is None else _whole(cells[self.priority]),
            attributes={name: cells[place] for place, name in self.attributes if cells[place]},
        )

    def _fitted(self, cells: Sequence[str]) -> Sequence[str]:
        if any(cell.strip() for cell in cells[self.count :]):
            raise InvalidInputError(
                [f"the row has {len(cells)} cells, the first line {self.count}; a value with a separator needs quotes"]
            )
        return [*cells[: self.count], *[""] * (self.count - len(cells))]

    @staticmethod
    def _too_long(cells: Sequence[str]) -> list[str]:
        return [
            f"cell {place} has {len(cell)} characters; at most {LONGEST_CELL} can be imported"
            for place, cell in enumerate(cells, 1)
            if len(cell) > LONGEST_CELL
        ]


def _whole(text: str) -> int:
    text = text.strip()
    if not text:
        return 0
    # spreadsheets write 5 as 5.0
    bare = text.removesuffix(".0")
    if not bare.removeprefix("-").isdecimal() or len(bare) > LONGEST_SHOWN:
        raise InvalidInputError([f"the priority is {text[:LONGEST_SHOWN]!r}; it must be a whole number"])
    return int(bare)


def columns_of(header: Sequence[str], *, default_region: str | None, mapping: ColumnMapping = NO_MAPPING) -> Columns:
    """Return what the columns of a table hold, by the mapping and the names in its first line.

    Raises InvalidInputError with everything that is wrong with the two.
    """
    names = [name.strip() for name in header]
    if len(names) > MOST_COLUMNS:
        raise InvalidInputError([f"The first line names {len(names)} columns; at most {MOST_COLUMNS} can be imported."])
    unstorable = [place for place, name in enumerate(names, 1) if not is_storable(name)]
    if unstorable:
        # alone: what else is wrong would be told with the names, and what is told is stored
        raise InvalidInputError(
            [f"The name of column {place} contains a character that cannot be stored." for place in unstorable]
        )
    problems = [
        f"The name of column {place} has {len(name)} characters; at most {LONGEST_CELL} are allowed."
        for place, name in enumerate(names, 1)
        if len(name) > LONGEST_CELL
    ]
    compared = [_compared(name) for name in names]
    mapped = _mapped(names, mapping, problems)
    taken = set(mapped.values())
    places = {}
    others = tuple((mapped[word], word) for word, _ in mapping.others if word in mapped)
    for word, fit in _SPELLINGS.items():
        places[word] = mapped[word] if word in mapped else _place(compared, fit, taken)
    phone = places["phone"]
    if phone is None and not problems:
        problems.append(_no_phone_column(names, default_region))
    named = {place: word for word, place in mapped.items()}
    attributes = tuple(
        (place, named.get(place) or _NAMES.get(compared[place], name) or nameless(place))
        for place, name in enumerate(names)
        if place not in places.values() and place not in dict(others)
    )
    counts = Counter(name for _, name in attributes)
    problems += [
        f"The first line names the column {name[:LONGEST_SHOWN]} more than once."
        for name, count in counts.items()
        if count > 1
    ]
    if problems or phone is None:
        raise InvalidInputError(problems)
    fields = {place: _WIRE_FIELDS[word] for word, place in places.items() if place is not None}
    # an attribute called like a field that another column holds is shown by nobody
    fields |= {place: "" if name in fields.values() else name for place, name in attributes} | dict(others)
    return Columns(
        count=len(names),
        phone=phone,
        time_zone=places["timeZone"],
        unique_id=places["uniqueId"],
        priority=places["priority"],
        attributes=attributes,
        others=others,
        uses=tuple(ColumnUse(name or nameless(place), fields[place]) for place, name in enumerate(names)),
    )


def _mapped(names: Sequence[str], mapping: ColumnMapping, problems: list[str]) -> dict[str, int]:
    """Return the places of the columns a mapping names; tell those that are not there, or there twice."""
    found: dict[str, int] = {}
    for word, column in mapping.words().items():
        places = column_places(names, column)
        if len(places) == 1:
            if places[0] in found.values():
                problems.append(f"The column {column} is mapped twice.")
            found[word] = places[0]
        elif places:
            problems.append(f"{word} cannot be read from {column}: the first line has {len(places)} such columns.")
        else:
            problems.append(f"{word} cannot be read from {column}: the first line has no such column.")
    if problems and mapping.words():
        shown = ", ".join(names)[: 3 * LONGEST_SHOWN]
        problems.append(f"It names: {shown}.")
    return found


def column_places(header: Sequence[str], column: str) -> list[int]:
    """Return the places of the columns that somebody calls so: by the very name, or ``column 2`` for the second; else
    by the same letters and digits."""
    names = [name.strip() for name in header]
    return [place for place, name in enumerate(names) if column in {name, nameless(place)}] or [
        place for place, name in enumerate(map(_compared, names)) if name and name == _compared(column)
    ]


def phone_places(header: Sequence[str]) -> list[int]:
    """Return the places of all columns whose name says that they hold phone numbers: ``Phone``, ``mobile 2``, ``Home
    phone``."""
    compared = [_compared(name).rstrip("0123456789") for name in header]
    return [place for place, name in enumerate(compared) if name in _PHONE or name.endswith(_PHONE_ENDS)]


def nameless(place: int) -> str:
    """Return what a column is called by its place."""
    return f"column {place + 1}"


def _compared(name: str) -> str:
    return _NOISE.sub("", unicodedata.normalize("NFKD", name).lower())


def _place(compared: Sequence[str], spellings: Sequence[str], taken: Collection[int]) -> int | None:
    for spelling in spellings:
        for place, name in enumerate(compared):
            if name == spelling and place not in taken:
                return place
    return None


def _no_phone_column(names: Sequence[str], region: str | None) -> str:
    if any(_is_phone(name, region) for name in names):
        return "The first line holds a phone number; it must name the columns, e.g. phone,firstName,timeZone."
    shown = ", ".join(names)[: 3 * LONGEST_SHOWN]
    return f"The first line names no column for phone numbers; call it phone. It names: {shown}."


def _is_phone(text: str, region: str | None) -> bool:
    try:
        parse_phone(text, region)
    except InvalidInputError:
        return False
    return True

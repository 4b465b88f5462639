"""Which column of a table holds what of a contact."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from outdial.core.errors import InvalidInputError
from outdial.core.phone import parse_phone
from outdial.services.contact_lists import LONGEST_SHOWN, ContactDraft

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
_TIME_ZONE: Final = ("timezone", "tz")
_UNIQUE_ID: Final = ("uniqueid", "uniqueidentifier", "externalid")
_PRIORITY: Final = ("contactpriority", "priority")

_NAMES: Final = {"firstname": "firstName", "lastname": "lastName"}
"""Attributes that flows and the wire know by one spelling."""

_NOISE: Final = re.compile(r"[^a-z0-9]")


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

    def contact(self, cells: Sequence[str]) -> ContactDraft:
        """Return the contact in a row; raise InvalidInputError when its cells do not fit the columns."""
        if len(cells) != self.count:
            cells = self._fitted(cells)
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


def _whole(text: str) -> int:
    text = text.strip()
    if not text:
        return 0
    # spreadsheets write 5 as 5.0
    bare = text.removesuffix(".0")
    if not bare.removeprefix("-").isdecimal() or len(bare) > LONGEST_SHOWN:
        raise InvalidInputError([f"the priority is {text[:LONGEST_SHOWN]!r}; it must be a whole number"])
    return int(bare)


def columns_of(header: Sequence[str], *, default_region: str | None) -> Columns:
    """Return what the columns of a table hold, by the names in its first line; raise InvalidInputError."""
    names = [name.strip() for name in header]
    compared = [_compared(name) for name in names]
    phone = _place(compared, _PHONE)
    if phone is None:
        raise InvalidInputError([_no_phone_column(names, default_region)])
    time_zone, unique_id, priority = (_place(compared, fit) for fit in (_TIME_ZONE, _UNIQUE_ID, _PRIORITY))
    attributes = tuple(
        (place, _NAMES.get(compared[place], name) or f"column {place + 1}")
        for place, name in enumerate(names)
        if place not in {phone, time_zone, unique_id, priority}
    )
    twice = [name for name, count in Counter(name for _, name in attributes).items() if count > 1]
    if twice:
        raise InvalidInputError([f"The first line names the column {name} more than once." for name in twice])
    return Columns(
        count=len(names),
        phone=phone,
        time_zone=time_zone,
        unique_id=unique_id,
        priority=priority,
        attributes=attributes,
    )


def _compared(name: str) -> str:
    return _NOISE.sub("", unicodedata.normalize("NFKD", name).lower())


def _place(compared: Sequence[str], spellings: Sequence[str]) -> int | None:
    for spelling in spellings:
        if spelling in compared:
            return compared.index(spelling)
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

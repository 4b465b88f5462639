"""Contacts as the lines of text that COPY reads (PostgreSQL's documentation of COPY, "Text Format").

Written column by column: encoding row by row costs as much as all else that is done with a plain row of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

COLUMNS: Final = ("dedupe_phone", "phone", "time_zone", "unique_id", "priority", "attributes")
"""What a line holds, after the list's id."""

OTHERS: Final = "other_phones"
"""What stands after that, where some of the contacts have other numbers."""

NO_VALUE: Final = "\\N"
"""NULL."""

_SIGNS: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})

_encode = msgspec.json.Encoder().encode


class ContactRow(NamedTuple):
    """A contact to be added, checked."""

    phone: str
    time_zone: str | None
    unique_id: str | None
    priority: int
    attributes: msgspec.Raw
    """A JSON object, encoded already."""
    other_phones: tuple[str, ...] = ()
    """Where it may be called beside ``phone``, in order. They stand in no line: few contacts have any."""


def contact_line(row: ContactRow) -> str:
    """Return the line of one contact."""
    attributes = bytes(row.attributes).decode().translate(_SIGNS)
    fields = (row.phone, row.phone, value_text(row.time_zone), value_text(row.unique_id), str(row.priority), attributes)
    return "\t".join(fields)


def others_text(phones: Sequence[str]) -> str:
    """Return other numbers as they stand at the end of a line, where some contacts have any (``OTHERS``)."""
    return "{" + ",".join(phones) + "}" if phones else NO_VALUE


def value_text(value: str | None) -> str:
    """Return a value as it stands in a line."""
    return NO_VALUE if value is None else value.translate(_SIGNS)


def without_dedupe(line: str) -> str:
    """Return the line for a list that allows duplicates."""
    return NO_VALUE + line[line.index("\t") :]


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes of many contacts, for their lines: ``template``, with one of each of ``parts`` for its ``%s``."""

    template: str
    parts: Sequence[Sequence[str | None]]
    doubtful: Sequence[Sequence[str | None]]
    """Columns of which some cells may be None: those contacts' attributes are not right, and cannot be stored so."""


def name_texts(names: Sequence[str]) -> list[str] | None:
    """Return the names of attributes as they stand in a line, None when one cannot be stored."""
    texts = [_json_text(name) for name in names]
    return None if None in texts else [text for text in texts if text is not None]


def attribute_texts(names: Sequence[str], columns: Sequence[Sequence[str]]) -> Attributes:
    """Return the attributes of contacts from the columns they stand in; an empty cell is none.

    ``names`` are those of :func:`name_texts`.
    """
    parts: list[Sequence[str | None]] = []
    doubtful: list[Sequence[str | None]] = []
    before: list[list[str]] = []
    template = ""
    # a name that every contact has needs no look at each; on its two sides are the commas of those that some have
    common = False
    for name, column in zip(names, columns, strict=True):
        texts: Sequence[str | None] = column
        if not is_bare(column):
            texts = [_json_text(cell) for cell in column]
            doubtful.append(texts)
        if "" not in column:
            parts.append(texts)
            template += f'{"," if common else ""}"{name.replace("%", "%%")}":"%s"'
            common = True
        elif common:
            parts.append([f',"{name}":"{text}"' if text else "" for text in texts])
            template += "%s"
        else:
            before.append([f'"{name}":"{text}",' if text else "" for text in texts])
    if before and common:
        template = "%s" * len(before) + template
    elif before:
        before = [[text[:-1] for text in map("".join, zip(*before, strict=True))]]
        template = "%s"
    parts = [*before, *parts]
    return Attributes(f"{{{template}}}", parts, doubtful)


def is_bare(column: Sequence[str]) -> bool:
    """Whether every text of the column stands in a line, and in JSON, as it is."""
    text = "".join(column)
    return text.isprintable() and '"' not in text and "\\" not in text


def _json_text(text: str) -> str | None:
    """Return a text as it stands within JSON's quotes in a line; None when jsonb cannot hold it, or might not."""
    try:
        encoded = _encode(text)
    except UnicodeEncodeError:
        return None
    return None if b"\\u0000" in encoded else encoded[1:-1].decode().replace("\\", "\\\\")


def lines_of(
    phones: Sequence[str | None],
    time_zones: Sequence[str | None],
    unique_ids: Sequence[str | None],
    priorities: Sequence[str | None],
    attributes: Attributes,
) -> list[str]:
    """Return the lines of many contacts; where a part of one is None, its line means nothing."""
    write: Callable[[tuple[str | None, ...]], str] = f"%s\t%s\t%s\t%s\t%s\t{attributes.template}".__mod__
    rows = zip(phones, phones, time_zones, unique_ids, priorities, *attributes.parts, strict=True)
    return list(map(write, rows))

"""Contact lists, the people in them and the files these came from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class ContactList:
    """A list of people to call."""

    id: str
    iid: str
    account_id: str
    name: str
    description: str
    source: str
    """Where its contacts come from, in the wire's words (``passiveApi``, ``localDrive``)."""
    allow_duplicates: bool
    """Whether one number may be in it more than once."""
    api_version: int
    created_by: str
    updated_by: str
    created_at: datetime
    updated_at: datetime
    contacts_count: int
    campaigns: tuple[tuple[str, str], ...]
    """Id and name of each campaign that refers to it, without deleted ones."""
    in_use: bool
    """Whether a live run dials it."""


@dataclass(frozen=True, slots=True)
class Contact:
    """A person in a contact list."""

    id: int
    list_id: str
    phone: str
    time_zone: str | None
    """IANA zone, wins over what the number says."""
    unique_id: str | None
    """The importer's own name for this person."""
    priority: int
    """0–32767, higher comes first."""
    attributes: dict[str, Any]
    """Everything else that came with the contact."""
    created_at: datetime
    updated_at: datetime
    other_phones: tuple[str, ...] = ()
    """Where it may be called beside ``phone``, in the order in which they are tried."""


@dataclass(frozen=True, slots=True)
class ColumnUse:
    """A column of a file that was imported."""

    column: str
    """As the file's first line names it, or ``column 3`` where that says nothing."""
    field: str
    """What it holds of a contact: ``phoneNumber``, ``timeZone``, ``uniqueId``, ``contactPriority``, ``phone2`` and so
    on for other numbers, else the name of an attribute; empty where another column holds the field of that name."""


@dataclass(frozen=True, slots=True)
class ImportedFile:
    """A file whose rows are, or are being, added to a contact list; files of one list are in the order in which their
    imports were made."""

    import_id: str
    name: str
    """As its owner calls it."""
    columns: tuple[ColumnUse, ...]
    """In the order of the file; none of an import that was begun before they were noted."""


MOST_FILES: Final = 20
"""Files that are told of one list, the newest; each has the names of up to 150 columns."""


@dataclass(frozen=True, slots=True)
class ListFiles:
    """What is told of a contact list's files."""

    files: tuple[ImportedFile, ...] = ()
    """The newest ``MOST_FILES``, oldest first."""
    running: bool = False
    """Whether rows of any file of the list, be it an older one, are being added."""
    done: bool = False
    """Whether any file of the list, be it an older one, is in whole."""


NO_FILES: Final = ListFiles()

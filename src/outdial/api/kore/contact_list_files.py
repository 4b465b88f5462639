"""What the vendor's surface tells of the files that a contact list was imported from."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from outdial.core import ids
from outdial.core.contact_list import ContactList, ListFiles
from outdial.services.import_file import SOURCE

READY: Final = "Ready"
"""The status of lists that are filled by requests."""


class MappingShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which column holds which field of a contact, empty for none; fields that come by requests are each itself."""

    first_name: str = "firstName"
    last_name: str = "lastName"
    phone_number: str = "phoneNumber"
    time_zone: str = "timeZone"
    unique_id: str = "uniqueId"
    contact_priority: str | UnsetType = UNSET


class FileShape(msgspec.Struct, frozen=True, rename="camel"):
    """A file whose rows were added to the list."""

    file_id: str
    file_name: str


def is_imported(contact_list: ContactList) -> bool:
    """Whether the list was made by an import; such lists have a shape of their own."""
    return contact_list.source == SOURCE


def list_status(contact_list: ContactList, told: ListFiles) -> str:
    """Return the status of a list in the vendor's words, which for imported lists are those of its console.

    ``Validating`` while rows of a file are added, ``Validated`` once one file is in whole, ``Invalid`` when none of
    its imports came to its end. Any of them can be dialed: the contacts that are there are there. A list without an
    import, by the command line or from before there were any, has all that is to come.
    """
    if not is_imported(contact_list):
        return READY
    if told.running:
        return "Validating"
    return "Validated" if told.done or not told.files else "Invalid"


def list_files(told: ListFiles) -> list[FileShape]:
    """Return the files of a list, in the order in which their imports were made."""
    return [FileShape(ids.file_id(file.import_id), file.name) for file in told.files]


def list_columns(told: ListFiles) -> list[str]:
    """Return the columns of all files of a list, each once, in the order in which they come."""
    return list(dict.fromkeys(use.column for file in told.files for use in file.columns))


def list_mapping(contact_list: ContactList, told: ListFiles, *, second: bool) -> MappingShape:
    """Return which column holds which field; of several files the first that has it says. ``second``: v2.

    A field that none of them has is itself where a file is without columns: it may well have had that one.
    """
    columns: dict[str, str] = {}
    for file in told.files if is_imported(contact_list) else ():
        for use in file.columns:
            columns.setdefault(use.field, use.column)
    noted = bool(columns) and all(file.columns for file in told.files)

    def held(field: str) -> str:
        return columns.get(field, "" if noted else field)

    return MappingShape(
        first_name=held("firstName"),
        last_name=held("lastName"),
        phone_number=held("phoneNumber"),
        time_zone=held("timeZone"),
        unique_id=held("uniqueId"),
        contact_priority=held("contactPriority") if second else UNSET,
    )

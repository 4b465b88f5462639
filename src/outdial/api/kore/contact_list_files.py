"""What the vendor's surface tells of the files that a contact list was imported from."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from outdial.core import ids
from outdial.core.contact_import import ImportState
from outdial.core.model import ContactList
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


def list_status(contact_list: ContactList) -> str:
    """Return the status of a list in the vendor's words, which for imported lists are those of its console.

    ``Validating`` while rows of a file are added, ``Validated`` once one file is in whole, ``Invalid`` when none of
    its imports came to its end. Any of them can be dialed: the contacts that are there are there.
    """
    if not is_imported(contact_list):
        return READY
    states = {file.state for file in contact_list.files}
    if ImportState.RUNNING in states or not (states or contact_list.contacts_count):
        # an import makes its list the moment before it notes which one that is
        return "Validating"
    return "Validated" if ImportState.DONE in states or not states else "Invalid"


def list_files(contact_list: ContactList) -> list[FileShape]:
    """Return the files of a list, in the order in which their imports were made."""
    return [FileShape(ids.file_id(file.import_id), file.name) for file in contact_list.files]


def list_columns(contact_list: ContactList) -> list[str]:
    """Return the columns of all files of a list, each once, in the order in which they come."""
    return list(dict.fromkeys(use.column for file in contact_list.files for use in file.columns))


def list_mapping(contact_list: ContactList, *, second: bool) -> MappingShape:
    """Return which column holds which field; of several files the first that has it says. ``second``: v2."""
    columns: dict[str, str] = {}
    for file in contact_list.files:
        for use in file.columns:
            columns.setdefault(use.field, use.column)
    if not is_imported(contact_list) or not columns:
        return MappingShape(contact_priority="contactPriority" if second else UNSET)
    return MappingShape(
        first_name=columns.get("firstName", ""),
        last_name=columns.get("lastName", ""),
        phone_number=columns.get("phoneNumber", ""),
        time_zone=columns.get("timeZone", ""),
        unique_id=columns.get("uniqueId", ""),
        contact_priority=columns.get("contactPriority", "") if second else UNSET,
    )

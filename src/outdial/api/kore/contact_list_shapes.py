"""Contact lists and contacts as the vendor's surface answers them."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from outdial.api.kore.contact_list_files import (
    READY,
    FileShape,
    MappingShape,
    is_imported,
    list_columns,
    list_files,
    list_mapping,
    list_status,
)
from outdial.api.kore.requests import ContactListUpdateBody
from outdial.api.kore.wire import organization_id, timestamp, user_id
from outdial.core import ids
from outdial.core.contact_list import NO_FILES, Contact, ContactList, ListFiles
from outdial.core.model import Scope


class UsedBy(msgspec.Struct, frozen=True):
    """A campaign that refers to a list."""

    id: str
    name: str


class SyncShape(msgspec.Struct, frozen=True, rename="camel"):
    """What becomes of a number that is in the list already."""

    data_sync_mode: str


class ContactListShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A contact list in the answers of get and delete: v1 tells whose it is, v2 has more flags."""

    id: str = msgspec.field(name="_id")
    is_active: bool = True
    org_id: str | UnsetType = UNSET
    name: str
    lname: str | UnsetType = UNSET
    description: str
    total_record_count: int
    status: str = READY
    created_by: str
    updated_by: str
    mapping: MappingShape
    is_list_in_use: bool
    iid: str | UnsetType = msgspec.field(name="iId", default=UNSET)
    list_type: str = "call"
    is_global_dnc: bool | UnsetType = msgspec.field(name="isGlobalDNC", default=UNSET)
    is_default: bool | UnsetType = UNSET
    campaign_in_use: list[UsedBy]
    account_id: str | UnsetType = UNSET
    source: str
    api_configurations: SyncShape
    columns: list[str] | UnsetType = UNSET
    files: list[FileShape] = []
    created_at: str
    updated_at: str
    allow_duplicates: bool | UnsetType = UNSET


class ImportedListShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The same of a list that was imported: its files stand further up, and it has no ``apiConfigurations``."""

    id: str = msgspec.field(name="_id")
    is_active: bool = True
    org_id: str | UnsetType = UNSET
    name: str
    lname: str | UnsetType = UNSET
    description: str
    files: list[FileShape]
    total_record_count: int
    status: str
    created_by: str
    updated_by: str
    mapping: MappingShape
    is_list_in_use: bool
    iid: str | UnsetType = msgspec.field(name="iId", default=UNSET)
    list_type: str = "call"
    is_global_dnc: bool | UnsetType = msgspec.field(name="isGlobalDNC", default=UNSET)
    is_default: bool | UnsetType = UNSET
    campaign_in_use: list[UsedBy]
    account_id: str | UnsetType = UNSET
    source: str
    columns: list[str] | UnsetType = UNSET
    created_at: str
    updated_at: str
    allow_duplicates: bool | UnsetType = UNSET


class ListedContactList(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A contact list among others; one that was imported has no ``apiConfigurations``."""

    id: str = msgspec.field(name="_id")
    name: str
    description: str
    total_record_count: int
    status: str = READY
    mapping: MappingShape
    is_list_in_use: bool
    list_type: str = "call"
    campaign_in_use: list[UsedBy]
    source: str
    api_configurations: SyncShape | UnsetType = UNSET
    columns: list[str] | UnsetType = UNSET
    files: list[FileShape] = []
    updated_at: str


class ListedImportedList(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The same of a list that was imported, in the order of its own sample."""

    id: str = msgspec.field(name="_id")
    name: str
    description: str
    files: list[FileShape]
    total_record_count: int
    status: str
    mapping: MappingShape
    is_list_in_use: bool
    list_type: str = "call"
    campaign_in_use: list[UsedBy]
    source: str
    columns: list[str] | UnsetType = UNSET
    updated_at: str


class UpdatedFields(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an update of a contact list said, and who said it."""

    name: str
    description: str | UnsetType = UNSET
    allow_duplicates: bool | UnsetType = UNSET
    scope: list[str] | UnsetType = UNSET
    org_id: str
    iid: str = msgspec.field(name="iId")
    list_type: str = "call"
    account_id: str
    updated_by: str


class UpdatedContactList(msgspec.Struct, frozen=True, rename="camel"):
    """A contact list in the answer of its update."""

    contact_list_id: str
    body: UpdatedFields


class CreatedContactList(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A contact list in the answer of its creation."""

    is_active: bool = True
    name: str
    description: str
    total_record_count: int
    status: str = READY
    created_by: str
    updated_by: str
    mapping: MappingShape
    is_list_in_use: bool
    list_type: str = "call"
    is_global_dnc: bool | UnsetType = msgspec.field(name="isGlobalDNC", default=UNSET)
    is_default: bool | UnsetType = UNSET
    campaign_in_use: list[UsedBy]
    source: str
    api_configurations: SyncShape
    columns: list[str] | UnsetType = UNSET
    files: list[FileShape] = []
    created_at: str
    updated_at: str
    id: str = msgspec.field(name="_id")
    allow_duplicates: bool


class AddedShape(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of adding contacts; ``problems`` is an extension, there only when some were refused."""

    message: str
    problems: list[str] = []


def created_contact_list(contact_list: ContactList, version: int) -> CreatedContactList:
    """Return a new contact list."""
    return CreatedContactList(
        **_fields(contact_list, NO_FILES, second=version > 1), allow_duplicates=contact_list.allow_duplicates
    )


def listed_contact_list(
    contact_list: ContactList, told: ListFiles, version: int
) -> ListedContactList | ListedImportedList:
    """Return a contact list as one of many."""
    shared = _fields(contact_list, told, second=version > 1)
    shape = ListedImportedList if is_imported(contact_list) else ListedContactList
    return shape(**{name: value for name, value in shared.items() if name in shape.__struct_fields__})


def updated_contact_list(contact_list: ContactList, said: ContactListUpdateBody, version: int) -> UpdatedContactList:
    """Return the answer of an update: what was said, and whose list it is."""
    return UpdatedContactList(
        contact_list.id,
        UpdatedFields(
            name=contact_list.name,
            description=UNSET if said.description is None else said.description,
            allow_duplicates=UNSET if version > 1 or said.allow_duplicates is None else said.allow_duplicates,
            scope=[Scope.CAMPAIGN_MANAGEMENT] if version > 1 else UNSET,
            org_id=organization_id(contact_list.account_id),
            iid=contact_list.iid,
            account_id=contact_list.account_id,
            updated_by=user_id(contact_list.updated_by),
        ),
    )


def contact_list_shape(
    contact_list: ContactList, told: ListFiles, version: int
) -> ContactListShape | ImportedListShape:
    """Return a contact list."""
    fields = _fields(contact_list, told, second=version > 1)
    if version > 1:
        fields |= {"allow_duplicates": contact_list.allow_duplicates}
    else:
        fields |= {
            "org_id": organization_id(contact_list.account_id),
            "lname": contact_list.name.lower(),
            "iid": contact_list.iid,
            "account_id": contact_list.account_id,
        }
    if is_imported(contact_list):
        del fields["api_configurations"]
        return ImportedListShape(**fields)
    return ContactListShape(**fields)


def _fields(contact_list: ContactList, told: ListFiles, *, second: bool) -> dict[str, Any]:
    """Return what every answer about a list holds."""
    return {
        "id": contact_list.id,
        "name": contact_list.name,
        "description": contact_list.description,
        "total_record_count": contact_list.contacts_count,
        "status": list_status(contact_list, told),
        "created_by": user_id(contact_list.created_by),
        "updated_by": user_id(contact_list.updated_by),
        "mapping": list_mapping(contact_list, told, second=second),
        "is_list_in_use": contact_list.in_use,
        "is_global_dnc": False if second else UNSET,
        "is_default": False if second else UNSET,
        "campaign_in_use": [UsedBy(campaign_id, name) for campaign_id, name in contact_list.campaigns],
        "source": contact_list.source,
        "api_configurations": SyncShape("allowDuplicates" if contact_list.allow_duplicates else "dontAllowDuplicates"),
        "columns": list_columns(told) if second else UNSET,
        "files": list_files(told),
        "created_at": timestamp(contact_list.created_at),
        "updated_at": timestamp(contact_list.updated_at),
    }


def contact_shape(contact: Contact) -> dict[str, Any]:
    """Return a contact: its attributes stand beside the named fields."""
    named = {
        "_id": ids.contact_id(contact.id),
        "createdAt": timestamp(contact.created_at),
        "updatedAt": timestamp(contact.updated_at),
        "phoneNumber": contact.phone,
    }
    optional = {
        "timeZone": contact.time_zone,
        "uniqueId": contact.unique_id,
        "contactPriority": contact.priority or None,
    }
    # attributes last, but never over a field of that name
    return {
        **named,
        **{key: value for key, value in optional.items() if value is not None},
        **{key: value for key, value in contact.attributes.items() if key not in named},
    }

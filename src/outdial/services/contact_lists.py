"""Contact lists, and adding people to them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from outdial.core import ids
from outdial.core.contact_list import MOST_FILES, NO_FILES, Contact, ContactList, ListFiles
from outdial.core.errors import ConflictError, InUseError, InvalidInputError, LimitReachedError, NotFoundError
from outdial.core.numbers import MOST_NUMBERS
from outdial.core.paging import Page
from outdial.core.phone import parse_phone
from outdial.core.zones import valid_zone
from outdial.secretbox import SecretBox
from outdial.services.access import require_application
from outdial.services.fields import description_problems, is_storable, line_problems, name_problems, require
from outdial.store import contacts as store
from outdial.store import dnc_hashes
from outdial.store import imports as imports_store
from outdial.store.contact_text import ContactRow
from outdial.store.contacts import NewContacts, OpenList
from outdial.store.database import Connection, Database

__all__ = ["AddedContacts", "Contact", "ContactDraft", "ContactList", "Page"]

MOST_LISTS: Final = 1_000
"""Contact lists of an account."""

MOST_CONTACTS: Final = 5_000_000
"""Contacts of an account, all its lists together."""

LONGEST_LIST: Final = 1_000_000
"""Contacts of a list. These three are the vendor's limits (kore-api.md, section 4)."""

LARGEST_PRIORITY: Final = 32767
LONGEST_UNIQUE_ID: Final = 300
"""Characters; the vendor's limit for any column."""

LARGEST_ATTRIBUTES: Final = 65_536
"""Bytes of one contact's attributes as JSON; a row beyond it is a file read wrong, not a person."""

LONGEST_SHOWN: Final = 40
"""Characters of a wrong value that are shown back."""

ERASED: Final = "the person of this number was erased and is never to be called"
"""Why a contact is left out, to stand within a sentence."""


_LONGEST_SOURCE: Final = 48
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""The one character jsonb cannot hold, as JSON writes it."""


@dataclass(frozen=True, slots=True)
class ContactDraft:
    """A contact as somebody sends it."""

    phone: str
    """As people write it."""
    time_zone: str | None = None
    unique_id: str | None = None
    priority: int = 0
    attributes: dict[str, Any] = field(default_factory=dict)
    other_phones: tuple[str, ...] = ()
    """Where it may be called beside ``phone``, in the order in which they are tried, as people write them."""


@dataclass(frozen=True, slots=True)
class AddedContacts:
    """What became of contacts somebody sent."""

    added: int
    duplicates: int
    """Left out: the list does not allow duplicates and has their number."""
    beyond: int
    """Left out: the list or the account is full."""
    problems: tuple[str, ...]
    """One sentence for each thing wrong with a contact that was left out, or with another number that was, beginning
    with the contact's index."""


async def create_list(
    database: Database,
    *,
    iid: str,
    account_id: str,
    name: str,
    description: str,
    source: str,
    allow_duplicates: bool,
    api_version: int,
    actor: str,
) -> ContactList:
    """Create an empty contact list.

    Raises InvalidInputError with all wrong fields, NotFoundError when the account has no such application,
    ConflictError when the application has a list of that name, LimitReachedError when the account can have no more.
    """
    require(
        name_problems("name", name)
        + description_problems("description", description)
        + line_problems("source", source, longest=_LONGEST_SOURCE)
    )
    list_id = ids.contact_list_id(uuid.uuid4())
    async with database.transaction() as connection:
        application = await require_application(connection, iid)
        if application.account_id != account_id:
            raise NotFoundError(f"There is no application {iid}.")
        if await store.lists_count(connection, account_id) >= MOST_LISTS:
            raise LimitReachedError(f"The account has {MOST_LISTS:,} contact lists, its most; delete one first.")
        inserted = await store.insert_list(
            connection,
            list_id=list_id,
            iid=iid,
            account_id=account_id,
            name=name,
            description=description,
            source=source,
            allow_duplicates=allow_duplicates,
            api_version=api_version,
            actor=actor,
        )
        if not inserted:
            raise ConflictError(f"There is already a contact list named {name}; choose another name.")
        return await _required(connection, iid, list_id)


async def _required(connection: Connection, iid: str, list_id: str) -> ContactList:
    found = await store.list_by_id(connection, iid, list_id) if is_storable(list_id) else None
    if found is None:
        raise NotFoundError(f"There is no contact list {list_id}.")
    return found


async def get_list(database: Database, iid: str, list_id: str) -> ContactList:
    """Return a contact list of the application; raise NotFoundError when there is none of that id."""
    async with database.connection() as connection:
        return await _required(connection, iid, list_id)


async def find_list(database: Database, iid: str, name: str) -> ContactList:
    """Return the application's contact list of that name in any case; raise NotFoundError when there is none."""
    async with database.connection() as connection:
        found = await store.list_named(connection, iid, name) if is_storable(name) else None
    if found is None:
        raise no_list_named(name)
    return found


def no_list_named(name: str) -> NotFoundError:
    """Return the error for a name that is no contact list's."""
    return NotFoundError(f"There is no contact list named {name}.")


async def list_lists(database: Database, iid: str) -> list[ContactList]:
    """Return the application's contact lists, oldest first."""
    async with database.connection() as connection:
        return await store.lists_of(connection, iid)


async def files_of(database: Database, iid: str, list_ids: Sequence[str]) -> list[ListFiles]:
    """Return what files each of some contact lists of the application came from; none for unknown ones."""
    known = [list_id for list_id in list_ids if is_storable(list_id)]
    async with database.connection() as connection:
        found = await imports_store.files_of(connection, iid, known, most=MOST_FILES)
    return [found.get(list_id, NO_FILES) for list_id in list_ids]


async def update_list(
    database: Database,
    iid: str,
    list_id: str,
    *,
    name: str | None,
    description: str | None,
    allow_duplicates: bool | None,
    actor: str,
) -> ContactList:
    """Change what is not None of a contact list and return it; campaigns refer to it by its id and go on doing so.

    Raises InvalidInputError, NotFoundError, and ConflictError when another list has the name, or when duplicates are
    to be allowed or forbidden in a list that holds contacts already.
    """
    require(
        ([] if name is None else name_problems("name", name))
        + ([] if description is None else description_problems("description", description))
    )
    async with database.transaction() as connection:
        if is_storable(list_id):
            await store.lock_list(connection, iid, list_id)
        present = await _required(connection, iid, list_id)
        if allow_duplicates not in (None, present.allow_duplicates) and present.contacts_count:
            raise ConflictError(
                f"The contact list {present.name} holds {present.contacts_count} contacts, so whether it may hold a "
                "number twice can no longer be changed; make another list."
            )
        renamed = await store.update_list(
            connection,
            list_id,
            name=present.name if name is None else name,
            description=present.description if description is None else description,
            allow_duplicates=present.allow_duplicates if allow_duplicates is None else allow_duplicates,
            actor=actor,
        )
        if not renamed:
            raise ConflictError(f"There is already a contact list named {name}; choose another name.")
        return await _required(connection, iid, list_id)


async def delete_list(database: Database, iid: str, list_id: str) -> ContactList:
    """Delete a contact list with its contacts and return it as it was.

    Raises NotFoundError, and InUseError while any campaign refers to it.
    """
    async with database.transaction() as connection:
        await store.lock_usage(connection, iid)
        if is_storable(list_id):
            await store.lock_list(connection, iid, list_id)
        found = await _required(connection, iid, list_id)
        if found.campaigns:
            names = ", ".join(name for _, name in found.campaigns)
            raise InUseError(f"The contact list {found.name} is in use by {names}; delete that first.")
        if found.in_use:
            raise InUseError(f"The contact list {found.name} is in use by a live run; stop it first.")
        await store.delete_list(connection, found.id)
    return found


async def add_contacts(
    database: Database,
    iid: str,
    name: str,
    drafts: Sequence[ContactDraft],
    *,
    default_region: str | None,
    secrets: SecretBox | None = None,
) -> AddedContacts:
    """Add contacts to the application's list of that name; those that are wrong, that have no room, or whose person was
    erased and is never to be called, whichever of the numbers that is, are left out and told, others added. Of one with
    another number that is wrong, that number alone is left out.

    ``secrets`` recognizes erased numbers; without it nothing is added where there are any. Raises NotFoundError for an
    unknown list, LimitReachedError when there was no room for any.
    """
    rows = NewContacts()
    places: list[int] = []
    problems: list[str] = []
    for index, draft in enumerate(drafts):
        try:
            row = checked(draft, default_region=default_region)
        except InvalidInputError as error:
            problems += [f"[{index}]: {problem}." for problem in error.problems]
            continue
        named = {f"phone{place}": text for place, text in enumerate(draft.other_phones, 2)}
        others, wrong = other_numbers(named, row.phone, default_region)
        problems += [f"[{index}]: {problem}." for problem in wrong]
        rows.add(row._replace(other_phones=others))
        places.append(index)
    async with database.transaction() as connection:
        to = await store.open_list(connection, iid, name) if is_storable(name) else None
        if to is None:
            raise no_list_named(name)
        refused = await dnc_hashes.refused(connection, secrets, iid, rows.numbers())
        if refused:
            # whoever has the number is the person, in whichever place it stands
            gone = rows.with_any(refused)
            problems += [f"[{places[at]}]: {ERASED}." for at in sorted(gone)]
            kept = [at for at in range(len(rows)) if at not in gone]
            places = [places[at] for at in kept]
            rows = rows.only(kept)
        picked = await store.pick(connection, to, rows.phones, room=room(to))
        await store.insert(connection, to, rows, picked.new, actor=None)
    if picked.beyond and not picked.new:
        raise LimitReachedError(f"Nothing was added: {full(to)}.")
    problems += [f"[{places[place]}]: {full(to)}." for place in picked.beyond]
    return AddedContacts(
        added=len(picked.new),
        duplicates=len(rows) - len(picked.new) - len(picked.beyond),
        beyond=len(picked.beyond),
        problems=tuple(problems),
    )


def room(to: OpenList) -> int:
    """Return how many contacts may still be added to an open list."""
    return max(0, min(LONGEST_LIST - to.contacts_count, MOST_CONTACTS - to.account_contacts_count))


def full(to: OpenList) -> str:
    """Return why a contact has no room in an open list, to stand within a sentence."""
    if LONGEST_LIST - to.contacts_count <= MOST_CONTACTS - to.account_contacts_count:
        return f"the contact list {to.name} is full, a list has at most {LONGEST_LIST:,} contacts"
    return f"the account is full, it has at most {MOST_CONTACTS:,} contacts"


async def contacts_page(database: Database, iid: str, list_id: str, *, skip: int, limit: int) -> Page[Contact]:
    """Return some contacts of a list in the order in which they were added; raise NotFoundError."""
    async with database.connection() as connection:
        found = await _required(connection, iid, list_id)
        items = await store.contacts(connection, list_id, skip=skip, limit=limit)
    return Page(items=tuple(items), skip=skip, limit=limit, total=found.contacts_count)


def checked(draft: ContactDraft, *, default_region: str | None) -> ContactRow:
    """Return the contact as it is stored, without its other numbers (:func:`other_numbers`); raise InvalidInputError
    with everything that is wrong with it."""
    problems: list[str] = []
    phone = ""
    try:
        phone = parse_phone(draft.phone, default_region)
    except InvalidInputError as error:
        problems += error.problems
    if draft.time_zone is not None and not valid_zone(draft.time_zone):
        problems.append(f"{_shown(draft.time_zone)} is no time zone; write it like America/New_York")
    if draft.unique_id is not None and (len(draft.unique_id) > LONGEST_UNIQUE_ID or not is_storable(draft.unique_id)):
        problems.append(f"the unique id cannot be stored; it may have at most {LONGEST_UNIQUE_ID} characters")
    if not 0 <= draft.priority <= LARGEST_PRIORITY:
        problems.append(f"the priority is {draft.priority}; it must be from 0 to {LARGEST_PRIORITY}")
    attributes = _encoded(draft.attributes, problems)
    if problems:
        raise InvalidInputError(problems)
    return ContactRow(phone, draft.time_zone, draft.unique_id, draft.priority, msgspec.Raw(attributes))


def other_numbers(
    texts: Mapping[str, str], phone: str, default_region: str | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the other numbers of a contact as they are stored, each once, and a sentence's part for each that is
    wrong, or one too many. ``texts`` are by what each is called; an empty one is none. ``phone`` is the contact's first
    number, as it is stored."""
    found: list[str] = []
    problems: list[str] = []
    for name, text in texts.items():
        if not text.strip():
            continue
        try:
            other = parse_phone(text, default_region)
        except InvalidInputError as error:
            problems += [f"{name} is left out: {problem}" for problem in error.problems]
            continue
        if other == phone or other in found:
            continue
        if len(found) + 1 < MOST_NUMBERS:
            found.append(other)
        else:
            problems.append(f"{name} is left out: a contact has at most {MOST_NUMBERS} numbers")
    return tuple(found), tuple(problems)


def _encoded(attributes: dict[str, Any], problems: list[str]) -> bytes:
    try:
        encoded = msgspec.json.encode(attributes)
    except (TypeError, ValueError, RecursionError):
        problems.append("an attribute cannot be stored: it is not valid Unicode or no JSON value")
        return b""
    if len(encoded) > LARGEST_ATTRIBUTES:
        problems.append(f"the attributes have {len(encoded)} bytes; at most {LARGEST_ATTRIBUTES} can be stored")
    # the pattern is slow, and almost never needed
    if b"\\u0000" in encoded and _NUL.search(encoded):
        problems.append("an attribute contains the character U+0000, which cannot be stored")
    return encoded


def _shown(text: str) -> str:
    """Return the start of a wrong value, fit for a sentence."""
    return repr(text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…")

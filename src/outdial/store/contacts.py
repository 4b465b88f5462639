"""Contact lists and their contacts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import asyncpg

from outdial.core.contact_list import Contact, ContactList
from outdial.store.contact_text import COLUMNS, OTHERS, ContactRow, contact_line, others_text, without_dedupe
from outdial.store.database import Connection

_LISTS: Final = """
SELECT l.id, l.iid, l.account_id, l.name, l.description, l.source, l.allow_duplicates, l.api_version, l.created_by,
       l.updated_by, l.created_at, l.updated_at,
       l.contacts_count,
       ARRAY(SELECT ROW(c.id, c.name) FROM campaign_lists cl JOIN campaigns c ON c.id = cl.campaign_id
              WHERE cl.list_id = l.id AND c.deleted_at IS NULL ORDER BY c.created_at, c.id) AS campaigns,
       EXISTS (SELECT FROM run_lists rl JOIN runs r ON r.id = rl.run_id
                WHERE rl.list_id = l.id AND r.state IN ('active', 'paused', 'stopping')) AS in_use
  FROM contact_lists l
"""


_OPENING: Final = """
SELECT id, name, allow_duplicates, contacts_count, current_setting('log_error_verbosity') = 'terse' AS discreet
  FROM contact_lists WHERE iid = $1
"""


# For each number, the first entry at or after it in the index of numbers. By plain equality the planner takes the other
# index that begins with the list when its statistics do not know the list yet, and reads the whole list for each number
# (2.5 ms instead of 5 µs at ten thousand contacts, 24 s a lot). The subselect hides from it which list it is.
_KNOWN: Final = """
SELECT phone FROM unnest($2::text[]) AS given (phone)
 WHERE (SELECT c.list_id = $1 AND c.dedupe_phone = given.phone FROM contacts c
         WHERE (c.list_id, c.dedupe_phone) >= ((SELECT $1::text), given.phone) AND c.dedupe_phone IS NOT NULL
         ORDER BY c.list_id, c.dedupe_phone LIMIT 1)
"""


_SAMPLE: Final = 16
"""Numbers that are looked for before a list is believed to have none of some thousands."""

_LINES_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class OpenList:
    """What adding contacts needs to know of their list."""

    id: str
    name: str
    allow_duplicates: bool
    contacts_count: int
    discreet: bool
    """Whether the server logs errors without the values that were wrong: a number that collides would be in its log."""
    account_contacts_count: int
    """Contacts of all lists of the account."""


@dataclass(slots=True)
class NewContacts:
    """Contacts to be added, as texts: millions of small objects would keep the garbage collector busy."""

    phones: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """Of each, as ``store.contact_text`` writes them."""
    others: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """Other numbers of those that have any, by their places."""

    def add(self, row: ContactRow) -> None:
        """Add one at the end."""
        if row.other_phones:
            self.others[len(self.phones)] = row.other_phones
        self.phones.append(row.phone)
        self.lines.append(contact_line(row))

    def only(self, places: Sequence[int]) -> NewContacts:
        """Return those at some places."""
        others = {new: self.others[old] for new, old in enumerate(places) if old in self.others}
        return NewContacts([self.phones[at] for at in places], [self.lines[at] for at in places], others)

    def numbers(self) -> list[str]:
        """Return every number of them, one that several have as often as they do."""
        return [*self.phones, *(phone for found in self.others.values() for phone in found)]

    def with_any(self, phones: AbstractSet[str]) -> frozenset[int]:
        """Return the places of those who have any of the numbers."""
        return frozenset(at for at, phone in enumerate(self.phones) if phone in phones) | frozenset(
            at for at, found in self.others.items() if not phones.isdisjoint(found)
        )

    def __len__(self) -> int:
        return len(self.phones)


@dataclass(frozen=True, slots=True)
class Picked:
    """Which of the contacts that somebody would add are to be added, by their places among them."""

    new: Sequence[int]
    beyond: Sequence[int]
    """New ones for which there is no room."""


def _list(row: asyncpg.Record) -> ContactList:
    campaigns = tuple((campaign[0], campaign[1]) for campaign in row["campaigns"])
    return ContactList(**{**row, "campaigns": campaigns})


async def insert_list(
    connection: Connection,
    *,
    list_id: str,
    iid: str,
    account_id: str,
    name: str,
    description: str,
    source: str,
    allow_duplicates: bool,
    api_version: int,
    actor: str,
) -> bool:
    """Store an empty contact list; False when the application has one of that name in any case."""
    inserted = await connection.fetchval(
        """
        INSERT INTO contact_lists (id, iid, account_id, name, description, source, allow_duplicates, api_version,
                                   created_by, updated_by, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, now(), now())
            ON CONFLICT (iid, lower(name)) DO NOTHING
        RETURNING true
        """,
        list_id,
        iid,
        account_id,
        name,
        description,
        source,
        allow_duplicates,
        api_version,
        actor,
    )
    return inserted is not None


async def list_by_id(connection: Connection, iid: str, list_id: str) -> ContactList | None:
    """Return a contact list of the application, None for an unknown or other tenant's one."""
    row = await connection.fetchrow(f"{_LISTS} WHERE l.iid = $1 AND l.id = $2", iid, list_id)
    return None if row is None else _list(row)


async def list_named(connection: Connection, iid: str, name: str) -> ContactList | None:
    """Return the application's contact list of that name in any case, None when there is none."""
    row = await connection.fetchrow(f"{_LISTS} WHERE l.iid = $1 AND lower(l.name) = lower($2)", iid, name)
    return None if row is None else _list(row)


async def lists_of(connection: Connection, iid: str) -> list[ContactList]:
    """Return the application's contact lists, oldest first."""
    rows = await connection.fetch(f"{_LISTS} WHERE l.iid = $1 ORDER BY l.created_at, l.id", iid)
    return [_list(row) for row in rows]


async def lock_list(connection: Connection, iid: str, list_id: str) -> bool:
    """Keep the list as it is until commit: no campaign can begin to refer to it. False when there is none."""
    found = await connection.fetchval(
        "SELECT true FROM contact_lists WHERE iid = $1 AND id = $2 FOR UPDATE", iid, list_id
    )
    return found is not None


async def update_list(
    connection: Connection, list_id: str, *, name: str, description: str, allow_duplicates: bool, actor: str
) -> bool:
    """Change a list that is locked; False, and the transaction is lost, when another list has the name in any case.

    Contacts store whether their number may collide, so ``allow_duplicates`` may only change while there are none.
    """
    try:
        await connection.execute(
            """
            UPDATE contact_lists
               SET name = $2, description = $3, allow_duplicates = $4, updated_by = $5, updated_at = now()
             WHERE id = $1
            """,
            list_id,
            name,
            description,
            allow_duplicates,
            actor,
        )
    except asyncpg.UniqueViolationError:
        return False
    return True


async def delete_list(connection: Connection, list_id: str) -> None:
    """Delete a list that is locked and that nothing refers to, with its contacts."""
    await connection.execute("DELETE FROM contact_lists WHERE id = $1", list_id)


async def lists_count(connection: Connection, account_id: str) -> int:
    """Return how many lists the account has, and keep it so until commit: see :func:`lock_usage`."""
    count: int = await connection.fetchval(
        "SELECT lists_count FROM account_usage WHERE account_id = $1 FOR NO KEY UPDATE", account_id
    )
    return count


async def lock_usage(connection: Connection, iid: str) -> int | None:
    """Return how many contacts the account of the application has, and keep it so until commit; None for an unknown
    application.

    Whoever adds or removes contacts or lists comes by here first, before any list is locked: they would deadlock.
    """
    count: int | None = await connection.fetchval(
        """
        SELECT u.contacts_count FROM applications a JOIN account_usage u ON u.account_id = a.account_id
         WHERE a.iid = $1 FOR NO KEY UPDATE OF u
        """,
        iid,
    )
    return count


async def open_list(connection: Connection, iid: str, name: str) -> OpenList | None:
    """Return the application's list of that name for adding to it; others who add to the account wait until commit."""
    return await _opened(connection, f"{_OPENING} AND lower(name) = lower($2) FOR NO KEY UPDATE", iid, name)


async def open_list_by_id(connection: Connection, iid: str, list_id: str) -> OpenList | None:
    """Return a list of the application for adding to it, as :func:`open_list` does."""
    return await _opened(connection, f"{_OPENING} AND id = $2 FOR NO KEY UPDATE", iid, list_id)


async def _opened(connection: Connection, query: str, iid: str, which: str) -> OpenList | None:
    in_account = await lock_usage(connection, iid)
    if in_account is None:
        return None
    # a plan made while tables were small would be kept while they grow
    await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
    row = await connection.fetchrow(query, iid, which)
    return None if row is None else OpenList(**row, account_contacts_count=in_account)


async def pick(
    connection: Connection, to: OpenList, phones: Sequence[str], *, room: int, unseen: bool = False
) -> Picked:
    """Return which contacts are to be added to a list opened in the same transaction, at most ``room``.

    Where the list does not allow duplicates, a number that is in it already stays as it is, and of several contacts of
    one number the first counts. With ``unseen`` the list is believed to have none of the numbers, and :func:`insert`
    tells whether that is so.
    """
    if to.allow_duplicates:
        fitting = min(room, len(phones))
        return Picked(range(fitting), range(fitting, len(phones)))
    seen = set(await _known(connection, to.id, phones)) if to.contacts_count and not unseen else set[str]()
    if not seen and len(phones) <= room and len(set(phones)) == len(phones):
        return Picked(range(len(phones)), ())
    new: list[int] = []
    beyond: list[int] = []
    for place, phone in enumerate(phones):
        if phone in seen:
            continue
        if len(new) < room:
            seen.add(phone)
            new.append(place)
        else:
            beyond.append(place)
    return Picked(new, beyond)


async def looks_unseen(connection: Connection, to: OpenList, phones: Sequence[str], *, room: int) -> bool:
    """Whether the list probably has none of these numbers, by some of them, and has room for all: then trying is
    cheaper than looking for each, which costs half of what adding it does."""
    if to.allow_duplicates or len(phones) > room:
        return False
    if not to.contacts_count:
        return True
    return to.discreet and not await _known(connection, to.id, phones[:: max(1, len(phones) // _SAMPLE)])


class SeenError(Exception):
    """Numbers were believed to be in a list not yet, and one is; the transaction, or savepoint, is lost."""


async def insert(
    connection: Connection, to: OpenList, contacts: NewContacts, places: Sequence[int], *, actor: str | None
) -> None:
    """Add picked contacts to an open list, in their order; ``actor`` None leaves who changed it last.

    Raises SeenError when one that was picked ``unseen`` is in the list.
    """
    if not places:
        return
    lines: Sequence[str] = contacts.lines
    if len(places) < len(contacts):
        lines = [lines[place] for place in places]
    columns: tuple[str, ...] = ("list_id", *COLUMNS)
    if contacts.others:
        columns = (*columns, OTHERS)
        others = (others_text(contacts.others.get(place, ())) for place in places)
        lines = [f"{line}\t{text}" for line, text in zip(lines, others, strict=True)]
    try:
        await connection.copy_to_table("contacts", columns=columns, source=_copied(to, lines))
    except asyncpg.UniqueViolationError as error:
        raise SeenError from error
    await connection.execute(
        "UPDATE contact_lists SET updated_at = now(), updated_by = coalesce($2, updated_by) WHERE id = $1",
        to.id,
        actor,
    )


async def _copied(to: OpenList, lines: Sequence[str]) -> AsyncIterator[bytes]:
    """Yield what COPY reads, in pieces: none is so long that whatever else the process does would wait for it."""
    left = iter(map(without_dedupe, lines) if to.allow_duplicates else lines)
    while piece := list(islice(left, _LINES_AT_ONCE)):
        yield f"{to.id}\t{f'{chr(10)}{to.id}{chr(9)}'.join(piece)}\n".encode()


async def _known(connection: Connection, list_id: str, phones: Sequence[str]) -> list[str]:
    """Return the numbers that the list has already; it is open, so nobody else can add one."""
    return [row["phone"] for row in await connection.fetch(_KNOWN, list_id, phones)]


async def contacts(connection: Connection, list_id: str, *, skip: int, limit: int) -> list[Contact]:
    """Return some contacts of a list in the order in which they were added."""
    rows = await connection.fetch(
        """
        SELECT id, list_id, phone, time_zone, unique_id, priority, attributes, created_at, updated_at,
               coalesce(other_phones, '{}') AS other_phones
          FROM contacts WHERE list_id = $1 ORDER BY id OFFSET $2 LIMIT $3
        """,
        list_id,
        skip,
        limit,
    )
    return [Contact(**{**row, "other_phones": tuple(row["other_phones"])}) for row in rows]

"""Contact lists and their contacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import asyncpg
import msgspec

from outdial.core.model import Contact, ContactList
from outdial.store.database import Connection

_LISTS: Final = """
SELECT l.id, l.iid, l.account_id, l.name, l.description, l.source, l.allow_duplicates, l.api_version, l.created_by,
       l.updated_by, l.created_at, l.updated_at,
       (SELECT count(*) FROM contacts c WHERE c.list_id = l.id) AS contacts_count,
       ARRAY(SELECT ROW(c.id, c.name) FROM campaign_lists cl JOIN campaigns c ON c.id = cl.campaign_id
              WHERE cl.list_id = l.id AND c.deleted_at IS NULL ORDER BY c.created_at, c.id) AS campaigns,
       EXISTS (SELECT FROM run_lists rl JOIN runs r ON r.id = rl.run_id
                WHERE rl.list_id = l.id AND r.state IN ('active', 'paused', 'stopping')) AS in_use
  FROM contact_lists l
"""

_INCOMING: Final = """
CREATE TEMPORARY TABLE incoming_contacts (
    place integer GENERATED ALWAYS AS IDENTITY, phone text, time_zone text, unique_id text, priority smallint,
    attributes jsonb
) ON COMMIT DROP
"""


class ContactRow(NamedTuple):
    """A contact to be added, checked; a tuple because COPY takes tuples."""

    phone: str
    time_zone: str | None
    unique_id: str | None
    priority: int
    attributes: msgspec.Raw
    """A JSON object, encoded already."""


@dataclass(frozen=True, slots=True)
class OpenList:
    """What adding contacts needs to know of their list."""

    id: str
    allow_duplicates: bool


def _list(row: asyncpg.Record) -> ContactList:
    return ContactList(**{**row, "campaigns": tuple((campaign[0], campaign[1]) for campaign in row["campaigns"])})


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


async def open_list(connection: Connection, iid: str, name: str) -> OpenList | None:
    """Return the application's list of that name for adding to it; others who add wait until commit.

    One at a time, since two that add the same numbers in different orders would deadlock.
    """
    row = await connection.fetchrow(
        """
        SELECT id, allow_duplicates FROM contact_lists WHERE iid = $1 AND lower(name) = lower($2) FOR NO KEY UPDATE
        """,
        iid,
        name,
    )
    return None if row is None else OpenList(id=row["id"], allow_duplicates=row["allow_duplicates"])


async def stage(connection: Connection, rows: Sequence[ContactRow]) -> None:
    """Bring contacts to the server, where they wait for :func:`merge`; once per transaction."""
    await connection.execute(_INCOMING)
    await connection.copy_records_to_table("incoming_contacts", records=rows, columns=ContactRow._fields)


async def merge(connection: Connection, to: OpenList, *, actor: str | None) -> int:
    """Add the staged contacts to a list opened in the same transaction, in their order; return how many were new.

    Where the list does not allow duplicates, a number that is in it already stays as it is.
    """
    answer = await connection.execute(
        """
        INSERT INTO contacts (list_id, phone, dedupe_phone, time_zone, unique_id, priority, attributes, created_at,
                              updated_at)
        SELECT $1, phone, CASE WHEN $2 THEN NULL ELSE phone END, time_zone, unique_id, priority, attributes, now(),
               now()
          FROM incoming_contacts ORDER BY place
            ON CONFLICT (list_id, dedupe_phone) WHERE dedupe_phone IS NOT NULL DO NOTHING
        """,
        to.id,
        to.allow_duplicates,
    )
    # the command's tag: INSERT 0 <count>
    added = int(answer.rpartition(" ")[2])
    if added:
        await connection.execute(
            "UPDATE contact_lists SET updated_at = now(), updated_by = coalesce($2, updated_by) WHERE id = $1",
            to.id,
            actor,
        )
    return added


async def contacts(connection: Connection, list_id: str, *, skip: int, limit: int) -> list[Contact]:
    """Return some contacts of a list in the order in which they were added."""
    rows = await connection.fetch(
        """
        SELECT id, list_id, phone, time_zone, unique_id, priority, attributes, created_at, updated_at
          FROM contacts WHERE list_id = $1 ORDER BY id OFFSET $2 LIMIT $3
        """,
        list_id,
        skip,
        limit,
    )
    return [Contact(**row) for row in rows]

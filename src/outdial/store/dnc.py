"""Do-not-call lists: one account-wide per account, and named ones of applications that campaigns refer to.

A number on a list is never dialed after the commit that put it there. Two things together make that true: whoever
reserves attempts has what :func:`hold` takes, tried and not waited for, and reads the lists in a *later* statement of
the same transaction; whoever adds numbers takes :func:`freeze`. So every reservation either sees the number or is
committed before it, and the latter are waited for (:func:`reserved_count`). The second calls of transfers are reserved
by the same rule (:func:`try_hold`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from outdial.core.model import OPT_OUTS, DncEntry, DncList, DncSource
from outdial.core.numbers import OF_PERSON
from outdial.store.database import Connection

ACCOUNT_LIST_NAME: Final = "Account"
"""What the account-wide list is called where a name is shown."""

_LOCKS: Final = 0x444E43
"""Namespace of the advisory locks, "DNC"; within it one per account (a collision of hashes only costs waiting)."""


async def hold(connection: Connection, account_id: str) -> None:
    """Let no number be added to a list of the account until commit; many may hold at once."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared($1, hashtext($2))", _LOCKS, account_id)


async def try_hold(connection: Connection, account_id: str) -> bool:
    """As :func:`hold`, but return False where somebody is adding numbers: whoever waits holds a connection, and a
    writer that is frozen would empty the pool."""
    held: bool = await connection.fetchval(
        "SELECT pg_try_advisory_xact_lock_shared($1, hashtext($2))", _LOCKS, account_id
    )
    return held


async def freeze(connection: Connection, account_id: str) -> None:
    """Let no attempt of the account be reserved until commit, so that numbers can be added."""
    await connection.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", _LOCKS, account_id)


async def dnc_list_id(connection: Connection, iid: str, name: str) -> str | None:
    """Return the id of the application's DNC list of that name in any case, None when there is none."""
    list_id: str | None = await connection.fetchval(
        "SELECT id FROM dnc_lists WHERE iid = $1 AND lower(name) = lower($2)", iid, name
    )
    return list_id


async def account_list(connection: Connection, account_id: str, *, new_id: str) -> str:
    """Return the id of the account-wide list, made with ``new_id`` when there is none."""
    await connection.execute(
        """
        INSERT INTO dnc_lists (id, account_id, name) VALUES ($1, $2, $3)
            ON CONFLICT (account_id) WHERE iid IS NULL DO NOTHING
        """,
        new_id,
        account_id,
        ACCOUNT_LIST_NAME,
    )
    list_id: str = await connection.fetchval(
        "SELECT id FROM dnc_lists WHERE account_id = $1 AND iid IS NULL", account_id
    )
    return list_id


async def application_list(connection: Connection, account_id: str, iid: str, name: str, *, new_id: str) -> str:
    """Return the id of the application's list of that name, made with ``new_id`` when there is none."""
    await connection.execute(
        """
        INSERT INTO dnc_lists (id, account_id, iid, name) VALUES ($1, $2, $3, $4)
            ON CONFLICT (iid, lower(name)) WHERE iid IS NOT NULL DO NOTHING
        """,
        new_id,
        account_id,
        iid,
        name,
    )
    list_id: str = await connection.fetchval(
        "SELECT id FROM dnc_lists WHERE iid = $1 AND lower(name) = lower($2)", iid, name
    )
    return list_id


async def insert_list(connection: Connection, account_id: str, iid: str, name: str, *, new_id: str) -> bool:
    """Store a new list of an application; False when it has one of that name in any case."""
    inserted = await connection.fetchval(
        """
        INSERT INTO dnc_lists (id, account_id, iid, name) VALUES ($1, $2, $3, $4)
            ON CONFLICT (iid, lower(name)) WHERE iid IS NOT NULL DO NOTHING
        RETURNING true
        """,
        new_id,
        account_id,
        iid,
        name,
    )
    return inserted is not None


async def lists(connection: Connection, account_id: str, iid: str, *, list_id: str | None = None) -> list[DncList]:
    """Return the account-wide list and the application's own, or the one of that id, if it is one of them."""
    rows = await connection.fetch(
        """
        SELECT id, iid, name, created_at,
               (SELECT count(*) FROM dnc_entries e WHERE e.dnc_list_id = l.id) AS numbers_count
          FROM dnc_lists l
         WHERE account_id = $1 AND (iid IS NULL OR iid = $2) AND ($3::text IS NULL OR id = $3)
         ORDER BY iid NULLS FIRST, created_at, id
        """,
        account_id,
        iid,
        list_id,
    )
    return [DncList(**row) for row in rows]


async def add(
    connection: Connection,
    list_id: str,
    phones: Sequence[str],
    *,
    reason: str,
    actor: str,
    source: DncSource,
    expires_at: datetime | None = None,
) -> list[str]:
    """Put distinct numbers on a list, for good or until an instant; return those whose entry is new or another than
    before, sorted. By some sources the person is meant (``core.numbers.OF_PERSON``), whoever else has put the number
    there; a person's own word, for good, takes the place of what is none."""
    changed = await connection.fetch(
        """
        INSERT INTO dnc_entries (dnc_list_id, phone, reason, added_by, expires_at, source)
        SELECT $1, phone, $3, $4, $5, $6 FROM unnest($2::text[]) AS given (phone)
            ON CONFLICT (dnc_list_id, phone) DO UPDATE
               SET reason = excluded.reason, added_by = excluded.added_by, added_at = excluded.added_at,
                   expires_at = excluded.expires_at, source = excluded.source
             -- adding never shortens: whoever asked for longer is not called before; one that is there until its number
             -- is erased would go with it, so it gives way to others and takes the place of none that lasts
             WHERE CASE WHEN excluded.source = 'erasure' THEN dnc_entries.expires_at < now() + interval '1 hour'
                   ELSE dnc_entries.expires_at < coalesce(excluded.expires_at, 'infinity')
                        OR dnc_entries.source = 'erasure'
                        OR (excluded.source = ANY ($7::text[]) AND excluded.expires_at IS NULL
                            AND dnc_entries.source <> ALL ($7::text[])) END
        RETURNING phone
        """,
        list_id,
        phones,
        reason,
        actor,
        expires_at,
        source,
        sorted(OPT_OUTS),
    )
    if source in OF_PERSON:
        # an entry that was there, and lasts, becomes theirs too
        changed += await connection.fetch(
            """
            UPDATE dnc_entries SET of_person = true
             WHERE dnc_list_id = $1 AND phone = ANY ($2::text[]) AND NOT of_person
            RETURNING phone
            """,
            list_id,
            phones,
        )
    return sorted({row["phone"] for row in changed})


async def remove(connection: Connection, list_id: str, phones: Sequence[str], *, actor: str) -> int:
    """Take numbers off a list; return how many were on it. History keeps what each entry said."""
    removed = await connection.fetch(
        """
        WITH gone AS (
            DELETE FROM dnc_entries WHERE dnc_list_id = $1 AND phone = ANY ($2::text[])
            RETURNING phone, reason, added_by, added_at, expires_at, source)
        INSERT INTO history (account_id, action, from_state, to_state, actor, detail)
        SELECT l.account_id, 'dnc', 'listed', 'removed', $3,
               jsonb_build_object('dnc_list_id', l.id, 'phone', g.phone, 'reason', g.reason, 'added_by', g.added_by,
                                  'added_at', g.added_at, 'expires_at', g.expires_at, 'source', g.source)
          FROM gone g CROSS JOIN dnc_lists l WHERE l.id = $1
        RETURNING 1
        """,
        list_id,
        phones,
        actor,
    )
    return len(removed)


def _entry(row: asyncpg.Record) -> DncEntry:
    return DncEntry(**{**row, "source": DncSource(row["source"])})


async def entries(connection: Connection, list_id: str) -> list[DncEntry]:
    """Return what is on a list, sorted by number."""
    rows = await connection.fetch(
        """
        SELECT phone, source, reason, added_by, added_at, expires_at FROM dnc_entries
         WHERE dnc_list_id = $1 ORDER BY phone
        """,
        list_id,
    )
    return [_entry(row) for row in rows]


async def listed_count(connection: Connection, account_id: str, phones: Sequence[str]) -> int:
    """Return how many of the numbers, each as often as it is given, are on the account-wide list now."""
    list_id: str | None = await connection.fetchval(
        """
        SELECT id FROM dnc_lists l WHERE account_id = $1 AND iid IS NULL
           AND EXISTS (SELECT FROM dnc_entries e WHERE e.dnc_list_id = l.id)
        """,
        account_id,
    )
    if list_id is None:
        return 0
    # an index scan for all of them reads neighbours together: a third of the cost of one scan for each
    rows = await connection.fetch(
        """
        SELECT phone FROM dnc_entries WHERE dnc_list_id = $1 AND phone = ANY ($2::text[])
           AND (expires_at IS NULL OR expires_at > clock_timestamp())
        """,
        list_id,
        sorted(phones),
    )
    listed = {row["phone"] for row in rows}
    return sum(phone in listed for phone in phones) if listed else 0


async def page(connection: Connection, list_id: str, *, after: str, limit: int) -> list[DncEntry]:
    """Return some of what is on a list, sorted by number, from the first number after ``after`` on."""
    rows = await connection.fetch(
        """
        SELECT phone, source, reason, added_by, added_at, expires_at FROM dnc_entries
         WHERE dnc_list_id = $1 AND phone > $2 ORDER BY phone LIMIT $3
        """,
        list_id,
        after,
        limit,
    )
    return [_entry(row) for row in rows]


async def reserved_count(connection: Connection, account_id: str, phones: Sequence[str]) -> int:
    """Return how many calls to these numbers are reserved, of transfers too: an engine may be about to dial them."""
    count: int = await connection.fetchval(
        """
        SELECT (SELECT count(*) FROM attempts
                 WHERE account_id = $1 AND phone = ANY ($2::text[])
                   -- spelled out in full so that the index of live attempts serves
                   AND state IN ('reserved', 'dialing', 'ringing', 'answered') AND state = 'reserved')
             + (SELECT count(*) FROM transfers t JOIN runs r ON r.id = t.run_id
                 WHERE r.account_id = $1 AND t.phone = ANY ($2::text[]) AND t.ended_at IS NULL AND t.dialed_at IS NULL)
        """,
        account_id,
        phones,
    )
    return count


@dataclass(frozen=True, slots=True)
class Person:
    """Whom an attempt has called, and which do-not-call list their campaign names."""

    account_id: str
    iid: str
    phones: tuple[str, ...]
    """The number that was called, and then the others of the contact."""
    list_name: str | None


_PERSON: Final = """
SELECT a.account_id, c.iid, a.phone, coalesce(rc.phones, '{}') AS phones, d.name
  FROM all_attempts a JOIN campaigns c ON c.id = a.campaign_id LEFT JOIN dnc_lists d ON d.id = c.dnc_list_id
  LEFT JOIN run_contacts rc ON rc.run_id = a.run_id AND rc.contact_id = a.contact_id
 WHERE a.id = $1
"""

_PERSON_BY_HISTORY: Final = """
SELECT h.account_id, c.iid, h.detail ->> 'phone' AS phone, coalesce(rc.phones, '{}') AS phones, d.name
  FROM history h JOIN campaigns c ON c.id = h.campaign_id LEFT JOIN dnc_lists d ON d.id = c.dnc_list_id
  LEFT JOIN run_contacts rc ON rc.run_id = h.run_id AND rc.contact_id = h.contact_id
 WHERE h.attempt_id = $1 AND h.action = 'attempt' AND h.detail ->> 'phone' IS NOT NULL
"""


async def person_of(connection: Connection, attempt_id: str) -> Person | None:
    """Return whom an attempt has called; None when there is no such attempt. Of one that is not kept any more the
    history tells, which is read from end to end for that."""
    row = await connection.fetchrow(_PERSON, attempt_id) or await connection.fetchrow(_PERSON_BY_HISTORY, attempt_id)
    if row is None:
        return None
    phones = tuple(dict.fromkeys((row["phone"], *row["phones"])))
    return Person(row["account_id"], row["iid"], phones, row["name"])

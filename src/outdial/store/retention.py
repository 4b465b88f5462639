"""How long accounts keep recordings, attempts and what came with their contacts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from outdial.store.database import Connection

_COLUMNS: Final = "recordings_days, attributes_days, attempts_days, attempts_gone_until, updated_at, updated_by"

_AT_REST: Final = """
    NOT EXISTS (SELECT FROM run_lists rl JOIN runs r ON r.id = rl.run_id
                 WHERE rl.list_id = l.id AND r.state IN ('active', 'paused', 'stopping'))
"""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long an account keeps what, in days; None: for ever."""

    recordings_days: int | None = None
    attributes_days: int | None = None
    """Of contacts' attributes, their names among them, and unique ids, since the contact was last written."""
    attempts_days: int | None = None
    """Of attempts, since they ended; whole months go."""
    attempts_gone_until: datetime | None = None
    """Some of the attempts that ended before are not kept any more; None: all are."""
    updated_at: datetime | None = None
    """None: nobody has ever said."""
    updated_by: str | None = None


@dataclass(frozen=True, slots=True)
class Swept:
    """What became of one lot of a list's contacts."""

    reached: int | None
    """Id of its last contact; None: there is none left."""
    removed: int
    """Contacts that have lost their attributes."""


async def read(connection: Connection, account_id: str) -> Retention:
    """Return an account's."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM account_retention WHERE account_id = $1",  # noqa: S608 - a constant
        account_id,
    )
    return Retention() if row is None else Retention(**row)


async def write(
    connection: Connection,
    account_id: str,
    *,
    recordings_days: int | None,
    attributes_days: int | None,
    attempts_days: int | None,
    actor: str,
) -> Retention:
    """Set an account's, and return it."""
    row = await connection.fetchrow(
        f"""
        INSERT INTO account_retention (account_id, recordings_days, attributes_days, attempts_days, updated_by)
        VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (account_id) DO UPDATE
               SET recordings_days = excluded.recordings_days, attributes_days = excluded.attributes_days,
                   attempts_days = excluded.attempts_days, updated_at = excluded.updated_at,
                   updated_by = excluded.updated_by, swept_at = NULL
        RETURNING {_COLUMNS}
        """,  # noqa: S608 - a constant
        account_id,
        recordings_days,
        attributes_days,
        attempts_days,
        actor,
    )
    assert row is not None  # noqa: S101 - inserted or updated
    return Retention(**row)


async def with_recordings(connection: Connection) -> list[tuple[str, int]]:
    """Return the accounts that do not keep recordings for ever, each with its days."""
    rows = await connection.fetch(
        """
        SELECT account_id, recordings_days FROM account_retention
         WHERE recordings_days IS NOT NULL ORDER BY account_id
        """
    )
    return [(row["account_id"], row["recordings_days"]) for row in rows]


async def claim_sweep(connection: Connection, *, every: timedelta) -> list[tuple[str, int]]:
    """Take on the accounts whose contacts nobody has looked through for so long, each with its days."""
    rows = await connection.fetch(
        """
        UPDATE account_retention SET swept_at = clock_timestamp()
         WHERE attributes_days IS NOT NULL AND (swept_at IS NULL OR swept_at < clock_timestamp() - $1::interval)
        RETURNING account_id, attributes_days
        """,
        every,
    )
    return sorted((row["account_id"], row["attributes_days"]) for row in rows)


async def lists_at_rest(connection: Connection, account_id: str) -> list[str]:
    """Return the account's contact lists that no live run dials."""
    rows = await connection.fetch(
        f"SELECT id FROM contact_lists l WHERE account_id = $1 AND {_AT_REST}",  # noqa: S608 - a constant
        account_id,
    )
    return [row["id"] for row in rows]


async def sweep(connection: Connection, list_id: str, *, days: int, after: int, limit: int) -> Swept:
    """Take the attributes and unique ids off those of a list's next contacts that were last written so long ago, unless
    a live run dials it by now."""
    row: asyncpg.Record | None = await connection.fetchrow(
        f"""
        WITH lot AS (
            SELECT id FROM contacts WHERE list_id = $1 AND id > $2 ORDER BY id LIMIT $3
        ), removed AS (
            UPDATE contacts c SET attributes = '{{}}', unique_id = NULL
              FROM lot
             WHERE c.id = lot.id AND c.updated_at < clock_timestamp() - make_interval(days => $4)
               AND (c.attributes <> '{{}}' OR c.unique_id IS NOT NULL)
               AND EXISTS (SELECT FROM contact_lists l WHERE l.id = $1 AND {_AT_REST})
            RETURNING 1)
        SELECT max(id) AS reached, (SELECT count(*) FROM removed) AS removed FROM lot
        """,  # noqa: S608 - a constant
        list_id,
        after,
        limit,
        days,
    )
    assert row is not None  # noqa: S101 - an aggregate has a row
    return Swept(**row)

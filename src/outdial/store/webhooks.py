"""Webhooks as they are set up: addresses, events, secrets. What is sent is in ``store.webhook_deliveries``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg

from outdial.store.database import Connection

_COLUMNS = """
    id, account_id, iid, url, events, enabled, disabled_reason, created_at, created_by, updated_at,
    CASE WHEN previous_valid_until > clock_timestamp() THEN previous_valid_until END AS previous_valid_until
"""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook, without its secrets."""

    id: str
    account_id: str
    iid: str | None
    """None: it is told of every application of the account."""
    url: str
    events: tuple[str, ...]
    enabled: bool
    disabled_reason: str
    """Why outdial has switched it off; empty: somebody did, or it is on."""
    created_at: datetime
    created_by: str
    updated_at: datetime
    previous_valid_until: datetime | None
    """Until when messages are signed with the secret before this one too."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where messages go, and what they are signed with."""

    url: str
    encrypted: tuple[bytes, ...] = field(repr=False)
    """The secret first, then the one before it while that is still good."""


def _webhook_of(row: asyncpg.Record) -> Webhook:
    return Webhook(**{**row, "events": tuple(row["events"])})


async def lock_account(connection: Connection, account_id: str) -> int:
    """Let nobody else add webhooks to the account until commit; return how many it has."""
    await connection.execute("SELECT FROM accounts WHERE id = $1 FOR NO KEY UPDATE", account_id)
    count: int = await connection.fetchval(
        "SELECT count(*) FROM webhooks WHERE account_id = $1 AND removed_at IS NULL", account_id
    )
    return count


async def insert(
    connection: Connection,
    *,
    webhook_id: str,
    account_id: str,
    iid: str | None,
    url: str,
    events: Sequence[str],
    secret_encrypted: bytes,
    actor: str,
) -> Webhook:
    """Store a webhook that is told of what is sealed from now on."""
    row = await connection.fetchrow(
        f"""
        INSERT INTO webhooks (id, account_id, iid, url, events, secret_encrypted, created_by, seal_number)
        SELECT $1, $2, $3, $4, $5, $6, $7, coalesce((SELECT max(number) FROM history_seals WHERE account_id = $2), 0)
        RETURNING {_COLUMNS}
        """,  # noqa: S608 - constants
        webhook_id,
        account_id,
        iid,
        url,
        list(events),
        secret_encrypted,
        actor,
    )
    assert row is not None  # noqa: S101 - an insert returns its row
    return _webhook_of(row)


async def of_account(connection: Connection, account_id: str, *, iid: str | None) -> list[Webhook]:
    """Return the webhooks of one application, or (``iid`` None) all of the account, oldest first."""
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM webhooks
         WHERE account_id = $1 AND removed_at IS NULL AND ($2::text IS NULL OR iid = $2) ORDER BY created_at, id
        """,  # noqa: S608 - constants
        account_id,
        iid,
    )
    return [_webhook_of(row) for row in rows]


async def by_id(
    connection: Connection, webhook_id: str, *, account_id: str, iid: str | None, lock: bool = False
) -> Webhook | None:
    """Return a webhook of the application, or (``iid`` None) of the account; None when there is none."""
    row = await connection.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM webhooks
         WHERE id = $1 AND account_id = $2 AND removed_at IS NULL AND ($3::text IS NULL OR iid = $3)
         {"FOR NO KEY UPDATE" if lock else ""}
        """,  # noqa: S608 - constants
        webhook_id,
        account_id,
        iid,
    )
    return None if row is None else _webhook_of(row)


async def change(connection: Connection, before: Webhook, *, url: str, events: Sequence[str], enabled: bool) -> Webhook:
    """Change one that the caller has locked, and read: ``before``. Switched on, it goes on at once where it was, and
    what waits has as long again as if it had just come."""
    row = await connection.fetchrow(
        f"""
        UPDATE webhooks SET url = $2, events = $3, enabled = $4, disabled_reason = '', updated_at = clock_timestamp()
         WHERE id = $1 RETURNING {_COLUMNS}
        """,  # noqa: S608 - constants
        before.id,
        url,
        list(events),
        enabled,
    )
    # whoever has mended something should not have to wait for the pause to end
    await connection.execute(
        "UPDATE webhook_lanes SET next_try_at = clock_timestamp() WHERE webhook_id = $1", before.id
    )
    if enabled and not before.enabled:
        await connection.execute(
            """
            UPDATE webhook_deliveries SET waiting_since = clock_timestamp() WHERE webhook_id = $1 AND state = 'waiting'
            """,
            before.id,
        )
    assert row is not None  # noqa: S101 - the caller has locked it
    return _webhook_of(row)


async def rotate(connection: Connection, webhook_id: str, secret_encrypted: bytes, *, overlap_seconds: int) -> None:
    """Give one that the caller has locked a new secret, and keep the old one for so long beside it."""
    await connection.execute(
        """
        UPDATE webhooks
           SET previous_secret_encrypted = CASE WHEN $3 > 0 THEN secret_encrypted END,
               previous_valid_until = CASE WHEN $3 > 0 THEN clock_timestamp() + $3 * interval '1 second' END,
               secret_encrypted = $2, updated_at = clock_timestamp()
         WHERE id = $1
        """,
        webhook_id,
        secret_encrypted,
        overlap_seconds,
    )


async def remove(connection: Connection, webhook_id: str) -> None:
    """Send it nothing any more; what is stored of its messages goes later, see ``webhook_deliveries.tidy``."""
    await connection.execute(
        "UPDATE webhooks SET removed_at = clock_timestamp(), updated_at = clock_timestamp() WHERE id = $1", webhook_id
    )


async def switch_off(connection: Connection, webhook_id: str, reason: str, *, url: str) -> str | None:
    """Switch off one that is on and still has that address, and return its account; None when there is nothing to
    switch off. The caller must hold no lane: whoever changes a webhook locks it before its lanes."""
    account_id: str | None = await connection.fetchval(
        """
        UPDATE webhooks SET enabled = false, disabled_reason = $2, updated_at = clock_timestamp()
         WHERE id = $1 AND enabled AND removed_at IS NULL AND url = $3 RETURNING account_id
        """,
        webhook_id,
        reason,
        url,
    )
    return account_id


async def target(connection: Connection, webhook_id: str) -> Target | None:
    """Return where its messages go; None when it is removed or switched off."""
    row = await connection.fetchrow(
        """
        SELECT url, secret_encrypted,
               CASE WHEN previous_valid_until > clock_timestamp() THEN previous_secret_encrypted END AS previous
          FROM webhooks WHERE id = $1 AND enabled AND removed_at IS NULL
        """,
        webhook_id,
    )
    if row is None:
        return None
    return Target(row["url"], tuple(one for one in (row["secret_encrypted"], row["previous"]) if one is not None))

"""Attempt limits: those of an account and of its applications and campaigns. Who reserves reads them in the same
transaction (``outdial_reserve``), so that one that has been added holds for whatever is reserved after."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import asyncpg

from outdial.core.attempt_limits import AttemptLimit, Counted, LimitRule
from outdial.store.database import Connection


def limit_of(row: Mapping[str, Any] | asyncpg.Record) -> AttemptLimit:
    """Read one row of ``attempt_limits``, as such or as JSON."""
    created_at = row["created_at"]
    return AttemptLimit(
        id=row["id"],
        account_id=row["account_id"],
        iid=row["iid"],
        campaign_id=row["campaign_id"],
        rule=LimitRule(row["max_count"], row["window_seconds"], Counted(row["counts"]), row["matter"]),
        preset=row["preset"],
        created_at=created_at if isinstance(created_at, datetime) else datetime.fromisoformat(created_at),
        created_by=row["created_by"],
    )


async def of_account(connection: Connection, account_id: str, iid: str | None) -> list[AttemptLimit]:
    """Return the limits of an account and, of its applications, those of ``iid`` (None: of all), oldest first."""
    rows = await connection.fetch(
        """
        SELECT * FROM attempt_limits WHERE account_id = $1 AND (iid IS NULL OR $2::text IS NULL OR iid = $2)
         ORDER BY created_at, id
        """,
        account_id,
        iid,
    )
    return [limit_of(row) for row in rows]


async def lock(connection: Connection, account_id: str) -> None:
    """Let nobody else change the account's limits until commit, so that they can be counted."""
    await connection.execute("SELECT FROM accounts WHERE id = $1 FOR NO KEY UPDATE", account_id)


async def insert(
    connection: Connection,
    rule: LimitRule,
    *,
    limit_id: str,
    account_id: str,
    iid: str | None,
    campaign_id: str | None,
    preset: str | None,
    actor: str,
) -> AttemptLimit:
    """Add a limit and write down who did."""
    row = await connection.fetchrow(
        """
        WITH made AS (
            INSERT INTO attempt_limits (id, account_id, iid, campaign_id, max_count, window_seconds, counts, matter,
                                        preset, created_by)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING *
        ), told AS (
            INSERT INTO history (account_id, campaign_id, action, to_state, actor, detail)
            SELECT account_id, campaign_id, 'attempt_limit', 'added', created_by, to_jsonb(made) FROM made)
        SELECT * FROM made
        """,
        limit_id,
        account_id,
        iid,
        campaign_id,
        rule.count,
        rule.window_seconds,
        rule.counts,
        rule.matter,
        preset,
        actor,
    )
    assert row is not None  # noqa: S101 - an insert returns its row
    return limit_of(row)


async def remove(
    connection: Connection, limit_id: str, *, account_id: str, iid: str | None, actor: str
) -> AttemptLimit | None:
    """Remove a limit of the account or of the application (None: of any of its applications), write down who did, and
    return it as it was; None when there is none."""
    row = await connection.fetchrow(
        """
        WITH gone AS (
            DELETE FROM attempt_limits
             WHERE id = $1 AND account_id = $2 AND (iid IS NULL OR $3::text IS NULL OR iid = $3)
            RETURNING *
        ), told AS (
            INSERT INTO history (account_id, campaign_id, action, from_state, to_state, actor, detail)
            SELECT account_id, campaign_id, 'attempt_limit', 'added', 'removed', $4, to_jsonb(gone) FROM gone)
        SELECT * FROM gone
        """,
        limit_id,
        account_id,
        iid,
        actor,
    )
    return None if row is None else limit_of(row)

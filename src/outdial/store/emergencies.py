"""The emergency stop: declared, in force, lifted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from outdial.store.database import Connection

_LOCK: Final = 0x454D4552
"""Advisory lock, "EMER": whoever makes a run active shares it, whoever declares an emergency holds it alone. So a run
either sees the emergency, or is committed before it and found by it."""


@dataclass(frozen=True, slots=True)
class Emergency:
    """One emergency stop."""

    id: int
    wide_stop_id: str
    declared_at: datetime
    declared_by: str
    reason: str
    lifted_at: datetime | None
    lifted_by: str | None
    lift_reason: str | None


async def hold(connection: Connection) -> None:
    """Let no emergency be declared until commit; look for one in a later statement."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared($1, 0)", _LOCK)


async def starting(connection: Connection, account_id: str) -> None:
    """Let whoever stops runs of the account wait until commit (:func:`let_starts_end`)."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared($1, hashtext($2))", _LOCK, account_id)


async def let_starts_end(connection: Connection, account_id: str) -> None:
    """Wait for every run of the account that is being started; a later statement sees it."""
    await connection.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", _LOCK, account_id)


async def freeze(connection: Connection) -> None:
    """Let no run become active until commit."""
    await connection.execute("SELECT pg_advisory_xact_lock($1, 0)", _LOCK)


async def in_force(connection: Connection, *, since_begin: bool = False) -> Emergency | None:
    """Return the emergency stop that is in force, None when there is none; with ``since_begin`` also one that was
    lifted since the transaction began."""
    row = await connection.fetchrow(
        "SELECT * FROM emergency_stops WHERE lifted_at IS NULL OR ($1 AND lifted_at > transaction_timestamp())"
        " ORDER BY id DESC LIMIT 1",
        since_begin,
    )
    return None if row is None else Emergency(**row)


async def declare(connection: Connection, wide_stop_id: str, *, reason: str, actor: str) -> Emergency:
    """Declare one, and tell it in every account's history; the caller has frozen and found none."""
    row = await connection.fetchrow(
        """
        WITH declared AS (
            INSERT INTO emergency_stops (wide_stop_id, declared_by, reason) VALUES ($1, $2, $3) RETURNING *
        ), told AS (
            INSERT INTO history (account_id, action, to_state, actor, reason)
            SELECT a.id, 'emergency_stop', 'declared', declared_by, reason FROM declared CROSS JOIN accounts a)
        SELECT * FROM declared
        """,
        wide_stop_id,
        actor,
        reason,
    )
    assert row is not None  # noqa: S101 - RETURNING
    return Emergency(**row)


async def lift(connection: Connection, *, reason: str, actor: str) -> Emergency | None:
    """Lift the one in force and return it; None when there is none."""
    row = await connection.fetchrow(
        """
        WITH lifted AS (
            UPDATE emergency_stops SET lifted_at = clock_timestamp(), lifted_by = $1, lift_reason = $2
             WHERE lifted_at IS NULL RETURNING *
        ), told AS (
            INSERT INTO history (account_id, action, from_state, to_state, actor, reason)
            SELECT a.id, 'emergency_stop', 'declared', 'lifted', lifted_by, lift_reason
              FROM lifted CROSS JOIN accounts a)
        SELECT * FROM lifted
        """,
        actor,
        reason,
    )
    return None if row is None else Emergency(**row)


async def all_emergencies(connection: Connection, *, limit: int) -> list[Emergency]:
    """Return the latest ones, newest first."""
    rows = await connection.fetch("SELECT * FROM emergency_stops ORDER BY id DESC LIMIT $1", limit)
    return [Emergency(**row) for row in rows]

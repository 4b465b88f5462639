"""What ``/metrics`` reports about dialing, read from indexes that hold live things only."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from outdial.store.database import Connection


@dataclass(frozen=True, slots=True)
class Live:
    """Counts of what is live now."""

    runs: dict[str, int]
    """By run state."""
    attempts: dict[str, int]
    """By attempt state."""
    nodes: int
    """Dialer nodes with a valid lease."""


async def live(connection: Connection) -> Live:
    """Count live runs, attempts and nodes."""
    runs = await connection.fetch(
        "SELECT state, count(*) FROM runs WHERE state IN ('active', 'paused', 'stopping') GROUP BY state"
    )
    attempts = await connection.fetch(
        "SELECT state, count(*) FROM attempts WHERE state IN ('reserved', 'dialing', 'ringing', 'answered') "
        "GROUP BY state"
    )
    nodes = await connection.fetchval(
        "SELECT count(*) FROM nodes WHERE ended_at IS NULL AND lease_until > clock_timestamp()"
    )
    return Live(runs=_counts(runs), attempts=_counts(attempts), nodes=nodes)


def _counts(rows: list[asyncpg.Record]) -> dict[str, int]:
    return {row["state"]: row["count"] for row in rows}

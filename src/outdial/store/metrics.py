"""What ``/metrics`` reports about dialing, read from indexes that hold live things only."""

from __future__ import annotations

from dataclasses import dataclass, field

import asyncpg

from outdial.store import turns, webhook_deliveries
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
    held: dict[str, int] = field(default_factory=dict)
    """Active runs that wait, by what for."""
    webhook_dead: int = 0
    """Messages of webhooks that were given up; ``webhook_deliveries.DEAD_COUNTED``: so many or more."""
    webhook_oldest_seconds: float = 0.0
    """How long the oldest message that waits has been waiting."""


async def live(connection: Connection) -> Live:
    """Count live runs, attempts and nodes, and what webhooks have not taken."""
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
    dead, oldest = await webhook_deliveries.troubles(connection)
    held = await turns.held_counts(connection)
    return Live(_counts(runs), _counts(attempts), nodes, held, webhook_dead=dead, webhook_oldest_seconds=oldest)


def _counts(rows: list[asyncpg.Record]) -> dict[str, int]:
    return {row["state"]: row["count"] for row in rows}

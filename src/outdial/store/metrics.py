"""What ``/metrics`` reports about dialing, read from indexes that hold live things only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import asyncpg

from outdial.store import machine_reviews, turns, webhook_deliveries
from outdial.store.database import Connection

VERDICTS_SECONDS: Final = 300
"""How far back verdicts are counted: all of them together are many, and nobody watches those of last year."""


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
    verdicts: dict[str, int] = field(default_factory=dict)
    """By who had answered: calls of the last ``VERDICTS_SECONDS`` of which that was to be found out."""
    reviews: dict[tuple[str, str], int] = field(default_factory=dict)
    """Of verdicts that were kept for review in the last ``machine_reviews.COUNTED_DAYS``: by the verdict, and what it
    really was, ``waiting`` where nobody has said so."""


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
    verdicts = await connection.fetch(
        """
        SELECT detection ->> 'verdict' AS state, count(*) FROM attempts
         WHERE detection IS NOT NULL AND answered_at > clock_timestamp() - $1 * interval '1 second' GROUP BY 1
        """,
        VERDICTS_SECONDS,
    )
    held = await turns.held_counts(connection)
    return Live(
        _counts(runs),
        _counts(attempts),
        nodes,
        held,
        webhook_dead=dead,
        webhook_oldest_seconds=oldest,
        verdicts=_counts(verdicts),
        reviews=await machine_reviews.outcomes(connection),
    )


def _counts(rows: list[asyncpg.Record]) -> dict[str, int]:
    return {row["state"]: row["count"] for row in rows}

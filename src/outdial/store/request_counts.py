"""How many requests an account has made in the last minute, over all processes."""

from __future__ import annotations

from datetime import datetime

from outdial.store.database import Connection


async def admit(connection: Connection, account_id: str, *, limit: int, at: datetime | None = None) -> int:
    """Count a request unless ``limit`` of the last sixty seconds are counted already; return the seconds to wait, 0
    when it is counted. ``at`` is the database's clock unless told."""
    seconds: int = await connection.fetchval(
        "SELECT outdial_admit($1, $2, coalesce($3, clock_timestamp()))", account_id, limit, at
    )
    return seconds

"""Moves attempts of runs that are long over out of the way of dialing, and removes those that accounts do not keep."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from outdial.store import history
from outdial.store import old_attempts as store
from outdial.store.database import Connection, Database, server_time
from outdial.store.old_attempts import Month

AT_ONCE: Final = 500
"""Attempts moved or removed in one transaction, some tens of milliseconds."""

LOTS: Final = 20
"""Transactions of one look: whatever else is looked after has its turn in between."""

RUNS_AT_ONCE: Final = 100

ACTOR: Final = "retention"


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look has come to."""

    removed: int
    """Attempts that are gone."""
    more: bool
    """There is more to do."""


async def look(database: Database) -> Looked:
    """Move and remove some of what there is to. Any number of processes may: one does it, the others do nothing. Raises
    DatabaseUnavailableError."""
    async with database.apart("outdial old attempts") as connection:
        if not await store.be_alone(connection):
            return Looked(0, more=False)
        now = await server_time(connection)
        left = await _move(connection, LOTS)
        removed, left = await _remove(connection, now, left)
        await store.tidy(connection, before=now - store.MOVES_AFTER)
    return Looked(removed, more=left == 0)


async def _move(connection: Connection, lots: int) -> int:
    """Return how many of so many transactions are left."""
    after: tuple[datetime, int] | None = None
    while runs := await store.runs_to_move(connection, after=after, limit=RUNS_AT_ONCE):
        for _, run_id in runs:
            moved = AT_ONCE
            while moved == AT_ONCE:
                if lots == 0:
                    return 0
                moved = await store.move(connection, run_id, limit=AT_ONCE)
                lots -= 1
        after = runs[-1]
    return lots


async def _remove(connection: Connection, now: datetime, lots: int) -> tuple[int, int]:
    """Return how many attempts are removed, and how many of so many transactions are left."""
    count = 0
    months = await store.months(connection)
    for account_id, days in await store.accounts(connection):
        for month in months:
            removed = AT_ONCE if month.end <= now - timedelta(days=days) else 0
            while removed == AT_ONCE:
                if lots == 0:
                    return count, 0
                removed = await _remove_lot(connection, account_id, month, days)
                count += removed
                lots -= 1
    return count, lots


async def _remove_lot(connection: Connection, account_id: str, month: Month, days: int) -> int:
    async with connection.transaction():
        removed = await store.remove(connection, account_id, month, limit=AT_ONCE)
        if removed.attempts:
            await history.append(
                connection,
                account_id,
                "retention",
                "removed",
                actor=ACTOR,
                kind="attempts",
                month=month.begin.strftime("%Y-%m"),
                count=removed.attempts,
                runs=removed.runs,
                days=days,
            )
    return removed.attempts

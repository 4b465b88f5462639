"""Moves attempts of runs that are long over out of the way of dialing, and removes those that accounts do not keep."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from outdial.store import history
from outdial.store import old_attempts as store
from outdial.store.database import Database
from outdial.store.old_attempts import Month

AT_ONCE: Final = 500
"""Attempts moved or removed in one transaction, some tens of milliseconds."""

LOTS: Final = 10
"""Transactions of one look that move, and as many that remove: other things that are looked after have their turn."""

RUNS_AT_ONCE: Final = 100

ACTOR: Final = "retention"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look has come to."""

    removed: int
    """Attempts that are gone."""
    more: bool
    """There is more to do."""


async def look(database: Database) -> Looked:
    """Move and remove some of what there is to; nothing before the database's clock has gone on steadily for a day. Any
    number of processes may, in turns. Raises DatabaseUnavailableError."""
    async with database.connection() as connection:
        if not await store.is_steady(connection):
            return Looked(0, more=False)
    moved = await _move(database)
    removed, more = await _remove(database)
    await _drop(database)
    return Looked(removed, more=more or moved == LOTS)


async def _move(database: Database) -> int:
    """Return how many transactions have moved some."""
    lots = 0
    after: tuple[datetime, int] | None = None
    while True:
        async with database.connection() as connection:
            runs = await store.runs_to_move(connection, after=after, limit=RUNS_AT_ONCE)
        if not runs:
            return lots
        for _, run_id in runs:
            moved = AT_ONCE
            while moved == AT_ONCE:
                async with database.transaction() as connection:
                    moved = await store.move(connection, run_id, limit=AT_ONCE) if await store.hold(connection) else 0
                lots += moved > 0
                if lots == LOTS:
                    return lots
            # apart: it wants the run's row, which others may have who want attempts
            async with database.connection() as connection:
                await store.mark_moved(connection, run_id)
        after = runs[-1]


async def _remove(database: Database) -> tuple[int, bool]:
    """Return how many attempts are removed, and whether there may be more."""
    count = lots = 0
    async with database.connection() as connection:
        months = await store.months(connection)
        accounts = await store.accounts(connection)
    for account_id in accounts:
        async with database.connection() as connection:
            if await store.webhooks_are_behind(connection, account_id):
                _log.warning("old_attempts_wait_for_a_webhook", account_id=account_id)
                continue
            spared = await store.told_of(connection, account_id)
        for month in months:
            removed = AT_ONCE
            while removed == AT_ONCE:
                removed = await _remove_lot(database, account_id, month, spared)
                count += removed
                lots += removed > 0
                if lots == LOTS:
                    return count, True
    return count, False


async def _remove_lot(database: Database, account_id: str, month: Month, spared: list[str]) -> int:
    async with database.transaction() as connection:
        days = await store.due(connection, account_id, month) if await store.hold(connection) else None
        if days is None:
            return 0
        removed = await store.remove(connection, account_id, month, spared=spared, limit=AT_ONCE)
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


async def _drop(database: Database) -> None:
    async with database.connection() as connection:
        months = await store.months(connection)
    for month in months:
        async with database.transaction() as connection:
            if await store.hold(connection) and await store.is_empty(connection, month):
                await store.drop(connection, month)

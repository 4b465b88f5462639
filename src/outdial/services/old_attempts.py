"""Moves attempts of runs that are long over out of the way of dialing, and removes those that accounts do not keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from outdial import clock
from outdial.store import history
from outdial.store import old_attempts as store
from outdial.store.database import Database
from outdial.store.old_attempts import Month

AT_ONCE: Final = 500
"""Attempts moved or removed in one transaction, some tens of milliseconds."""

RUNS_AT_ONCE: Final = 1000

SECONDS: Final = 2.0
"""How long a look moves, and how long it removes: other things that are looked after have their turn."""

ACTOR: Final = "retention"


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look has come to."""

    removed: int
    """Attempts that are gone."""
    more: bool
    """There may be more to do."""
    waiting: tuple[str, ...] = ()
    """Accounts whose attempts wait for a webhook that is behind."""


async def look(database: Database) -> Looked:
    """Move and remove some of what there is to; nothing before the database's clock has gone on steadily for a day. Any
    number of processes may, in turns. Raises DatabaseUnavailableError, also for what the database refuses."""
    with store.refusals():
        moving = await _move(database)
        removed, removing, waiting = await _remove(database)
        await _drop(database)
    return Looked(removed, more=moving or removing, waiting=waiting)


async def _move(database: Database) -> bool:
    """Return whether there may be more."""
    until = clock.boottime() + SECONDS
    async with database.connection() as connection:
        runs = await store.runs_to_move(connection, limit=RUNS_AT_ONCE)
    for run_id in runs:
        moved = AT_ONCE
        while moved == AT_ONCE:
            async with database.transaction() as connection:
                if not await store.hold(connection):
                    return False
                moved = await store.move(connection, run_id, limit=AT_ONCE)
            if clock.boottime() > until:
                return True
    async with database.connection() as connection:
        marked = await store.mark_moved(connection, limit=RUNS_AT_ONCE)
    return RUNS_AT_ONCE in (marked, len(runs))


async def _remove(database: Database) -> tuple[int, bool, tuple[str, ...]]:
    """Return how many attempts are removed, whether there may be more, and which accounts wait for a webhook."""
    until = clock.boottime() + SECONDS
    count = 0
    waiting = []
    async with database.connection() as connection:
        months = await store.months(connection)
        accounts = await store.accounts(connection)
    for account_id, before in accounts.items():
        async with database.connection() as connection:
            if await store.webhooks_are_behind(connection, account_id):
                waiting.append(account_id)
                continue
            spared = await store.told_of(connection, account_id)
        for month in (each for each in months if each.end <= before):
            removed = AT_ONCE
            while removed == AT_ONCE:
                removed = await _remove_lot(database, account_id, month, spared)
                count += removed
                if removed and clock.boottime() > until:
                    return count, True, tuple(waiting)
    return count, False, tuple(waiting)


async def _remove_lot(database: Database, account_id: str, month: Month, spared: list[str]) -> int:
    async with database.transaction() as connection:
        if not await store.hold(connection):
            return 0
        found = await store.removable(connection, account_id, month, spared=spared, limit=AT_ONCE)
        # once more: somebody may have chosen to keep them
        days = await store.due(connection, account_id, month) if found else None
        if days is None:
            return 0
        removed = await store.remove(connection, account_id, month, found)
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
            # another process may have done away with it
            there = await store.hold(connection) and month in await store.months(connection)
            if there and await store.is_empty(connection, month):
                await store.drop(connection, month)

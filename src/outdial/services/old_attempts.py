"""Moves attempts of runs that are long over out of the way of dialing, and removes those that accounts do not keep."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from outdial import clock
from outdial.core.errors import DatabaseUnavailableError
from outdial.store import history
from outdial.store import old_attempts as store
from outdial.store.database import Database, server_time
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
    number of processes may, in turns. Raises DatabaseUnavailableError, also for what the database refuses, once all
    that can be done is."""
    troubles: list[DatabaseUnavailableError] = []
    moving, removed, removing = False, 0, False
    waiting: tuple[str, ...] = ()
    with _told(troubles):
        moving = await _move(database)
    with _told(troubles):
        removed, removing, waiting = await _remove(database)
    with _told(troubles):
        await _drop(database, troubles)
    if troubles:
        raise troubles[0]
    return Looked(removed, more=moving or removing, waiting=waiting)


@contextlib.contextmanager
def _told(troubles: list[DatabaseUnavailableError]) -> Iterator[None]:
    """Note what goes wrong: it is told once the rest is done, and holds up none of it."""
    try:
        with store.refusals():
            yield
    except DatabaseUnavailableError as error:
        troubles.append(error)


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
    """Return how many attempts are removed, whether there are more, and which accounts wait for a webhook."""
    until = clock.boottime() + SECONDS
    async with database.connection() as connection:
        months = await store.months(connection)
        pairs = await store.with_attempts(connection, await store.accounts(connection), months)
        # from another one each time: of some nothing may go for years, and the time of a look is short
        first = int((await server_time(connection)).timestamp()) % max(len(pairs), 1)
        spared: dict[str, list[str]] = {}
        waiting = []
        for account_id in dict.fromkeys(account_id for account_id, _ in pairs):
            if await store.webhooks_are_behind(connection, account_id):
                waiting.append(account_id)
            else:
                spared[account_id] = await store.told_of(connection, account_id)
    count = 0
    for account_id, month in (*pairs[first:], *pairs[:first]):
        removed: int | None = AT_ONCE if account_id in spared else 0
        while removed == AT_ONCE:
            removed = await _remove_lot(database, account_id, month, spared[account_id])
            if removed is None:
                return count, False, tuple(waiting)
            count += removed
            if clock.boottime() > until:
                return count, count > 0, tuple(waiting)
    return count, False, tuple(waiting)


async def _remove_lot(database: Database, account_id: str, month: Month, spared: list[str]) -> int | None:
    """Return how many are removed; None: somebody else is at it, or the clock is not to be trusted."""
    async with database.transaction() as connection:
        if not await store.hold(connection):
            return None
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


async def _drop(database: Database, troubles: list[DatabaseUnavailableError]) -> None:
    async with database.connection() as connection:
        months = await store.months(connection)
    for month in months:
        with _told(troubles):
            async with database.transaction() as connection:
                if not await store.hold(connection):
                    return
                # another process may have done away with it
                if month in await store.months(connection) and await store.is_empty(connection, month):
                    await store.drop(connection, month)

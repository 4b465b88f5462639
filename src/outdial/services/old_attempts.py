"""Moves attempts of runs that are long over out of the way of dialing, and removes those that accounts do not keep."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from outdial import clock
from outdial.core.errors import OutdialError
from outdial.store import history
from outdial.store import old_attempts as store
from outdial.store.database import Connection, Database, server_time
from outdial.store.old_attempts import Hold, Month

AT_ONCE: Final = 500
"""Attempts moved or removed in one transaction, some tens of milliseconds."""

RUNS_AT_ONCE: Final = 1000

SECONDS: Final = 2.0
"""How long a look moves, and how long it removes: other things that are looked after have their turn."""

ACTOR: Final = "retention"

anywhere: Final = random.random
"""Where a look begins among the runs: those whose attempts are refused are not moved, and must not hold up others."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look has come to."""

    removed: int
    """Attempts that are gone."""
    more: bool
    """There may be more to do, and some was done."""
    waiting: tuple[str, ...] = ()
    """Accounts whose attempts wait for a webhook that is behind."""
    trusted_from: datetime | None = None
    """From when on the database's clock is trusted, where there was something to do and it is not yet."""
    troubles: tuple[OutdialError, ...] = ()
    """What could not be done; the rest was."""
    whole: bool = True
    """It got everywhere: neither was its time up, nor somebody else at it or looking back over all months, nor was the
    clock not to be trusted."""


async def look(database: Database) -> Looked:
    """Move and remove some of what there is to; nothing before the database's clock has gone on steadily for a day. Any
    number of processes may, in turns. Raises DatabaseUnavailableError where the database is away; what it refuses is
    told beside what was done."""
    one = _Look(database)
    await one.watch()
    await one.move()
    await one.remove()
    await one.drop()
    troubles = tuple(one.troubles.values())
    return Looked(one.removed, one.more, one.waiting, one.trusted_from, troubles, one.whole)


class _Look:
    """One look: what goes wrong with a run, an account's month or a month holds up no other."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.removed = 0
        self.more = False
        self.waiting: tuple[str, ...] = ()
        self.trusted_from: datetime | None = None
        self.troubles: dict[str, OutdialError] = {}
        self.whole = True
        self._until = 0.0

    async def watch(self) -> None:
        """Note what the database's clock says: it has not leapt only because there was nothing to do for a while."""
        with store.troubles(self.troubles):
            async with self._database.transaction() as connection:
                await store.hold(connection)

    async def move(self) -> None:
        self._begin()
        runs: list[int] = []
        with store.troubles(self.troubles):
            async with self._database.connection() as connection:
                runs = await store.runs_to_move(connection, begin=anywhere(), limit=RUNS_AT_ONCE)
        count = 0
        for run_id in runs:
            moved: int | None = AT_ONCE
            while moved == AT_ONCE:
                # where it is refused
                moved = 0
                with store.troubles(self.troubles):
                    moved = await self._move_lot(run_id)
                if moved is None:
                    return
                count += moved
                if self._time_is_up():
                    self.more |= count > 0
                    return
        marked = 0
        with store.troubles(self.troubles):
            async with self._database.connection() as connection:
                marked = await store.mark_moved(connection, limit=RUNS_AT_ONCE)
        self.more |= marked == RUNS_AT_ONCE or (len(runs) == RUNS_AT_ONCE and count > 0)

    async def _move_lot(self, run_id: int) -> int | None:
        """Return how many are moved; None: somebody else is at it, or the clock is not to be trusted."""
        async with self._database.transaction() as connection:
            if not await self._holds(connection):
                return None
            months = await store.make_months(connection, run_id, limit=AT_ONCE)
        async with self._database.transaction() as connection:
            if not await self._holds(connection):
                return None
            return await store.move(connection, run_id, months, limit=AT_ONCE)

    async def remove(self) -> None:
        self._begin()
        pairs: list[tuple[str, Month]] = []
        spared: dict[str, list[str]] = {}
        with store.troubles(self.troubles):
            async with self._database.connection() as connection:
                pairs = await self._pairs(connection)
                spared = await self._spared(connection, dict.fromkeys(account_id for account_id, _ in pairs))
        for account_id, month in pairs:
            removed: int | None = AT_ONCE if account_id in spared else 0
            while removed == AT_ONCE:
                # where it is refused
                removed = 0
                with store.troubles(self.troubles):
                    removed = await self._remove_lot(account_id, month, spared[account_id])
                if removed is None:
                    return
                self.removed += removed
                if self._time_is_up():
                    self.more |= self.removed > 0
                    return

    async def _pairs(self, connection: Connection) -> list[tuple[str, Month]]:
        months = await store.months(connection)
        pairs = await store.with_attempts(connection, await store.accounts(connection), months)
        # from another one each time: of some nothing may go for years, and the time of a look is short
        first = int((await server_time(connection)).timestamp()) % max(len(pairs), 1)
        return [*pairs[first:], *pairs[:first]]

    async def _spared(self, connection: Connection, accounts: Iterable[str]) -> dict[str, list[str]]:
        """Return which attempts of each account stay for its webhooks' sake; without those all of whose do."""
        spared, waiting = {}, []
        for account_id in accounts:
            if await store.webhooks_are_behind(connection, account_id):
                waiting.append(account_id)
            else:
                spared[account_id] = await store.told_of(connection, account_id)
        # in the same order each time: they are told when they are others
        self.waiting = tuple(sorted(waiting))
        return spared

    async def _remove_lot(self, account_id: str, month: Month, spared: list[str]) -> int | None:
        """Return how many are removed; None: somebody else is at it, or the clock is not to be trusted."""
        async with self._database.transaction() as connection:
            if not await self._holds(connection):
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

    async def drop(self) -> None:
        self._begin()
        months: list[Month] = []
        with store.troubles(self.troubles):
            async with self._database.connection() as connection:
                months = await store.months(connection)
        for month in months:
            others = True
            with store.troubles(self.troubles):
                others = await self._drop(month)
            if not others or self._time_is_up():
                return

    async def _drop(self, month: Month) -> bool:
        """Do away with a month that has been empty for a while. False: nor would others go, since somebody else is at
        it or looks back over them all, as a backup does, or the clock is not to be trusted."""
        async with self._database.connection() as connection:
            if await store.is_filled(connection, month):
                return True
        async with self._database.transaction() as connection:
            if not await self._holds(connection):
                return False
            # another process may have done away with it
            empty = month in await store.months(connection) and await store.is_known_empty(connection, month)
        if not empty:
            return True
        async with self._database.connection() as connection:
            dropped = await store.drop(connection, month)
        # each try has others wait behind it
        self.whole &= dropped is not None
        return dropped is not None

    async def _holds(self, connection: Connection) -> bool:
        hold = await store.hold(connection)
        if hold is Hold.CLOCK:
            self.trusted_from = await store.trusted_from(connection)
        self.whole &= hold is Hold.HELD
        return hold is Hold.HELD

    def _begin(self) -> None:
        self._until = clock.boottime() + SECONDS

    def _time_is_up(self) -> bool:
        up = clock.boottime() > self._until
        self.whole &= not up
        return up

"""Goes on with wider stops whose process has died or has given up; every process does, and any number may at once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from outdial.core.errors import DatabaseUnavailableError, OutdialError
from outdial.services import wide_stops
from outdial.services.engines import Engines
from outdial.store import wide_stops as store
from outdial.store.database import Database
from outdial.store.wide_stops import WideStopRow

LOOK_SECONDS: Final = 1.0
"""Between two looks for stops that nobody finishes."""

_log = structlog.get_logger()


async def keep(database: Database, engines: Engines) -> None:
    """Look for ever; ends by cancel."""
    keeper = WideStopKeeper(database, engines)
    while True:
        try:
            await keeper.look()
        except DatabaseUnavailableError as error:
            _log.warning("wide_stops_wait_for_database", reason=error.message)
        await asyncio.sleep(LOOK_SECONDS)


class WideStopKeeper:
    """Finishes what is unfinished; tells each trouble once.

    A stop is left for a time to live of a permit to whoever was asked for it. Gone on with by two it is still one stop.
    """

    def __init__(self, database: Database, engines: Engines) -> None:
        self._database = database
        self._engines = engines
        self._complained: set[str] = set()

    async def look(self) -> None:
        """Go on with each once, a few at a time."""
        age = timedelta(seconds=self._engines.ttl_seconds)
        async with self._database.connection() as connection:
            left = await store.unfinished(connection, older_than=age)
        self._complained.intersection_update(row.id for row in left)
        turns = asyncio.Semaphore(wide_stops.AT_ONCE)

        async def one(row: WideStopRow) -> None:
            async with turns:
                await self._go_on(row)

        await asyncio.gather(*(one(row) for row in left))

    async def _go_on(self, row: WideStopRow) -> None:
        try:
            if await wide_stops.go_on(self._database, self._engines, row):
                _log.info("wide_stop_finished", stop_id=row.id, scope=row.target.scope, by=row.requested_by)
        except OutdialError as error:
            if row.id not in self._complained:
                self._complained.add(row.id)
                _log.error("wide_stop_not_proven_yet", stop_id=row.id, reason=error.message)
        except Exception:  # noqa: BLE001 - told with its traceback; it must not keep other stops from being finished
            _log.exception("wide_stop_not_finished", stop_id=row.id)

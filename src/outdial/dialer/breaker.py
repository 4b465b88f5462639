"""Pauses runs whose calls fail: what ``core.breaker`` decides, looked at again and again by every node."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from outdial.core.breaker import trips
from outdial.core.errors import DatabaseUnavailableError
from outdial.core.model import Run
from outdial.dialer.lease import LeaseKeeper
from outdial.dialer.node import Node
from outdial.services import runs as runs_service
from outdial.services.engines import Engines
from outdial.store import attempts as attempts_store

EVERY_SECONDS: Final = 1.0
"""Between two looks at a node's runs."""

_log = structlog.get_logger()


class CircuitBreaker:
    """Looks at the runs this node dials; the run's lock and epoch see to it that one node pauses it, once."""

    def __init__(self, node: Node, keeper: LeaseKeeper, engines: Engines) -> None:
        self._node = node
        self._keeper = keeper
        self._engines = engines

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                for worker in self._keeper.workers():
                    await self.look(worker.run)
            except DatabaseUnavailableError as error:
                _log.warning("breaker_waits_for_database", reason=error.message)
            await asyncio.sleep(EVERY_SECONDS)

    async def look(self, run: Run) -> bool:
        """Pause a run whose calls fail; return whether this did. Raises DatabaseUnavailableError."""
        breaker = run.rules.own.breaker
        if breaker is None:
            return False
        async with self._node.database.connection() as connection:
            latest = await attempts_store.latest_endings(connection, run.id, run.epoch, breaker.attempts)
        reason = trips(latest, breaker)
        if reason is None:
            return False
        paused = await runs_service.pause_failing(self._node.database, self._engines, run, reason=reason)
        if paused:
            _log.warning("run_paused_itself", run_id=run.id, reason=reason)
        return paused

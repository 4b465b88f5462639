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
        self._unproven: dict[int, Run] = {}
        """Runs paused here of which an engine may still hold a call that was let through before: by their id."""

    async def run(self) -> None:
        """Look for ever, and beside that at what is not proven yet: an engine that hangs must not keep other runs from
        being looked at."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_for_ever())
            group.create_task(self._prove_for_ever())

    async def _look_for_ever(self) -> None:
        while True:
            try:
                for worker in self._keeper.workers():
                    await self.look(worker.run)
            except DatabaseUnavailableError as error:
                _log.warning("breaker_waits_for_database", reason=error.message)
            await asyncio.sleep(EVERY_SECONDS)

    async def _prove_for_ever(self) -> None:
        while True:
            try:
                await self.prove()
            except DatabaseUnavailableError as error:
                _log.warning("breaker_waits_for_database", reason=error.message)
            await asyncio.sleep(EVERY_SECONDS)

    async def prove(self) -> None:
        """Try once more to show that the runs paused here are silent. Raises DatabaseUnavailableError."""
        for run_id, paused in list(self._unproven.items()):
            if not await runs_service.prove_pause(self._node.database, self._engines, paused):
                del self._unproven[run_id]

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
        if paused is None:
            return False
        if paused.problems:
            self._unproven[run.id] = paused.run
        _log.warning("run_paused_itself", run_id=run.id, reason=reason)
        return True

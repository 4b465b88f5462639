"""What any node does for the runs there are: load contacts, notice completion and closing time, remove permits that
must not be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import structlog

from outdial import clock
from outdial.core.campaign import RunAction
from outdial.core.errors import DatabaseUnavailableError, EngineUnavailableError
from outdial.core.model import Run, RunState
from outdial.dialer.closing import pause_at_closing
from outdial.dialer.lease import LeaseKeeper
from outdial.dialer.node import Node
from outdial.dialer.outcomes import Known, never_sent
from outdial.services import runs as runs_service
from outdial.store import attempts as attempts_store
from outdial.store import nodes as nodes_store
from outdial.store import run_contacts as run_contacts_store
from outdial.store import runs as runs_store
from outdial.store import stops as stops_store

EVERY_SECONDS: Final = 0.5
"""Between two looks for something to load or to complete."""

REAP_SECONDS: Final = 1.0
"""Between two looks for permits that must not be."""

LOST_AFTER: Final = timedelta(seconds=3)
"""How old a reservation nobody here knows of must be: a look may be older than the claim that is heard meanwhile."""

CLOSING_SECONDS: Final = 5.0
"""Between two looks for runs that pause because calling hours have closed; nothing of them is dialed meanwhile."""

RECONCILE_SECONDS: Final = 2.0
"""Between two looks for calls whose end was missed: an adopted event stream may be lost without a word."""

_log = structlog.get_logger()


class Chores:
    """Does them in turn; every node does, and the database sees to it that each is done once."""

    def __init__(self, node: Node, keeper: LeaseKeeper) -> None:
        self._node = node
        self._keeper = keeper
        self._reaped: set[tuple[int, int, str]] = set()
        """Permits removed by the last look. Asterisk goes on listing some whose objects are gone (measured): each is
        removed again, to be sure, and told once."""

    async def run(self) -> None:
        """Do each of them again and again, for ever, side by side: a long load must not keep permits from being
        reaped."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again(self._load, EVERY_SECONDS))
            group.create_task(self._again(self._complete, EVERY_SECONDS))
            group.create_task(self._again(self.pause_closed, CLOSING_SECONDS))
            group.create_task(self._again(self.reap, REAP_SECONDS))
            group.create_task(self._again(self.give_back, REAP_SECONDS))
            group.create_task(self._again(self._node.calls.reconcile, RECONCILE_SECONDS))

    async def _again(self, chore: Callable[[], Awaitable[None]], seconds: float) -> None:
        while True:
            try:
                await chore()
            except DatabaseUnavailableError as error:
                _log.warning("chores_wait_for_database", reason=error.message)
            await asyncio.sleep(seconds)

    async def _load(self) -> None:
        """Read lot after lot, one of each run in turn, until every list is at its end."""
        more = True
        while more:
            async with self._node.database.connection() as connection:
                live = await runs_store.live_runs(connection)
            more = False
            for run in live:
                if not run.loaded and run.state is not RunState.STOPPING:
                    more = await runs_service.load_more(self._node.database, run) or more
                    self._nudge(run)

    def _nudge(self, run: Run) -> None:
        for worker in self._keeper.workers():
            if worker.run.id == run.id:
                worker.nudge()

    async def _complete(self) -> None:
        for worker in self._keeper.workers():
            if worker.exhausted:
                await complete(self._node, worker.run)

    async def pause_closed(self) -> None:
        """Pause the runs whose calling hours have closed for the day, where their campaigns want that."""
        for worker in self._keeper.workers():
            await pause_at_closing(
                self._node.database, worker.run, node_id=self._node.id, ttl_seconds=self._node.ttl_seconds
            )

    async def give_back(self) -> None:
        """End attempts that were reserved for this node by a claim whose answer it never heard.

        They hold their channels and their people's numbers as long as the node lives, and nobody else looks. Nothing
        was sent for them: a node dials what it was told of only.
        """
        node = self._node
        async with node.database.connection() as connection:
            found = await attempts_store.reserved_of_node(connection, node.id, older_than=LOST_AFTER)
            lost = [attempt for attempt in found if not self._is_known(attempt.id)]
            rules = {
                run_id: (await runs_store.by_id(connection, run_id)).rules for run_id in {one.run_id for one in lost}
            }
        for attempt in lost:
            known = Known(attempt_id=attempt.id, number=attempt.number, rules=rules[attempt.run_id], by=node.id)
            node.book.put(never_sent(known, at=clock.now(), reason="the answer to its reservation was lost"))
            _log.warning("reservation_given_back", attempt_id=attempt.id, run_id=attempt.run_id)

    def _is_known(self, attempt_id: str) -> bool:
        node = self._node
        return (
            attempt_id in node.calls
            or attempt_id in node.book
            or any(attempt_id in asked for asked in node.asked_for.values())
        )

    async def reap(self) -> None:
        """Remove permits at this node's engine whose run is not active at their epoch, or that another has replaced."""
        if not self._node.engine.up:
            return
        try:
            # the permits first: one that is made between the two looks must not be taken for a stale one
            present = await self._node.engine.permits()
            async with self._node.database.connection() as connection:
                wanted = await nodes_store.permits_of_engine(connection, self._node.engine.id)
            stale = {permit for permit in present if permit not in wanted}
            for run_id, epoch, key in stale:
                await self._node.engine.remove_permit(run_id, epoch, key)
                if (run_id, epoch, key) not in self._reaped:
                    _log.info("permit_reaped", run_id=run_id, epoch=epoch)
            self._reaped = stale
        except EngineUnavailableError as error:
            _log.warning("permits_not_reaped", reason=error.message)


async def complete(node: Node, run: Run) -> bool:
    """Complete a run whose contacts are all done; False when it is not so far."""
    async with node.database.connection() as connection:
        if not await run_contacts_store.all_done(connection, run.id):
            return False
    async with node.database.transaction() as connection:
        await runs_store.limit_idle(connection, node.ttl_seconds)
        await runs_store.lock_run(connection, run.id)
        present = await runs_store.by_id(connection, run.id)
        if present.state is not RunState.ACTIVE or not await run_contacts_store.all_done(connection, run.id):
            return False
        await runs_service.move_locked(connection, present, RunAction.COMPLETE, node.id)
        await stops_store.release_lists(connection, run.id)
    _log.info("run_completed", run_id=run.id)
    return True

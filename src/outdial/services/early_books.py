"""What a stop has cancelled is booked while its engines are still watched, where the node that should do so is silent.

A healthy node books a cancelled call within milliseconds. One that is dead or frozen does not, and a stop that began to
do it for it only once everything is quiet would take the longer the more calls it had.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

import structlog

from outdial import clock
from outdial.core.errors import DatabaseUnavailableError
from outdial.core.model import Run
from outdial.services.insisting import insisting
from outdial.store import attempts as store
from outdial.store import runs as runs_store
from outdial.store.attempts import AttemptNews
from outdial.store.database import Database

LOT: Final = 50
"""Attempts per statement: some 15 ms, for which the last commit of the stop may have to wait."""

_log = structlog.get_logger()


class EarlyBooks:
    """Of one stop. Whatever it leaves, the stop's last commit books: it never has to finish."""

    def __init__(
        self,
        database: Database,
        run: Run,
        *,
        begins: float,
        ttl_seconds: float,
        news_of: Callable[[str, datetime], AttemptNews],
    ) -> None:
        """``begins`` is the boot time from which a node that has not dropped the run, at its present epoch, counts as
        silent; ``ttl_seconds`` bounds how long this process, frozen, holds the run; ``news_of`` makes the news of an
        attempt that was cancelled, and of the instant of the fence."""
        self._database = database
        self._run = run
        self._begins = begins
        self._ttl_seconds = ttl_seconds
        self._news_of = news_of
        self._closed = asyncio.Event()
        self._gone: asyncio.Queue[tuple[frozenset[str], datetime] | None] = asyncio.Queue()

    def gone(self, attempt_ids: frozenset[str], fenced_at: datetime) -> None:
        """Note calls that were cancelled and that their engine does not list any more."""
        self._gone.put_nowait((attempt_ids, fenced_at))

    def close(self) -> None:
        """Note that no more will come, and that what is not begun is left to the stop."""
        self._closed.set()
        self._gone.put_nowait(None)

    async def run(self) -> None:
        """Book what is gone of silent nodes until closed; what the database is not there for is left to the stop."""
        if (left := self._begins - clock.boottime()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._closed.wait()
                    # nothing that would be broken off in the middle a moment later
                    return
        while (noted := await self._gone.get()) is not None:
            attempt_ids, fenced_at = noted
            ordered = sorted(attempt_ids)
            try:
                for first in range(0, len(ordered), LOT):
                    await insisting(partial(self._book, ordered[first : first + LOT], fenced_at))
            except DatabaseUnavailableError as error:
                _log.warning("early_books_left", run_id=self._run.id, reason=error.message)

    async def _book(self, attempt_ids: list[str], fenced_at: datetime) -> None:
        async with self._database.transaction() as connection:
            await runs_store.limit_idle(connection, self._ttl_seconds)
            # first the run, as everybody who books: whoever waits for it alone must not be waited for with rows held
            await runs_store.share_run(connection, self._run.id)
            # two who book the same attempts may lock them in different orders, and this one can leave them
            left = await store.left_by_nodes(connection, self._run.id, self._run.epoch, attempt_ids)
            if left:
                await store.book(connection, [self._news_of(attempt_id, fenced_at) for attempt_id in left])

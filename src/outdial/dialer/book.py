"""Writes what happens to calls, in batches, and keeps it while the database is away."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from outdial.core.errors import DatabaseUnavailableError
from outdial.store import attempts as store
from outdial.store.attempts import AttemptNews
from outdial.store.database import Database

GATHER_SECONDS: Final = 0.05
"""How long news waits for company: at 50 calls a second that is one transaction for several, and nobody sees the
delay; whoever needs it written says so (:meth:`Book.flush`)."""

LOT: Final = 200
"""Attempts per transaction, some 20 ms."""

PAUSE_SECONDS: Final = 0.2
"""Before the next try while the database is away."""

_log = structlog.get_logger()


class _Flush:
    """What somebody waits for to be written."""

    def __init__(self, news: dict[str, AttemptNews], *, after_lot: int) -> None:
        self._news = news
        self._after_lot = after_lot
        self.done = asyncio.Event()

    def written(self, lot: Mapping[str, AttemptNews], *, number: int) -> None:
        """Take note of a lot. One begun before this may hold older news of an attempt, a later one not."""
        for attempt_id, news in lot.items():
            if number > self._after_lot or self._news.get(attempt_id) is news:
                self._news.pop(attempt_id, None)
        if not self._news:
            self.done.set()


class Book:
    """What has happened and is not written yet, one piece of news per attempt: the newest says all, and an
    end is the last."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._news: dict[str, AttemptNews] = {}
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._lots = 0
        """How many were begun."""
        self._flushes: list[_Flush] = []

    def put(self, news: AttemptNews) -> None:
        """Take news; it is written soon. Once an end is known it stays: who looks a second time before it is written
        may only know less."""
        known = self._news.get(news.id)
        if known is not None and known.disposition is not None:
            return
        self._news[news.id] = news
        self._wake.set()

    def __contains__(self, attempt_id: str) -> bool:
        """Whether news of the attempt is not written yet."""
        return attempt_id in self._news

    def __len__(self) -> int:
        """Attempts of which news is not written yet."""
        return len(self._news)

    async def flush(self) -> None:
        """Return once everything is written that is known now. What comes meanwhile is not waited for: of other runs
        there is always some."""
        if not self._news:
            return
        flush = _Flush(dict(self._news), after_lot=self._lots)
        self._flushes.append(flush)
        self._hurry.set()
        try:
            await flush.done.wait()
        finally:
            self._flushes.remove(flush)

    async def run(self) -> None:
        """Write, until cancelled. A database that is away is waited for; any other error of it ends this."""
        away = False
        while True:
            await self._wake.wait()
            await self._gather()
            try:
                await self._write()
            except DatabaseUnavailableError as error:
                if not away:
                    _log.warning("book_waits_for_database", waiting=len(self._news), reason=error.message)
                away = True
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                away = False

    async def _gather(self) -> None:
        try:
            async with asyncio.timeout(GATHER_SECONDS):
                await self._hurry.wait()
        except TimeoutError:
            return

    async def _write(self) -> None:
        while self._news:
            # the oldest first, so that who waits for them does not wait for others
            lot = dict(list(self._news.items())[:LOT])
            self._lots += 1
            async with self._database.connection() as connection:
                await store.book(connection, lot.values())
            # news that came meanwhile stays
            for attempt_id, news in lot.items():
                if self._news.get(attempt_id) is news:
                    del self._news[attempt_id]
            for flush in self._flushes:
                flush.written(lot, number=self._lots)
        self._wake.clear()
        self._hurry.clear()

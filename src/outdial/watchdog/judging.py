"""Judges INVITEs in the order in which they left, by what the database says after they were seen.

An attempt is committed before its call is placed, so whoever looks after the INVITE sees it. While the database is away
INVITEs wait, up to :data:`MOST_WAITING`, and are judged when it is back: each rule is about instants, not about now.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import timedelta
from itertools import islice
from typing import Final

import structlog

from outdial.clock import boottime
from outdial.core.errors import DatabaseUnavailableError
from outdial.core.watch import Facts, Sighting, Verdict, judge
from outdial.store import watch as store
from outdial.store.database import Database
from outdial.watchdog.counts import Counts

MOST_WAITING: Final = 20_000
"""INVITEs kept while the database is away: over a minute at 300 a second. Those beyond are counted, and lost."""

MOST_AT_ONCE: Final = 200
MOST_CALLS: Final = 100_000

PAUSES: Final = (0.1, 0.25, 0.5, 1.0)
"""Seconds between two tries to reach the database; the last goes on."""

_log = structlog.get_logger()


class Judge:
    """Takes INVITEs as they are heard, and hands on those that had no leave."""

    def __init__(
        self,
        database: Database,
        counts: Counts,
        *,
        tolerance: timedelta,
        on_breach: Callable[[Sighting, Verdict, Facts], None],
    ) -> None:
        self._database = database
        self._counts = counts
        self._tolerance = tolerance
        self._on_breach = on_breach
        self._waiting: deque[Sighting] = deque()
        self._news = asyncio.Event()
        self._losing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._calls: OrderedDict[str, str] = OrderedDict()
        """Attempt id → the Call-ID it was seen to make, oldest first."""
        self.problem: str | None = None
        """Why nothing can be judged now; None = it can."""
        self.seen_at: dict[str, float] = {}
        """Engine id → boot time at which an INVITE of one of its attempts was judged last."""

    def take(self, seen: Sighting) -> None:
        """Have an INVITE judged; never waits."""
        if len(self._waiting) >= MOST_WAITING:
            self._counts.lost()
            if not self._losing:
                self._losing = True
                _log.error("watchdog_invites_lost", waiting=MOST_WAITING, problem=self.problem)
            return
        self._waiting.append(seen)
        self._idle.clear()
        self._counts.waiting.set(len(self._waiting))
        self._news.set()

    async def until_idle(self) -> None:
        """Wait until every INVITE taken is judged."""
        await self._idle.wait()

    @property
    def waiting(self) -> int:
        """How many INVITEs wait to be judged."""
        return len(self._waiting)

    async def run(self) -> None:
        """Judge until cancelled."""
        failures = 0
        while True:
            if not self._waiting:
                self._news.clear()
                self._idle.set()
                await self._news.wait()
            lot = list(islice(self._waiting, MOST_AT_ONCE))
            try:
                async with self._database.snapshot() as connection:
                    found = await store.facts(connection, lot)
            except DatabaseUnavailableError as error:
                self.database_answered(problem=error.message)
                await asyncio.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
                failures += 1
                continue
            failures = 0
            self.database_answered(problem=None)
            for seen, facts in zip(lot, found, strict=True):
                self._waiting.popleft()
                self._judge(seen, facts)
            self._losing = False
            self._counts.waiting.set(len(self._waiting))

    def database_answered(self, *, problem: str | None) -> None:
        """Note whether it did, and say so when that has changed."""
        self._counts.database_up.set(problem is None)
        if (problem is None) != (self.problem is None):
            if problem is None:
                _log.info("watchdog_database_back", waiting=len(self._waiting))
            else:
                _log.error("watchdog_database_away", waiting=len(self._waiting), error=problem)
        self.problem = problem

    def _judge(self, seen: Sighting, facts: Facts) -> None:
        verdict = judge(seen, facts, tolerance=self._tolerance, calls=self._calls)
        self._counts.judged(uncertain=verdict.uncertain)
        if verdict.attempt is not None:
            self.seen_at[verdict.attempt.engine_id] = boottime()
            self._calls[verdict.attempt.id] = seen.call_id
            if len(self._calls) > MOST_CALLS:
                self._calls.popitem(last=False)
        if verdict.uncertain:
            _log.warning("watchdog_uncertain", call_id=seen.call_id, engine=seen.engine_name)
        if verdict.breaches:
            self._on_breach(seen, verdict, facts)

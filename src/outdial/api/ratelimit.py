"""How many requests an account may make in any sixty seconds, counted by all API processes together."""

from __future__ import annotations

import asyncio
from typing import Final

from outdial.core.errors import DatabaseUnavailableError, RateLimitedError
from outdial.store import request_counts
from outdial.store.database import Database

LIMITED: Final = "You've exceeded the per-minute rate limit. Please wait for sometime before retrying."
"""The sentence clients know."""

PATIENCE_SECONDS: Final = 2.0
"""How long a count may take; one takes a fraction of a millisecond."""


class RateLimiter:
    """Admits at most ``per_minute`` requests of one account in any sixty seconds; 0 = no limit.

    Whoever must not be refused, a stop, does not ask it: no count, no wait for it. And however slow the database
    counts, at most ``most_at_once`` connections wait for it, so that some of the pool are left for stops.
    """

    def __init__(self, database: Database, per_minute: int, *, most_at_once: int) -> None:
        self._database = database
        self._per_minute = per_minute
        self._turn = asyncio.Semaphore(most_at_once)

    async def admit(self, account_id: str) -> None:
        """Count a request; refused ones do not count. Raises RateLimitedError with the seconds to wait, and
        DatabaseUnavailableError: what cannot be counted is not let in."""
        if self._per_minute == 0:
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._turn, self._database.connection() as connection:
                seconds = await request_counts.admit(connection, account_id, limit=self._per_minute)
        except TimeoutError:
            raise DatabaseUnavailableError("The database did not count this request in time; ask again.") from None
        if seconds:
            raise RateLimitedError(LIMITED, seconds)

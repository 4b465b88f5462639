"""How many requests an account may make in any sixty seconds, counted by all API processes together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from outdial.core.errors import RateLimitedError
from outdial.store import request_counts
from outdial.store.database import Database

LIMITED: Final = "You've exceeded the per-minute rate limit. Please wait for sometime before retrying."
"""The sentence clients know."""


@dataclass(frozen=True, slots=True)
class RateLimiter:
    """Admits at most ``per_minute`` requests of one account in any sixty seconds; 0 = no limit.

    Whoever must not be refused, a stop, does not ask it: no count, no wait for the database.
    """

    database: Database
    per_minute: int

    async def admit(self, account_id: str) -> None:
        """Count a request; refused ones do not count. Raises RateLimitedError with the seconds to wait, and
        DatabaseUnavailableError: what cannot be counted is not let in."""
        if self.per_minute == 0:
            return
        async with self.database.connection() as connection:
            seconds = await request_counts.admit(connection, account_id, limit=self.per_minute)
        if seconds:
            raise RateLimitedError(LIMITED, seconds)

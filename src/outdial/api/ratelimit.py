"""How many requests an account may make: a sliding window, exact, kept by each API process for itself."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Final

from outdial.clock import boottime
from outdial.core.errors import RateLimitedError

WINDOW_SECONDS: Final = 60.0
LIMITED: Final = "You've exceeded the per-minute rate limit. Please wait for sometime before retrying."
"""The sentence clients know."""


class RateLimiter:
    """Admits at most ``per_minute`` requests of one account in any sixty seconds; 0 = no limit."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = boottime) -> None:
        self._per_minute = per_minute
        self._clock = clock
        # only accounts that have authenticated get here, so there are never more than there are in the database
        self._admitted: dict[str, deque[float]] = {}

    def admit(self, account_id: str) -> None:
        """Count a request, or raise RateLimitedError with the seconds to wait; refused ones do not count."""
        if self._per_minute == 0:
            return
        now = self._clock()
        admitted = self._admitted.setdefault(account_id, deque())
        while admitted and now - admitted[0] >= WINDOW_SECONDS:
            admitted.popleft()
        if len(admitted) >= self._per_minute:
            raise RateLimitedError(LIMITED, math.ceil(WINDOW_SECONDS - (now - admitted[0])))
        admitted.append(now)

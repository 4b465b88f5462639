"""The two clocks: wall time for what people read, boot time for how long something lasts."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the wall clock, aware UTC."""
    return datetime.now(UTC)


def boottime() -> float:
    """Return seconds since boot that also count while the machine sleeps (CLOCK_BOOTTIME), never stepped back.

    Leases and permits use it: a monotonic clock that stands still during suspend would let a node believe, after
    waking, that its permit is still young.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)

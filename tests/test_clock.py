from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from outdial import clock


def test_now_is_aware_utc():
    assert clock.now().utcoffset() == timedelta(0)
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)


def test_boottime_runs_on_and_counts_from_boot():
    first, second = clock.boottime(), clock.boottime()
    assert second >= first
    # never behind the monotonic clock, which stands still while the machine sleeps
    assert clock.boottime() >= time.monotonic() - 1

"""How many calls may leave, and when: caps on live calls, and rates in calls per second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Limit:
    """A cap on live calls."""

    name: str
    cap: int | None
    """None = no cap."""
    live: int


def room(limits: Iterable[Limit], *, wanted: int) -> int:
    """Return how many more calls every limit allows, between 0 and ``wanted``."""
    free = [limit.cap - limit.live for limit in limits if limit.cap is not None]
    return max(0, min([wanted, *free]))


def slots(
    next_at: datetime, *, now: datetime, per_second: float | None, count: int, horizon_seconds: float
) -> tuple[tuple[datetime, ...], datetime]:
    """Return the instants at which up to ``count`` calls may leave within the horizon, and the new ``next_at``.

    ``next_at`` is the first instant the rate allows. Calls are evenly spaced; a rate that was not used is lost, so
    idling never earns a burst. ``per_second`` None = no rate: all at once.
    """
    first = max(next_at, now)
    end = now + timedelta(seconds=horizon_seconds)
    if count <= 0 or first > end:
        return (), first
    if per_second is None:
        return (first,) * count, first
    instants: Sequence[datetime] = [
        at for place in range(count) if (at := first + timedelta(seconds=place / per_second)) <= end
    ]
    return tuple(instants), instants[-1] + timedelta(seconds=1 / per_second)

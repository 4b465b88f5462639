"""How many calls may leave, and when: caps on live calls, rates in calls per second, and fewer of them while a carrier
says that it has too much to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from outdial.core.model import Run, Trunk

HORIZON_SECONDS: Final = 0.2
"""How far ahead calls are reserved."""

LATE_SECONDS: Final = 1.0
"""How much later than its instant a call may leave: calling hours are asked for that long ahead."""

REFUSALS: Final = frozenset({429, 503})
"""SIP answers of a carrier that has too much to do: Too Many Requests (RFC 6585 §4), Service Unavailable (RFC 3261
§21.5.4). Stored attempts have an index for exactly these."""

BACKOFF_STEP: Final = timedelta(seconds=1)
"""Refusals closer together than this count once: calls that were under way say nothing about the rate since."""

BACKOFF_RECOVERY: Final = timedelta(seconds=10)
"""How long without a refusal until the rate doubles again."""

MOST_HALVINGS: Final = 6
"""The rate goes down to a sixty-fourth, never to nothing: whether the carrier is well again only a call can tell."""

BACKOFF_MEMORY: Final = BACKOFF_RECOVERY * (MOST_HALVINGS + 1)
"""How far back refusals are looked at: what is older has no effect any more."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A cap on live calls."""

    name: str
    cap: int | None
    """None = no cap."""
    live: int


TRUNK: Final = "trunk"
"""Name of the cap that runs share by their priorities."""


@dataclass(frozen=True, slots=True)
class CallerCaps:
    """How much may be called with one caller ID, over all runs; None: as much as its trunk allows."""

    max_concurrent_calls: int | None = None
    calls_per_second: float | None = None
    calls_per_day: int | None = None
    """In any 24 hours."""


NO_CAPS: Final = CallerCaps()


def leaves_within(lead: timedelta) -> timedelta:
    """Return how long after it was looked at a call may leave, of which each waits ``lead`` after its turn."""
    return timedelta(seconds=HORIZON_SECONDS + LATE_SECONDS) + lead


def caps(
    run: Run,
    trunk: Trunk,
    *,
    application_cap: int | None,
    run_live: int,
    trunk_live: int,
    application_live: int,
    caller: CallerCaps = NO_CAPS,
    caller_live: int = 0,
    caller_day: int = 0,
) -> tuple[Limit, ...]:
    """Return the caps on a run's calls, each with what counts towards it."""
    return (
        Limit("run", run.max_concurrent_calls, run_live),
        Limit(TRUNK, trunk.max_channels, trunk_live),
        Limit("caller_id", caller.max_concurrent_calls, caller_live),
        Limit("caller_id_day", caller.calls_per_day, caller_day),
        Limit("application", application_cap, application_live),
    )


def room(limits: Iterable[Limit], *, wanted: int) -> int:
    """Return how many more calls every limit allows, between 0 and ``wanted``."""
    free = [limit.cap - limit.live for limit in limits if limit.cap is not None]
    return max(0, min([wanted, *free]))


def full(limits: Iterable[Limit]) -> str | None:
    """Return the name of a limit that allows no call more; None when each allows one."""
    return next((limit.name for limit in limits if limit.cap is not None and limit.live >= limit.cap), None)


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


def halvings(refused_at: Iterable[datetime], *, now: datetime) -> int:
    """Return how often a trunk's rate is halved at ``now``, by when its carrier has refused calls for want of capacity.

    Each refusal halves the rate once more, at most once a second; each ten seconds without one double it again. All
    nodes fold the same attempts, so all slow down together and nothing has to be kept beside them.
    """
    level, since = 0, None
    for at in sorted(refused_at):
        if since is not None and at - since < BACKOFF_STEP:
            continue
        level = min(_recovered(level, since, at) + 1, MOST_HALVINGS)
        since = at
    return _recovered(level, since, now)


def _recovered(level: int, since: datetime | None, now: datetime) -> int:
    return level if since is None else max(0, level - max(0, (now - since) // BACKOFF_RECOVERY))


def slowed(per_second: float, refused_at: Iterable[datetime], *, now: datetime) -> float:
    """Return the rate at which calls may leave, in calls per second, see :func:`halvings`; one call in the time after
    which it would double again is always left, or the trunk's own rate where that is lower."""
    least = min(per_second, 1 / BACKOFF_RECOVERY.total_seconds())
    return max(per_second / (1 << halvings(refused_at, now=now)), least)

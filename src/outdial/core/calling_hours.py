"""When a person may be called: weekly windows, read in every zone the person may be in. Anything unclear is closed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from outdial.core.model import CallingHours
from outdial.core.zones import find_zone

HORIZON: Final = timedelta(days=14)
"""How far ahead an opening is looked for: a weekly window opens at least once in seven days, also across a change of
the clocks that swallows one."""


def zones_for(*, contact_zone: str | None, number_zones: Sequence[str], campaign_zone: str) -> tuple[str, ...]:
    """Return the zones that count for a person: their own, else every plausible one of the number, else the
    campaign's."""
    if contact_zone:
        return (contact_zone,)
    return tuple(number_zones) or (campaign_zone,)


def is_open(hours: CallingHours, zones: Sequence[str], at: datetime) -> bool:
    """Whether a person may be called at an instant: a window is open in **every** zone.

    No zone, an unknown zone or no window = closed.
    """
    if not zones:
        return False
    return all(_is_open_in(hours, name, at) for name in zones)


def next_open(hours: CallingHours, zones: Sequence[str], at: datetime) -> datetime | None:
    """Return the first instant from ``at`` on at which :func:`is_open` is true; None = not within 14 days."""
    return _next_open(hours, tuple(zones), at)


# whole lists share few zones, and are looked at with one ``at``
@lru_cache(maxsize=512)
def _next_open(hours: CallingHours, zones: tuple[str, ...], at: datetime) -> datetime | None:
    if is_open(hours, zones, at):
        return at
    # openness only ever begins where a window begins in one of the zones
    for instant in sorted(set(_openings(hours, zones, at))):
        if at < instant <= at + HORIZON and is_open(hours, zones, instant):
            return instant
    return None


def _is_open_in(hours: CallingHours, name: str, at: datetime) -> bool:
    zone = find_zone(name)
    if zone is None:
        return False
    local = at.astimezone(zone)
    clock = local.time()
    return any(
        window.weekday == local.weekday() and window.start <= clock and (clock < window.end or window.end == time.max)
        for window in hours.windows
    )


def _openings(hours: CallingHours, zones: Sequence[str], at: datetime) -> list[datetime]:
    """Return where windows begin, in UTC, in any of the zones, and where a change of the clocks falls into one."""
    found: list[datetime] = []
    for name in zones:
        zone = find_zone(name)
        if zone is None:
            return []
        first = at.astimezone(zone).date()
        days = [first + timedelta(days=offset) for offset in range(-1, HORIZON.days + 2)]
        for window in hours.windows:
            for day in days:
                if day.weekday() == window.weekday:
                    found += _instants(day, window.start, zone)
        found += _clock_changes(zone, at)
    return found


def _instants(day: date, start: time, zone: ZoneInfo) -> list[datetime]:
    """Return the instants at which the wall clock shows ``start``: two where the hour comes twice."""
    wall = datetime.combine(day, start, tzinfo=zone)
    return [wall.replace(fold=fold).astimezone(UTC) for fold in (0, 1)]


def _clock_changes(zone: ZoneInfo, at: datetime) -> list[datetime]:
    """Return the instants within the horizon at which the zone's clocks are changed, to the second."""
    changes: list[datetime] = []
    step = timedelta(hours=6)
    left = at.astimezone(UTC)
    while left < at + HORIZON:
        right = left + step
        if left.astimezone(zone).utcoffset() != right.astimezone(zone).utcoffset():
            changes.append(_change_between(zone, left, right))
        left = right
    return changes


def _change_between(zone: ZoneInfo, left: datetime, right: datetime) -> datetime:
    left, right = left.replace(microsecond=0), right.replace(microsecond=0)
    before = left.astimezone(zone).utcoffset()
    while right - left > timedelta(seconds=1):
        middle = (left + (right - left) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == before:
            left = middle
        else:
            right = middle
    return right

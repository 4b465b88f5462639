"""When a campaign runs by itself: occurrences on the wall clock of a zone, turned into instants one by one.

Recurrence is RFC 5545's, by ``dateutil.rrule`` over naive wall-clock times; the zone is applied to each occurrence by
itself, so that 09:00 stays 09:00 on both sides of a change of the clocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from dateutil.rrule import DAILY, MO, WEEKLY, rrule

from outdial.core.errors import InvalidInputError
from outdial.core.zones import find_zone, instant_of

FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2199
"""Schedules begin and end within these years: far enough for anybody, near enough for every calendar."""

LONGEST_STEP: Final = 999
"""Days or weeks between two occurrences."""

SCRUB_AHEAD: Final = timedelta(minutes=15)
"""How long before an occurrence its contacts are compared with the do-not-call lists, as the vendor does."""

LATEST: Final = timedelta(minutes=2)
"""An occurrence that could not be started for so long after its instant is missed. People expect a campaign at nine
o'clock, not whenever the server comes back."""


class Recurrence(StrEnum):
    """How a schedule repeats."""

    ONCE = "once"
    DAILY = "daily"
    WEEKLY = "weekly"


class Outcome(StrEnum):
    """What became of an occurrence."""

    STARTED = "started"
    REFUSED = "refused"
    """It was due and could not be started; its reason says why."""
    MISSED = "missed"
    """Nothing ran that could have started it in time."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a campaign runs by itself."""

    start: datetime
    """First occurrence, wall clock: naive."""
    end: datetime
    """No occurrence at or after it, and a run that began by the schedule is stopped then; wall clock: naive."""
    zone: str
    """IANA zone of both."""
    recurrence: Recurrence
    every: int = 1
    """Days or weeks from one occurrence to the next."""
    weekdays: tuple[int, ...] = ()
    """Of a weekly one: 0 = Monday … 6 = Sunday. Empty = the weekday of ``start``."""

    def problems(self, now: datetime) -> list[str]:
        """Return what is wrong with a schedule that somebody wants from ``now`` on, in sentences for the wire."""
        found = [
            f"`{name}` lies outside the years {FIRST_YEAR} to {LAST_YEAR}"
            for name, at in (("startDateTime", self.start), ("endDateTime", self.end))
            if not FIRST_YEAR <= at.year <= LAST_YEAR
        ]
        if find_zone(self.zone) is None:
            found.append(f"the time zone {self.zone!r} is not known here")
        if not found and self.end <= self.start:
            found.append("`endDateTime` must be later than `startDateTime`")
        if not found and self.ends_at() <= now:
            found.append("`endDateTime` must be later than now")
        if not found and self.next_after(now) is None:
            found.append("no occurrence is left between now and `endDateTime`")
        return found

    def ends_at(self) -> datetime:
        """Return the instant of its end, UTC. Raises InvalidInputError for a zone this machine does not know."""
        zone = find_zone(self.zone)
        if zone is None:
            raise InvalidInputError([f"The time zone {self.zone!r} is not known here."])
        return instant_of(self.end, zone)

    def next_after(self, at: datetime) -> datetime | None:
        """Return the first occurrence later than an instant, UTC; None when there is none before the end, or when this
        machine does not know the zone (unclear is closed)."""
        zone = find_zone(self.zone)
        if zone is None:
            return None
        # a wall clock is never off its UTC by a day or more
        since = max(at.astimezone(UTC).replace(tzinfo=None) - timedelta(days=1), datetime(FIRST_YEAR, 1, 1))  # noqa: DTZ001 - wall clock
        for wall in self._rule(since).xafter(since, inc=True):
            if wall >= self.end:
                return None
            instant = instant_of(wall, zone)
            if instant > at:
                return instant
        return None

    def _rule(self, since: datetime) -> rrule:
        if self.recurrence is Recurrence.ONCE:
            return rrule(DAILY, dtstart=self.start, count=1)
        step = timedelta(days=self.every) if self.recurrence is Recurrence.DAILY else timedelta(weeks=self.every)
        # rrule walks every step from its beginning: begin near, and in phase
        start = self.start + max((since - self.start) // step, 0) * step
        if self.recurrence is Recurrence.DAILY:
            return rrule(DAILY, dtstart=start, interval=self.every, until=self.end)
        return rrule(
            WEEKLY, dtstart=start, interval=self.every, byweekday=self.weekdays or None, wkst=MO, until=self.end
        )

"""What happens when calling hours close for the day: contacts wait, the run pauses, or contacts expire.

A gap shorter than :data:`BREAK` is a break, a lunch hour, and no closing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from outdial.core.calling_hours import Timetable, spans_around, times
from outdial.core.model import AtClosing
from outdial.core.whereabouts import Whereabouts

BREAK: Final = timedelta(hours=6)
"""The longest a gap may be without being a closing. Midday breaks are one to three hours, nights longer than eight."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def closing_since(timetable: Timetable, where: Whereabouts, *, since: datetime, at: datetime) -> datetime | None:
    """Return the latest instant after ``since`` and not after ``at`` at which somebody's hours closed for the day; None
    when they have not. What lies more than 15 days before ``at`` is not seen."""
    spans = spans_around(timetable, where, at)
    found = None
    for place, (_, end) in enumerate(spans):
        closed = _EPOCH + timedelta(microseconds=end)
        if closed > at:
            break
        gap = None if place + 1 == len(spans) else (spans[place + 1][0] - end) * _MICROSECOND
        if closed > since and (gap is None or gap >= BREAK):
            found = closed
    return found


def expired(timetable: Timetable, where: Whereabouts, *, since: datetime, at: datetime) -> datetime | None:
    """Return when a contact of a run that began at ``since`` expired; None when it has not, or its campaign lets nobody
    expire. It stays expired when the hours open again: what was to be said was for that day."""
    if timetable.hours.at_closing is not AtClosing.EXPIRE:
        return None
    return closing_since(timetable, where, since=since, at=at)


def pauses(timetable: Timetable, people: Iterable[Whereabouts], *, since: datetime, at: datetime) -> bool:
    """Whether a run that nobody is due in pauses by itself now.

    ``people`` are those who come due next, ``since`` when the run became active. It pauses when hours are closed for
    each of them, have closed for one of them since then, and from the last of these closings to the first opening it is
    more than a break: started or resumed outside the hours, a run waits for them. When somebody comes due within closed
    hours says nothing: that is only a look.
    """
    if timetable.hours.at_closing is not AtClosing.PAUSE:
        return False
    found = list(people)
    openings = [opens_at for where in found if (opens_at := times(timetable, where, at)[0]) is not None]
    closings = [
        closed for where in found if (closed := closing_since(timetable, where, since=since, at=at)) is not None
    ]
    if not closings or any(opens_at <= at for opens_at in openings):
        return False
    return not openings or min(openings) - max(closings) >= BREAK

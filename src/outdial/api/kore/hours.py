"""Calling hours as the wire writes them: ``{"day":"MO","start":"9:00 AM","end":"6:00 PM"}``."""

from __future__ import annotations

import re
from datetime import time
from typing import Any, Final

from outdial.core.model import CallingWindow

DAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
"""In the order of ``datetime.weekday``."""

_TIME: Final = re.compile(r"(0?[1-9]|1[0-2]):([0-5][0-9]) ?([AP]M)", re.IGNORECASE | re.ASCII)
_NOON_HOUR: Final = 12
_LAST_MINUTE: Final = time(23, 59)


def parse_start(text: Any) -> time:
    """Return the time of day; raise ValueError that says what a time must look like."""
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"must be a time like '9:00 AM' or '6:30 PM', not {str(text)[:60]!r}")
    hour = int(found[1]) % _NOON_HOUR + (_NOON_HOUR if found[3].upper() == "PM" else 0)
    return time(hour, int(found[2]))


def parse_end(text: Any) -> time:
    """Like :func:`parse_start`; ``11:59 PM`` and ``12:00 AM`` both mean the end of the day, ``time.max``.

    No spelling of midnight at the end of a day is documented, and nobody who writes 11:59 PM means to leave the last
    minute out.
    """
    end = parse_start(text)
    return time.max if end in {_LAST_MINUTE, time.min} else end


def write_time(value: time) -> str:
    """Return a time of day as the wire writes it; the end of the day is ``11:59 PM``."""
    hour = value.hour % _NOON_HOUR or _NOON_HOUR
    return f"{hour}:{value.minute:02} {'AM' if value.hour < _NOON_HOUR else 'PM'}"


def write_window(window: CallingWindow) -> str:
    """Return ``MO 9:00 AM–6:00 PM``, for people."""
    return f"{DAYS[window.weekday]} {write_time(window.start)}–{write_time(window.end)}"

"""An engine's clock as seen from here: how far it is from ours, and how sure that is."""

from __future__ import annotations

from typing import Final

MAX_OFFSET_SECONDS: Final = 0.5
"""Beyond this the two machines' clocks are broken and no permit can be trusted: the gate stays shut."""

MAX_ROUND_TRIP_SECONDS: Final = 0.25
"""A slower answer says too little about the time in between and is not used."""

MAX_AGE_SECONDS: Final = 60.0
"""A measurement older than this no longer counts."""


class EngineClock:
    """Keeps the last good measurement of an engine's clock."""

    def __init__(self) -> None:
        self._measured: float | None = None
        self._offset = 0.0
        self._least = 0.0

    def sample(self, *, sent: float, received: float, engine: float, boottime: float) -> None:
        """Take one measurement: the engine said ``engine`` (Unix time) between our wall times ``sent``, ``received``.

        Asterisk says milliseconds, cut off, so the truth is up to 1 ms later.
        """
        if not 0 <= received - sent <= MAX_ROUND_TRIP_SECONDS:
            return
        self._offset = engine + 0.0005 - (sent + received) / 2
        self._least = engine - received
        self._measured = boottime

    def forget(self) -> None:
        """Drop the measurement: the engine may be another one now."""
        self._measured = None

    def offset(self, boottime: float) -> float | None:
        """Return engine clock minus our wall clock, None while unknown."""
        if self._measured is None or boottime - self._measured > MAX_AGE_SECONDS:
            return None
        return self._offset

    def trusted(self, boottime: float) -> bool:
        """Whether permits may rely on it."""
        offset = self.offset(boottime)
        return offset is not None and abs(offset) <= MAX_OFFSET_SECONDS

    def engine_time(self, wall: float) -> float:
        """Return the engine's Unix time at our ``wall`` time, rounded towards the past: a permit never lasts longer
        than promised."""
        return wall + self._least

    def local_time(self, engine: float) -> float:
        """Return our wall time at the engine's time, as near as known."""
        return engine - self._offset

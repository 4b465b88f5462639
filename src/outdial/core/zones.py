"""Time zones by their IANA names, and the instants that wall clocks in them show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    # some machines list names that are no place: the server's own zone, and one that means "not set"
    return frozenset(available_timezones()) - {"localtime", "Factory", "posixrules"}


_GIVEN: ContextVar[Mapping[str, ZoneInfo] | None] = ContextVar("zones", default=None)


@contextmanager
def only_zones(given: Mapping[str, ZoneInfo]) -> Iterator[None]:
    """Let there be these zones and no other, within the block: whoever computes a decision again does it by the zones
    it was made with, not by those of the machine."""
    token = _GIVEN.set(given)
    try:
        yield
    finally:
        _GIVEN.reset(token)


def find_zone(name: str) -> ZoneInfo | None:
    """Return the zone of that name, None when this machine (or, within :func:`only_zones`, what is given) has none."""
    given = _GIVEN.get()
    return _of_machine(name) if given is None else given.get(name)


@lru_cache(maxsize=1024)
def _of_machine(name: str) -> ZoneInfo | None:
    # only listed names: ZoneInfo would take other files of its folder, and raises half a dozen errors for the rest
    if name not in _zone_names():
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def valid_zone(name: str) -> bool:
    """Whether the name is an IANA zone this machine knows."""
    return find_zone(name) is not None


def instant_of(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the UTC instant at which the zone's wall clock shows ``wall``, a naive time.

    Where the hour comes twice, the first time; where the clock skips it, by the offset that held before, so 02:30
    becomes 03:30 (RFC 5545, 3.3.5).
    """
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)

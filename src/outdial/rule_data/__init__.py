"""The data that calling hours are decided by, read from this machine: rule packs, holiday calendars, their versions.

The core takes all of it as values. What cannot be read closes: a timetable then carries the problem as a sentence.
"""

from __future__ import annotations

import asyncio
import tomllib
import zoneinfo
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from importlib import resources
from importlib.metadata import version
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Final

from outdial.core.calling_hours import DataVersions, HolidayCalendar, Timetable
from outdial.core.errors import RulePackError
from outdial.core.model import CallingHours
from outdial.core.rule_packs import RulePack, read_pack
from outdial.core.zones import valid_zone

_FOLDER: Final = "packs"
_SLACK: Final = timedelta(days=40)
"""Calendars are read this far to both sides of the day asked about: more than spans reach."""


@lru_cache(maxsize=1)
def pack_names() -> tuple[str, ...]:
    """Return ``name@version`` of every pack of this outdial, each pack's versions oldest first."""
    found = []
    for entry in _folder().iterdir():
        if entry.name.endswith(".toml"):
            name, _, rest = entry.name.removesuffix(".toml").rpartition("-20")
            found.append((name, _order(f"20{rest}")))
    return tuple(f"{name}@{_text(order)}" for name, order in sorted(found))


def _order(text: str) -> tuple[int, int, int]:
    year_month, _, more = text.partition(".")
    year, _, month = year_month.partition("-")
    return int(year), int(month), int(more or 0)


def _text(order: tuple[int, int, int]) -> str:
    year, month, more = order
    return f"{year}-{month:02}" + (f".{more}" if more else "")


def full_name(name: str) -> str:
    """Return ``us@2026-11`` for ``us``, the latest version; a full name stays.

    Raises RulePackError for an unknown one.
    """
    fitting = [each for each in pack_names() if name in {each, each.partition("@")[0]}]
    if not fitting:
        known = ", ".join(dict.fromkeys(each.partition("@")[0] for each in pack_names()))
        raise RulePackError(f"There is no rule pack {name!r}. This outdial has: {known}; see: outdial rules list.")
    return fitting[-1]


@lru_cache(maxsize=64)
def load_pack(name: str) -> RulePack:
    """Return a pack by its name, at its latest version, or by its full name. Raises RulePackError."""
    whole = full_name(name)
    file = _folder() / f"{whole.replace('@', '-')}.toml"
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        pack = read_pack(document, included=[load_pack(each) for each in document.get("includes", ())])
    except (OSError, ValueError) as error:
        raise RulePackError(
            f"The rule pack {whole} cannot be read: {error} Nobody is called by it; install outdial again."
        ) from error
    if pack.full_name != whole:
        raise RulePackError(f"The file of the rule pack {whole} holds {pack.full_name}; install outdial again.")
    return pack


def pack_text(name: str) -> str:
    """Return the document of a pack as it is read, by its full name. Raises RulePackError."""
    whole = full_name(name)
    try:
        return (_folder() / f"{whole.replace('@', '-')}.toml").read_text(encoding="utf-8")
    except OSError as error:
        raise RulePackError(f"The rule pack {whole} cannot be read: {error}; install outdial again.") from error


def zone_data(name: str) -> bytes | None:
    """Return the compiled zone (RFC 8536) of an IANA name that this machine knows; None when it knows none."""
    if not valid_zone(name):
        return None
    for folder in zoneinfo.TZPATH:
        file = Path(folder) / name
        if file.is_file():
            return file.read_bytes()
    return (resources.files("tzdata") / "zoneinfo" / name).read_bytes()


def _folder() -> Traversable:
    return resources.files(__name__) / _FOLDER


@lru_cache(maxsize=1024)
def holiday_calendar(code: str, first_year: int, last_year: int) -> HolidayCalendar:
    """Return the holidays of a country (``US``) or a part of it (``US-TX``).

    Raises RulePackError for an unknown one.
    """
    # eight megabytes that only campaigns with holidays need
    import holidays  # noqa: PLC0415

    problems = calendar_problems(code)
    if problems:
        raise RulePackError(problems[0])
    country, _, part = code.partition("-")
    found = holidays.country_holidays(country, subdiv=part or None, years=range(first_year, last_year + 1))
    return HolidayCalendar(code, first_year, last_year, MappingProxyType(dict(found)))


def calendar_problems(code: str) -> list[str]:
    """Return what is wrong with a calendar's code, empty when there is such a calendar."""
    known = _calendars()
    country, dash, part = code.partition("-")
    if country not in known:
        return [f"There is no holiday calendar {code!r}: write a country of ISO 3166, like US, or a part, like US-TX."]
    if dash and part not in known[country]:
        parts = ", ".join(f"{country}-{each}" for each in known[country]) or "none"
        return [f"There is no holiday calendar {code!r}; parts of {country} that have one: {parts}."]
    return []


@lru_cache(maxsize=1)
def _calendars() -> dict[str, tuple[str, ...]]:
    import holidays  # noqa: PLC0415 - as above

    return {
        country: tuple(part for part in parts if part.isalnum() and part.upper() == part)
        for country, parts in holidays.list_supported_countries(include_aliases=False).items()
    }


@lru_cache(maxsize=2)
def versions(*, with_holidays: bool) -> DataVersions:
    """Return the versions of what decisions are computed from."""
    return DataVersions(
        tzdata=_tzdata_version(),
        phonenumbers=version("phonenumbers"),
        holidays=version("holidays") if with_holidays else "",
    )


def _tzdata_version() -> str:
    """Return the version of the zones in use: the machine's, where it has any, else the package's."""
    for folder in zoneinfo.TZPATH:
        file = Path(folder) / "tzdata.zi"
        try:
            with file.open(encoding="utf-8", errors="replace") as lines:
                first = lines.readline()
        except OSError:
            # a folder without the file, or none at all: the next one
            first = ""
        if first.startswith("# version "):
            return first.removeprefix("# version ").strip()
        if (Path(folder) / "UTC").exists():
            return "of this machine, unknown version"
    return version("tzdata")


def timetable(hours: CallingHours, at: datetime) -> Timetable:
    """Return a campaign's hours with everything they refer to, as needed around an instant.

    It raises nothing: what cannot be read is its problem, and it is closed.
    """
    around = (at - _SLACK, at + _SLACK)
    try:
        return _timetable(hours, around[0].year, around[1].year)
    except RulePackError as error:
        # not kept: what cannot be read now may be read a moment later
        return Timetable(hours, versions=versions(with_holidays=False), problem=error.message)


@lru_cache(maxsize=512)
def _timetable(hours: CallingHours, first_year: int, last_year: int) -> Timetable:
    pack = None if hours.rule_pack is None else load_pack(hours.rule_pack)
    codes = frozenset(hours.holidays) | (frozenset() if pack is None else pack.calendars())
    calendars = {code: holiday_calendar(code, first_year, last_year) for code in codes}
    return Timetable(hours, pack, MappingProxyType(calendars), versions(with_holidays=bool(codes)))


async def prepare(hours: CallingHours, at: datetime) -> None:
    """Read what the hours refer to, in a thread: the first time that takes a second, which must not be one in which
    somebody's lock is held or calls wait. Whatever cannot be read is told by who uses it."""
    if hours.rule_pack is not None or hours.holidays:
        await asyncio.to_thread(timetable, hours, at)


def pinned(hours: CallingHours, at: datetime) -> CallingHours:
    """Return the hours with their pack at its present version, for a run to keep to. Raises RulePackError when
    anything they refer to cannot be read."""
    made = hours if hours.rule_pack is None else replace(hours, rule_pack=full_name(hours.rule_pack))
    problem = timetable(made, at).problem
    if problem is not None:
        raise RulePackError(problem)
    return made

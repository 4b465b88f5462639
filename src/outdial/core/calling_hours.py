"""When a person may be called: weekly windows, exceptions by date, holidays, and the rules of a pack, all read by the
clock of every zone the person may be in. Anything unclear is closed.

All of it is arithmetic on spans of time: between two changes of a zone's clocks, local time is UTC and a constant, so
each window is a span, and being open is lying in a span of every zone and every rule. Spans are made for a month around
a day and kept, since whole lists share few zones; a question is then a binary search.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from outdial.core.canonical import Json, instant
from outdial.core.model import CallingHours, CallingWindow, DayWindow
from outdial.core.rule_packs import Rule, RulePack
from outdial.core.whereabouts import Origin, Whereabouts, zones_for
from outdial.core.zones import find_zone

__all__ = [
    "HORIZON",
    "Closing",
    "DataVersions",
    "HolidayCalendar",
    "Opening",
    "Timetable",
    "apart_at_midnight",
    "is_open",
    "next_begin",
    "next_open",
    "opening",
    "overlaps",
    "plain",
    "spans_around",
    "times",
    "zones_for",
]

HORIZON: Final = timedelta(days=14)
"""How far ahead an opening is looked for: a weekly window opens at least once in seven days, also across a change of
the clocks that swallows one; holidays may take a second week."""

MOST_CLOSINGS: Final = 5
"""Closings that are stored with a decision: somebody who may be in forty zones has a hundred of them."""

LOOK_BACK: Final = timedelta(days=15)
"""How far back spans reach: what closed before is not asked about."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_WEEK: Final = 7
_HORIZON: Final = HORIZON // _MICROSECOND

Span: TypeAlias = tuple[int, int]
"""From (inclusive) and to (exclusive), microseconds: since 1970 in UTC, or of a day since its midnight."""


@dataclass(frozen=True, slots=True, eq=False)
class HolidayCalendar:
    """The holidays of a country or a part of it, in the years that were looked up."""

    code: str
    first_year: int
    last_year: int
    dates: Mapping[date, str]
    """Date → its name."""


@dataclass(frozen=True, slots=True)
class DataVersions:
    """What a decision was computed from, so that it can be computed again."""

    tzdata: str = ""
    phonenumbers: str = ""
    holidays: str = ""
    """Empty where no calendar was asked."""


@dataclass(frozen=True, slots=True, eq=False)
class Timetable:
    """A campaign's calling hours with everything they refer to. Compared by identity: made once for a day, then used
    for every contact."""

    hours: CallingHours
    pack: RulePack | None = None
    calendars: Mapping[str, HolidayCalendar] = field(default_factory=lambda: MappingProxyType({}))
    versions: DataVersions = DataVersions()
    problem: str | None = None
    """Why nobody may be called by it, whatever the time: a sentence; None = all that is needed is here."""


@dataclass(frozen=True, slots=True)
class Closing:
    """One rule that closes at an instant, in one zone."""

    rule: str
    """``campaign_hours``, ``campaign_exception``, ``campaign_holiday``, a code of the pack's, or what is unclear:
    ``unknown_zone``, ``no_zone``, ``not_covered``, ``no_rule_data``, ``no_holiday_data``."""
    zone: str
    """Empty where it closes in every zone."""
    local: datetime | None
    """What the clock in that zone shows, naive."""
    sentence: str


@dataclass(frozen=True, slots=True)
class Opening:
    """Whether a person may be called at an instant, when if not, and what the answer was made from."""

    at: datetime
    opens_at: datetime | None
    """``at`` itself when open; None = not within :data:`HORIZON`."""
    closes_at: datetime | None
    """When what is open now, or opens next, closes again; None when it never opens, or lies beyond the horizon."""
    closed_by: tuple[Closing, ...]
    """Every rule and zone that closes at ``at``; empty when open."""
    whereabouts: Whereabouts
    rules: tuple[str, ...]
    """Codes of all rules of the pack that were asked."""
    pack: str | None
    """``us@2026-11``."""
    versions: DataVersions

    @property
    def is_open(self) -> bool:
        """Whether the person may be called at ``at``."""
        return self.opens_at == self.at

    @property
    def rule(self) -> str | None:
        """The first rule that closes; None when open, or when each zone has hours of its own that never meet."""
        return self.closed_by[0].rule if self.closed_by else None

    def inputs(self) -> dict[str, Json]:
        """Return what the answer was made from, as it is stored: enough to make it again, with :meth:`rule_data`."""
        return {
            "at": instant(self.at),
            "zones": list(self.whereabouts.zones),
            "zonesFrom": [str(origin) for origin in self.whereabouts.zone_origins],
            "places": list(self.whereabouts.places),
            "placesFrom": [str(origin) for origin in self.whereabouts.place_origins],
            "rules": list(self.rules),
            "closedBy": [
                {
                    "rule": closing.rule,
                    "zone": closing.zone,
                    "local": None if closing.local is None else closing.local.isoformat(timespec="seconds"),
                }
                for closing in self.closed_by[:MOST_CLOSINGS]
            ],
            "closedByCount": len(self.closed_by),
        }

    def rule_data(self) -> dict[str, str]:
        """Return the versions of what it was computed from, by name; a pack is there when the campaign has one."""
        found = {
            "rulePack": self.pack or "",
            "tzdata": self.versions.tzdata,
            "phonenumbers": self.versions.phonenumbers,
            "holidays": self.versions.holidays,
        }
        return {name: version for name, version in found.items() if version}


def opening(timetable: Timetable, where: Whereabouts, at: datetime) -> Opening:
    """Return whether and when somebody may be called, from an instant on, and why not."""
    return _opening(timetable, where, at)


# a claim asks for all of its contacts at one ``at``, and few zones and places are different
@lru_cache(maxsize=4096)
def _opening(timetable: Timetable, where: Whereabouts, at: datetime) -> Opening:
    opens_at, closes_at = times(timetable, where, at)
    return Opening(
        at=at,
        opens_at=opens_at,
        closes_at=closes_at,
        closed_by=() if opens_at == at else _closed_by(timetable, where, at),
        whereabouts=where,
        rules=tuple(rule.code for rule in _pack_rules(timetable, where.places)),
        pack=None if timetable.pack is None else timetable.pack.full_name,
        versions=timetable.versions,
    )


def times(timetable: Timetable, where: Whereabouts, at: datetime) -> tuple[datetime | None, datetime | None]:
    """Return :attr:`Opening.opens_at` and :attr:`Opening.closes_at` alone, without the reasons."""
    now = _micros(at)
    spans = spans_around(timetable, where, at)
    place = bisect_right(spans, now, key=_end)
    if place == len(spans) or spans[place][0] > now + _HORIZON:
        return None, None
    start, end = spans[place]
    return (at if start <= now else _instant(start), _instant(end) if end < _last(at) else None)


def next_begin(timetable: Timetable, where: Whereabouts, at: datetime) -> datetime | None:
    """Return when somebody's calling hours begin the next time after ``at``, having been closed; None when they do not
    within two weeks. Windows that touch are one."""
    now = _micros(at)
    return next((_instant(start) for start, _ in spans_around(timetable, where, at) if start > now), None)


def _end(span: Span) -> int:
    return span[1]


def spans_around(timetable: Timetable, where: Whereabouts, at: datetime) -> tuple[Span, ...]:
    """Return when somebody may be called, in order and apart from each other, from 15 days before ``at``'s day to two
    weeks after it."""
    return _spans(timetable, where.zones, where.places, at.astimezone(UTC).date())


def is_open(hours: CallingHours, zones: Sequence[str], at: datetime) -> bool:
    """Whether a person in these zones may be called at an instant by a campaign's own hours."""
    return next_open(hours, zones, at) == at


def next_open(hours: CallingHours, zones: Sequence[str], at: datetime) -> datetime | None:
    """Return the first instant from ``at`` on at which the campaign's own hours are open; None = not within 14 days."""
    return times(plain(hours), Whereabouts(tuple(zones), (Origin.CAMPAIGN,)), at)[0]


@lru_cache(maxsize=512)
def plain(hours: CallingHours) -> Timetable:
    """Return the timetable of hours that need no other data; closed for hours that do, since it is not there."""
    if hours.rule_pack is None and not hours.holidays:
        return Timetable(hours)
    return Timetable(hours, problem="The rule pack and the holidays of the campaign have not been read.")


def apart_at_midnight(windows: Iterable[CallingWindow]) -> list[CallingWindow]:
    """Return the same windows, each that goes on after midnight as two: for those who know no such window."""
    found: list[CallingWindow] = []
    for window in windows:
        if window.start < window.end:
            found.append(window)
            continue
        found.append(CallingWindow(window.weekday, window.start, time.max))
        if window.end > time.min:
            found.append(CallingWindow((window.weekday + 1) % _WEEK, time.min, window.end))
    return found


def overlaps(windows: Iterable[CallingWindow], *, weekly: bool = True) -> list[tuple[CallingWindow, CallingWindow]]:
    """Return each window that begins before an earlier one has ended, behind that one, each pair once.

    Windows that go on after midnight count on both days; ``weekly``: Sunday's end at Monday's.
    """
    spans = sorted(((*_week_span(window), window) for window in windows), key=lambda one: one[:2])
    if weekly:
        spans += [(start + _WEEK * _DAY, end + _WEEK * _DAY, window) for start, end, window in spans]
    found: dict[tuple[CallingWindow, CallingWindow], None] = {}
    latest: tuple[int, CallingWindow] | None = None
    for start, end, window in spans:
        if latest is not None and start < latest[0]:
            found[latest[1], window] = None
        if latest is None or end > latest[0]:
            latest = end, window
    return list(found)


def _week_span(window: CallingWindow) -> Span:
    """Return where a window lies, from Monday's midnight on."""
    start, end = _span(window)
    midnight = window.weekday * _DAY
    return midnight + start, midnight + end


# Spans


@lru_cache(maxsize=4096)
def _spans(timetable: Timetable, zones: tuple[str, ...], places: tuple[str, ...], day: date) -> tuple[Span, ...]:
    plans = _plans(timetable, places)
    if plans is None or not zones:
        return ()
    common: tuple[Span, ...] | None = None
    for name in zones:
        for plan in plans:
            found = _plan_spans(plan, name, day)
            common = found if common is None else _both(common, found)
            if not common:
                return ()
    return common or ()


@lru_cache(maxsize=8192)
def _plan_spans(plan: _Plan, name: str, day: date) -> tuple[Span, ...]:
    """Return when one plan is open by the clock of one zone."""
    zone = find_zone(name)
    if zone is None:
        return ()
    found: list[Span] = []
    for start, end, offset in _stretches(zone, day):
        # by the local clock, which runs evenly in here
        for ordinal in range((start + offset) // _DAY, (end + offset - 1) // _DAY + 1):
            midnight = ordinal * _DAY - offset
            for opens, closes in plan.on(date.fromordinal(ordinal + _EPOCH_DAY)):
                span = (max(midnight + opens, start), min(midnight + closes, end))
                if span[0] < span[1]:
                    found.append(span)
    return _joined(found)


@lru_cache(maxsize=2048)
def _stretches(zone: ZoneInfo, day: date) -> tuple[tuple[int, int, int], ...]:
    """Return the period around a day in stretches between changes of the zone's clocks, each with its offset."""
    first = datetime.combine(day, time.min, tzinfo=UTC) - LOOK_BACK
    last = datetime.combine(day, time.min, tzinfo=UTC) + HORIZON + timedelta(days=2)
    step = timedelta(hours=6)
    edges = [first]
    left = first
    while left < last:
        right = left + step
        if left.astimezone(zone).utcoffset() != right.astimezone(zone).utcoffset():
            edges.append(_change_between(zone, left, right))
        left = right
    return tuple(
        (_micros(start), _micros(end), (start.astimezone(zone).utcoffset() or timedelta()) // _MICROSECOND)
        for start, end in zip(edges, [*edges[1:], last], strict=True)
    )


def _change_between(zone: ZoneInfo, left: datetime, right: datetime) -> datetime:
    before = left.astimezone(zone).utcoffset()
    while right - left > timedelta(seconds=1):
        middle = (left + (right - left) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == before:
            left = middle
        else:
            right = middle
    return right


def _both(left: Sequence[Span], right: Sequence[Span]) -> tuple[Span, ...]:
    """Return what lies in both."""
    found: list[Span] = []
    here = there = 0
    while here < len(left) and there < len(right):
        span = (max(left[here][0], right[there][0]), min(left[here][1], right[there][1]))
        if span[0] < span[1]:
            found.append(span)
        if left[here][1] < right[there][1]:
            here += 1
        else:
            there += 1
    return tuple(found)


def _joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the same in order, with what touches made one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return tuple(found)


def _last(at: datetime) -> int:
    """Return the end of the period in which spans are known."""
    return _micros(datetime.combine(at.astimezone(UTC).date(), time.min, tzinfo=UTC) + HORIZON + timedelta(days=2))


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _instant(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


# What holds on a date


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """One rule, the campaign's hours or one of the pack's, as spans of each date."""

    code: str
    title: str
    weekly: tuple[tuple[Span, ...], ...]
    """Of each weekday; a span may end after midnight, up to the next one."""
    exceptions: Mapping[date, tuple[Span, ...]]
    calendars: tuple[HolidayCalendar, ...]
    days: Mapping[str, str]
    """``MM-DD`` → name of days on which it is closed every year."""

    def on(self, day: date) -> tuple[Span, ...]:
        """Return what is open of a calendar date."""
        own = self.begin_on(day)
        found = [(start, min(end, _DAY)) for start, end in own]
        # what a date's exception or holiday says is all that holds on it: the evening before does not reach into it
        if day not in self.exceptions and self.holiday(day) is None:
            before = self.begin_on(day - timedelta(days=1))
            found += [(0, end - _DAY) for _, end in before if end > _DAY]
        return tuple(found)

    def begin_on(self, day: date) -> tuple[Span, ...]:
        """Return the windows that begin on a date."""
        if day in self.exceptions:
            return self.exceptions[day]
        return () if self.holiday(day) is not None else self.weekly[day.weekday()]

    def holiday(self, day: date) -> str | None:
        """Return the name of the holiday that closes a date, None when none does."""
        if self.days and f"{day:%m-%d}" in self.days:
            return self.days[f"{day:%m-%d}"]
        for calendar in self.calendars:
            if not calendar.first_year <= day.year <= calendar.last_year:
                return f"the calendar {calendar.code} has not been read for {day.year}"
            if day in calendar.dates:
                return f"{calendar.dates[day]} ({calendar.code})"
        return None


@lru_cache(maxsize=1024)
def _plans(timetable: Timetable, places: tuple[str, ...]) -> tuple[_Plan, ...] | None:
    """Return every plan that must be open for somebody in these places; None when something is missing."""
    if timetable.problem is not None or _uncovered(timetable, places):
        return None
    own, rules = _campaign_plan(timetable), _pack_rules(timetable, places)
    plans = None if own is None else [own, *(_rule_plan(timetable, rule) for rule in rules)]
    if plans is None or None in plans:
        return None
    return tuple(plan for plan in plans if plan is not None)


def _uncovered(timetable: Timetable, places: Sequence[str]) -> bool:
    return timetable.pack is not None and not any(timetable.pack.covers(place) for place in places)


@lru_cache(maxsize=1024)
def _pack_rules(timetable: Timetable, places: tuple[str, ...]) -> tuple[Rule, ...]:
    return () if timetable.pack is None else timetable.pack.rules_of(places)


@lru_cache(maxsize=512)
def _campaign_plan(timetable: Timetable) -> _Plan | None:
    hours = timetable.hours
    calendars = _calendars(timetable, hours.holidays)
    if calendars is None:
        return None
    exceptions = {one.on: tuple(_span(window) for window in one.windows) for one in hours.exceptions}
    return _Plan("campaign_hours", "the campaign's calling hours", _weekly(hours.windows), exceptions, calendars, {})


@lru_cache(maxsize=4096)
def _rule_plan(timetable: Timetable, rule: Rule) -> _Plan | None:
    calendars = _calendars(timetable, rule.holidays)
    if calendars is None:
        return None
    return _Plan(rule.code, rule.source, _weekly(rule.windows), {}, calendars, rule.dates)


def _calendars(timetable: Timetable, codes: Sequence[str]) -> tuple[HolidayCalendar, ...] | None:
    if any(code not in timetable.calendars for code in codes):
        return None
    return tuple(timetable.calendars[code] for code in codes)


def _weekly(windows: Sequence[CallingWindow]) -> tuple[tuple[Span, ...], ...]:
    return tuple(
        tuple(_span(window) for window in windows if window.weekday == weekday and window.start != window.end)
        for weekday in range(_WEEK)
    )


def _span(window: CallingWindow | DayWindow) -> Span:
    start, end = _of_day(window.start), _DAY if window.end == time.max else _of_day(window.end)
    return (start, end if end > start else end + _DAY)


def _of_day(clock: time) -> int:
    return ((clock.hour * 60 + clock.minute) * 60 + clock.second) * _SECOND + clock.microsecond


# Why


def _closed_by(timetable: Timetable, where: Whereabouts, at: datetime) -> tuple[Closing, ...]:
    """Return everything that closes at an instant."""
    if timetable.problem is not None:
        return (Closing("no_rule_data", "", None, timetable.problem),)
    if not where.zones:
        return (Closing("no_zone", "", None, "No time zone is known for the person."),)
    if timetable.pack is not None and _uncovered(timetable, where.places):
        places = ", ".join(where.places) or "the person's place"
        name = timetable.pack.full_name
        sentence = f"The rule pack {name} has no rule for {places}, so it lets nobody there be called."
        return (Closing("not_covered", "", None, sentence),)
    plans = _plans(timetable, where.places)
    if plans is None:
        return (Closing("no_holiday_data", "", None, "A holiday calendar that is needed has not been read."),)
    return tuple(closing for name in where.zones for closing in _closed_in(plans, name, at))


def _closed_in(plans: Sequence[_Plan], name: str, at: datetime) -> list[Closing]:
    zone = find_zone(name)
    if zone is None:
        return [Closing("unknown_zone", name, None, f"This machine knows no time zone {name!r}.")]
    local = at.astimezone(zone).replace(tzinfo=None)
    clock = _of_day(local.time())
    return [
        _closing(plan, name, local)
        for plan in plans
        if not any(start <= clock < end for start, end in plan.on(local.date()))
    ]


def _closing(plan: _Plan, name: str, local: datetime) -> Closing:
    day = local.date()
    shown = f"{local:%A %Y-%m-%d %H:%M} in {name}"
    code = plan.code
    holiday = None if day in plan.exceptions else plan.holiday(day)
    if holiday is not None:
        code = "campaign_holiday" if code == "campaign_hours" else code
        return Closing(code, name, local, f"{shown}: closed by {plan.title}: {holiday}.")
    if day in plan.exceptions:
        code = "campaign_exception"
    allowed = " and ".join(f"{_clock(start)}–{_clock(end)}" for start, end in sorted(plan.on(day)))
    what = f"which allows {allowed} on that day" if allowed else "which allows nothing on that day"
    return Closing(code, name, local, f"{shown}: outside {plan.title}, {what}.")


def _clock(micros: int) -> str:
    minutes = micros // (60 * _SECOND)
    return f"{minutes // 60:02}:{minutes % 60:02}"

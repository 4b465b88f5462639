"""A campaign's calling hours beyond the vendor's wire: several windows a day, across midnight, exceptions by date,
holidays, a rule pack, and what happens at closing time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, time
from typing import Final

from outdial import rule_data
from outdial.core.calling_hours import Opening, opening, overlaps
from outdial.core.errors import ConflictError, InvalidInputError, NotFoundError, RulePackError
from outdial.core.model import (
    LIVE_RUN_STATES,
    AtClosing,
    CallingHours,
    CallingWindow,
    Campaign,
    DateException,
    DayWindow,
)
from outdial.core.phone import parse_phone, zones_of
from outdial.core.rule_packs import parse_clock
from outdial.core.whereabouts import whereabouts
from outdial.core.zones import valid_zone
from outdial.services.campaigns import get_campaign
from outdial.services.fields import line_problems, require
from outdial.store import campaigns as store
from outdial.store import runs as runs_store
from outdial.store.database import Database

DAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
"""In the order of ``datetime.weekday``."""

MOST_WINDOWS: Final = 100
MOST_EXCEPTIONS: Final = 400
"""More than a year of single dates."""
MOST_CALENDARS: Final = 20
LONGEST_NOTE: Final = 100


@dataclass(frozen=True, slots=True)
class WindowDraft:
    """A weekly window as people write it."""

    start: str
    """``09:00``."""
    end: str
    """``18:00``, ``24:00`` for the end of the day; before the start: on the next day."""
    days: tuple[str, ...] | None = None
    """``MO`` … ``SU``; None = every day."""


@dataclass(frozen=True, slots=True)
class ExceptionDraft:
    """A date's exception as people write it."""

    date: str
    """``2026-12-24``."""
    windows: tuple[tuple[str, str], ...] = ()
    """Start and end of each; none = closed."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class HoursDraft:
    """Calling hours as people write them."""

    zone: str
    windows: tuple[WindowDraft, ...]
    exceptions: tuple[ExceptionDraft, ...] = ()
    holidays: tuple[str, ...] = ()
    rule_pack: str | None = None
    at_closing: AtClosing = AtClosing.HOLD


def read_hours(draft: HoursDraft) -> CallingHours:
    """Return the hours a draft means. Raises InvalidInputError, whose sentences name each wrong field and how to mend
    it."""
    problems: list[str] = []
    if not valid_zone(draft.zone):
        problems.append(f"`zone` must be a time zone like Europe/Paris, not {draft.zone[:60]!r}.")
    windows = _windows(draft.windows, problems)
    exceptions = _exceptions(draft.exceptions, problems)
    problems += _overlaps("windows", windows, weekly=True)
    if not draft.windows and not any(one.windows for one in exceptions):
        problems.append("`windows` must not be empty: without a window nobody is ever called.")
    if len(draft.holidays) > MOST_CALENDARS:
        problems.append(f"`holidays` has {len(draft.holidays)} entries; at most {MOST_CALENDARS} are allowed.")
    else:
        for index, code in enumerate(draft.holidays):
            problems += [f"`holidays[{index}]`: {problem}" for problem in rule_data.calendar_problems(code)]
    if draft.rule_pack is not None:
        try:
            rule_data.load_pack(draft.rule_pack)
        except RulePackError as error:
            problems.append(f"`rulePack`: {error.message}")
    require(problems)
    return CallingHours(
        windows=tuple(windows),
        zone=draft.zone,
        frequency=_frequency(draft),
        exceptions=tuple(sorted(exceptions, key=lambda one: one.on)),
        holidays=tuple(dict.fromkeys(draft.holidays)),
        rule_pack=draft.rule_pack,
        at_closing=draft.at_closing,
    )


def _frequency(draft: HoursDraft) -> str:
    """Return the vendor's word for what the hours are: the same on each day, by weekday, or with dates of their own."""
    if draft.exceptions or draft.holidays:
        return "CUSTOM"
    daily = all(window.days is None or set(window.days) == set(DAYS) for window in draft.windows)
    return "DAILY" if daily else "WEEKLY"


def _windows(drafts: Sequence[WindowDraft], problems: list[str]) -> list[CallingWindow]:
    if len(drafts) > MOST_WINDOWS:
        problems.append(f"`windows` has {len(drafts)} entries; at most {MOST_WINDOWS} are allowed.")
        return []
    found: list[CallingWindow] = []
    for index, draft in enumerate(drafts):
        at = f"windows[{index}]"
        days = DAYS if draft.days is None else draft.days
        wrong = [day for day in days if day not in DAYS]
        if wrong or not days:
            problems.append(f"`{at}.days` must be some of {', '.join(DAYS)}, not {', '.join(wrong)[:60] or 'empty'}.")
        span = _span(at, draft.start, draft.end, problems)
        if span is not None:
            found += [CallingWindow(DAYS.index(day), *span) for day in dict.fromkeys(days) if day in DAYS]
    return found


def _span(at: str, start: str, end: str, problems: list[str]) -> tuple[time, time] | None:
    """Return a window's ends; None, and a sentence, when they are none."""
    read = parse_clock(start), parse_clock(end)
    for name, text, value in (("start", start, read[0]), ("end", end, read[1])):
        if value is None or (name == "start" and value == time.max):
            problems.append(f"`{at}.{name}` must be a time like 09:00 or 18:30, not {text[:60]!r}.")
    if read[0] is None or read[1] is None or read[0] == time.max:
        return None
    if read[0] == read[1]:
        problems.append(f"`{at}` is empty: it starts and ends at {start}. A whole day is 00:00 to 24:00.")
        return None
    return read[0], read[1]


def _exceptions(drafts: Sequence[ExceptionDraft], problems: list[str]) -> list[DateException]:
    if len(drafts) > MOST_EXCEPTIONS:
        problems.append(f"`exceptions` has {len(drafts)} entries; at most {MOST_EXCEPTIONS} are allowed.")
        return []
    found: dict[date, DateException] = {}
    for index, draft in enumerate(drafts):
        at = f"exceptions[{index}]"
        try:
            on = date.fromisoformat(draft.date)
        except ValueError:
            problems.append(f"`{at}.date` must be a date of the calendar like 2026-12-24, not {draft.date[:60]!r}.")
            continue
        if on in found:
            problems.append(f"`{at}.date` is {on} again: write all windows of a date into one exception.")
        problems += line_problems(f"{at}.note", draft.note, longest=LONGEST_NOTE)
        spans = [
            _span(f"{at}.windows[{place}]", start, end, problems) for place, (start, end) in enumerate(draft.windows)
        ]
        windows = tuple(DayWindow(*span) for span in spans if span is not None)
        of_one_day = [CallingWindow(0, window.start, window.end) for window in windows]
        problems += _overlaps(f"{at}.windows", of_one_day, weekly=False)
        found[on] = DateException(on, tuple(sorted(windows, key=lambda window: window.start)), draft.note)
    return list(found.values())


def _overlaps(field: str, windows: Sequence[CallingWindow], *, weekly: bool) -> list[str]:
    """Return a sentence for each window that begins before another has ended."""
    return [
        f"`{field}` overlap: {_text(before)} and {_text(window)}; make one of them."
        for before, window in overlaps(windows, weekly=weekly)
    ]


def _text(window: CallingWindow) -> str:
    return f"{DAYS[window.weekday]} {write_clock(window.start)}–{write_clock(window.end)}"


def write_clock(value: time) -> str:
    """Return ``09:00``, ``24:00`` for the end of the day."""
    return "24:00" if value == time.max else f"{value:%H:%M}"


def by_days(windows: Sequence[CallingWindow]) -> list[WindowDraft]:
    """Return weekly windows as people write them, those of the same times together."""
    days: dict[tuple[time, time], list[int]] = {}
    for window in windows:
        days.setdefault((window.start, window.end), []).append(window.weekday)
    return [
        WindowDraft(write_clock(start), write_clock(end), tuple(DAYS[weekday] for weekday in sorted(weekdays)))
        for (start, end), weekdays in days.items()
    ]


async def show_hours(database: Database, *, iid: str, campaign_id: str) -> CallingHours:
    """Return a campaign's calling hours. Raises NotFoundError."""
    return (await get_campaign(database, iid, campaign_id)).rules.calling_hours


async def set_hours(database: Database, *, iid: str, campaign_id: str, hours: CallingHours, actor: str) -> CallingHours:
    """Give a campaign other calling hours, from its next run on. Raises NotFoundError, ConflictError while a run of it
    is live."""
    async with database.transaction() as connection:
        # a start locks the row too: its run has either the old hours or the new ones
        campaign = await store.by_id(connection, iid, campaign_id, lock=True)
        if campaign is None:
            raise NotFoundError(f"There is no campaign with the id {campaign_id}.")
        run = await runs_store.latest_run(connection, campaign_id)
        if run is not None and run.state in LIVE_RUN_STATES:
            raise ConflictError(
                f"The campaign {campaign.name!r} cannot be changed while its run is {run.state}; stop it first."
            )
        row = store.CampaignRow(**{one.name: getattr(campaign, one.name) for one in fields(store.CampaignRow)})
        row = replace(row, rules=replace(campaign.rules, calling_hours=hours))
        await store.update(connection, row, changed=["rules"], actor=actor)
    return hours


def opening_for(
    campaign: Campaign, *, phone: str, zone: str | None, state: str | None, at: datetime, region: str | None
) -> Opening:
    """Return whether and when the campaign's hours, as they are now, let a number be called, and why not.

    Raises InvalidInputError for what is no number or no zone.
    """
    if zone is not None and not valid_zone(zone):
        raise InvalidInputError([f"There is no time zone {zone[:60]!r}; write one like Europe/Paris."])
    number = parse_phone(phone, region)
    hours = campaign.rules.calling_hours
    timetable = rule_data.timetable(hours, at)
    where = whereabouts(
        timetable.pack,
        phone=number,
        contact_zone=zone,
        contact_state=state,
        number_zones=zones_of(number),
        campaign_zone=hours.zone,
    )
    return opening(timetable, where, at)

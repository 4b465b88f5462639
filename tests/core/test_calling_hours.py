from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outdial.core.calling_hours import (
    HolidayCalendar,
    Timetable,
    apart_at_midnight,
    is_open,
    next_open,
    opening,
    overlaps,
    plain,
    times,
    zones_for,
)
from outdial.core.model import CallingHours, CallingWindow, DateException, DayWindow
from outdial.core.rule_packs import Rule, RulePack
from outdial.core.whereabouts import Origin, Whereabouts
from outdial.core.zones import valid_zone

ZONES = [
    "UTC",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Phoenix",
    "America/Los_Angeles",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Santiago",
    "America/Havana",
    "America/Halifax",
    "Atlantic/Azores",
    "Europe/London",
    "Europe/Berlin",
    "Europe/Moscow",
    "Europe/Dublin",
    "Europe/Chisinau",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Asia/Jerusalem",
    "Asia/Beirut",
    "Australia/Adelaide",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Apia",
]


def hours(*windows, zone="UTC"):
    return CallingHours(windows=tuple(CallingWindow(*window) for window in windows), zone=zone)


WEEK = hours(*((weekday, time(9), time(18)) for weekday in range(5)))
ALWAYS = hours(*((weekday, time(0), time.max) for weekday in range(7)))


def local(zone, *parts, fold=0):
    return datetime(*parts, tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


class TestOpen:
    @pytest.mark.parametrize(
        ("clock", "expected"), [((8, 59), False), ((9, 0), True), ((17, 59), True), ((18, 0), False)]
    )
    def test_the_start_is_in_and_the_end_is_not(self, clock, expected):
        assert is_open(WEEK, ("Europe/Paris",), local("Europe/Paris", 2026, 11, 25, *clock)) is expected

    def test_the_persons_zone_counts_not_ours(self):
        at = local("America/Los_Angeles", 2026, 11, 25, 10)
        assert is_open(WEEK, ("America/Los_Angeles",), at)
        assert not is_open(WEEK, ("Europe/Berlin",), at)

    def test_it_must_be_open_in_every_plausible_zone(self):
        at = local("America/New_York", 2026, 11, 25, 9, 30)
        assert is_open(WEEK, ("America/New_York",), at)
        assert not is_open(WEEK, ("America/New_York", "America/Los_Angeles"), at)

    @pytest.mark.parametrize("zones", [(), ("Mars/Olympus",), ("UTC", "Mars/Olympus"), ("",), ("../UTC",)])
    def test_what_is_unclear_is_closed(self, zones):
        assert not is_open(ALWAYS, zones, datetime(2026, 1, 1, tzinfo=UTC))
        assert next_open(ALWAYS, zones, datetime(2026, 1, 1, tzinfo=UTC)) is None

    def test_without_a_window_it_is_closed(self):
        assert not is_open(hours(), ("UTC",), datetime(2026, 1, 1, tzinfo=UTC))

    def test_two_windows_make_one_across_midnight(self):
        night = hours((0, time(22), time.max), (1, time(0), time(2)))
        monday = datetime(2026, 11, 23, 22, tzinfo=UTC)
        for minutes in range(4 * 60):
            assert is_open(night, ("UTC",), monday + timedelta(minutes=minutes))
        assert not is_open(night, ("UTC",), monday + timedelta(hours=4))
        assert is_open(night, ("UTC",), datetime(2026, 11, 23, 23, 59, 59, 999999, tzinfo=UTC))

    def test_an_hour_that_comes_twice_is_open_twice(self):
        one = hours((6, time(1), time(2)))
        for fold in (0, 1):
            assert is_open(one, ("America/New_York",), local("America/New_York", 2026, 11, 1, 1, 30, fold=fold))


class TestNextOpen:
    def test_now_when_it_is_open(self):
        at = local("UTC", 2026, 11, 25, 12)
        assert next_open(WEEK, ("UTC",), at) == at

    def test_the_next_morning(self):
        assert next_open(WEEK, ("Europe/Berlin",), local("Europe/Berlin", 2026, 11, 25, 20)) == local(
            "Europe/Berlin", 2026, 11, 26, 9
        )

    def test_over_the_weekend(self):
        assert next_open(WEEK, ("UTC",), local("UTC", 2026, 11, 27, 18)) == local("UTC", 2026, 11, 30, 9)

    def test_a_window_that_begins_in_the_missing_hour_opens_when_the_clocks_have_been_changed(self):
        gap = hours((6, time(2, 30), time(4)))
        at = local("Europe/Berlin", 2026, 3, 29, 0)
        found = next_open(gap, ("Europe/Berlin",), at)
        assert found == local("Europe/Berlin", 2026, 3, 29, 3)

    def test_never(self):
        assert next_open(hours(), ("UTC",), local("UTC", 2026, 1, 1)) is None
        apart = hours((0, time(9), time(10)))
        assert next_open(apart, ("UTC", "Asia/Tokyo"), local("UTC", 2026, 1, 1)) is None


class TestZones:
    def test_the_contacts_own_wins(self):
        assert zones_for(contact_zone="Asia/Tokyo", number_zones=("UTC",), campaign_zone="UTC") == ("Asia/Tokyo",)

    def test_then_all_of_the_numbers(self):
        assert zones_for(contact_zone=None, number_zones=("a", "b"), campaign_zone="c") == ("a", "b")

    def test_then_the_campaigns(self):
        assert zones_for(contact_zone=None, number_zones=(), campaign_zone="c") == ("c",)

    @pytest.mark.parametrize("name", ["localtime", "Factory", "posixrules", "", "europe/berlin", "../UTC", "UTC\0"])
    def test_what_is_no_place_is_no_zone(self, name):
        assert not valid_zone(name)

    def test_every_zone_of_these_tests_exists(self):
        assert all(valid_zone(name) for name in ZONES)
        assert len(ZONES) >= 20


windows = st.lists(
    st.builds(
        lambda weekday, start, length: CallingWindow(
            weekday,
            time(start // 60, start % 60),
            time.max if start + length >= 24 * 60 else time((start + length) // 60, (start + length) % 60),
        ),
        st.integers(0, 6),
        st.integers(0, 24 * 60 - 1),
        st.integers(1, 12 * 60),
    ),
    max_size=4,
)
instants = st.integers(0, 2 * 366 * 24 * 60).map(
    lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)


def changes_of(zone: str) -> list[datetime]:
    """Hours of 2026 around which the zone's clocks are changed."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    steps = [start + timedelta(hours=hour) for hour in range(0, 366 * 24, 1)]
    name = ZoneInfo(zone)
    return [
        right
        for left, right in pairwise(steps)
        if left.astimezone(name).utcoffset() != right.astimezone(name).utcoffset()
    ]


CHANGES = [(zone, at) for zone in ZONES for at in changes_of(zone)]


@settings(max_examples=60, deadline=None)
@given(windows=windows, zones=st.lists(st.sampled_from(ZONES), min_size=1, max_size=2), at=instants)
def test_the_next_opening_is_the_first_open_minute(windows, zones, at):
    check(CallingHours(windows=tuple(windows), zone="UTC"), tuple(zones), at)


@settings(max_examples=60, deadline=None)
@given(windows=windows, change=st.sampled_from(CHANGES), before=st.integers(0, 36 * 60))
def test_also_where_the_clocks_are_changed(windows, change, before):
    zone, changed = change
    check(CallingHours(windows=tuple(windows), zone="UTC"), (zone,), changed - timedelta(minutes=before))


def check(open_hours, zones, at):
    """Against every minute of the two days after ``at``: all openings are on whole minutes."""
    found = next_open(open_hours, zones, at)
    minutes = [at + timedelta(minutes=minute) for minute in range(2 * 24 * 60)]
    first = next((minute for minute in minutes if is_open(open_hours, zones, minute)), None)
    if first is not None:
        assert found == first
    elif found is not None:
        assert found > minutes[-1]
        assert is_open(open_hours, zones, found)
        assert not is_open(open_hours, zones, found - timedelta(seconds=1))


def test_the_zones_of_these_tests_change_their_clocks():
    assert len({zone for zone, _ in CHANGES}) >= 20


# Everything together, against a reading of our own: minute by minute, by the wall clock, without spans

DAY = 24 * 60
CLOCKS = st.integers(0, DAY // 5 - 1).map(lambda five: time(five * 5 // 60, five * 5 % 60))
ENDS = CLOCKS | st.just(time.max)
WEEKLY = st.lists(
    st.builds(CallingWindow, st.integers(0, 6), CLOCKS, ENDS).filter(lambda one: one.start != one.end), max_size=5
).map(tuple)
DAY_WINDOWS = st.lists(st.builds(DayWindow, CLOCKS, ENDS).filter(lambda one: one.start != one.end), max_size=2).map(
    tuple
)


def minute(clock: time) -> int:
    return DAY if clock == time.max else clock.hour * 60 + clock.minute


def within(start: time, end: time, now: int) -> tuple[bool, bool]:
    """Whether a minute lies in the part of a window on its own date, and in that on the next."""
    if minute(end) > minute(start):
        return minute(start) <= now < minute(end), False
    return now >= minute(start), now < minute(end)


def of_date(day: date, weekly, exceptions, closed):
    """The windows that begin on a date, as pairs."""
    if day in exceptions:
        return [(one.start, one.end) for one in exceptions[day]]
    if day in closed:
        return []
    return [(one.start, one.end) for one in weekly if one.weekday == day.weekday()]


def read_by_hand(weekly, exceptions, closed, zone: str, at: datetime) -> bool:
    local = at.astimezone(ZoneInfo(zone))
    day, now = local.date(), local.hour * 60 + local.minute
    if any(within(*pair, now)[0] for pair in of_date(day, weekly, exceptions, closed)):
        return True
    if day in exceptions or day in closed:
        return False
    before = of_date(day - timedelta(days=1), weekly, exceptions, closed)
    return any(within(*pair, now)[1] for pair in before)


@st.composite
def lawful_hours(draw):
    """A zone at one of its changes of the clocks, hours with exceptions and holidays, and a pack with a rule."""
    zone, changed = draw(st.sampled_from(CHANGES))
    other = draw(st.sampled_from([zone, *ZONES]))
    near = [changed.date() + timedelta(days=days) for days in range(-2, 3)]
    exceptions = draw(st.dictionaries(st.sampled_from(near), DAY_WINDOWS, max_size=2))
    closed, banned = (frozenset(draw(st.lists(st.sampled_from(near), max_size=2))) for _ in range(2))
    at = changed + timedelta(minutes=5 * draw(st.integers(-36 * 12, 36 * 12)))
    return (zone, other), draw(WEEKLY), exceptions, closed, draw(WEEKLY), banned, at


@settings(max_examples=80, deadline=None)
@given(case=lawful_hours())
def test_never_a_dial_that_any_rule_denies_in_any_zone_and_none_held_back_that_all_allow(case):
    zones, weekly, exceptions, closed, lawful, banned, at = case
    hours = CallingHours(
        weekly,
        "UTC",
        exceptions=tuple(DateException(on, windows) for on, windows in exceptions.items()),
        holidays=("XX",),
        rule_pack="test",
    )
    timetable = Timetable(hours, pack_of(lawful), {"XX": calendar("XX", closed), "YY": calendar("YY", banned)})
    where = Whereabouts(zones, (Origin.NUMBER,), ("XX",), (Origin.NUMBER,))
    minutes = [at + timedelta(minutes=5 * step) for step in range(36 * 12)]
    allowed = [
        all(
            read_by_hand(weekly, exceptions, closed, zone, each) and read_by_hand(lawful, {}, banned, zone, each)
            for zone in zones
        )
        for each in minutes
    ]
    assert [times(timetable, where, each)[0] == each for each in minutes] == allowed
    found = opening(timetable, where, at)
    first = next((each for each, may in zip(minutes, allowed, strict=True) if may), None)
    if first is not None:
        assert found.opens_at == first
    else:
        assert found.opens_at is None or found.opens_at > minutes[-1]
    if found.is_open:
        assert not found.closed_by
        ends = next((each for each, may in zip(minutes, allowed, strict=True) if not may), None)
        assert ends is None or found.closes_at == ends
    else:
        # each rule that closes is named, in each zone where it does
        named = {(closing.zone, closing.rule == "yy_hours") for closing in found.closed_by}
        assert named == {
            (zone, of_pack)
            for zone in zones
            for of_pack, may in (
                (False, read_by_hand(weekly, exceptions, closed, zone, at)),
                (True, read_by_hand(lawful, {}, banned, zone, at)),
            )
            if not may
        }


def calendar(code: str, days, *, years=(2025, 2027)) -> HolidayCalendar:
    return HolidayCalendar(code, *years, dict.fromkeys(days, "Founders' Day"))


def pack_of(windows, *, holidays=("YY",)) -> RulePack:
    rule = Rule("yy_hours", ("XX",), "t", "the law", date(2026, 1, 1), True, "", tuple(windows), holidays, {})
    return RulePack("test", "2026-01", "t", date(2026, 1, 1), "n", (), (rule,), {"XX": ("UTC",)}, {})


class TestDates:
    EVENING = CallingHours((CallingWindow(3, time(20), time(2)),), "UTC")
    """Thursdays into Fridays."""

    @pytest.mark.parametrize(("hour", "expected"), [(20, True), (23, True), (24, True), (25, True), (26, False)])
    def test_a_window_goes_on_after_midnight_and_belongs_to_the_day_it_begins_on(self, hour, expected):
        thursday = datetime(2026, 11, 26, tzinfo=UTC)
        assert is_open(self.EVENING, ("UTC",), thursday + timedelta(hours=hour)) is expected

    def test_a_closed_date_ends_the_evening_before_at_midnight(self):
        hours = CallingHours(self.EVENING.windows, "UTC", exceptions=(DateException(date(2026, 11, 27)),))
        found = opening(plain(hours), UTC_ONLY, datetime(2026, 11, 27, 1, tzinfo=UTC))
        assert found.rule == "campaign_exception"
        assert times(plain(hours), UTC_ONLY, datetime(2026, 11, 26, 21, tzinfo=UTC))[1] == datetime(
            2026, 11, 27, tzinfo=UTC
        )

    def test_an_exception_overrules_the_campaigns_holiday_and_not_the_packs(self):
        christmas = date(2026, 12, 25)
        hours = CallingHours(
            WEEK.windows,
            "UTC",
            exceptions=(DateException(christmas, (DayWindow(time(10), time(12)),)),),
            holidays=("XX",),
        )
        at = datetime(2026, 12, 25, 11, tzinfo=UTC)
        calendars = {"XX": calendar("XX", [christmas]), "YY": calendar("YY", [christmas])}
        assert opening(Timetable(hours, None, calendars), UTC_ONLY, at).is_open
        lawful = Timetable(hours, pack_of(ALWAYS.windows), calendars)
        found = opening(lawful, Whereabouts(("UTC",), (Origin.NUMBER,), ("XX",), (Origin.NUMBER,)), at)
        assert [closing.rule for closing in found.closed_by] == ["yy_hours"]
        assert "Founders' Day (YY)" in found.closed_by[0].sentence

    def test_a_holiday_says_its_name(self):
        hours = CallingHours(ALWAYS.windows, "UTC", holidays=("XX",))
        found = opening(
            Timetable(hours, None, {"XX": calendar("XX", [date(2026, 7, 14)])}),
            UTC_ONLY,
            datetime(2026, 7, 14, 12, tzinfo=UTC),
        )
        assert found.rule == "campaign_holiday"
        assert found.opens_at == datetime(2026, 7, 15, tzinfo=UTC)
        assert found.inputs()["closedBy"] == [
            {"rule": "campaign_holiday", "zone": "UTC", "local": "2026-07-14T12:00:00"}
        ]


UTC_ONLY = Whereabouts(("UTC",), (Origin.CAMPAIGN,))


class TestErrorsClose:
    AT = datetime(2026, 6, 1, 12, tzinfo=UTC)

    @pytest.mark.parametrize("changed", [{"rule_pack": "us"}, {"holidays": ("US",)}])
    def test_data_that_was_not_read(self, changed):
        hours = CallingHours(ALWAYS.windows, "UTC", **changed)
        found = opening(plain(hours), UTC_ONLY, self.AT)
        assert (found.rule, found.opens_at) == ("no_rule_data", None)
        assert next_open(hours, ("UTC",), self.AT) is None

    def test_a_calendar_that_is_not_there(self):
        hours = CallingHours(ALWAYS.windows, "UTC", holidays=("XX",))
        found = opening(Timetable(hours), UTC_ONLY, self.AT)
        assert (found.rule, found.opens_at) == ("no_holiday_data", None)

    def test_a_year_that_was_not_read(self):
        hours = CallingHours(ALWAYS.windows, "UTC", holidays=("XX",))
        old = Timetable(hours, None, {"XX": calendar("XX", [], years=(2024, 2025))})
        found = opening(old, UTC_ONLY, self.AT)
        assert found.opens_at is None
        assert "has not been read for 2026" in found.closed_by[0].sentence

    def test_a_place_that_the_pack_does_not_know(self):
        timetable = Timetable(ALWAYS, pack_of(ALWAYS.windows, holidays=()))
        elsewhere = Whereabouts(("UTC",), (Origin.NUMBER,), ("ZZ",), (Origin.NUMBER,))
        assert opening(timetable, elsewhere, self.AT).rule == "not_covered"
        # plausible in both: the rules that there are hold
        both = Whereabouts(("UTC",), (Origin.NUMBER,), ("ZZ", "XX"), (Origin.NUMBER,))
        assert opening(timetable, both, self.AT).is_open

    @pytest.mark.parametrize(("zones", "rule"), [((), "no_zone"), (("UTC", "Mars/Olympus"), "unknown_zone")])
    def test_zones(self, zones, rule):
        found = opening(plain(ALWAYS), Whereabouts(zones, ()), self.AT)
        assert (found.rule, found.opens_at) == (rule, None)

    def test_no_window_of_a_pack(self):
        timetable = Timetable(ALWAYS, pack_of((), holidays=()))
        found = opening(timetable, Whereabouts(("UTC",), (), ("XX",), ()), self.AT)
        assert (found.rule, found.opens_at) == ("yy_hours", None)


def test_windows_apart_at_midnight_are_open_at_the_same_minutes():
    night = (CallingWindow(6, time(22, 30), time(1)), CallingWindow(2, time(12), time(0)))
    parts = tuple(apart_at_midnight(night))
    assert parts == (
        CallingWindow(6, time(22, 30), time.max),
        CallingWindow(0, time.min, time(1)),
        CallingWindow(2, time(12), time.max),
    )
    monday = datetime(2026, 11, 23, tzinfo=UTC)
    for five in range(0, 7 * DAY, 5):
        at = monday + timedelta(minutes=five)
        assert is_open(CallingHours(night, "UTC"), ("UTC",), at) is is_open(CallingHours(parts, "UTC"), ("UTC",), at)


class TestOverlaps:
    @pytest.mark.parametrize(
        ("windows", "pairs"),
        [
            ([], []),
            ([(0, 9, 18)], []),
            ([(0, 9, 18), (0, 18, 20), (1, 9, 18)], []),
            ([(0, 17, 20), (0, 9, 18)], [(1, 0)]),
            ([(0, 9, 18), (0, 9, 18)], [(0, 1)]),
            # a long one reaches over the next into the one behind it
            ([(0, 9, 18), (0, 10, 11), (0, 12, 13)], [(0, 1), (0, 2)]),
            # across midnight, and from Sunday into Monday
            ([(4, 22, 2), (5, 1, 9)], [(0, 1)]),
            ([(4, 22, 2), (5, 2, 9)], []),
            ([(0, 1, 3), (0, 4, 5), (6, 22, 4)], [(2, 0)]),
            ([(0, 1, 3), (0, 3, 5), (6, 22, 4)], [(2, 0), (2, 1)]),
            ([(6, 22, 0), (0, 0, 9)], []),
            ([(2, 10, 9), (3, 8, 12)], [(0, 1)]),
        ],
    )
    def test_each_pair_is_found_once(self, windows, pairs):
        made = [CallingWindow(weekday, time(start), time(end)) for weekday, start, end in windows]
        assert overlaps(made) == [(made[before], made[after]) for before, after in pairs]

    def test_a_window_until_midnight_ends_there(self):
        assert overlaps([CallingWindow(0, time(9), time.max), CallingWindow(1, time(0), time(9))]) == []
        late = CallingWindow(0, time(23, 59), time.max)
        assert overlaps([CallingWindow(0, time(9), time.max), late]) == [(CallingWindow(0, time(9), time.max), late)]

    def test_a_single_date_is_no_week(self):
        windows = [CallingWindow(0, time(1), time(3)), CallingWindow(0, time(22), time(2))]
        assert overlaps(windows, weekly=False) == []
        assert overlaps(windows) == []

    @given(
        st.lists(
            st.builds(
                lambda day, start, end: CallingWindow(day, time(start), time(end)),
                st.integers(0, 6),
                st.integers(0, 23),
                st.integers(0, 23),
            ).filter(lambda window: window.start != window.end),
            max_size=6,
        )
    )
    def test_none_is_found_where_no_hour_is_in_two(self, windows):
        hours: list[int] = []
        for window in windows:
            length = (window.end.hour - window.start.hour) % 24
            first = window.weekday * 24 + window.start.hour
            hours += [hour % (7 * 24) for hour in range(first, first + length)]
        assert (overlaps(windows) == []) is (len(hours) == len(set(hours)))

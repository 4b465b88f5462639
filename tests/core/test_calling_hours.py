from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outdial.core.calling_hours import is_open, next_open, zones_for
from outdial.core.model import CallingHours, CallingWindow
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
    "Europe/London",
    "Europe/Berlin",
    "Europe/Moscow",
    "Europe/Dublin",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Asia/Jerusalem",
    "Asia/Beirut",
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
    assert len({zone for zone, _ in CHANGES}) >= 15

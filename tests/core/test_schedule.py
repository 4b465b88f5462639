"""Recurrence on the wall clock: phases, weekdays, changes of the clocks, ends; checked by a walk through every day."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.core.schedule import Recurrence, Schedule

PARIS = "Europe/Paris"
DAILY = Schedule(datetime(2026, 3, 2, 9), datetime(2026, 12, 1), PARIS, Recurrence.DAILY)
WEEKLY = Schedule(datetime(2026, 3, 4, 9), datetime(2026, 12, 1), PARIS, Recurrence.WEEKLY, 2, (0, 2, 4))


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def all_of(schedule: Schedule) -> list[datetime]:
    found, since = [], at(2000, 1, 1)
    while (instant := schedule.next_after(since)) is not None:
        found.append(instant)
        since = instant
    return found


class TestDaily:
    def test_the_first_is_its_start(self):
        assert DAILY.next_after(at(2026, 1, 1)) == at(2026, 3, 2, 8)

    def test_after_an_occurrence_comes_the_next_day(self):
        assert DAILY.next_after(at(2026, 3, 2, 8)) == at(2026, 3, 3, 8)

    def test_just_before_an_occurrence_it_is_that_one(self):
        assert DAILY.next_after(at(2026, 3, 3, 7, 59, 59)) == at(2026, 3, 3, 8)

    def test_every_third_day_stays_in_phase_however_late_one_asks(self):
        third = replace(DAILY, every=3)
        assert third.next_after(at(2026, 10, 1, 7)) == at(2026, 10, 4, 7)
        assert (date(2026, 10, 4) - date(2026, 3, 2)).days % 3 == 0

    def test_its_end_is_exclusive(self):
        short = replace(DAILY, end=datetime(2026, 3, 4, 9))
        assert all_of(short) == [at(2026, 3, 2, 8), at(2026, 3, 3, 8)]
        assert all_of(replace(short, end=datetime(2026, 3, 4, 9, 0, 1)))[-1] == at(2026, 3, 4, 8)


class TestChangesOfTheClocks:
    def test_nine_stays_nine_on_both_sides(self):
        assert DAILY.next_after(at(2026, 3, 28, 12)) == at(2026, 3, 29, 7)
        assert DAILY.next_after(at(2026, 10, 24, 12)) == at(2026, 10, 25, 8)

    def test_a_skipped_hour_is_half_past_three_once(self):
        night = Schedule(datetime(2026, 3, 28, 2, 30), datetime(2026, 3, 31), PARIS, Recurrence.DAILY)
        assert all_of(night) == [at(2026, 3, 28, 1, 30), at(2026, 3, 29, 1, 30), at(2026, 3, 30, 0, 30)]

    def test_an_hour_that_comes_twice_counts_the_first_time_only(self):
        night = Schedule(datetime(2026, 10, 24, 2, 30), datetime(2026, 10, 27), PARIS, Recurrence.DAILY)
        assert all_of(night) == [at(2026, 10, 24, 0, 30), at(2026, 10, 25, 0, 30), at(2026, 10, 26, 1, 30)]

    def test_where_a_zone_left_out_a_whole_day_there_are_still_different_instants(self):
        # Samoa crossed the date line: there was no 30 December 2011
        samoa = Schedule(datetime(2011, 12, 28, 9), datetime(2012, 1, 2), "Pacific/Apia", Recurrence.DAILY)
        found = all_of(samoa)
        assert len(found) == len(set(found))
        assert found == sorted(found)


class TestWeekly:
    def test_weekdays_before_the_start_in_its_own_week_are_left_out(self):
        # 4 March 2026 is a Wednesday
        assert all_of(WEEKLY)[:5] == [
            at(2026, 3, 4, 8),
            at(2026, 3, 6, 8),
            at(2026, 3, 16, 8),
            at(2026, 3, 18, 8),
            at(2026, 3, 20, 8),
        ]

    def test_without_weekdays_it_is_the_starts_own(self):
        plain = replace(WEEKLY, weekdays=(), every=1)
        assert {instant.astimezone(ZoneInfo(PARIS)).weekday() for instant in all_of(plain)} == {2}

    def test_weeks_begin_on_monday(self):
        # start on a Sunday, every second week: that Sunday, then the Mondays and Sundays of every second week after
        sunday = Schedule(datetime(2026, 3, 8, 9), datetime(2026, 4, 1), "UTC", Recurrence.WEEKLY, 2, (0, 6))
        assert [instant.day for instant in all_of(sunday)] == [8, 16, 22, 30]


class TestOnce:
    def test_it_happens_once(self):
        once = replace(DAILY, recurrence=Recurrence.ONCE)
        assert all_of(once) == [at(2026, 3, 2, 8)]

    def test_afterwards_there_is_nothing(self):
        assert replace(DAILY, recurrence=Recurrence.ONCE).next_after(at(2026, 3, 2, 8)) is None


class TestProblems:
    NOW = at(2026, 3, 10)

    def test_a_good_one_has_none(self):
        assert DAILY.problems(self.NOW) == []

    def test_a_start_that_is_past_is_fine_while_something_is_left(self):
        assert replace(DAILY, start=datetime(2026, 1, 1, 9)).problems(self.NOW) == []

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"end": datetime(2026, 3, 2, 9)}, "later than `startDateTime`"),
            ({"start": datetime(2026, 1, 1), "end": datetime(2026, 2, 1)}, "later than now"),
            ({"end": datetime(2200, 1, 1)}, "`endDateTime` lies outside"),
            ({"start": datetime(1999, 1, 1)}, "`startDateTime` lies outside"),
            ({"recurrence": Recurrence.ONCE}, "no occurrence is left"),
            ({"every": 400}, "no occurrence is left"),
            ({"zone": "Mars/Olympus"}, "not known here"),
        ],
    )
    def test_each_is_named(self, change, words):
        (problem,) = replace(DAILY, **change).problems(self.NOW)
        assert words in problem

    def test_an_unknown_zone_never_occurs(self):
        assert replace(DAILY, zone="Mars/Olympus").next_after(at(2026, 1, 1)) is None


schedules = st.builds(
    Schedule,
    start=st.datetimes(min_value=datetime(2026, 1, 1), max_value=datetime(2026, 3, 1)).map(
        lambda moment: moment.replace(microsecond=0)
    ),
    end=st.datetimes(min_value=datetime(2026, 3, 2), max_value=datetime(2026, 12, 31)),
    zone=st.sampled_from(["UTC", PARIS, "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kolkata"]),
    recurrence=st.sampled_from([Recurrence.DAILY, Recurrence.WEEKLY]),
    every=st.integers(1, 20),
    weekdays=st.lists(st.integers(0, 6), unique=True, max_size=7).map(tuple),
)


@given(schedule=schedules, since=st.datetimes(min_value=datetime(2025, 12, 1), max_value=datetime(2027, 1, 1)))
def test_the_next_is_what_a_walk_through_every_day_finds(schedule, since):
    asked = since.replace(tzinfo=UTC)
    assert schedule.next_after(asked) == walk(schedule, asked)


def walk(schedule: Schedule, asked: datetime) -> datetime | None:
    """Look at every day from the start on, one by one, with nothing but the calendar."""
    zone = ZoneInfo(schedule.zone)
    monday = schedule.start.date() - timedelta(days=schedule.start.weekday())
    day = schedule.start.date()
    while (wall := datetime.combine(day, schedule.start.time())) < schedule.end:
        if schedule.recurrence is Recurrence.DAILY:
            fits = (day - schedule.start.date()).days % schedule.every == 0
        else:
            week = (day - monday).days // 7
            fits = week % schedule.every == 0 and day.weekday() in (schedule.weekdays or (schedule.start.weekday(),))
        instant = wall.replace(tzinfo=zone).astimezone(UTC)
        if fits and instant > asked:
            return instant
        day += timedelta(days=1)
    return None

"""Closing time: the end of an opening that is followed by more than a break."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time

import pytest

from outdial.core.calling_hours import plain
from outdial.core.closing import closing_since, expired, pauses
from outdial.core.model import AtClosing, CallingHours, CallingWindow
from outdial.core.whereabouts import Origin, Whereabouts

HOURS = CallingHours(
    tuple(CallingWindow(day, *ends) for day in range(5) for ends in ((time(10), time(13)), (time(14), time(20)))),
    "UTC",
)
PARIS = Whereabouts(("Europe/Paris",), (Origin.NUMBER,))
NEW_YORK = Whereabouts(("America/New_York",), (Origin.NUMBER,))


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """November 2026, UTC; the 23rd is a Monday. Paris is an hour ahead."""
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def hours(policy: AtClosing):
    return plain(replace(HOURS, at_closing=policy))


@pytest.mark.parametrize(
    ("since", "now", "closed"),
    [
        (at(23, 9), at(23, 18, 59), None),
        (at(23, 9), at(23, 19), at(23, 19)),
        # a midday break is none
        (at(23, 9), at(23, 12, 30), None),
        (at(23, 9), at(24, 9, 30), at(23, 19)),
        # begun outside the hours: the first closing is the next evening's
        (at(23, 20), at(24, 8), None),
        (at(23, 20), at(24, 19, 30), at(24, 19)),
        # the weekend
        (at(27, 12), at(29, 12), at(27, 19)),
    ],
)
def test_the_day_closes(since, now, closed):
    assert closing_since(hours(AtClosing.HOLD), PARIS, since=since, at=now) == closed


@pytest.mark.parametrize("policy", AtClosing)
def test_only_one_policy_lets_people_expire_and_they_stay_so_the_next_morning(policy):
    for now in (at(23, 22), at(24, 10)):
        found = expired(hours(policy), PARIS, since=at(23, 9), at=now)
        assert (found == at(23, 19)) is (policy is AtClosing.EXPIRE)


def test_each_person_expires_by_their_own_clock():
    now = at(23, 22)
    assert expired(hours(AtClosing.EXPIRE), PARIS, since=at(23, 9), at=now) is not None
    assert expired(hours(AtClosing.EXPIRE), NEW_YORK, since=at(23, 9), at=now) is None


HONOLULU = Whereabouts(("Pacific/Honolulu",), (Origin.NUMBER,))


class TestPause:
    def pauses(self, now, *people, policy=AtClosing.PAUSE, since=None):
        return pauses(hours(policy), people or (PARIS,), since=since or at(23, 9), at=now)

    def test_when_hours_have_closed_for_everybody(self):
        assert self.pauses(at(23, 19))
        assert self.pauses(at(24, 1, 30), PARIS, NEW_YORK)

    def test_at_any_look_of_the_night(self):
        assert all(
            self.pauses(at(24, 1 + minutes // 60, minutes % 60), PARIS, NEW_YORK) for minutes in range(0, 420, 7)
        )

    def test_not_while_it_is_open_for_somebody_who_waits_for_a_retry(self):
        assert not self.pauses(at(23, 22), PARIS, NEW_YORK)

    def test_not_in_a_break(self):
        assert not self.pauses(at(23, 12, 30))

    def test_not_where_the_day_of_one_begins_soon_after_that_of_the_other_ends(self):
        # Honolulu closes at 06:00 UTC, Paris opens at 09:00
        assert not self.pauses(at(24, 7), PARIS, HONOLULU)

    def test_not_before_the_first_closing_since_it_became_active(self):
        assert not self.pauses(at(23, 20), since=at(23, 19, 30))
        assert self.pauses(at(24, 19), since=at(23, 19, 30))

    @pytest.mark.parametrize("policy", [AtClosing.HOLD, AtClosing.EXPIRE])
    def test_not_by_another_policy(self, policy):
        assert not self.pauses(at(23, 19), policy=policy)

    def test_not_without_anybody(self):
        assert not pauses(hours(AtClosing.PAUSE), (), since=at(23, 9), at=at(23, 19))

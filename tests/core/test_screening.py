from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.core.calling_hours import is_open, zones_for
from outdial.core.model import CallingHours, CallingWindow, DoneReason, RunState
from outdial.core.screening import (
    NEVER_OPEN_RETRY,
    Allow,
    Candidate,
    Deny,
    NotBefore,
    WaitReason,
    run_may_dial,
    screen,
)
from runs import RULES as PLAIN

HOURS = CallingHours(windows=tuple(CallingWindow(day, time(9), time(18)) for day in range(7)), zone="UTC")
RULES = replace(PLAIN, calling_hours=HOURS, max_attempts=3)
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
SOMEBODY = Candidate(
    contact_id=1,
    phone="+15550100001",
    contact_zone=None,
    number_zones=(),
    attempts_count=0,
    not_before=None,
    on_account_dnc=False,
    on_campaign_dnc=False,
)


def test_nothing_in_the_way():
    assert screen(SOMEBODY, RULES, now=NOON) == Allow()


@pytest.mark.parametrize(("field", "word"), [("on_account_dnc", "account"), ("on_campaign_dnc", "campaign")])
def test_a_listed_number_is_denied_whatever_else(field, word):
    found = screen(replace(SOMEBODY, **{field: True, "not_before": NOON + timedelta(days=9)}), RULES, now=NOON)
    assert isinstance(found, Deny)
    assert found.reason is DoneReason.DNC
    assert word in found.sentence


def test_used_attempts_are_denied():
    found = screen(replace(SOMEBODY, attempts_count=3), RULES, now=NOON)
    assert isinstance(found, Deny)
    assert found.reason is DoneReason.ATTEMPTS_USED
    assert screen(replace(SOMEBODY, attempts_count=2), RULES, now=NOON) == Allow()


def test_a_call_back_is_one_attempt_more_but_nothing_else():
    asks = replace(SOMEBODY, attempts_count=3, is_callback=True)
    assert screen(asks, RULES, now=NOON) == Allow()
    night = screen(asks, RULES, now=NOON.replace(hour=3))
    assert isinstance(night, NotBefore)
    assert night.reason is WaitReason.CALLING_HOURS
    assert isinstance(screen(replace(asks, on_account_dnc=True), RULES, now=NOON), Deny)


def test_a_retry_waits_for_its_time():
    due = NOON + timedelta(seconds=1)
    found = screen(replace(SOMEBODY, attempts_count=1, not_before=due), RULES, now=NOON)
    assert isinstance(found, NotBefore)
    assert (found.at, found.reason) == (due, WaitReason.RETRY_PERIOD)
    assert screen(replace(SOMEBODY, attempts_count=1, not_before=NOON), RULES, now=NOON) == Allow()


def test_outside_calling_hours_it_waits_for_the_opening():
    found = screen(SOMEBODY, RULES, now=NOON.replace(hour=20))
    assert isinstance(found, NotBefore)
    assert (found.at, found.reason) == (datetime(2026, 11, 26, 9, tzinfo=UTC), WaitReason.CALLING_HOURS)


def test_the_contacts_zone_wins_over_the_numbers():
    asleep = replace(SOMEBODY, number_zones=("Asia/Tokyo",))
    assert isinstance(screen(asleep, RULES, now=NOON), NotBefore)
    assert screen(replace(asleep, contact_zone="UTC"), RULES, now=NOON) == Allow()


@pytest.mark.parametrize("changed", [{"contact_zone": "Mars/Olympus"}, {"number_zones": ("UTC", "Nowhere")}])
def test_hours_that_never_open_lose_nobody(changed):
    found = screen(replace(SOMEBODY, **changed), RULES, now=NOON)
    assert isinstance(found, NotBefore)
    assert found.at == NOON + NEVER_OPEN_RETRY


candidates = st.builds(
    Candidate,
    contact_id=st.integers(1, 9),
    phone=st.just("+15550100001"),
    contact_zone=st.sampled_from([None, "UTC", "Asia/Tokyo", "America/New_York", "Nowhere"]),
    number_zones=st.lists(st.sampled_from(["UTC", "Asia/Kolkata", "America/Chicago"]), max_size=2).map(tuple),
    attempts_count=st.integers(0, 4),
    not_before=st.none() | st.integers(-90, 90).map(lambda minutes: NOON + timedelta(minutes=minutes)),
    on_account_dnc=st.booleans(),
    on_campaign_dnc=st.booleans(),
)


@given(candidate=candidates, hour=st.integers(0, 23))
def test_nobody_is_allowed_whom_a_rule_forbids(candidate, hour):
    now = NOON.replace(hour=hour)
    found = screen(candidate, RULES, now=now)
    zones = zones_for(
        contact_zone=candidate.contact_zone, number_zones=candidate.number_zones, campaign_zone=HOURS.zone
    )
    lawful = (
        not candidate.on_account_dnc
        and not candidate.on_campaign_dnc
        and candidate.attempts_count < RULES.max_attempts
        and (candidate.not_before is None or candidate.not_before <= now)
        and is_open(HOURS, zones, now)
    )
    assert isinstance(found, Allow) is lawful
    if isinstance(found, NotBefore):
        assert found.at > now
        assert found.sentence


@pytest.mark.parametrize("state", RunState)
def test_a_run_is_dialed_only_when_active_at_the_epoch(state):
    assert run_may_dial(state, 3, 3) is (state is RunState.ACTIVE)
    assert not run_may_dial(state, 3, 2)

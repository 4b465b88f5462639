from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.core.calling_hours import DataVersions, Timetable, is_open, zones_for
from outdial.core.model import CallingHours, CallingWindow, Disposition, DoneReason, OwnRules, RetryRule, RunState
from outdial.core.numbers import Number
from outdial.core.screening import (
    CHECKS,
    NEVER_OPEN_RETRY,
    Allow,
    Candidate,
    Deny,
    NotBefore,
    Policy,
    Rule,
    at_number,
    run_may_dial,
    screen,
)
from runs import RULES as PLAIN

HOURS = CallingHours(windows=tuple(CallingWindow(day, time(9), time(18)) for day in range(7)), zone="UTC")
RULES = replace(PLAIN, calling_hours=HOURS, max_attempts=3)
POLICY = Policy(RULES)
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


def verdict(candidate, *, now=NOON):
    return screen(candidate, POLICY, now=now).verdict


def test_nothing_in_the_way_and_every_rule_says_what_it_looked_at():
    found = screen(SOMEBODY, POLICY, now=NOON)
    assert (found.verdict, found.rule) == (Allow(), None)
    assert list(found.inputs) == [rule.value for rule in CHECKS] == [rule.value for rule in Rule]
    hours = found.inputs["calling_hours"]
    assert (hours["zones"], hours["zonesFrom"], hours["closedBy"]) == (["UTC"], ["campaign"], [])
    assert set(found.document()) == {"inputs", "decidedAt", "leavesBy"}, (
        "without a timetable there are no versions to tell"
    )


def test_a_denial_says_by_which_rule_and_what_that_looked_at():
    found = screen(replace(SOMEBODY, attempts_count=3), POLICY, now=NOON)
    assert found.document() == {
        "rule": "contact_attempts",
        "sentence": "All 3 attempts have been used.",
        "decidedAt": "2026-11-25T12:00:00.000000Z",
        "leavesBy": "2026-11-25T12:00:00.000000Z",
        "inputs": {"attempts": 3, "most": 3, "callback": False},
    }


def test_who_is_put_off_is_told_until_when():
    found = screen(replace(SOMEBODY, contact_zone="Asia/Tokyo"), POLICY, now=NOON).document()
    assert (found["rule"], found["until"]) == ("calling_hours", "2026-11-26T00:00:00.000000Z")
    hours = found["inputs"]
    assert (hours["zones"], hours["zonesFrom"]) == (["Asia/Tokyo"], ["contact_zone"])
    assert [closed["rule"] for closed in hours["closedBy"]] == ["campaign_hours"]


def test_versions_are_those_of_the_timetable():
    versions = DataVersions(tzdata="2026b", phonenumbers="9.0")
    policy = replace(POLICY, timetable=Timetable(POLICY.rules.calling_hours, versions=versions))
    assert screen(SOMEBODY, policy, now=NOON).versions == {"tzdata": "2026b", "phonenumbers": "9.0"}


def test_a_call_that_would_leave_after_the_hours_end_waits():
    late = NOON.replace(hour=17, minute=59, second=59)
    assert screen(SOMEBODY, POLICY, now=late).verdict == Allow()
    found = screen(SOMEBODY, POLICY, now=late, until=late + timedelta(seconds=1))
    assert found.rule is Rule.CALLING_HOURS
    assert found.verdict.at == datetime(2026, 11, 26, 9, tzinfo=UTC)


@pytest.mark.parametrize(("field", "word"), [("on_account_dnc", "account"), ("on_campaign_dnc", "campaign")])
def test_a_listed_number_is_denied_whatever_else(field, word):
    found = verdict(replace(SOMEBODY, **{field: True, "not_before": NOON + timedelta(days=9)}))
    assert isinstance(found, Deny)
    assert found.reason is DoneReason.DNC
    assert word in found.sentence


def test_used_attempts_are_denied():
    found = verdict(replace(SOMEBODY, attempts_count=3))
    assert isinstance(found, Deny)
    assert found.reason is DoneReason.ATTEMPTS_USED
    assert verdict(replace(SOMEBODY, attempts_count=2)) == Allow()


def test_a_call_back_is_one_attempt_more_but_nothing_else():
    asks = replace(SOMEBODY, attempts_count=3, is_callback=True)
    assert verdict(asks) == Allow()
    night = screen(asks, POLICY, now=NOON.replace(hour=3))
    assert isinstance(night.verdict, NotBefore)
    assert night.rule is Rule.CALLING_HOURS
    assert isinstance(verdict(replace(asks, on_account_dnc=True)), Deny)


def test_a_retry_waits_for_its_time():
    due = NOON + timedelta(seconds=1)
    found = screen(replace(SOMEBODY, attempts_count=1, not_before=due), POLICY, now=NOON)
    assert (found.verdict.at, found.rule) == (due, Rule.RETRY_PERIOD)
    assert verdict(replace(SOMEBODY, attempts_count=1, not_before=NOON)) == Allow()


def test_outside_calling_hours_it_waits_for_the_opening():
    found = screen(SOMEBODY, POLICY, now=NOON.replace(hour=20))
    assert (found.verdict.at, found.rule) == (datetime(2026, 11, 26, 9, tzinfo=UTC), Rule.CALLING_HOURS)


def test_the_contacts_zone_wins_over_the_numbers():
    asleep = replace(SOMEBODY, number_zones=("Asia/Tokyo",))
    assert isinstance(verdict(asleep), NotBefore)
    assert verdict(replace(asleep, contact_zone="UTC")) == Allow()


@pytest.mark.parametrize("changed", [{"contact_zone": "Mars/Olympus"}, {"number_zones": ("UTC", "Nowhere")}])
def test_hours_that_never_open_lose_nobody(changed):
    found = verdict(replace(SOMEBODY, **changed))
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
    found = verdict(candidate, now=now)
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


class TestSeveralNumbers:
    """Every rule is asked about the number that is dialed, and limits about all of them."""

    A, B = "+13125550101", "+442079460001"

    def at(self, **listed):
        numbers = (Number(self.A, **listed), Number(self.B))
        return at_number(replace(SOMEBODY, attempts_count=1), numbers, self.A)

    def test_the_zones_are_those_of_the_number_that_is_dialed(self):
        first, second = self.at(), self.at(on_account_dnc=True)
        assert (first.phone, second.phone) == (self.A, self.B)
        assert (first.next_phone, second.next_phone) == (self.A, self.A)
        hours = [screen(one, POLICY, now=NOON).document() for one in (first, second)]
        assert [one["phone"] for one in hours] == [self.A, self.B]
        # six in the morning there, noon here
        assert (hours[0]["rule"], hours[0]["inputs"]["zones"]) == ("calling_hours", ["America/Chicago"])
        assert hours[1]["inputs"]["calling_hours"]["zones"] == ["Europe/London"]

    def test_a_number_that_is_passed_over_denies_nobody(self):
        assert screen(self.at(on_campaign_dnc=True), POLICY, now=NOON).verdict == Allow()
        assert screen(self.at(is_invalid=True), POLICY, now=NOON).verdict == Allow()

    def test_where_none_may_be_dialed_the_contact_is_denied(self):
        numbers = (Number(self.A, is_invalid=True), Number(self.B, on_account_dnc=True))
        found = screen(at_number(SOMEBODY, numbers, self.B), POLICY, now=NOON)
        assert (found.verdict.reason, found.phone) == (DoneReason.DNC, self.B)

    @pytest.mark.parametrize("is_callback", [False, True])
    def test_nobody_is_called_whose_numbers_nobody_has(self, is_callback):
        numbers = (Number(self.A, is_invalid=True), Number(self.B, is_invalid=True))
        somebody = replace(SOMEBODY, is_callback=is_callback)
        found = screen(at_number(somebody, numbers, self.B), POLICY, now=NOON)
        assert (found.verdict.reason, found.rule) == (DoneReason.INVALID_NUMBER, Rule.CONTACT_ATTEMPTS)
        assert found.inputs["invalid"] is True

    def test_where_a_list_means_the_person_no_number_is_dialed(self):
        numbers = (Number(self.A), Number(self.B, on_campaign_dnc=True, is_of_person=True))
        found = screen(at_number(SOMEBODY, numbers, self.A), POLICY, now=NOON)
        assert (found.verdict.reason, found.rule, found.phone) == (DoneReason.DNC, Rule.CAMPAIGN_DNC, self.B)

    def test_limits_say_which_numbers_they_count_together(self):
        inputs = screen(self.at(on_account_dnc=True), POLICY, now=NOON).inputs["number_limits"]
        assert inputs == {"limits": [], "numbers": [self.A, self.B]}
        assert screen(SOMEBODY, POLICY, now=NOON).inputs["number_limits"] == {"limits": []}
        assert screen(SOMEBODY, POLICY, now=NOON).phone is None


class TestRetryRules:
    """Counted and waited for when the contact is looked at again, by the same gate."""

    def screen(self, rule, *endings, now=NOON, **more):
        policy = Policy(replace(RULES, max_attempts=9, own=OwnRules(retry_rules=(rule,))))
        return screen(replace(SOMEBODY, tried=endings, attempts_count=len(endings), **more), policy, now=now)

    def ended(self, disposition, **ago):
        return (disposition, NOON - timedelta(**ago))

    def test_so_many_retries_after_one_ending(self):
        rule = RetryRule(Disposition.BUSY, most=1)
        once, twice = (self.ended(Disposition.BUSY, hours=hours) for hours in (2, 1))
        assert self.screen(rule, once).verdict == Allow()
        found = self.screen(rule, once, twice)
        assert (found.rule, found.verdict.reason) == (Rule.RETRY_COUNT, DoneReason.ATTEMPTS_USED)
        assert found.inputs == {"disposition": "busy", "ended": 2, "most": 1}
        # the last one's rule holds
        assert self.screen(rule, once, twice, self.ended(Disposition.NO_ANSWER, minutes=1)).verdict == Allow()

    def test_the_next_calling_hours_are_waited_for(self):
        rule = RetryRule(Disposition.NO_ANSWER, next_window=True)
        found = self.screen(rule, self.ended(Disposition.NO_ANSWER, hours=1))
        assert (found.rule, found.verdict.at) == (Rule.RETRY_WINDOW, datetime(2026, 11, 26, 9, tzinfo=UTC))
        assert self.screen(rule, self.ended(Disposition.NO_ANSWER, hours=20)).verdict == Allow()

    def test_a_call_back_has_its_own_instant(self):
        rule = RetryRule(Disposition.BUSY, most=0, next_window=True)
        endings = [self.ended(Disposition.BUSY, hours=1)] * 3
        assert self.screen(rule, *endings, is_callback=True).verdict == Allow()

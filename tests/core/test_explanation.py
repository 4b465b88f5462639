"""Explanations agree with the gate they explain: on now, on when next, and on what would alter each answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from types import MappingProxyType

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from outdial.core.attempt_limits import AttemptLimit, Counted, LimitRule, PastAttempt
from outdial.core.calling_hours import DataVersions, HolidayCalendar, Timetable
from outdial.core.changes import Change, ChangeKind, ListedOn, changes_of
from outdial.core.explanation import Beside, LiveCall, Says, Situation, explain, never_run, next_through
from outdial.core.model import (
    AtClosing,
    AttemptState,
    CallingHours,
    CallingWindow,
    DateException,
    Disposition,
    DoneReason,
    OwnRules,
    RetryRule,
    RunContactState,
    RunState,
)
from outdial.core.pacing import Limit, leaves_within
from outdial.core.screening import CHECKS, Allow, Candidate, Deny, Moment, Policy, Rule, screen
from outdial.rule_data import load_pack
from runs import RULES as PLAIN

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
WITHIN = leaves_within(timedelta())
CLEAR = Situation(RunState.ACTIVE)
SOMEBODY = Candidate(
    contact_id=1,
    phone="+13125550101",
    contact_zone=None,
    number_zones=(),
    attempts_count=0,
    not_before=None,
    on_account_dnc=False,
    on_campaign_dnc=False,
)
LISTED = ListedOn("cl-1", "Account", True, "operator", "", "test", NOON, None)


def hours(start, end, zone="UTC", **more):
    return CallingHours(tuple(CallingWindow(day, time(start), time(end)) for day in range(7)), zone, **more)


def policy(calling_hours, *, limits=(), since=None, **rules):
    own = rules.pop("own", OwnRules())
    made = replace(PLAIN, calling_hours=calling_hours, max_attempts=3, own=own, **rules)
    pack = None if calling_hours.rule_pack is None else load_pack(calling_hours.rule_pack)
    calendars = MappingProxyType({code: HolidayCalendar(code, 2026, 2027, {}) for code in ("US",)})
    timetable = Timetable(calling_hours, pack, calendars, DataVersions(tzdata="2026b", phonenumbers="9.0"))
    return Policy(made, limits, timetable=timetable, since=since)


NINE_TO_SIX = policy(hours(9, 18))


def told(candidate, held=NINE_TO_SIX, situation=CLEAR, *, at=NOON, within=WITHIN):
    return explain(candidate, lambda _at: held, situation, at=at, within=within)


def step(found, code):
    (one,) = [each for each in found.steps if each.code == code]
    return one


def limit(name, count, hours, counts=Counted.ATTEMPTS):
    return AttemptLimit(name, "a", None, None, LimitRule(count, hours * 3600, counts), None, NOON, "test")


# A policy is made once: timetables are compared by identity and their spans kept.
POLICIES = {
    "nine to six": NINE_TO_SIX,
    "own evening": policy(hours(17, 23, "America/Chicago")),
    "across midnight": policy(hours(22, 2, "Asia/Tokyo")),
    "only one date": policy(
        CallingHours((CallingWindow(2, time(9), time(9, 1)),), "UTC", exceptions=(DateException(NOON.date()),))
    ),
    "never": policy(CallingHours((), "UTC")),
    "pack": policy(hours(0, 23, "America/New_York", rule_pack="us")),
    "expire": policy(hours(9, 18, at_closing=AtClosing.EXPIRE), since=NOON - timedelta(hours=30)),
    "limits": policy(
        hours(9, 18), limits=(limit("al-1", 2, 24), limit("al-2", 1, 72, Counted.CONVERSATIONS), limit("al-3", 5, 48))
    ),
    "retry rules": policy(
        hours(9, 18),
        own=OwnRules(
            retry_rules=(RetryRule(Disposition.BUSY, most=1), RetryRule(Disposition.NO_ANSWER, next_window=True))
        ),
    ),
}

instants = st.integers(-3 * 86400, 3 * 86400).map(lambda seconds: NOON + timedelta(seconds=seconds))
ended = st.sampled_from([Disposition.BUSY, Disposition.NO_ANSWER, Disposition.ANSWERED_HUMAN, Disposition.UNKNOWN])
past = st.builds(
    lambda at, how: PastAttempt(at, at + timedelta(seconds=30), how),
    st.integers(1, 4 * 86400).map(lambda seconds: NOON - timedelta(days=3, seconds=seconds)),
    ended,
)
candidates = st.builds(
    Candidate,
    contact_id=st.just(1),
    phone=st.sampled_from(["+13125550101", "+15550100001", "+4930123456"]),
    contact_zone=st.sampled_from([None, None, "UTC", "Asia/Tokyo", "America/Chicago", "Nowhere"]),
    number_zones=st.lists(
        st.sampled_from(["UTC", "Asia/Kolkata", "America/Chicago", "America/New_York"]), max_size=3, unique=True
    ).map(tuple),
    attempts_count=st.integers(0, 4),
    not_before=st.none() | instants,
    on_account_dnc=st.integers(0, 9).map(lambda drawn: drawn == 0),
    on_campaign_dnc=st.integers(0, 9).map(lambda drawn: drawn == 0),
    is_callback=st.booleans(),
    contact_state=st.sampled_from([None, None, "IL", "FL"]),
    tried=st.lists(
        st.tuples(ended, st.integers(1, 9).map(lambda hour: NOON - timedelta(days=3, hours=hour))), max_size=3
    ).map(lambda found: tuple(sorted(found, key=lambda one: one[1]))),
    past=st.lists(past, max_size=4).map(tuple),
)


@settings(deadline=None)
@given(candidate=candidates, name=st.sampled_from(sorted(POLICIES)), at=instants)
def test_it_says_dialable_exactly_when_the_gate_lets_it_through(candidate, name, at):
    found = told(candidate, POLICIES[name], at=at)
    decision = screen(candidate, POLICIES[name], now=at, until=at + WITHIN)
    assert found.dialable is isinstance(decision.verdict, Allow)
    assert found.decided_by == (None if decision.rule is None else decision.rule.value)
    if decision.rule is not None:
        decided = step(found, decision.rule.value)
        assert decided.says is (Says.FORBIDS if isinstance(decision.verdict, Deny) else Says.WAITS)
        assert (decided.sentence, decided.inputs, decided.versions) == (
            decision.verdict.sentence,
            decision.inputs,
            decision.versions,
        )


@settings(max_examples=60, deadline=None)
@given(candidate=candidates, name=st.sampled_from(sorted(POLICIES)), at=instants)
def test_when_next_is_the_first_instant_at_which_the_gate_lets_it_through(candidate, name, at):
    held = POLICIES[name]
    found = told(candidate, held, at=at).next_at
    assume(found is not None)

    def through(instant):
        return isinstance(screen(candidate, held, now=instant, until=instant + WITHIN).verdict, Allow)

    assert found >= at
    assert through(found)
    if found > at:
        assert not through(at)
        assert not through(max(at, found - timedelta(seconds=1)))
        # nowhere between either
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            assert not through(at + (found - at) * share)


@settings(max_examples=60, deadline=None)
@given(candidate=candidates, name=st.sampled_from(sorted(POLICIES)), at=instants)
def test_who_has_no_next_instant_is_never_let_through(candidate, name, at):
    held = POLICIES[name]
    assume(told(candidate, held, at=at).next_at is None)
    for hour in range(0, 24 * 15, 29):
        instant = at + timedelta(hours=hour)
        assert not isinstance(screen(candidate, held, now=instant, until=instant + WITHIN).verdict, Allow)


def applied(change, candidate, held, moment):  # noqa: PLR0911 - one for each kind
    """What a change does, done to what the rule looks at."""
    match change.kind:
        case ChangeKind.WAIT:
            later = change.at - moment.now
            return candidate, held, Moment(moment.now + later, moment.until + later)
        case ChangeKind.ADD_TIME_ZONE:
            return replace(candidate, contact_zone=change.choices[0]), held, moment
        case ChangeKind.ADD_STATE:
            return replace(candidate, contact_state=change.choices[-1]), held, moment
        case ChangeKind.TAKE_OFF_LIST:
            return replace(candidate, on_account_dnc=False, on_campaign_dnc=False), held, moment
        case ChangeKind.REMOVE_LIMIT:
            kept = tuple(one for one in held.limits if one.id not in change.choices)
            return candidate, replace(held, limits=kept), moment
        case ChangeKind.CALL_BACK:
            return replace(candidate, is_callback=True), held, moment
        case ChangeKind.RAISE_ATTEMPTS:
            return candidate, replace(held, rules=replace(held.rules, max_attempts=int(change.choices[0]))), moment
        case ChangeKind.CHANGE_RETRY_RULE:
            return candidate, replace(held, rules=replace(held.rules, own=OwnRules())), moment
        case ChangeKind.START_RUN:
            return candidate, replace(held, since=moment.now), moment
        case ChangeKind.CHANGE_HOURS:
            return candidate, POLICIES["all day"], moment
    raise AssertionError(change.kind)


POLICIES["all day"] = policy(CallingHours(tuple(CallingWindow(day, time(0), time.max) for day in range(7)), "UTC"))


@settings(deadline=None)
@given(candidate=candidates, name=st.sampled_from(sorted(POLICIES)), at=instants, rule=st.sampled_from(Rule))
def test_each_change_that_is_named_alters_the_answer(candidate, name, at, rule):
    held, moment = POLICIES[name], Moment(at, at + WITHIN)
    before = CHECKS[rule](candidate, held, moment).verdict
    changes = changes_of(rule, candidate, held, moment)
    if isinstance(before, Allow):
        assert changes == ()
    for change in changes:
        after = CHECKS[rule](*applied(change, candidate, held, moment)).verdict
        if change.kind is ChangeKind.START_RUN:
            assert not isinstance(after, Deny)
        elif change.kind is not ChangeKind.CHANGE_HOURS or candidate.contact_zone != "Nowhere":
            assert isinstance(after, Allow), change
        assert change.sentence.endswith(".")


def kinds(changes: tuple[Change, ...]) -> list[ChangeKind]:
    return [change.kind for change in changes]


class TestEachRule:
    def test_a_listed_number_names_the_list(self):
        found = told(replace(SOMEBODY, on_account_dnc=True), situation=replace(CLEAR, listed=(LISTED,)))
        assert (found.decided_by, found.next_at) == ("account_dnc", None)
        (change,) = found.changes
        assert (change.kind, change.choices) == (ChangeKind.TAKE_OFF_LIST, ("Account",))

    def test_used_attempts(self):
        found = told(replace(SOMEBODY, attempts_count=3))
        assert found.sentence == "All 3 attempts have been used."
        assert kinds(found.changes) == [ChangeKind.CALL_BACK, ChangeKind.RAISE_ATTEMPTS]
        assert found.changes[1].choices == ("4",)

    def test_a_retry_that_is_not_due(self):
        due = NOON + timedelta(minutes=5)
        found = told(replace(SOMEBODY, attempts_count=1, not_before=due))
        assert (found.decided_by, found.next_at, kinds(found.changes)) == ("retry_period", due, [ChangeKind.WAIT])

    def test_closed_hours_are_told_by_the_clock_of_the_person(self):
        at = NOON.replace(hour=11)
        found = told(replace(SOMEBODY, contact_zone="America/Chicago"), at=at)
        (change,) = found.changes
        assert (
            change.sentence == "Wait until 09:00 on Wednesday 2026-11-25 in America/Chicago (2026-11-25 15:00:00 UTC)."
        )
        assert found.next_at == NOON.replace(hour=15)
        assert step(found, "calling_hours").versions == {"tzdata": "2026b", "phonenumbers": "9.0"}

    def test_an_unknown_zone_that_closes_is_to_be_added(self):
        both = replace(SOMEBODY, number_zones=("America/Chicago", "UTC"))
        found = told(both)
        assert kinds(found.changes) == [ChangeKind.ADD_TIME_ZONE, ChangeKind.WAIT]
        assert found.changes[0].choices == ("UTC",)

    def test_an_unknown_state_that_closes_is_to_be_added(self):
        # Florida closes at 20:00; the other states of the pack an hour later or never
        late = datetime(2026, 11, 26, 1, 30, tzinfo=UTC)
        everywhere = replace(SOMEBODY, phone="+18005550101", contact_zone="America/New_York")
        found = told(everywhere, POLICIES["pack"], at=late)
        assert found.decided_by == "calling_hours"
        assert ChangeKind.ADD_STATE in kinds(found.changes)
        assert "US-FL" not in next(one.choices for one in found.changes if one.kind is ChangeKind.ADD_STATE)

    def test_a_zone_nobody_knows_is_to_be_corrected(self):
        found = told(replace(SOMEBODY, contact_zone="Mars/Olympus"))
        assert kinds(found.changes)[0] is ChangeKind.ADD_TIME_ZONE
        assert "'Mars/Olympus'" in found.changes[0].sentence
        assert found.next_at is None

    def test_hours_that_never_open_are_to_be_changed(self):
        found = told(SOMEBODY, POLICIES["never"])
        assert (kinds(found.changes), found.next_at) == ([ChangeKind.CHANGE_HOURS], None)

    def test_who_has_expired_needs_another_run(self):
        found = told(SOMEBODY, POLICIES["expire"])
        assert found.decided_by == "calling_hours"
        assert kinds(found.changes) == [ChangeKind.CALL_BACK, ChangeKind.START_RUN]

    def test_a_number_called_often_enough(self):
        calls = tuple(
            PastAttempt(NOON - timedelta(hours=ago), NOON - timedelta(hours=ago), Disposition.BUSY) for ago in (1, 3)
        )
        found = told(replace(SOMEBODY, past=calls), POLICIES["limits"])
        assert found.decided_by == "number_limits"
        assert found.changes[0].choices == ("al-1",)
        # 21 hours on: at 09:00, as hours have opened by then
        assert found.next_at == NOON + timedelta(hours=21)

    def test_retries_and_the_next_window(self):
        tried = ((Disposition.BUSY, NOON - timedelta(hours=2)), (Disposition.BUSY, NOON - timedelta(hours=1)))
        found = told(replace(SOMEBODY, attempts_count=2, tried=tried), POLICIES["retry rules"])
        assert (found.decided_by, kinds(found.changes)) == (
            "retry_count",
            [ChangeKind.CALL_BACK, ChangeKind.CHANGE_RETRY_RULE],
        )
        waits = ((Disposition.NO_ANSWER, NOON - timedelta(hours=1)),)
        found = told(replace(SOMEBODY, attempts_count=1, tried=waits), POLICIES["retry rules"])
        assert found.decided_by == "retry_window"
        assert found.next_at == datetime(2026, 11, 26, 9, tzinfo=UTC)
        assert kinds(found.changes)[-1] is ChangeKind.WAIT

    def test_every_rule_answers_also_beyond_the_first_that_does_not_allow(self):
        found = told(replace(SOMEBODY, on_account_dnc=True, attempts_count=3, contact_zone="Asia/Tokyo"))
        assert [one.code for one in found.steps if one.says is not Says.ALLOWS] == [
            "account_dnc",
            "contact_attempts",
            "calling_hours",
        ]
        assert found.sentence.endswith("2 more steps do not allow it.")


class TestBesideTheGate:
    @pytest.mark.parametrize(
        ("changed", "code", "says", "kind"),
        [
            ({"emergency": "wrong recording"}, Beside.EMERGENCY_STOP, Says.FORBIDS, ChangeKind.LIFT_EMERGENCY_STOP),
            ({"run_state": RunState.PAUSED}, Beside.RUN_STATE, Says.WAITS, ChangeKind.RESUME_RUN),
            ({"run_state": RunState.STOPPING}, Beside.RUN_STATE, Says.FORBIDS, ChangeKind.START_RUN),
            ({"run_state": RunState.STOPPED}, Beside.RUN_STATE, Says.FORBIDS, ChangeKind.START_RUN),
            ({"run_state": RunState.COMPLETED}, Beside.RUN_STATE, Says.FORBIDS, ChangeKind.START_RUN),
            (
                {"contact_state": RunContactState.DIALING},
                Beside.CONTACT_STATE,
                Says.WAITS,
                ChangeKind.WAIT_FOR_CALL,
            ),
            (
                {"live_call": LiveCall("a1", "Autumn", AttemptState.RINGING, of_contact=False)},
                Beside.LIVE_CALL,
                Says.WAITS,
                ChangeKind.WAIT_FOR_CALL,
            ),
            ({"nodes_ready": False}, Beside.DIALER_NODES, Says.WAITS, ChangeKind.START_NODE),
            ({"caps": (Limit("trunk", 2, 2),)}, Beside.FREE_LINES, Says.WAITS, ChangeKind.WAIT_FOR_CALL),
            ({"slot_at": NOON + timedelta(seconds=3)}, Beside.RATE, Says.WAITS, ChangeKind.WAIT),
        ],
    )
    def test_what_is_in_the_way_is_named_with_what_would_alter_it(self, changed, code, says, kind):
        found = told(SOMEBODY, situation=replace(CLEAR, **changed))
        assert (found.dialable, found.decided_by) == (False, code)
        assert step(found, code).says is says
        assert found.changes[0].kind is kind
        # the rest allows, so this alone decides
        assert [one.code for one in found.steps if one.says is not Says.ALLOWS] == [code]

    def test_of_another_applications_call_nothing_more_is_told(self):
        call = LiveCall(None, None, AttemptState.RINGING, of_contact=False)
        found = step(told(SOMEBODY, situation=replace(CLEAR, live_call=call)), Beside.LIVE_CALL)
        assert found.sentence == "Another application's call to the number is ringing."
        assert (found.inputs["attemptId"], found.inputs["campaign"]) == (None, None)

    @pytest.mark.parametrize("reason", DoneReason)
    def test_a_contact_that_is_done_says_why(self, reason):
        situation = replace(CLEAR, contact_state=RunContactState.DONE, done_reason=reason)
        found = told(SOMEBODY, situation=situation)
        assert (found.decided_by, found.next_at) == (Beside.CONTACT_STATE, None)
        assert kinds(found.changes) == [ChangeKind.CALL_BACK, ChangeKind.START_RUN]
        assert found.sentence.startswith("The contact is done in this run: ")
        stopped = told(SOMEBODY, situation=replace(situation, run_state=RunState.STOPPED))
        assert kinds(step(stopped, Beside.CONTACT_STATE).changes) == [ChangeKind.START_RUN]

    @pytest.mark.parametrize(("loaded", "says"), [(False, Says.WAITS), (True, Says.FORBIDS)])
    def test_who_is_not_in_the_run_is_asked_no_rule(self, loaded, says):
        found = told(None, situation=replace(CLEAR, contact_state=None, loaded=loaded))
        assert step(found, Beside.CONTACT_STATE).says is says
        assert {one.code for one in found.steps} == {each.value for each in Beside}

    def test_who_paused_the_run_and_why_is_told(self):
        paused = replace(CLEAR, run_state=RunState.PAUSED, moved_by="breaker", move_reason="40 of 40 calls have failed")
        assert "by breaker: 40 of 40 calls have failed" in told(SOMEBODY, situation=paused).sentence

    def test_a_campaign_that_never_ran_is_to_be_started(self):
        found = never_run(Situation(None), at=NOON)
        assert (found.dialable, found.decided_by, kinds(found.changes)) == (
            False,
            Beside.RUN_STATE,
            [ChangeKind.START_RUN],
        )
        assert never_run(Situation(None, emergency="test"), at=NOON).decided_by == Beside.EMERGENCY_STOP

    def test_another_run_needs_a_trunk_with_its_caller_id(self):
        without = Situation(None, caller_id="+15550100999", trunk_id=None)
        found = step(never_run(without, at=NOON), Beside.CALLER_ID)
        assert (found.says, found.changes[0].kind) == (Says.FORBIDS, ChangeKind.ADD_CALLER_ID)
        # a live run keeps the trunk it has
        assert told(SOMEBODY, situation=replace(CLEAR, trunk_id=None)).dialable

    def test_an_instant_that_everything_allows(self):
        found = told(SOMEBODY)
        assert (found.dialable, found.decided_by, found.next_at, found.changes) == (True, None, NOON, ())
        assert [one.code for one in found.steps] == [
            *(each.value for each in list(Beside)[:5]),
            *(rule.value for rule in Rule),
            *(each.value for each in list(Beside)[5:]),
        ]
        assert all(one.sentence for one in found.steps)


@lru_cache(maxsize=1)
def far_off():
    """Hours of a single date, three weeks on."""
    window = DateException(datetime(2026, 12, 16, tzinfo=UTC).date(), ())
    weekly = tuple(CallingWindow(day, time(9), time(18)) for day in range(7))
    closed = tuple(
        DateException((NOON + timedelta(days=day)).date())
        for day in range(21)
        if (NOON + timedelta(days=day)).date() != window.on
    )
    return policy(CallingHours(weekly, "UTC", exceptions=closed))


def test_an_opening_beyond_the_horizon_is_found_by_looking_again():
    found = next_through(SOMEBODY, lambda _at: far_off(), at=NOON, within=WITHIN)
    assert found == datetime(2026, 12, 16, 9, tzinfo=UTC)

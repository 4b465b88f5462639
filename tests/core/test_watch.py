"""The watchdog's rules: what breaks a promise is found, what is in order never is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hep_packets import MARK
from outdial.core.model import NumberFormat, RunState
from outdial.core.phone import written_for
from outdial.core.watch import (
    AFTER_THE_END,
    FRESH,
    LONGEST_WAY,
    PERMIT_SLACK,
    REPEATS,
    SENTENCES,
    SETTLES,
    AttemptFacts,
    Breach,
    DncFacts,
    Facts,
    RunFacts,
    Sighting,
    judge,
    phone_of,
    read_permission,
)
from values import TRUNK

T = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIFE = timedelta(seconds=2)
PHONE = "+15550000110"


def s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


SEEN = Sighting(
    call_id="c1",
    number=PHONE,
    caller="+15550100999",
    permission=read_permission(MARK),
    sent_at=T,
    engine_name="ast-1",
    source="127.0.0.1:5060",
    destination="127.0.0.1:5070",
)
RUN = RunFacts(7, "a", "cd-1", RunState.ACTIVE, 3, T - s(100), None, NumberFormat.E164_PLUS, "", LIFE)
ATTEMPT = AttemptFacts("a1", 3, "ast-1", T - s(0.3), None)
FACTS = Facts(T + s(0.01), RUN, permit_known=True, phone=PHONE, attempts=(ATTEMPT,))


def stopped(at: datetime) -> Facts:
    return replace(FACTS, run=replace(RUN, state=RunState.STOPPED, epoch=4, moved_at=at, ended_at=at))


def breaches(seen: Sighting = SEEN, facts: Facts = FACTS, **more) -> tuple[Breach, ...]:
    return judge(seen, facts, **more).breaches


def test_a_call_in_order():
    verdict = judge(SEEN, FACTS)
    assert verdict.breaches == ()
    assert verdict.attempt == ATTEMPT
    assert not verdict.uncertain


class TestStopped:
    def test_after_the_stop(self):
        assert breaches(facts=stopped(T - s(0.000001))) == (Breach.RUN_STOPPED,)

    def test_before_it_however_late_it_is_judged(self):
        assert breaches(facts=replace(stopped(T), read_at=T + s(1000))) == ()

    def test_while_it_is_stopping_calls_that_passed_the_fence_leave(self):
        run = replace(RUN, state=RunState.STOPPING, epoch=4, moved_at=T - s(0.1))
        assert breaches(facts=replace(FACTS, run=run)) == ()

    def test_a_difference_of_clocks_is_allowed_for(self):
        assert breaches(facts=stopped(T - s(0.4)), tolerance=s(0.5)) == ()
        assert breaches(facts=stopped(T - s(0.6)), tolerance=s(0.5)) == (Breach.RUN_STOPPED,)

    def test_with_no_attempt_it_is_said_too(self):
        assert breaches(facts=replace(stopped(T - s(5)), attempts=())) == (Breach.RUN_STOPPED, Breach.NO_ATTEMPT)


class TestDoNotCall:
    def test_reserved_after_the_number_was_added(self):
        facts = replace(FACTS, dnc=(DncFacts(T - s(0.4), None),))
        assert breaches(facts=facts) == (Breach.DNC_NUMBER,)

    def test_reserved_before_it_may_leave_for_a_moment(self):
        facts = replace(FACTS, dnc=(DncFacts(T - s(0.2), None),))
        assert breaches(facts=facts) == ()

    def test_but_not_for_long(self):
        late = SETTLES + LIFE + PERMIT_SLACK + s(0.1)
        attempt = replace(ATTEMPT, reserved_at=T - late - s(1))
        facts = replace(FACTS, attempts=(attempt,), dnc=(DncFacts(T - late, None),))
        assert breaches(facts=facts) == (Breach.DNC_NUMBER,)

    def test_added_later(self):
        assert breaches(facts=replace(FACTS, attempts=(ATTEMPT,), dnc=(DncFacts(T + s(1), None),))) == ()

    @pytest.mark.parametrize(("expires", "found"), [(1, (Breach.DNC_NUMBER,)), (-1, ())])
    def test_an_entry_that_has_expired_forbids_nothing(self, expires, found):
        assert breaches(facts=replace(FACTS, dnc=(DncFacts(T - s(60), T + s(expires)),))) == found

    def test_one_entry_of_several_is_enough(self):
        entries = (DncFacts(T - s(60), T - s(1)), DncFacts(T - s(60), None))
        assert breaches(facts=replace(FACTS, dnc=entries)) == (Breach.DNC_NUMBER,)


class TestPermits:
    def test_none_at_all(self):
        assert breaches(replace(SEEN, permission=None), replace(FACTS, run=None)) == (Breach.NO_PERMIT,)

    def test_of_a_run_that_is_none(self):
        assert breaches(facts=replace(FACTS, run=None)) == (Breach.UNKNOWN_PERMIT,)

    def test_never_noted(self):
        assert breaches(facts=replace(FACTS, permit_known=False)) == (Breach.UNKNOWN_PERMIT,)

    def test_judged_so_late_that_its_note_may_be_gone(self):
        assert breaches(facts=replace(FACTS, permit_known=False, read_at=T + FRESH + s(1))) == ()

    def test_of_an_epoch_that_ended_long_ago(self):
        run = replace(RUN, epoch=4, moved_at=T - LIFE - PERMIT_SLACK - s(0.1))
        assert breaches(facts=replace(FACTS, run=run)) == (Breach.OLD_EPOCH,)

    def test_of_one_that_ended_a_moment_ago(self):
        run = replace(RUN, epoch=4, moved_at=T - LIFE)
        assert breaches(facts=replace(FACTS, run=run)) == ()

    @pytest.mark.parametrize(
        "text", ["-", "", "Asterisk", "trunk-tr-1-0123456789ab", MARK + "0", "run7e3k0", " " + MARK]
    )
    def test_other_sessions_name_none(self, text):
        assert read_permission(text) is None

    def test_a_run_number_that_no_database_holds_is_none(self):
        assert read_permission("run9999999999999999999e1k" + "0" * 32) is None


class TestAttempts:
    @pytest.mark.parametrize(
        "attempt",
        [
            replace(ATTEMPT, epoch=2),
            replace(ATTEMPT, reserved_at=T + s(0.1)),
            replace(ATTEMPT, reserved_at=T - LONGEST_WAY - s(1)),
            replace(ATTEMPT, ended_at=T - AFTER_THE_END - LIFE - s(0.1)),
        ],
    )
    def test_that_do_not_fit(self, attempt):
        assert breaches(facts=replace(FACTS, attempts=(attempt,))) == (Breach.NO_ATTEMPT,)

    def test_one_that_ended_as_its_call_left(self):
        attempt = replace(ATTEMPT, ended_at=T - s(0.003))
        assert breaches(facts=replace(FACTS, attempts=(attempt,))) == ()

    def test_none(self):
        assert breaches(facts=replace(FACTS, attempts=())) == (Breach.NO_ATTEMPT,)

    def test_one_that_has_made_its_call(self):
        assert breaches(calls={"a1": "c0"}) == (Breach.DIALED_AGAIN,)
        assert breaches(calls={"a1": "c1"}) == ()

    def test_the_second_of_two(self):
        second = AttemptFacts("a2", 3, "ast-1", T - s(0.1), None)
        verdict = judge(SEEN, replace(FACTS, attempts=(ATTEMPT, second)), calls={"a1": "c0"})
        assert verdict.breaches == ()
        assert verdict.attempt == second


class TestRepetitions:
    SEEN = replace(SEEN, may_repeat=True)

    def test_of_a_call_before_the_stop_nothing_can_be_said(self):
        facts = replace(stopped(T - s(10)), attempts=(replace(ATTEMPT, reserved_at=T - s(20), ended_at=T - s(10)),))
        verdict = judge(self.SEEN, facts)
        assert verdict.uncertain
        assert verdict.breaches == ()
        assert breaches(facts=facts) == (Breach.RUN_STOPPED, Breach.NO_ATTEMPT)

    @pytest.mark.parametrize("attempts", [(), (replace(ATTEMPT, reserved_at=T - s(900), ended_at=T - REPEATS - s(1)),)])
    def test_without_an_attempt_of_lately_it_is_none(self, attempts):
        assert Breach.RUN_STOPPED in breaches(self.SEEN, replace(stopped(T - s(10)), attempts=attempts))

    def test_what_is_in_order_is_certain(self):
        assert judge(self.SEEN, FACTS) == judge(SEEN, FACTS)


def test_every_breach_has_a_sentence():
    assert SENTENCES.keys() == set(Breach)


@settings(deadline=None)
@given(
    phone=st.from_regex(r"\+[1-9][0-9]{1,14}", fullmatch=True),
    number_format=st.sampled_from(NumberFormat),
    prefix=st.from_regex(r"[0-9*+]{0,16}", fullmatch=True),
)
def test_a_number_is_read_as_its_trunk_writes_it(phone, number_format, prefix):
    trunk = replace(TRUNK, number_format=number_format, number_prefix=prefix)
    assert phone_of(written_for(trunk, phone), number_format, prefix) == phone


@pytest.mark.parametrize("number", ["", "+", "15550000110", "+1555x", "9+15550000110", "+١٢٣"])
def test_what_no_trunk_writes_is_no_number(number):
    assert phone_of(number, NumberFormat.E164_PLUS, "") is None


# What outdial does in order, at any instants: reserve, send, and then end, pause, stop, list in any way it may.


@settings(deadline=None)
@given(
    wait=st.floats(0, 5),
    after=st.floats(0, 100),
    what=st.sampled_from(["stop", "pause", "end", "list", "nothing"]),
    skew=st.floats(-0.4, 0.4),
    read=st.floats(0, 300),
)
def test_no_order_of_what_is_in_order_is_an_alarm(wait, after, what, skew, read):
    attempt = replace(ATTEMPT, reserved_at=T - s(wait))
    seen = replace(SEEN, sent_at=T + s(skew))
    event = T + s(after)
    facts = replace(FACTS, attempts=(attempt,), read_at=event + s(read))
    match what:
        case "stop":
            facts = replace(facts, run=replace(RUN, state=RunState.STOPPED, epoch=5, moved_at=event, ended_at=event))
        case "pause":
            # its fence is under way: what passed before it may leave until the permit has run out
            moved = T - LIFE + s(after)
            facts = replace(facts, run=replace(RUN, state=RunState.PAUSED, epoch=4, moved_at=moved))
        case "end":
            facts = replace(facts, attempts=(replace(attempt, ended_at=event),))
        case "list":
            listed = max(attempt.reserved_at, T - SETTLES) + s(after)
            facts = replace(facts, dnc=(DncFacts(listed, None),))
    assert judge(seen, facts, tolerance=s(0.5)).breaches == ()

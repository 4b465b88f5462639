"""What the gate decides, made again from what is stored of it: the same; and anything that was changed does not fit."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core.test_explanation import CLEAR, NOON, POLICIES, SOMEBODY, WITHIN, told
from outdial.core.canonical import canonical, instant
from outdial.core.evidence import Call, Decided, Evidence
from outdial.core.explanation import Beside, LiveCall
from outdial.core.manual_call import manual_answer, refusal
from outdial.core.model import AttemptState, Disposition, DoneReason, RetryRule, RunContactState
from outdial.core.numbers import Number
from outdial.core.recompute import Case, NotTheSameError, check, numbers_of
from outdial.core.screening import CHECKS, Allow, Candidate, Deny, Rule, at_number, screen

CONTACT, PHONE = "cc-1", "+13125550101"
OTHERS = ("+13125550102", "+4930123456")
HELD = {name: held for name, held in POLICIES.items() if name != "all day"}


def call(place, how, ago, *, own):
    at = NOON - timedelta(days=3, seconds=ago)
    return Call(
        id=f"{place:032x}",
        run_id=1 if own else 2,
        contact_id=CONTACT if own else "cc-2",
        phone=PHONE,
        number=place + 1,
        reserved_at=at,
        dialed_at=at,
        ended_at=at + timedelta(seconds=20),
        booked_at=at + timedelta(seconds=21),
        disposition=how,
    )


@st.composite
def looks(draw):
    """Somebody with one number or several, the policy and the instant at which the gate is asked about them, and the
    attempts before."""
    how = st.sampled_from([Disposition.BUSY, Disposition.NO_ANSWER, Disposition.ANSWERED_HUMAN, Disposition.UNKNOWN])
    drawn = draw(st.lists(st.tuples(how, st.integers(60, 4 * 86400), st.booleans()), max_size=4))
    drawn.sort(key=lambda one: -one[1])
    calls = [call(place, how, ago, own=own) for place, (how, ago, own) in enumerate(drawn)]
    phones = (PHONE, *OTHERS[: draw(st.integers(0, len(OTHERS)))])
    calls = [replace(one, phone=draw(st.sampled_from(phones))) for one in calls]
    own = [one for one in calls if one.run_id == 1]
    policy = HELD[draw(st.sampled_from(sorted(HELD)))]
    at = NOON + timedelta(seconds=draw(st.integers(-3 * 86400, 3 * 86400)))
    candidate = Candidate(
        contact_id=1,
        phone=PHONE,
        contact_zone=draw(st.sampled_from([None, "UTC", "Asia/Tokyo", "America/Chicago", "Nowhere"])),
        number_zones=draw(st.sampled_from([(), ("America/Chicago",), ("UTC", "America/New_York")])),
        attempts_count=len(own),
        not_before=draw(st.none() | st.integers(-9, 9).map(lambda hour: NOON + timedelta(hours=hour))),
        on_account_dnc=draw(st.integers(0, 9)) == 0,
        on_campaign_dnc=draw(st.integers(0, 9)) == 0,
        is_callback=draw(st.booleans()),
        contact_state=draw(st.sampled_from([None, "IL", "FL"])),
        tried=tuple((one.disposition, one.ended_at) for one in own),
        past=tuple(one.past for one in calls),
    )
    if len(phones) > 1:
        tenth = st.integers(0, 9).map(lambda drawn: drawn == 0)
        numbers = tuple(Number(one, on_account_dnc=draw(tenth), on_campaign_dnc=draw(tenth)) for one in phones)
        candidate = at_number(candidate, numbers, draw(st.sampled_from(phones)))
    return candidate, policy, at, calls


@st.composite
def scenes(draw):
    """A decision of the gate as it is stored, with the attempts it was made after."""
    candidate, policy, at, calls = draw(looks())
    return case_of(candidate, policy, screen(candidate, policy, now=at, until=at + WITHIN), calls)


def case_of(candidate, policy, decision, calls, *, whole=True):
    # as it comes back from the database
    document = json.loads(canonical(decision.document()))
    allowed, attempt = decision.rule is None, None
    if allowed:
        attempt = replace(
            call(90, None, 0, own=True),
            phone=candidate.phone,
            number=candidate.attempts_count + 1,
            ended_at=None,
            booked_at=None,
        )
    decided = Decided(
        row_id=7,
        at=decision.moment.now + timedelta(milliseconds=5),
        run_id=1,
        contact_id=CONTACT,
        attempt_id=None if attempt is None else attempt.id,
        done_reason=getattr(decision.verdict, "reason", None),
        decision=document,
    )
    number = [*calls, *([] if attempt is None else [attempt])]
    return Case(
        decided=decided,
        rules=policy.rules,
        timetable=policy.hours,
        limits={one.id: one for one in policy.limits},
        own=[one for one in number if one.run_id == 1],
        number=number,
        whole=whole,
    )


@settings(deadline=None)
@given(case=scenes())
def test_what_the_gate_answers_comes_out_again(case):
    check(case)


def changed(decision, data):
    """The same decision with one thing in it changed; None where there is nothing of that kind."""
    made = copy.deepcopy(decision)
    of_rule = made["inputs"] if "rule" in made else made["inputs"][data.draw(st.sampled_from(list(CHECKS)))]
    name = data.draw(st.sampled_from(sorted(of_rule) or ["nothing"]))
    value = of_rule.get(name)
    match name:
        case "listed":
            of_rule[name] = not value
        case "attempts" | "most" | "ended" | "closedByCount":
            of_rule[name] = value + data.draw(st.integers(1, 5))
        case "disposition":
            of_rule[name] = "rejected"
        case "notBefore":
            of_rule[name] = "2027-01-01T00:00:00.000000Z"
        case "endedAt" | "at":
            of_rule[name] = "2026-01-01T00:00:00.000000Z"
        case "rules" | "closedBy":
            of_rule[name] = [*value, "invented"]
        case "limits" if value:
            value[0]["counted"] += 9
        case _:
            return None
    return made


@settings(deadline=None)
@given(case=scenes(), data=st.data())
def test_an_input_that_was_changed_is_found(case, data):
    decision = changed(case.decided.decision, data)
    assume(decision is not None and decision != case.decided.decision)
    with pytest.raises(NotTheSameError):
        check(replace(case, decided=replace(case.decided, decision=decision)))


@settings(deadline=None)
@given(case=scenes(), data=st.data())
def test_a_verdict_that_was_changed_is_found(case, data):
    decision, decided = copy.deepcopy(case.decided.decision), case.decided
    assume("rule" in decision)
    match data.draw(st.sampled_from(["until", "sentence", "done", "allow", "rule"])):
        case "until" if "until" in decision:
            decision["until"] = "2027-05-05T00:00:00.000000Z"
        case "sentence":
            decision["sentence"] += " Or so."
        case "done" if "until" not in decision:
            decided = replace(decided, done_reason="reached")
        case "allow":
            decided = replace(decided, attempt_id="0" * 32)
        case "rule":
            decision["rule"] = next(rule.value for rule in Rule if rule.value != decision["rule"])
        case _:
            assume(False)
    with pytest.raises(NotTheSameError):
        check(replace(case, decided=replace(decided, decision=decision)))


def scene(name, **candidate):
    known = {"contact_zone": None, "number_zones": (), "attempts_count": 0, "not_before": None}
    made = Candidate(1, PHONE, on_account_dnc=False, on_campaign_dnc=False, **{**known, **candidate})
    return case_of(made, POLICIES[name], screen(made, POLICIES[name], now=NOON, until=NOON + WITHIN), [])


def test_a_version_that_was_swapped_is_found():
    case = scene("pack", contact_zone="America/New_York", contact_state="NY")
    check(case)
    decision = copy.deepcopy(case.decided.decision)
    decision["versions"]["rulePack"] = "us@2026-10"
    with pytest.raises(NotTheSameError, match="us@2026-10"):
        check(replace(case, decided=replace(case.decided, decision=decision)))


@pytest.mark.parametrize("counted", [0, 2])
def test_a_count_that_no_attempt_bears_out_is_found(counted):
    held = POLICIES["limits"]
    one = replace(call(0, Disposition.BUSY, 60, own=False), dialed_at=NOON - timedelta(hours=30))
    one = replace(one, ended_at=NOON - timedelta(hours=30), booked_at=NOON - timedelta(hours=30))
    somebody = Candidate(1, PHONE, None, (), 0, None, on_account_dnc=False, on_campaign_dnc=False, past=(one.past,))
    case = case_of(somebody, held, screen(somebody, held, now=NOON, until=NOON + WITHIN), [one])
    check(case)
    decision = copy.deepcopy(case.decided.decision)
    # five within 48 hours are allowed: neither count would have held the call back
    decision["inputs"]["number_limits"]["limits"][2]["counted"] = counted
    tampered = replace(case, decided=replace(case.decided, decision=decision))
    with pytest.raises(NotTheSameError, match=f"limit al-3 counted {counted}, and the attempts say from 1 to 1"):
        check(tampered)
    # of a part of the account others may have called too, never fewer
    if counted == 2:
        check(replace(tampered, whole=False))


def test_rules_that_were_swapped_are_found():
    case = scene("nine to six")
    with pytest.raises(NotTheSameError, match="most"):
        check(replace(case, rules=replace(case.rules, max_attempts=9)))
    own = replace(case.rules.own, retry_rules=(RetryRule(Disposition.BUSY, most=1),))
    check(replace(case, rules=replace(case.rules, own=own)))


@pytest.mark.parametrize(
    "decision",
    [{}, {"inputs": {}}, {"decidedAt": "x", "leavesBy": "y", "inputs": {}}, {"rule": "no_such", "inputs": {}}],
)
def test_what_is_no_decision_is_told(decision):
    case = scene("nine to six")
    with pytest.raises(NotTheSameError):
        check(replace(case, decided=replace(case.decided, decision=decision)))


def test_an_attempt_that_does_not_follow_those_before_is_found():
    case = scene("nine to six")
    own = [replace(one, number=3) for one in case.own]
    with pytest.raises(NotTheSameError, match="attempt 3 of the contact was made after 0 attempts"):
        check(replace(case, own=own))
    with pytest.raises(NotTheSameError, match="0 attempts are said, and there were 1 to 1"):
        check(replace(case, own=[call(0, Disposition.BUSY, 60, own=True), *case.own]))


def by_hand(candidate, held, situation, calls, *, at=NOON):
    """A refused call by hand as it comes back from the history; None where it is allowed."""
    explained = told(candidate, held, situation, at=at)
    answer, step = manual_answer(explained)
    if step is None:
        return None
    row = {
        "id": 7,
        "at": instant(at + timedelta(milliseconds=5)),
        "runId": 1,
        "contactId": CONTACT,
        "attemptId": None,
        "action": "manual_call",
        "from": None,
        "to": answer.value,
        "actor": "cs-supervisor",
        "reason": "",
        "detail": json.loads(canonical(refusal(explained, step))),
    }
    evidence = Evidence()
    evidence.take(row)
    (decided,) = evidence.decisions
    return Case(
        decided=decided,
        rules=held.rules,
        timetable=held.hours,
        limits={one.id: one for one in held.limits},
        own=[one for one in calls if one.run_id == 1],
        number=calls,
        whole=True,
        calls={one.id: one for one in calls},
        complete=True,
    )


LIVING = replace(call(50, None, 0, own=True), reserved_at=NOON - timedelta(days=4), ended_at=None, booked_at=None)
ELSEWHERE = replace(LIVING, id=f"{51:032x}", run_id=2, contact_id="cc-2")
UNDER_WAY = {
    "being called": ({"contact_state": RunContactState.DIALING}, LIVING),
    "just claimed": ({"contact_state": RunContactState.CLAIMED}, LIVING),
    "called by another": ({"live_call": LiveCall(ELSEWHERE.id, "Autumn", AttemptState.RINGING, False)}, ELSEWHERE),
}
LOST = replace(
    ELSEWHERE,
    disposition=Disposition.UNKNOWN,
    ended_at=NOON - timedelta(minutes=3),
    booked_at=NOON - timedelta(minutes=3) + timedelta(seconds=2),
)
BESIDE = {
    "lost by another": (
        {"live_call": LiveCall(LOST.id, "Autumn", AttemptState.UNKNOWN, False, ended_at=LOST.ended_at)},
        LOST,
    ),
    "done": ({"contact_state": RunContactState.DONE, "done_reason": DoneReason.REACHED}, None),
    "not read yet": ({"contact_state": None, "loaded": False}, None),
    "not in the run": ({"contact_state": None}, None),
    "emergency": ({"emergency": "wrong recording"}, None),
    "called by another application": ({"live_call": LiveCall(None, None, AttemptState.ANSWERED, False)}, None),
    "its own call": ({"live_call": LiveCall(LIVING.id, "Spring", AttemptState.RINGING, True)}, LIVING),
    **UNDER_WAY,
}


OUTSIDE = {"not read yet", "not in the run"}
"""The contact is none of the run, and has no attempts in it."""


def beside(name):
    changes, living = BESIDE[name]
    somebody = None if "loaded" in changes or changes.get("contact_state", True) is None else SOMEBODY
    return by_hand(somebody, POLICIES["nine to six"], replace(CLEAR, **changes), [] if living is None else [living])


class TestByHand:
    """A call by hand that was refused, by the gate or by what is asked before it."""

    @settings(deadline=None)
    @given(look=looks())
    def test_what_was_answered_comes_out_again_and_is_what_the_gate_says(self, look):
        candidate, held, at, calls = look
        case = by_hand(candidate, held, CLEAR, calls, at=at)
        decision = screen(candidate, held, now=at, until=at + WITHIN)
        assert (case is None) == isinstance(decision.verdict, Allow)
        if case is None:
            return
        check(case)
        assert case.decided.decision == json.loads(canonical(decision.document()))
        assert ("phone" in case.decided.decision) == bool(candidate.numbers)
        assert case.decided.by_hand == ("denied" if isinstance(decision.verdict, Deny) else "put_off")

    @settings(deadline=None)
    @given(look=looks(), data=st.data())
    def test_what_was_changed_is_found(self, look, data):
        candidate, held, at, calls = look
        case = by_hand(candidate, held, CLEAR, calls, at=at)
        assume(case is not None)
        decided, decision = case.decided, copy.deepcopy(case.decided.decision)
        match data.draw(st.sampled_from(["input", "until", "sentence", "answer", "allow", "rule"])):
            case "input":
                decision = changed(decision, data)
                assume(decision is not None and decision != case.decided.decision)
            case "until":
                decision["until"] = "2027-05-05T00:00:00.000000Z"
            case "sentence":
                decision["sentence"] += " Or so."
            case "answer":
                decided = replace(decided, by_hand="put_off" if decided.by_hand == "denied" else "denied")
            case "allow":
                del decision["rule"]
            case "rule":
                decision["rule"] = data.draw(st.sampled_from(sorted({*Rule, *Beside} - {decision["rule"]})))
        with pytest.raises(NotTheSameError):
            check(replace(case, decided=replace(decided, decision=decision)))

    @pytest.mark.parametrize("name", BESIDE)
    def test_what_is_asked_before_the_gate_comes_out_again(self, name):
        check(beside(name))

    @pytest.mark.parametrize("name", BESIDE)
    @pytest.mark.parametrize("what", ["sentence", "answer", "until", "allow", "attempt", "versions", "instant"])
    def test_and_what_was_changed_of_that_is_found(self, name, what):
        case = beside(name)
        decided, decision = case.decided, copy.deepcopy(case.decided.decision)
        match what:
            case "sentence":
                decision["sentence"] += " Or so."
            case "answer":
                decided = replace(decided, by_hand="put_off" if decided.by_hand == "denied" else "denied")
            case "until":
                decision["until"] = "2027-05-05T00:00:00.000000Z"
            case "allow":
                decision["rule"] = "caller_id"
            case "attempt":
                decided = replace(decided, attempt_id="0" * 32)
            case "versions":
                decision["versions"] = {"tzdata": "2026b"}
            case "instant":
                del decision["decidedAt"]
        with pytest.raises(NotTheSameError):
            check(replace(case, decided=replace(decided, decision=decision)))

    @pytest.mark.parametrize("name", BESIDE)
    def test_so_is_each_value_of_it_that_was_another(self, name):
        case = beside(name)
        inputs, rule = case.decided.decision["inputs"], case.decided.decision["rule"]
        others = {
            "state": AttemptState if rule == "live_call" else [*RunContactState, None],
            "doneReason": [*DoneReason, None],
            "inForce": [False],
            "reason": ["another recording"],
            "endedAt": [instant(NOON - timedelta(minutes=10)), instant(NOON + timedelta(minutes=1))],
            "attemptId": [LIVING.id, ELSEWHERE.id, f"{99:032x}", None],
            # what the campaign of its own call is called is in no row
            "campaign": [] if name == "its own call" else ["Winter", None],
        }
        for what in inputs:
            for value in others[what]:
                if value == inputs[what]:
                    continue
                decision = {**case.decided.decision, "inputs": {**inputs, what: value}}
                with pytest.raises(NotTheSameError):
                    check(replace(case, decided=replace(case.decided, decision=decision)))

    @pytest.mark.parametrize("name", ["done", "its own call"])
    @pytest.mark.parametrize(
        ("what", "sentence"),
        [
            ({"decidedAt": NOON + timedelta(seconds=1)}, "is said to be decided at 2026-11-25T12:00:01"),
            ({"decidedAt": NOON - timedelta(minutes=1)}, "is said to be decided at 2026-11-25T11:59:00"),
            ({"leavesBy": NOON - timedelta(seconds=1)}, "said to leave before"),
        ],
    )
    def test_it_was_decided_just_before_its_row(self, name, what, sentence):
        case = beside(name)
        decision = case.decided.decision | {key: instant(at) for key, at in what.items()}
        with pytest.raises(NotTheSameError, match=sentence):
            check(replace(case, decided=replace(case.decided, decision=decision)))
        # and by the gate no other than beside it
        case = by_hand(replace(SOMEBODY, on_account_dnc=True), POLICIES["nine to six"], CLEAR, [])
        decision = case.decided.decision | {key: instant(at) for key, at in what.items()}
        with pytest.raises(NotTheSameError, match=sentence):
            check(replace(case, decided=replace(case.decided, decision=decision)))

    def test_the_call_that_is_waited_for_is_the_one_that_is_said(self):
        case = beside("its own call")
        with pytest.raises(NotTheSameError, match="another contact's"):
            check(replace(case, own=[]))
        case = beside("called by another")
        with pytest.raises(NotTheSameError, match="another contact's"):
            check(replace(case, own=[ELSEWHERE]))
        # one that nobody knows can have been none where all are known
        nowhere = replace(case, calls={}, number=[])
        with pytest.raises(NotTheSameError, match="no such call"):
            check(nowhere)
        check(replace(nowhere, complete=False))

    @pytest.mark.parametrize("name", sorted(OUTSIDE))
    def test_whoever_is_none_of_the_run_was_not_called_in_it(self, name):
        case, before = beside(name), call(0, Disposition.BUSY, 60, own=True)
        with pytest.raises(NotTheSameError, match="had been called in it"):
            check(replace(case, own=[before]))
        # it may have been read into the run since
        check(replace(case, own=[replace(before, reserved_at=NOON + timedelta(milliseconds=1))]))

    @pytest.mark.parametrize("name", UNDER_WAY)
    def test_a_call_that_is_waited_for_must_have_lived(self, name):
        case, (_, living) = beside(name), UNDER_WAY[name]

        def with_call(one):
            own = [one] if one.run_id == 1 else []
            return replace(case, own=own, number=[one], calls={one.id: one})

        ended = replace(living, ended_at=NOON - timedelta(minutes=3), disposition=Disposition.BUSY)
        # on its way into the database it may have counted as living still
        check(with_call(replace(ended, booked_at=NOON - timedelta(seconds=10))))
        with pytest.raises(NotTheSameError, match=r"lived then|had ended"):
            check(with_call(replace(ended, booked_at=NOON - timedelta(minutes=2))))
        with pytest.raises(NotTheSameError, match=r"lived then|had not begun"):
            check(with_call(replace(living, reserved_at=NOON + timedelta(seconds=1))))

    @pytest.mark.parametrize(
        "truth",
        [
            {"disposition": Disposition.NO_ANSWER},
            {"disposition": Disposition.CANCELLED, "dialed_at": None},
            {"ended_at": LOST.ended_at - timedelta(minutes=1)},
            {"ended_at": None, "disposition": None, "booked_at": None},
        ],
    )
    def test_only_a_call_that_was_lost_then_lets_a_phone_ring_on(self, truth):
        case = beside("lost by another")
        check(case)
        with pytest.raises(NotTheSameError, match="was not lost, or at another instant"):
            check(replace(case, calls={LOST.id: replace(LOST, **truth)}))

    @pytest.mark.parametrize(
        ("ended", "booked", "rings"),
        # with a moment for what was on its way into the database
        [(-3, -3, True), (-4.4, -4.4, True), (-4.6, -4.6, False), (0.6, -3, False), (-3, -4.6, False)],
    )
    def test_a_phone_rings_for_a_while_after_its_call_was_lost(self, ended, booked, rings):
        lost = replace(LOST, ended_at=NOON + timedelta(minutes=ended), booked_at=NOON + timedelta(minutes=booked))
        said = LiveCall(lost.id, "Autumn", AttemptState.UNKNOWN, of_contact=False, ended_at=lost.ended_at)
        case = by_hand(SOMEBODY, POLICIES["nine to six"], replace(CLEAR, live_call=said), [lost])
        if rings:
            check(case)
        else:
            with pytest.raises(NotTheSameError, match=r"not lost yet, or too long ago|had ended"):
                check(case)

    def test_a_call_is_lost_or_lives(self):
        case = beside("lost by another")
        without = {key: value for key, value in case.decided.decision["inputs"].items() if key != "endedAt"}
        for inputs in (without, {**case.decided.decision["inputs"], "state": "ringing"}):
            decided = replace(case.decided, decision={**case.decided.decision, "inputs": inputs})
            with pytest.raises(NotTheSameError, match="said to be lost"):
                check(replace(case, decided=decided))

    def test_of_whoever_has_several_numbers_the_one_that_was_asked_about_is_told(self):
        numbers = (Number("+13125550101", on_account_dnc=True), Number("+13125550102", on_account_dnc=True))
        case = by_hand(at_number(SOMEBODY, numbers, "+13125550102"), POLICIES["nine to six"], CLEAR, [])
        assert (case.decided.decision["rule"], case.decided.decision["phone"]) == ("account_dnc", "+13125550102")
        check(case)
        # what is asked beside the gate is no number's
        busy = replace(CLEAR, contact_state=RunContactState.DIALING)
        case = by_hand(at_number(SOMEBODY, numbers, "+13125550102"), POLICIES["nine to six"], busy, [LIVING])
        assert "phone" not in case.decided.decision

    @pytest.mark.parametrize("name", sorted(BESIDE.keys() - OUTSIDE))
    def test_whoever_was_called_at_two_numbers_is_refused_as_anybody(self, name):
        case = beside(name)
        called = [
            call(0, Disposition.BUSY, 60, own=True),
            replace(call(1, Disposition.BUSY, 9, own=True), phone=OTHERS[0]),
        ]
        own, number = [*called, *case.own], [*called, *case.number]
        case = replace(case, own=own, number=number, calls={one.id: one for one in number})
        check(case)
        # none of them is what was asked about
        for phone in (PHONE, OTHERS[0]):
            decision = {**case.decided.decision, "phone": phone}
            with pytest.raises(NotTheSameError, match="a number is said to have been asked about"):
                check(replace(case, decided=replace(case.decided, decision=decision)))

    def test_an_archive_says_of_it_that_it_was_by_hand_and_of_no_other_decision(self):
        document = beside("done").decided.document()
        assert (document["byHand"], document["askedBy"]) == ("denied", "cs-supervisor")
        assert not {"byHand", "askedBy"} & scene("nine to six").decided.document().keys()


class TestSeveralNumbers:
    """A decision about a contact with several numbers, and the attempts to each of them."""

    OTHER = "+13125550102"

    @pytest.fixture
    def case(self):
        policy = POLICIES["limits"]
        before = call(0, Disposition.BUSY, 7200, own=True)
        # two hours ago, by another campaign
        elsewhere = replace(call(1, Disposition.BUSY, 7200 - 3 * 86400, own=False), phone=self.OTHER)
        somebody = Candidate(
            *(1, PHONE, "UTC", (), 1, None),
            on_account_dnc=False,
            on_campaign_dnc=False,
            tried=((before.disposition, before.ended_at),),
            past=(before.past, elsewhere.past),
        )
        somebody = at_number(somebody, (Number(PHONE), Number(self.OTHER)), self.OTHER)
        made = case_of(somebody, policy, screen(somebody, policy, now=NOON, until=NOON + WITHIN), [before, elsewhere])
        own = [replace(one, phone=self.OTHER) if one.id == made.decided.attempt_id else one for one in made.own]
        return replace(made, own=own)

    def with_decision(self, case, **changes):
        return replace(case, decided=replace(case.decided, decision={**case.decided.decision, **changes}))

    def test_it_comes_out_again(self, case):
        assert numbers_of(case.decided.decision) == (PHONE, self.OTHER)
        check(case)

    def test_another_number_than_was_called_is_found(self, case):
        with pytest.raises(NotTheSameError, match="another number than was called"):
            check(self.with_decision(case, phone=PHONE))
        decision = dict(case.decided.decision)
        del decision["phone"]
        with pytest.raises(NotTheSameError, match="none is said to have been asked about"):
            check(replace(case, decided=replace(case.decided, decision=decision)))

    def test_a_number_that_was_left_out_of_the_count_is_found(self, case):
        inputs = copy.deepcopy(case.decided.decision["inputs"])
        inputs["number_limits"]["numbers"] = [self.OTHER]
        with pytest.raises(NotTheSameError, match="not among those that were counted"):
            check(self.with_decision(case, inputs=inputs))

    def test_that_nobody_has_the_numbers_must_have_been_told_by_an_attempt(self):
        before = call(0, Disposition.INVALID_NUMBER, 7200, own=True)
        somebody = Candidate(
            *(1, PHONE, "UTC", (), 1, None),
            on_account_dnc=False,
            on_campaign_dnc=False,
            tried=((before.disposition, before.ended_at),),
        )
        numbers = (Number(PHONE, is_invalid=True), Number(self.OTHER, is_invalid=True))
        somebody = at_number(somebody, numbers, PHONE)
        policy = POLICIES["limits"]
        made = case_of(somebody, policy, screen(somebody, policy, now=NOON, until=NOON + WITHIN), [before])
        check(made)
        with pytest.raises(NotTheSameError, match="no attempt has ended so"):
            check(replace(made, own=[replace(before, disposition=Disposition.BUSY)]))

    def test_calls_to_each_of_them_count(self, case):
        inputs = copy.deepcopy(case.decided.decision["inputs"])
        for one in inputs["number_limits"]["limits"]:
            one["counted"] = 0
        with pytest.raises(NotTheSameError, match="limit al-1 counted 0, and the attempts say from 1 to 1"):
            check(self.with_decision(case, inputs=inputs))

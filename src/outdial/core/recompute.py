"""Decisions of the gate made again from what they looked at, by the functions that made them.

A decision that is stored says what each rule looked at. Here each rule is given exactly that once more; its verdict,
its inputs and the versions of its data must come out the same. What a rule read from the run's own past, the attempts,
is taken from the evidence instead, so that a decision whose inputs were changed to fit does not fit the attempts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from outdial.core.attempt_limits import AttemptLimit, PastAttempt, standing
from outdial.core.calling_hours import Timetable
from outdial.core.canonical import Json, NotJsonError, canonical, instant, read_instant
from outdial.core.evidence import Call, Decided
from outdial.core.explanation import MAY_RING, Beside, LiveCall, Says, Situation, before_gate
from outdial.core.manual_call import AT_ONCE, ManualAnswer
from outdial.core.model import AttemptState, DialingRules, Disposition, DoneReason, RunContactState, RunState
from outdial.core.numbers import Number
from outdial.core.screening import (
    ALLOWED,
    CHECKS,
    Allow,
    Answer,
    Candidate,
    Deny,
    Moment,
    NotBefore,
    Policy,
    Rule,
    hours_answer,
    limit_sentence,
    window_answer,
)
from outdial.core.whereabouts import Origin, Whereabouts

BOOKING: Final = timedelta(seconds=30)
"""How long the end of an attempt may have been on its way into the database when another decision was made: within that
time it may have counted, or not yet."""

_NOBODY: Final = Candidate(0, "", None, (), 0, None, on_account_dnc=False, on_campaign_dnc=False)


class NotTheSameError(Exception):
    """A decision does not come out as it is stored; the sentence says what differs."""


@dataclass(frozen=True, slots=True)
class Case:
    """A stored decision, with the evidence around it."""

    decided: Decided
    rules: DialingRules
    """The run's."""
    timetable: Timetable
    """Of its calling hours, with the rule data of the archive."""
    limits: Mapping[str, AttemptLimit]
    """Every one there was, by its id."""
    own: Sequence[Call]
    """The contact's other attempts in the run, oldest first."""
    number: Sequence[Call]
    """All attempts to the number that the evidence has, or, of a contact with several, to any of them."""
    whole: bool
    """The evidence is of the whole account, so those are all there are."""
    calls: Mapping[str, Call] = field(default_factory=dict)
    """Every attempt that the evidence has, by its id."""
    complete: bool = False
    """Those are all of the account: nobody was erased."""

    @property
    def moment(self) -> Moment:
        """When it was decided, and until when the call would leave."""
        decision = self.decided.decision
        return Moment(read_instant(decision["decidedAt"]), read_instant(decision["leavesBy"]))

    @property
    def tried(self) -> tuple[tuple[Disposition, datetime], ...]:
        """How the contact's attempts in the run had ended by then."""
        ended = [one.past for one in self.own if one.booked_at is not None and one.booked_at <= self.decided.at]
        return tuple(
            sorted(((one.disposition, one.ended_at) for one in ended if one is not None), key=lambda one: one[1])
        )


def check(case: Case) -> None:
    """Make a decision again. Raises NotTheSameError that says what differs."""
    decision = case.decided.decision
    try:
        inputs, versions = decision["inputs"], decision.get("versions", {})
        if case.decided.by_hand is not None:
            _at_once(case)
        if is_beside(case.decided):
            _refused_beside(case, Beside(decision["rule"]), inputs)
            return
        _numbers(case)
        found = _remade(case)
        if "rule" in decision:
            _refused(case, Rule(decision["rule"]), found, inputs, versions)
        else:
            _allowed(case, found, inputs, versions)
    except (KeyError, TypeError, ValueError, NotJsonError) as error:
        raise NotTheSameError(f"the decision cannot be read: {error!r}") from error


def _numbers(case: Case) -> None:
    """Check that the gate was asked about the number that was called, and that a person's numbers that were counted
    together are at least those at which the contact was called in the run."""
    decision = case.decided.decision
    counted = _counted(decision)
    called = {one.phone for one in case.own if one.reserved_at <= case.decided.at}
    phone = decision.get("phone")
    made = next((one.phone for one in case.own if one.id == case.decided.attempt_id), phone)
    if phone is not None and made != phone:
        raise NotTheSameError("the gate was asked about another number than was called")
    if phone is None and len(called) > 1:
        raise NotTheSameError("the contact was called at several numbers, and none is said to have been asked about")
    if phone is not None and "limits" in counted and not called | {phone} <= set(counted["numbers"]):
        raise NotTheSameError("a number at which the contact was called is not among those that were counted")


def numbers_of(decision: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the numbers that a stored decision counted together; empty where its contact has one alone, or they were
    not looked at."""
    return tuple(_counted(decision).get("numbers", ()))


def _counted(decision: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the limits looked at; empty where they were not asked."""
    inputs: Mapping[str, Any] = decision["inputs"]
    return inputs if decision.get("rule") == Rule.NUMBER_LIMITS else inputs.get(Rule.NUMBER_LIMITS, {})


def _remade(case: Case) -> Callable[[Rule, Mapping[str, Json]], Answer]:
    return lambda rule, inputs: _REMAKE[rule](case, inputs)


def _allowed(
    case: Case, remade: Callable[[Rule, Mapping[str, Json]], Answer], inputs: Mapping[str, Json], versions: Json
) -> None:
    if case.decided.attempt_id is None or set(inputs) != {rule.value for rule in CHECKS}:
        raise NotTheSameError("it let an attempt through without asking every rule")
    used: dict[str, str] = {}
    for rule in CHECKS:
        answer = remade(rule, inputs[rule])
        if not isinstance(answer.verdict, Allow):
            raise NotTheSameError(f"{rule} does not allow it: {answer.verdict.sentence}")
        _same(rule, "inputs", answer.inputs, inputs[rule])
        used.update(answer.versions)
    _same("the decision", "versions", used, versions)


def _refused(
    case: Case,
    rule: Rule,
    remade: Callable[[Rule, Mapping[str, Json]], Answer],
    inputs: Mapping[str, Json],
    versions: Json,
) -> None:
    decision, answer = case.decided.decision, remade(rule, inputs)
    if case.decided.attempt_id is not None:
        raise NotTheSameError(f"an attempt was made though {rule} did not allow it")
    verdict = answer.verdict
    if isinstance(verdict, Allow):
        raise NotTheSameError(f"{rule} allows it")
    if case.decided.by_hand is not None:
        # whoever is refused a call by hand is not done for that: what is denied is told to who asked
        answer_by_hand = ManualAnswer.DENIED if isinstance(verdict, Deny) else ManualAnswer.PUT_OFF
        _same(rule, "answer", answer_by_hand.value, case.decided.by_hand)
    elif isinstance(verdict, Deny):
        _same(rule, "done reason", verdict.reason.value, case.decided.done_reason)
    _same(rule, "until", instant(verdict.at) if isinstance(verdict, NotBefore) else None, decision.get("until"))
    _same(rule, "sentence", verdict.sentence, decision["sentence"])
    _same(rule, "inputs", answer.inputs, inputs)
    _same(rule, "versions", dict(answer.versions), versions)


def _same(what: str, name: str, found: Json, stored: Json) -> None:
    plain = dict(found) if isinstance(found, Mapping) else found
    if canonical(plain) != canonical(stored):
        raise NotTheSameError(f"{what} gives the {name} {_short(plain)}, and {_short(stored)} is stored")


def _short(value: Json) -> str:
    return canonical(value).decode()[:200]


# What decides beside the gate: it is stored of calls by hand alone

BESIDE: Final = frozenset({Beside.EMERGENCY_STOP, Beside.CONTACT_STATE, Beside.LIVE_CALL})
"""What may refuse a call by hand beside the gate: its run is active, and so has a caller ID with a trunk."""

_CALLED: Final = frozenset({RunContactState.CLAIMED, RunContactState.DIALING})


def is_beside(decided: Decided) -> bool:
    """Whether a decision is the refusal of a call by hand by something beside the gate."""
    rule = decided.decision.get("rule")
    return decided.by_hand is not None and isinstance(rule, str) and rule in BESIDE


def _at_once(case: Case) -> None:
    """Check that a refusal was decided when its row says, and of a call that would have left after that."""
    now, row = case.moment.now, case.decided.at
    if not now <= row <= now + AT_ONCE:
        raise NotTheSameError(f"it is said to be decided at {instant(now)}, and was written at {instant(row)}")
    if case.moment.until < now:
        raise NotTheSameError("the call is said to leave before it was decided about")


def _refused_beside(case: Case, code: Beside, inputs: Mapping[str, Json]) -> None:
    decision = case.decided.decision
    if case.decided.attempt_id is not None:
        raise NotTheSameError(f"an attempt was made though {code} did not allow it")
    if "phone" in decision:
        raise NotTheSameError(f"{code} is asked of the contact, and a number is said to have been asked about")
    found = [
        (situation, step)
        for situation in _situations(code, inputs)
        for step in before_gate(situation)
        if step.code == code and step.says is not Says.ALLOWS
    ]
    if not found:
        raise NotTheSameError(f"{code} allows it")
    # what is told the same way of the same inputs, but for the words
    situation, step = next((one for one in found if one[1].sentence == decision["sentence"]), found[0])
    answer = ManualAnswer.DENIED if step.says is Says.FORBIDS else ManualAnswer.PUT_OFF
    _same(code, "answer", answer.value, case.decided.by_hand)
    _same(code, "sentence", step.sentence, decision["sentence"])
    _same(code, "inputs", step.inputs, inputs)
    _same(code, "versions", {}, decision.get("versions", {}))
    _same(code, "until", None, decision.get("until"))
    _calls_beside(case, situation)


def _situations(code: Beside, inputs: Mapping[str, Json]) -> list[Situation]:
    """Return the situations in which something beside the gate looks at that."""
    clear = Situation(RunState.ACTIVE)
    if code is Beside.EMERGENCY_STOP:
        return [replace(clear, emergency=inputs["reason"])] if inputs["inForce"] else []
    if code is Beside.CONTACT_STATE:
        state, reason = inputs["state"], inputs["doneReason"]
        if (reason is not None) != (state == RunContactState.DONE):
            raise NotTheSameError("a contact has a reason that is not done, or none that is")
        known = replace(
            clear,
            contact_state=None if state is None else RunContactState(state),
            done_reason=None if reason is None else DoneReason(reason),
        )
        return [replace(known, loaded=loaded) for loaded in (True, False)]
    call = inputs["attemptId"], inputs["campaign"], AttemptState(inputs["state"])
    lost = None if "endedAt" not in inputs else read_instant(inputs["endedAt"])
    if (lost is not None) != (call[2] is AttemptState.UNKNOWN):
        raise NotTheSameError("a call is said to be lost that is not, or one that is lost to be live")
    return [replace(clear, live_call=LiveCall(*call, of_contact=whose, ended_at=lost)) for whose in (True, False)]


def _calls_beside(case: Case, situation: Situation) -> None:
    """Check that there was a call then, where it is said that there was one, and none of a contact outside the run."""
    if situation.live_call is not None:
        _live_call(case, situation.live_call)
    elif situation.contact_state is None:
        if any(one.reserved_at <= case.moment.now for one in case.own):
            raise NotTheSameError("the contact is said to be none of the run, and had been called in it")
    elif situation.contact_state in _CALLED and not any(_may_live(case, one) for one in case.own):
        raise NotTheSameError("the contact is said to be called, and none of its attempts lived then")


def _live_call(case: Case, said: LiveCall) -> None:
    if said.of_contact != any(one.id == said.attempt_id for one in case.own):
        raise NotTheSameError("the call that is waited for is another contact's than is said")
    if (said.attempt_id is None) != (said.campaign is None):
        raise NotTheSameError("of another application's call neither its id nor its campaign is told")
    # of another campaign the evidence may know nothing
    call = None if said.attempt_id is None else case.calls.get(said.attempt_id)
    if call is None and said.attempt_id is not None and case.complete:
        raise NotTheSameError("there was no such call as is waited for")
    now, ringing = case.moment.now, timedelta() if said.ended_at is None else MAY_RING
    if said.ended_at is not None and not said.ended_at - BOOKING <= now <= said.ended_at + ringing + BOOKING:
        raise NotTheSameError("the call was not lost yet, or too long ago for its phone to ring")
    if said.ended_at is not None and call is not None:
        ended_at = call.ended_at if call.disposition is Disposition.UNKNOWN else None
        if ended_at is None or instant(ended_at) != instant(said.ended_at):
            raise NotTheSameError("the call that is waited for was not lost, or at another instant than is said")
    if call is not None and not _may_live(case, call, ringing):
        raise NotTheSameError("the call that is waited for had not begun, or had ended")


def _may_live(case: Case, call: Call, ringing: timedelta = timedelta()) -> bool:
    """Whether a call may have been live, or ``ringing`` for so long after it was booked as over."""
    now = case.moment.now
    return call.reserved_at <= now and (call.booked_at is None or call.booked_at + ringing + BOOKING >= now)


# The rules, each with what it looked at


def _asked(case: Case, rule: Rule, **known: Any) -> Answer:
    return CHECKS[rule](replace(_NOBODY, **known), Policy(case.rules), case.moment)


def _account_dnc(case: Case, inputs: Mapping[str, Json]) -> Answer:
    return _asked(case, Rule.ACCOUNT_DNC, on_account_dnc=inputs["listed"])


def _campaign_dnc(case: Case, inputs: Mapping[str, Json]) -> Answer:
    return _asked(case, Rule.CAMPAIGN_DNC, on_campaign_dnc=inputs["listed"])


def _contact_attempts(case: Case, inputs: Mapping[str, Json]) -> Answer:
    others = [one for one in case.own if one.id != case.decided.attempt_id and one.reserved_at <= case.decided.at]
    sent = sum(one.past is not None and one.booked_at is not None for one in others)
    # of those that were never sent some do not count
    if not sent <= inputs["attempts"] <= len(others):
        raise NotTheSameError(f"{inputs['attempts']} attempts are said, and there were {sent} to {len(others)}")
    made = next((one.number for one in case.own if one.id == case.decided.attempt_id), None)
    if made is not None and made != inputs["attempts"] + 1:
        raise NotTheSameError(f"attempt {made} of the contact was made after {inputs['attempts']} attempts")
    return _asked(
        case,
        Rule.CONTACT_ATTEMPTS,
        attempts_count=inputs["attempts"],
        is_callback=inputs["callback"],
        **_invalid(case, inputs),
    )


def _invalid(case: Case, inputs: Mapping[str, Json]) -> dict[str, Any]:
    """Return what is known of the number where it is said that nobody has it, which an attempt must have told."""
    if "invalid" not in inputs:
        return {}
    phone = case.decided.decision["phone"]
    booked = (one for one in case.own if one.booked_at is not None and one.booked_at <= case.decided.at)
    told = {one.phone for one in booked if one.disposition is Disposition.INVALID_NUMBER}
    if phone not in told:
        raise NotTheSameError("nobody is said to have the number, and no attempt has ended so")
    return {"phone": phone, "numbers": (Number(phone, is_invalid=True),)}


def _retry_count(case: Case, _inputs: Mapping[str, Json]) -> Answer:
    return _asked(case, Rule.RETRY_COUNT, tried=case.tried, is_callback=_is_callback(case))


def _is_callback(case: Case) -> bool:
    """Whether the attempt was asked for; a call-back is put off by no rule about retries."""
    attempts = case.decided.decision["inputs"].get(Rule.CONTACT_ATTEMPTS)
    return isinstance(attempts, dict) and bool(attempts["callback"])


def _retry_period(case: Case, inputs: Mapping[str, Json]) -> Answer:
    at = inputs["notBefore"]
    return _asked(case, Rule.RETRY_PERIOD, not_before=None if at is None else read_instant(at))


def _retry_window(case: Case, inputs: Mapping[str, Json]) -> Answer:
    rule = None if _is_callback(case) or not case.tried else case.rules.own.after(case.tried[-1][0])
    if rule is None or not rule.next_window:
        return Answer(ALLOWED, {})
    where = Whereabouts(tuple(inputs.get("zones", ())), (), tuple(inputs.get("places", ())))
    return window_answer(case.timetable, where, *case.tried[-1], case.moment)


def _number_limits(case: Case, inputs: Mapping[str, Json]) -> Answer:
    """The counts that are stored must lie between what certainly and what possibly was known then; by them, the verdict
    is made again."""
    now = case.moment.now
    certain, possible = _past(case, now - BOOKING), _past(case, now + BOOKING)
    looked: list[Json] = []
    reached: dict[str, set[datetime | None]] = {}
    stored: dict[str, Json] = {}
    if "numbers" in inputs:
        stored["numbers"] = inputs["numbers"]
    for one in inputs["limits"]:
        limit, counted = case.limits[one["limit"]], one["counted"]
        rule = replace(limit.rule, matter=None)
        least, most = (standing(rule, found, {}, now) for found in (certain, possible))
        # what a call was about is not in the evidence: fewer may have counted, never more
        lowest = 0 if limit.rule.matter is not None else least.counted
        if counted < lowest or (case.whole and counted > most.counted):
            sentence = f"the attempts say from {lowest} to {most.counted}"
            raise NotTheSameError(f"limit {limit.id} counted {counted}, and {sentence}")
        looked.append({"limit": limit.id, "counted": counted, "most": limit.rule.count})
        if counted >= limit.rule.count:
            reached[limit_sentence(limit.rule, counted)] = {least.free_at, most.free_at}
    stored["limits"] = looked
    return Answer(_put_off(case, reached) if reached else ALLOWED, stored)


def _past(case: Case, until: datetime) -> list[PastAttempt]:
    found = [one.past for one in case.number if one.booked_at is not None and one.booked_at <= until]
    return [one for one in found if one is not None]


def _put_off(case: Case, reached: Mapping[str, set[datetime | None]]) -> NotBefore:
    """Return until when, by the latest of the limits that are reached, as far as the attempts bear out what is
    stored."""
    decision = case.decided.decision
    until = read_instant(decision["until"]) if "until" in decision else case.moment.now
    sentence = decision.get("sentence", "")
    by_attempts = reached.get(sentence, set())
    if sentence in reached and (until in by_attempts or not case.whole):
        return NotBefore(until, sentence)
    known = [(at, said) for said, free in reached.items() for at in free if at is not None]
    return NotBefore(*max(known, default=(case.moment.now, next(iter(reached)))))


def _calling_hours(case: Case, inputs: Mapping[str, Json]) -> Answer:
    where = Whereabouts(
        tuple(inputs["zones"]),
        tuple(Origin(one) for one in inputs["zonesFrom"]),
        tuple(inputs["places"]),
        tuple(Origin(one) for one in inputs["placesFrom"]),
    )
    since = inputs.get("since")
    return hours_answer(case.timetable, where, None if since is None else read_instant(since), case.moment)


_Remake: TypeAlias = Callable[[Case, Mapping[str, Json]], Answer]

_REMAKE: Final[Mapping[Rule, _Remake]] = MappingProxyType(
    {
        Rule.ACCOUNT_DNC: _account_dnc,
        Rule.CAMPAIGN_DNC: _campaign_dnc,
        Rule.CONTACT_ATTEMPTS: _contact_attempts,
        Rule.RETRY_COUNT: _retry_count,
        Rule.RETRY_PERIOD: _retry_period,
        Rule.RETRY_WINDOW: _retry_window,
        Rule.NUMBER_LIMITS: _number_limits,
        Rule.CALLING_HOURS: _calling_hours,
    }
)

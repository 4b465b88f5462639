"""One gate for every call: may this contact be dialed now, later, or never, and why.

First tries, retries and call-backs pass the same table of rules, in its order; the first rule that does not allow
decides. Each rule is a pure function of what is known about the contact, the run's rules and the instant, and says what
it looked at, so that each decision can be told, stored and checked later. Concurrency and rates come after, in
``core.pacing``: they concern the run, not the person. What may change between the look and the reservation (do-not-call
lists, the run's state, attempts of other campaigns) the database looks at again as it reserves (``store.reserve``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from outdial.core.attempt_limits import AttemptLimit, LimitRule, PastAttempt, standing, window_text
from outdial.core.calling_hours import Opening, Timetable, opening, plain
from outdial.core.canonical import Json, instant
from outdial.core.closing import expired
from outdial.core.model import AtClosing, DialingRules, Disposition, DoneReason, RetryRule, RunState
from outdial.core.numbers import Number, dialed
from outdial.core.phone import zones_of
from outdial.core.retry import next_window
from outdial.core.whereabouts import Whereabouts, whereabouts

NEVER_OPEN_RETRY: Final = timedelta(days=1)
"""When to look again at a contact whose calling hours do not open at all: closed, but nobody is lost."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run contact that may be due, with what the rules ask about it."""

    contact_id: int
    phone: str
    contact_zone: str | None
    """IANA zone stored with the contact, wins over the number's."""
    number_zones: tuple[str, ...]
    """Every zone plausible for the number; empty when none is known."""
    attempts_count: int
    """Attempts of which something has left."""
    not_before: datetime | None
    on_account_dnc: bool
    on_campaign_dnc: bool
    is_callback: bool = False
    """Asked to be called then: the one attempt beyond those the campaign allows."""
    contact_state: str | None = None
    """What the contact's list says of its state or province, for rule packs."""
    tried: tuple[tuple[Disposition, datetime], ...] = ()
    """How and when its attempts in this run ended, oldest first; read only where a retry rule asks for it."""
    past: tuple[PastAttempt, ...] = ()
    """The account's attempts to any of its numbers that have ended, as far back as its limits look."""
    matters: Mapping[str, str] = field(default_factory=dict)
    """What the call is about, by the names of the attributes that limits name."""
    numbers: tuple[Number, ...] = ()
    """Where it has several, all of them, ``phone`` among them: what a person may not be called more often than counts
    at each. Empty where ``phone`` is the only one."""
    next_phone: str | None = None
    """Where it has several, the one that was to be dialed next: ``phone``, but where that may not be dialed."""

    @property
    def phones(self) -> tuple[str, ...]:
        """All of its numbers."""
        return tuple(one.phone for one in self.numbers) or (self.phone,)

    @property
    def is_invalid(self) -> bool:
        """Whether the run knows that nobody has the number, nor any other that it may call of whoever has several."""
        return any(one.is_invalid for one in self.numbers if one.phone == self.phone)


def at_number(candidate: Candidate, numbers: tuple[Number, ...], next_phone: str) -> Candidate:
    """Return a contact with several numbers as it is dialed: at the one that comes next, or, where that may not be
    dialed, at the first after it that may. Every rule is asked about that number."""
    number = dialed(numbers, next_phone)
    return replace(
        candidate,
        phone=number.phone,
        number_zones=zones_of(number.phone),
        on_account_dnc=number.on_account_dnc,
        on_campaign_dnc=number.on_campaign_dnc,
        numbers=numbers,
        next_phone=next_phone,
    )


class Rule(StrEnum):
    """What a decision is made by. The codes are stored with every decision and never change their meaning."""

    ACCOUNT_DNC = "account_dnc"
    CAMPAIGN_DNC = "campaign_dnc"
    CONTACT_ATTEMPTS = "contact_attempts"
    RETRY_COUNT = "retry_count"
    RETRY_PERIOD = "retry_period"
    RETRY_WINDOW = "retry_window"
    NUMBER_LIMITS = "number_limits"
    CALLING_HOURS = "calling_hours"


@dataclass(frozen=True, slots=True)
class Allow:
    """May be dialed now."""


@dataclass(frozen=True, slots=True)
class Deny:
    """May never be dialed in this run."""

    reason: DoneReason
    sentence: str


@dataclass(frozen=True, slots=True)
class NotBefore:
    """May not be dialed before an instant."""

    at: datetime
    sentence: str


Verdict = Allow | Deny | NotBefore

ALLOWED: Final = Allow()


@dataclass(frozen=True, slots=True)
class Answer:
    """What one rule says of a contact."""

    verdict: Verdict
    inputs: Mapping[str, Json]
    """What it looked at."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the tables it read that with."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for every contact of a run."""

    rules: DialingRules
    limits: tuple[AttemptLimit, ...] = ()
    """Of its account, its application and its campaign: all of them count."""
    timetable: Timetable | None = None
    """Of the rules' calling hours; without it, hours that refer to a rule pack or to holidays are closed."""
    since: datetime | None = None
    """When the run was started or resumed: contacts can expire only where it is given, and not for hours in which the
    run was paused."""

    @property
    def hours(self) -> Timetable:
        """The timetable, of the hours alone where none is given."""
        return plain(self.rules.calling_hours) if self.timetable is None else self.timetable


@dataclass(frozen=True, slots=True)
class Moment:
    """When a call would leave: at ``now``, or, as it may be a moment late, up to ``until``."""

    now: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate says of a contact, and why."""

    verdict: Verdict
    rule: Rule | None
    """The rule that did not allow; None when all did."""
    inputs: Mapping[str, Json]
    """What that rule looked at; where all allowed, what each of them did, by its code."""
    versions: Mapping[str, str]
    moment: Moment
    phone: str | None = None
    """The number it is about, where the contact has several."""

    def document(self) -> dict[str, Json]:
        """Return it as it is stored, beside what it was decided about."""
        made: dict[str, Json] = {}
        if self.phone is not None:
            made["phone"] = self.phone
        if self.rule is not None:
            made["rule"] = self.rule.value
        if not isinstance(self.verdict, Allow):
            made["sentence"] = self.verdict.sentence
        if isinstance(self.verdict, NotBefore):
            made["until"] = instant(self.verdict.at)
        made["decidedAt"] = instant(self.moment.now)
        made["leavesBy"] = instant(self.moment.until)
        made["inputs"] = self.inputs
        if self.versions:
            made["versions"] = dict(self.versions)
        return made


Check: TypeAlias = Callable[[Candidate, Policy, Moment], Answer]


def screen(candidate: Candidate, policy: Policy, *, now: datetime, until: datetime | None = None) -> Decision:
    """Return whether the contact may be dialed at ``now``, and, as its call may leave a moment later, until then."""
    moment = Moment(now, now if until is None else until)
    phone = candidate.phone if candidate.numbers else None
    inputs: dict[str, Json] = {}
    versions: dict[str, str] = {}
    for rule, check in CHECKS.items():
        answer = check(candidate, policy, moment)
        if not isinstance(answer.verdict, Allow):
            return Decision(answer.verdict, rule, answer.inputs, answer.versions, moment, phone)
        inputs[rule.value] = answer.inputs
        versions.update(answer.versions)
    return Decision(ALLOWED, None, inputs, versions, moment, phone)


def account_dnc(candidate: Candidate, _policy: Policy, _moment: Moment) -> Answer:
    """A number on the account's do-not-call list is never dialed."""
    return _listed("account", listed=candidate.on_account_dnc)


def campaign_dnc(candidate: Candidate, _policy: Policy, _moment: Moment) -> Answer:
    """Nor is one on the do-not-call list that the campaign names."""
    return _listed("campaign", listed=candidate.on_campaign_dnc)


def _listed(whose: str, *, listed: bool) -> Answer:
    sentence = f"The number is on the {whose}'s do-not-call list."
    return Answer(Deny(DoneReason.DNC, sentence) if listed else ALLOWED, {"listed": listed})


def contact_attempts(candidate: Candidate, policy: Policy, _moment: Moment) -> Answer:
    """A contact gets so many attempts in a run, and one more for each call-back it asks for; none, not even that, where
    it has several numbers and the run knows of all of them that nobody has them."""
    most = policy.rules.max_attempts
    inputs = {"attempts": candidate.attempts_count, "most": most, "callback": candidate.is_callback}
    if candidate.is_invalid:
        inputs["invalid"] = True
        return Answer(Deny(DoneReason.INVALID_NUMBER, "Nobody has the numbers of the contact."), inputs)
    if candidate.attempts_count >= most and not candidate.is_callback:
        return Answer(Deny(DoneReason.ATTEMPTS_USED, f"All {most} attempts have been used."), inputs)
    return Answer(ALLOWED, inputs)


def retry_count(candidate: Candidate, policy: Policy, _moment: Moment) -> Answer:
    """How an attempt ended may allow fewer retries than there are attempts; a call-back is none."""
    rule = _retry_rule(candidate, policy)
    if rule is None or rule.most is None:
        return Answer(ALLOWED, {})
    ended = sum(disposition is rule.disposition for disposition, _ in candidate.tried)
    inputs = {"disposition": rule.disposition, "ended": ended, "most": rule.most}
    if ended > rule.most:
        sentence = f"{ended} attempts ended {rule.disposition}; after that there are {rule.most} retries."
        return Answer(Deny(DoneReason.ATTEMPTS_USED, sentence), inputs)
    return Answer(ALLOWED, inputs)


def _retry_rule(candidate: Candidate, policy: Policy) -> RetryRule | None:
    """Return the retry rule that holds for a contact's next attempt."""
    if candidate.is_callback or not candidate.tried:
        return None
    return policy.rules.own.after(candidate.tried[-1][0])


def retry_window(candidate: Candidate, policy: Policy, moment: Moment) -> Answer:
    """After some endings the next calling hours are waited for; a call-back has its own instant."""
    rule = _retry_rule(candidate, policy)
    if rule is None or not rule.next_window:
        return Answer(ALLOWED, {})
    _, ended_at = candidate.tried[-1]
    return window_answer(policy.hours, whereabouts_of(candidate, policy), rule.disposition, ended_at, moment)


def window_answer(
    timetable: Timetable, where: Whereabouts, disposition: Disposition, ended_at: datetime, moment: Moment
) -> Answer:
    """Return what ``retry_window`` says of somebody there, whose last attempt ended so, and has such a rule."""
    begins = next_window(timetable, where, ended_at)
    versions = opening(timetable, where, ended_at).rule_data()
    inputs = {
        "disposition": disposition,
        "endedAt": instant(ended_at),
        "zones": list(where.zones),
        "places": list(where.places),
    }
    if begins > moment.now:
        sentence = f"After an attempt that ended {disposition} the next calling hours are waited for."
        return Answer(NotBefore(begins, sentence), inputs, versions)
    return Answer(ALLOWED, inputs, versions)


def retry_period(candidate: Candidate, _policy: Policy, moment: Moment) -> Answer:
    """A retry, a call-back and whoever was put off are not dialed before their instant."""
    at = candidate.not_before
    inputs = {"notBefore": None if at is None else instant(at)}
    if at is not None and at > moment.now:
        return Answer(NotBefore(at, "The next attempt is not due yet."), inputs)
    return Answer(ALLOWED, inputs)


def number_limits(candidate: Candidate, policy: Policy, moment: Moment) -> Answer:
    """A number is not called more often than the limits of the account, the application and the campaign allow,
    whichever campaign of the account has called it; of a contact with several numbers all of them count as one."""
    looked: list[Json] = []
    verdict: Verdict = ALLOWED
    latest: datetime | None = None
    for limit in policy.limits:
        rule = limit.rule
        found = standing(rule, candidate.past, candidate.matters, moment.now)
        looked.append({"limit": limit.id, "counted": found.counted, "most": rule.count})
        if found.free_at is not None and (latest is None or found.free_at > latest):
            latest = found.free_at
            verdict = NotBefore(latest, limit_sentence(rule, found.counted))
    inputs: dict[str, Json] = {"limits": looked}
    if candidate.numbers:
        inputs["numbers"] = list(candidate.phones)
    return Answer(verdict, inputs)


def limit_sentence(rule: LimitRule, counted: int) -> str:
    """Return what is said of a number that has been called as often as a limit allows."""
    window = window_text(rule.window_seconds)
    return f"The number has had {counted} {rule.counts} within {window}; the limit is {rule.count}."


def calling_hours(candidate: Candidate, policy: Policy, moment: Moment) -> Answer:
    """Nobody is called outside calling hours, wherever they may be, nor right before the hours end; where that is what
    closing time means, whoever was not reached by then is not called any more."""
    # an instant somebody asked for is not the campaign's to let pass
    since = None if candidate.is_callback else policy.since
    return hours_answer(policy.hours, whereabouts_of(candidate, policy), since, moment)


def hours_answer(timetable: Timetable, where: Whereabouts, since: datetime | None, moment: Moment) -> Answer:
    """Return what ``calling_hours`` says of somebody there; ``since`` when hours can have closed for them for good."""
    found = opening(timetable, where, moment.now)
    for at in dict.fromkeys((moment.now, moment.until)):
        found = opening(timetable, where, at)
        verdict = _within(timetable, found, where, since, at)
        if not isinstance(verdict, Allow):
            return Answer(verdict, _hours_inputs(timetable, found, since), found.rule_data())
    return Answer(ALLOWED, _hours_inputs(timetable, found, since), found.rule_data())


def _hours_inputs(timetable: Timetable, found: Opening, since: datetime | None) -> dict[str, Json]:
    inputs = found.inputs()
    if since is not None and timetable.hours.at_closing is AtClosing.EXPIRE:
        inputs["since"] = instant(since)
    return inputs


def _within(timetable: Timetable, found: Opening, where: Whereabouts, since: datetime | None, at: datetime) -> Verdict:
    if since is not None:
        closed = expired(timetable, where, since=since, at=at)
        if closed is not None:
            return Deny(DoneReason.EXPIRED, f"Its calling hours closed at {closed:%Y-%m-%d %H:%M:%S} UTC.")
    if found.is_open:
        return ALLOWED
    why = found.closed_by[0].sentence if found.closed_by else "Calling hours never open in all zones at once."
    if found.opens_at is None:
        return NotBefore(at + NEVER_OPEN_RETRY, f"Calling hours never open within 14 days. {why}")
    return NotBefore(found.opens_at, why)


def whereabouts_of(candidate: Candidate, policy: Policy) -> Whereabouts:
    """Return where the contact may be, as the rules about hours take it."""
    return whereabouts(
        policy.hours.pack,
        phone=candidate.phone,
        contact_zone=candidate.contact_zone,
        contact_state=candidate.contact_state,
        number_zones=candidate.number_zones,
        campaign_zone=policy.hours.hours.zone,
    )


CHECKS: Final[Mapping[Rule, Check]] = MappingProxyType(
    {
        Rule.ACCOUNT_DNC: account_dnc,
        Rule.CAMPAIGN_DNC: campaign_dnc,
        Rule.CONTACT_ATTEMPTS: contact_attempts,
        Rule.RETRY_COUNT: retry_count,
        # before those that wait for an hour: none of them may bring a contact forward
        Rule.RETRY_PERIOD: retry_period,
        Rule.RETRY_WINDOW: retry_window,
        Rule.NUMBER_LIMITS: number_limits,
        Rule.CALLING_HOURS: calling_hours,
    }
)
"""Every rule, in the order in which they are asked."""


def run_may_dial(state: RunState, epoch: int, wanted_epoch: int) -> bool:
    """Whether a run found in this state and epoch may be dialed by somebody who knows it at ``wanted_epoch``."""
    return state is RunState.ACTIVE and epoch == wanted_epoch

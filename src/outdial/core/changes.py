"""The smallest changes that would let a rule of the gate allow, each found by asking the rule itself again.

A change is named only where it alone makes that rule allow (or, where a contact has expired, no longer deny): the rule
is asked once more with the thing changed. So no rule stands here a second time, and a change that would not help is
never named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from outdial.core.calling_hours import opening
from outdial.core.screening import (
    CHECKS,
    Allow,
    Candidate,
    Deny,
    Moment,
    NotBefore,
    Policy,
    Rule,
    whereabouts_of,
)
from outdial.core.zones import find_zone


class ChangeKind(StrEnum):
    """What has to change. The codes are told over the API and never change their meaning."""

    WAIT = "wait"
    """Until an instant; nobody has to do anything."""
    ADD_TIME_ZONE = "add_time_zone"
    """Say in the contact's list in which zone the person is; ``choices`` are the zones with which it would do."""
    ADD_STATE = "add_state"
    """Say in the contact's list in which state the person is, likewise."""
    TAKE_OFF_LIST = "take_off_list"
    """Take the number off a do-not-call list; ``choices`` are the names of those it is on."""
    REMOVE_LIMIT = "remove_limit"
    """Remove attempt limits; ``choices`` are the ids of those that hold the number back."""
    CALL_BACK = "call_back"
    """Promise the contact a call-back, where it has asked for one."""
    RAISE_ATTEMPTS = "raise_attempts"
    """Let the campaign's next run have so many attempts."""
    CHANGE_RETRY_RULE = "change_retry_rule"
    """Change the retry rule of a disposition for the campaign's next run."""
    CHANGE_HOURS = "change_hours"
    """Change the campaign's calling hours, or what they refer to, for its next run."""
    START_RUN = "start_run"
    RESUME_RUN = "resume_run"
    ADD_CALLER_ID = "add_caller_id"
    """Let a number select a trunk."""
    LIFT_EMERGENCY_STOP = "lift_emergency_stop"
    WAIT_FOR_CALL = "wait_for_call"
    """Until a call has ended."""
    START_NODE = "start_node"
    RAISE_CAP = "raise_cap"
    """Raise a cap on live calls; ``choices`` are those that are reached."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that alone would do."""

    kind: ChangeKind
    sentence: str
    at: datetime | None = None
    """Until when to wait."""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListedOn:
    """A do-not-call list the number is on."""

    list_id: str
    name: str
    of_account: bool
    source: str
    reason: str
    added_by: str
    added_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Case:
    """A rule that does not allow, and all it looked at."""

    rule: Rule
    candidate: Candidate
    policy: Policy
    moment: Moment
    listed: tuple[ListedOn, ...]

    def would_do(
        self, *, candidate: Candidate | None = None, policy: Policy | None = None, at: datetime | None = None
    ) -> bool:
        """Whether the rule would allow with that changed."""
        later = timedelta() if at is None else at - self.moment.now
        moment = Moment(self.moment.now + later, self.moment.until + later)
        answer = CHECKS[self.rule](candidate or self.candidate, policy or self.policy, moment)
        return isinstance(answer.verdict, Allow)


def changes_of(
    rule: Rule, candidate: Candidate, policy: Policy, moment: Moment, *, listed: Sequence[ListedOn] = ()
) -> tuple[Change, ...]:
    """Return what alone would let a rule allow that does not, the smallest first; empty where it does, or where nothing
    of the contact, its campaign or its account would help within two weeks.

    ``listed`` are the do-not-call lists the number is on, for their names.
    """
    answer = CHECKS[rule](candidate, policy, moment)
    if isinstance(answer.verdict, Allow):
        return ()
    case = _Case(rule, candidate, policy, moment, tuple(listed))
    found = list(_CHANGES[rule](case))
    if isinstance(answer.verdict, NotBefore) and case.would_do(at=answer.verdict.at):
        found.append(wait(answer.verdict.at, zone_of(candidate, policy, moment.now)))
    return tuple(found)


def wait(at: datetime, zone: str) -> Change:
    """Return the wait until an instant, told by the clock of a zone."""
    return Change(ChangeKind.WAIT, f"Wait until {clock_text(at, zone)}.", at=at)


def clock_text(at: datetime, zone: str) -> str:
    """Return an instant by the clock of a zone, to the second where it is on no minute, and in UTC."""
    found = find_zone(zone)
    shown = f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if found is None or zone == "UTC":
        return shown
    local = at.astimezone(found)
    clock = f"{local:%H:%M}" if not (local.second or local.microsecond) else f"{local:%H:%M:%S}"
    return f"{clock} on {local:%A %Y-%m-%d} in {zone} ({shown})"


def zone_of(candidate: Candidate, policy: Policy, at: datetime) -> str:
    """Return the zone by whose clock to tell a contact's instants: the first that closes, else the first of all."""
    where = whereabouts_of(candidate, policy)
    closed = [closing.zone for closing in opening(policy.hours, where, at).closed_by if closing.zone]
    return next(iter((*closed, *where.zones)), "UTC")


def _account_list(case: _Case) -> Iterator[Change]:
    if case.would_do(candidate=replace(case.candidate, on_account_dnc=False)):
        yield _off_list([one for one in case.listed if one.of_account], "the account's do-not-call list")


def _campaign_list(case: _Case) -> Iterator[Change]:
    if case.would_do(candidate=replace(case.candidate, on_campaign_dnc=False)):
        yield _off_list([one for one in case.listed if not one.of_account], "the campaign's do-not-call list")


def _off_list(listed: Sequence[ListedOn], otherwise: str) -> Change:
    names = tuple(one.name for one in listed)
    which = f"the do-not-call list {', '.join(names)}" if names else otherwise
    return Change(
        ChangeKind.TAKE_OFF_LIST,
        f"Take the number off {which}, if whoever put it there allows that, and start another run.",
        choices=names,
    )


def _called_back(case: _Case) -> Iterator[Change]:
    if case.would_do(candidate=replace(case.candidate, is_callback=True)):
        yield Change(ChangeKind.CALL_BACK, "Promise the contact a call-back, if it has asked to be called.")


def _attempts(case: _Case) -> Iterator[Change]:
    yield from _called_back(case)
    most = case.candidate.attempts_count + 1
    if case.would_do(policy=replace(case.policy, rules=replace(case.policy.rules, max_attempts=most))):
        sentence = f"Let the campaign have {most} attempts or more for each contact, from its next run on."
        yield Change(ChangeKind.RAISE_ATTEMPTS, sentence, choices=(str(most),))


def _retry_rule(case: _Case) -> Iterator[Change]:
    yield from _called_back(case)
    rules = case.policy.rules
    last = case.candidate.tried[-1][0] if case.candidate.tried else None
    kept = tuple(one for one in rules.own.retry_rules if one.disposition is not last)
    if case.would_do(policy=replace(case.policy, rules=replace(rules, own=replace(rules.own, retry_rules=kept)))):
        sentence = f"Change the campaign's retry rule for attempts that ended {last}, from its next run on."
        yield Change(ChangeKind.CHANGE_RETRY_RULE, sentence, choices=(str(last),))


def _nothing(_case: _Case) -> Iterator[Change]:
    """Waiting is all there is."""
    yield from ()


def _limits(case: _Case) -> Iterator[Change]:
    holding = [
        limit.id for limit in case.policy.limits if not case.would_do(policy=replace(case.policy, limits=(limit,)))
    ]
    kept = tuple(limit for limit in case.policy.limits if limit.id not in holding)
    if case.would_do(policy=replace(case.policy, limits=kept)):
        sentence = f"Remove the attempt limit {', '.join(holding)}, if nothing obliges the account to it."
        yield Change(ChangeKind.REMOVE_LIMIT, sentence, choices=tuple(holding))


def _hours(case: _Case) -> Iterator[Change]:
    where = whereabouts_of(case.candidate, case.policy)
    answer = CHECKS[case.rule](case.candidate, case.policy, case.moment)
    if isinstance(answer.verdict, NotBefore):
        yield from _whereabouts(case, where.zones, where.places)
    else:
        # it has expired in this run: in one that begins now nobody has
        yield from _called_back(case)
        anew = CHECKS[case.rule](case.candidate, replace(case.policy, since=case.moment.now), case.moment)
        if not isinstance(anew.verdict, Deny):
            yield start_run("Start another run of the campaign")
    found = opening(case.policy.hours, where, case.moment.now)
    if found.opens_at is None and found.closed_by:
        sentence = f"Change the campaign's calling hours, or what they refer to: {found.closed_by[0].sentence}"
        yield Change(ChangeKind.CHANGE_HOURS, sentence)


def _whereabouts(case: _Case, zones: Sequence[str], places: Sequence[str]) -> Iterator[Change]:
    """What is not known of the person may be what closes: whatever may be so counts until it is."""
    candidate = case.candidate
    if candidate.contact_zone is None and len(zones) > 1:
        fitting = tuple(zone for zone in zones if case.would_do(candidate=replace(candidate, contact_zone=zone)))
        if fitting:
            sentence = f"Add the contact's time zone to its list: it may be called now if that is {_or(fitting)}."
            yield Change(ChangeKind.ADD_TIME_ZONE, sentence, choices=fitting)
    if candidate.contact_zone is not None and find_zone(candidate.contact_zone) is None:
        fitting = tuple(
            zone
            for zone in (case.policy.hours.hours.zone, *candidate.number_zones)
            if case.would_do(candidate=replace(candidate, contact_zone=zone))
        )
        if fitting:
            sentence = (
                f"Correct the contact's time zone, {candidate.contact_zone[:60]!r}, which nobody knows: it may be "
                f"called now if that is {_or(fitting)}."
            )
            yield Change(ChangeKind.ADD_TIME_ZONE, sentence, choices=fitting)
    states = _states(case, places)
    if candidate.contact_state is None and states:
        fitting = tuple(place for place in states if case.would_do(candidate=replace(candidate, contact_state=place)))
        if fitting:
            sentence = f"Add the contact's state to its list: it may be called now if that is {_or(fitting)}."
            yield Change(ChangeKind.ADD_STATE, sentence, choices=fitting)


def _states(case: _Case, places: Sequence[str]) -> tuple[str, ...]:
    """Return the states the person may be in, a country of which no state is known being all of its own."""
    pack = case.policy.hours.pack
    if pack is None or (len(places) == 1 and "-" in places[0]):
        return ()
    return tuple(known for known in pack.zones if "-" in known and any(known.startswith(place) for place in places))


_MOST_NAMED: Final = 6
"""Choices that a sentence names; all of them are in ``choices``."""


def _or(words: Sequence[str]) -> str:
    shown = list(words[:_MOST_NAMED])
    if len(words) > _MOST_NAMED:
        return f"{', '.join(shown)} or one of {len(words) - _MOST_NAMED} others"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"


def start_run(sentence: str) -> Change:
    """Return the start of another run."""
    return Change(ChangeKind.START_RUN, f"{sentence}: outdial campaign start.")


_Changes: TypeAlias = Callable[[_Case], Iterator[Change]]

_CHANGES: Final[Mapping[Rule, _Changes]] = MappingProxyType(
    {
        Rule.ACCOUNT_DNC: _account_list,
        Rule.CAMPAIGN_DNC: _campaign_list,
        Rule.CONTACT_ATTEMPTS: _attempts,
        Rule.RETRY_COUNT: _retry_rule,
        Rule.RETRY_PERIOD: _nothing,
        Rule.RETRY_WINDOW: _retry_rule,
        Rule.NUMBER_LIMITS: _limits,
        Rule.CALLING_HOURS: _hours,
    }
)
"""What may be changed where a rule does not allow, beside waiting."""

"""The simulation that users see and the whole day, step by step, come to the same: who answers when is drawn alike."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from functools import partial

import pytest

from dialing import with_rules
from outdial import rule_data
from outdial.core.attempt_limits import AttemptLimit, Counted, LimitRule
from outdial.core.machine import MachineDetection
from outdial.core.model import Attempt, CallingHours, CallingWindow, Disposition, OwnRules, RetryOrder, RetryRule
from outdial.core.simulation import Conditions, People, simulate
from outdial.core.simulation_calls import Assumptions, Endings, MachineCalls
from outdial.core.whereabouts import whereabouts
from outdial.services.simulations import AHEAD_SECONDS
from simulation import node
from simulation.day import Day
from simulation.plan import ACCOUNT, Act, Campaign, Person, Plan
from values import TRUNK

pytestmark = pytest.mark.timeout(600)

D = Disposition
BEGIN = datetime(2026, 6, 10, 5, tzinfo=UTC)
ZONES = ("Europe/Berlin", "Europe/London", "America/New_York", None)
SUPPOSED = Assumptions(
    shares={D.ANSWERED_HUMAN: 0.3, D.NO_ANSWER: 0.35, D.BUSY: 0.2, D.INVALID_NUMBER: 0.05, D.REJECTED: 0.1},
    ring_seconds=6.0,
    talk_seconds=40.0,
    refusal_seconds=1.5,
)
WITH_MACHINES = {**SUPPOSED.shares, D.ANSWERED_HUMAN: 0.2, D.ANSWERED_MACHINE: 0.1}
TOLD = {
    D.ANSWERED_HUMAN: (True, 16, None),
    D.ANSWERED_MACHINE: (True, 16, None),
    D.NO_ANSWER: (False, 19, 480),
    D.BUSY: (False, 17, 486),
    D.INVALID_NUMBER: (False, 1, 404),
    D.REJECTED: (False, 21, 603),
}
PEOPLE = 30
WINDOWS = tuple(CallingWindow(day, time(8), time(20)) for day in range(7))


class Played(Day):
    """A day whose people take calls as a simulation supposes."""

    def __init__(self, plan: Plan, endings: Endings) -> None:
        self._endings_of = endings
        super().__init__(plan, self._ends)

    def _ends(self, attempt: Attempt):
        disposition, seconds = self._endings_of.of(attempt.contact_id, attempt.number)
        return *TOLD[disposition], SUPPOSED.ring_seconds if TOLD[disposition][0] else seconds

    def is_machine(self, attempt: Attempt) -> bool:
        return self._endings_of.of(attempt.contact_id, attempt.number)[0] is D.ANSWERED_MACHINE

    def message_seconds(self, attempt: Attempt) -> float:
        return self._talk_seconds(attempt)

    def _talk_seconds(self, attempt: Attempt) -> float:
        return max(self._endings_of.of(attempt.contact_id, attempt.number)[1] - SUPPOSED.ring_seconds, 0.1)


def plan_of(seed: int, *, limited: bool, numbers: int, mode: MachineDetection) -> Plan:
    own = OwnRules(
        (RetryRule(D.BUSY, 1, 300), RetryRule(D.REJECTED, 0)) if seed % 2 else (),
        list(RetryOrder)[seed // 2 % 2],
        breaker=None,
    )
    rules = with_rules(
        calling_hours=CallingHours(WINDOWS, "Europe/Berlin"),
        max_attempts=1 + seed % 4,
        retry_seconds=600,
        ring_seconds=25,
        own=own,
        machine_detection=mode,
    )
    trunk = replace(TRUNK, max_channels=4, calls_per_second=0.5)
    campaign = Campaign(
        0, "st-0", rules, trunk, None, None, 40.0, own_list=False, duplicates=numbers < PEOPLE, machine_start=True
    )
    people = tuple(
        Person(place, 0, f"+1555{place % numbers:07d}", ZONES[place * 7 % len(ZONES)], (), None, None)
        for place in range(PEOPLE)
    )
    rule = LimitRule(2, 2 * 3600, Counted.ATTEMPTS)
    limits = (AttemptLimit("l", ACCOUNT, None, None, rule, None, BEGIN, "test"),) if limited else ()
    caps = {"st-0": None, "st-1": None}
    return Plan(seed, BEGIN, 300.0, 1, 1, caps, (campaign,), people, limits, (Act(0.0, "start"),))


@pytest.mark.parametrize("numbers", [PEOPLE, 13], ids=["a number each", "numbers several times"])
@pytest.mark.parametrize("limited", [False, True], ids=["no limit", "a limit"])
@pytest.mark.parametrize("seed", range(4))
def test_both_come_to_the_same_counts(monkeypatch, seed, limited, numbers):
    agree(monkeypatch, plan_of(seed, limited=limited, numbers=numbers, mode=MachineDetection.NO), SUPPOSED)


@pytest.mark.parametrize(
    ("mode", "machines"),
    [
        (MachineDetection.DISCONNECT, MachineCalls(0.0, message_left=False)),
        (MachineDetection.DETECT, MachineCalls(30.0, message_left=True)),
    ],
    ids=["hung up on", "left a message"],
)
@pytest.mark.parametrize("seed", range(4))
def test_so_they_do_with_machines(monkeypatch, seed, mode, machines):
    # how long it takes until the verdict, and a greeting, is in the seconds of the call
    monkeypatch.setattr(node, "LISTENS", 0.0)
    monkeypatch.setattr(node, "GREETING", 0.0)
    plan = plan_of(seed, limited=seed % 2 == 0, numbers=PEOPLE, mode=mode)
    dispositions = agree(monkeypatch, plan, replace(SUPPOSED, shares=WITH_MACHINES, machines=machines))
    assert dispositions[D.ANSWERED_MACHINE] > 0


def agree(monkeypatch, plan: Plan, supposed: Assumptions) -> Counter[Disposition]:
    """Play both; return how calls ended."""
    seed = plan.seed
    # what people ask for on calls is not supposed
    monkeypatch.setattr(node, "OPT_OUT", 0.0)
    monkeypatch.setattr(node, "CALL_BACK", 0.0)
    rules = plan.campaigns[0].rules
    day = Played(plan, Endings(supposed, ring_seconds=rules.ring_seconds, seed=seed))
    day.play()
    people = People()
    for person in plan.people:
        where = whereabouts(
            None,
            phone=person.phone,
            contact_zone=person.zone,
            contact_state=None,
            number_zones=(),
            campaign_zone=rules.calling_hours.zone,
        )
        if where not in people.places:
            people.places.append(where)
        people.of.append(people.places.index(where))
        people.numbers.append(int(person.phone[1:]))
    assert isinstance(people.of, array)
    conditions = Conditions(
        rules=rules,
        limits=plan.limits,
        timetable=partial(rule_data.timetable, rules.calling_hours),
        begin=BEGIN,
        lines=4,
        per_second=0.5,
        ahead_seconds=AHEAD_SECONDS,
        seed=seed,
    )
    outcome = simulate(people, conditions, supposed)
    attempts = [row.attempt for row in day.referee.attempts.values() if row.counts]
    rows = day.referee.contacts[1].values()
    assert outcome.calls >= len(plan.people)
    assert dict(Counter(one.disposition for one in attempts)) == outcome.dispositions
    assert dict(Counter(row.reason for row in rows)) == outcome.done
    assert dict(sorted(Counter(row.attempts_count for row in rows).items())) == outcome.attempts
    ended_at = max(one.ended_at for one in attempts)
    assert abs(ended_at - outcome.last_call_at) < timedelta(minutes=2)
    # some calls lie on the other side of an hour
    hours = Counter(one.dialed_at.replace(minute=0, second=0, microsecond=0) for one in attempts)
    apart = sum(abs(hours[hour] - one.calls) for hour, one in outcome.hours.items())
    assert hours.keys() == outcome.hours.keys()
    assert apart <= max(4, len(attempts) // 8)
    return Counter(outcome.dispositions)

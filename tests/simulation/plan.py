"""What one day is made of, all of it drawn from its seed before it begins: people, rules, lines, and what is done when.

A day can be played with some of its people and acts left out, which is how the shortest repeat is found.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from dialing import CALLER_ID, with_rules
from outdial.core.attempt_limits import AttemptLimit, Counted, LimitRule
from outdial.core.machine import MachineDetection
from outdial.core.model import (
    AtClosing,
    Breaker,
    CallingHours,
    CallingWindow,
    DateException,
    DayWindow,
    DialingOrder,
    DialingRules,
    Disposition,
    OwnRules,
    RetryOrder,
    RetryRule,
    Trunk,
)
from simulation.timeline import luck
from values import TRUNK

ACCOUNT = "account"
LENGTH = timedelta(hours=30)
"""Of a day: an evening closes and a morning opens in it, wherever people are."""

DAYS = (
    date(2026, 3, 7),  # America's clocks are changed the night after
    date(2026, 3, 28),  # Europe's
    date(2026, 10, 24),  # Europe's, back
    date(2026, 10, 31),  # America's, back
    date(2026, 12, 24),
    date(2026, 6, 10),
    date(2026, 8, 23),
)
ZONES = ("Europe/Berlin", "Europe/London", "America/New_York", "Asia/Kolkata", "Pacific/Auckland")
SEVERAL = ((), ("America/Chicago", "America/Denver"), ("Europe/London",), ("Australia/Sydney", "Australia/Perth"))
CALLER_IDS = (CALLER_ID, "+15550100998")
PACKS = (None, None, None, "us", "gb", "de")


@dataclass(frozen=True)
class Person:
    """Somebody on a list."""

    id: int
    campaign: int
    phone: str
    zone: str | None
    number_zones: tuple[str, ...]
    state: str | None
    debt: str | None
    """What a call would be about, where that is known."""
    others: tuple[str, ...] = ()
    """Other numbers."""

    @property
    def phones(self) -> tuple[str, ...]:
        """All of them, in order."""
        return (self.phone, *self.others)

    def zones_at(self, phone: str) -> tuple[str, ...]:
        """Return what is plausible for a number of theirs; others lie where their digits say."""
        if phone == self.phone or self.zone is not None:
            return self.number_zones
        return SEVERAL[int(phone[-1]) % len(SEVERAL)]


@dataclass(frozen=True)
class Campaign:
    """A campaign with its list."""

    id: int
    iid: str
    rules: DialingRules
    trunk: Trunk
    cap: int | None
    rate: float | None
    talk_seconds: float
    own_list: bool
    duplicates: bool = False
    """Whether its list may hold a number more than once."""
    """Whether it names a do-not-call list of its own."""
    machine_start: bool = False
    """Whether its flow has a message for answering machines."""


@dataclass(frozen=True)
class Act:
    """Something that is done at an instant."""

    at: float
    """Seconds after the day's begin."""
    word: str
    what: int = 0
    """A campaign, a person, a node or an engine."""
    seconds: float = 0.0
    """How long, or how long after."""
    point: str = ""
    """What a node is doing right then: it waits for that, so that faults hit where it hurts."""


@dataclass(frozen=True)
class Plan:
    """A whole day."""

    seed: int
    begin: datetime
    ttl_seconds: float
    nodes: int
    engines: int
    application_caps: dict[str, int | None]
    campaigns: tuple[Campaign, ...]
    people: tuple[Person, ...]
    limits: tuple[AttemptLimit, ...]
    acts: tuple[Act, ...]

    @property
    def end(self) -> datetime:
        """When it is over."""
        return self.begin + LENGTH

    def only(self, acts: tuple[int, ...], people: tuple[int, ...]) -> Plan:
        """Return the same day with these acts and people alone, by their place in the whole one."""
        return replace(
            self,
            acts=tuple(self.acts[place] for place in acts),
            people=tuple(self.people[place] for place in people),
        )


POINTS = ("checked", "asked", "reserved", "written", "ended")


def draw(seed: int) -> Plan:
    """Return the day of a seed."""
    dice = random.Random(f"day {seed}")
    begin = datetime.combine(dice.choice(DAYS), time(dice.choice([0, 5, 6, 11, 16])), tzinfo=UTC)
    trunks = [
        replace(
            TRUNK,
            id=f"tr-{place}",
            caller_ids=(caller_id,),
            max_channels=dice.randrange(1, 9),
            calls_per_second=dice.choice([0.05, 0.5, 2.0, 10.0]),
        )
        for place, caller_id in enumerate(CALLER_IDS)
    ]
    campaigns = tuple(_detecting(seed, _campaign(dice, place, trunks)) for place in range(dice.randrange(1, 4)))
    numbers = dice.randrange(4, 30)
    people = tuple(_person(dice, place, campaigns, numbers) for place in range(dice.randrange(4, 60)))
    campaigns, people = _with_others(random.Random(f"others {seed}"), campaigns, people)
    nodes, engines = dice.randrange(1, 4), dice.randrange(1, 3)
    return Plan(
        seed=seed,
        begin=begin,
        ttl_seconds=dice.choice([120.0, 300.0, 600.0]),
        nodes=nodes,
        engines=engines,
        application_caps={"st-0": dice.choice([None, None, 3]), "st-1": dice.choice([None, 5])},
        campaigns=campaigns,
        people=people,
        limits=tuple(_limit(dice, place, campaigns, begin) for place in range(dice.choice([0, 0, 1, 1, 2, 3]))),
        acts=tuple(sorted(_acts(dice, len(campaigns), len(people), nodes, engines), key=lambda act: act.at)),
    )


def _hours(dice: random.Random) -> CallingHours:
    windows = []
    for weekday in range(7):
        if dice.random() < 0.1:
            continue
        opens, closes = dice.randrange(6, 12), dice.randrange(13, 24)
        if dice.random() < 0.3:
            windows += [
                CallingWindow(weekday, time(opens), time(12, 30)),
                CallingWindow(weekday, time(12, 45), time(closes)),
            ]
        elif dice.random() < 0.1:
            windows.append(CallingWindow(weekday, time(opens + 10), time(2, 30)))
        else:
            windows.append(CallingWindow(weekday, time(opens), time(closes)))
    exceptions = ()
    if dice.random() < 0.2:
        exceptions = (DateException(dice.choice(DAYS) + timedelta(days=1), (DayWindow(time(10), time(11)),)),)
    return CallingHours(
        windows=tuple(windows),
        zone=dice.choice(ZONES),
        exceptions=exceptions,
        rule_pack=dice.choice(PACKS),
        at_closing=dice.choice([AtClosing.HOLD, AtClosing.HOLD, AtClosing.PAUSE, AtClosing.EXPIRE]),
    )


def _campaign(dice: random.Random, place: int, trunks: list[Trunk]) -> Campaign:
    trunk = dice.choice(trunks)
    retries = {
        Disposition.BUSY: RetryRule(Disposition.BUSY, dice.choice([None, 0, 1, 2]), dice.choice([None, 60, 900])),
        Disposition.NO_ANSWER: RetryRule(Disposition.NO_ANSWER, next_window=True),
        Disposition.CONGESTION: RetryRule(Disposition.CONGESTION, None, 30),
    }
    own = OwnRules(
        tuple(rule for rule in retries.values() if dice.random() < 0.3),
        dice.choice(list(RetryOrder)),
        dice.choice([None, Breaker(5, 0.6), Breaker()]),
    )
    rules = with_rules(
        caller_id=trunk.caller_ids[0],
        calling_hours=_hours(dice),
        order=dice.choice(list(DialingOrder)),
        max_attempts=dice.randrange(1, 6),
        retry_seconds=dice.choice([60, 600, 3600]),
        ring_seconds=25,
        own=own,
    )
    return Campaign(
        id=place,
        iid=f"st-{dice.randrange(2)}",
        rules=rules,
        trunk=trunk,
        cap=dice.choice([None, 1, 2, 4]),
        rate=dice.choice([None, 0.2, 1.0]),
        talk_seconds=dice.choice([10.0, 40.0, 300.0]),
        own_list=dice.random() < 0.5,
    )


def _detecting(seed: int, campaign: Campaign) -> Campaign:
    """Return it with machines detected, or not: by luck of its own, so that days without are as they were."""
    modes = (MachineDetection.NO, MachineDetection.NO, MachineDetection.DETECT, MachineDetection.DISCONNECT)
    mode = modes[int(4 * luck(seed, "detects", campaign.id))]
    own = campaign.rules.own
    if luck(seed, "retries machines", campaign.id) < 0.3:
        rule = RetryRule(Disposition.ANSWERED_MACHINE, 2, 900)
        own = replace(own, retry_rules=(*own.retry_rules, rule))
    rules = replace(campaign.rules, machine_detection=mode, own=own)
    return replace(campaign, rules=rules, machine_start=luck(seed, "leaves messages", campaign.id) < 0.7)


def _person(dice: random.Random, place: int, campaigns: tuple[Campaign, ...], numbers: int) -> Person:
    campaign = dice.randrange(len(campaigns))
    # of a plan that the packs know, else of none
    prefix = {"us": "+1212", "gb": "+4420", "de": "+4930"}.get(campaigns[campaign].rules.calling_hours.rule_pack or "")
    zone = dice.choice([None, None, *ZONES])
    return Person(
        id=place,
        campaign=campaign,
        phone=f"{prefix or '+1555'}{dice.randrange(numbers):07d}",
        zone=zone,
        number_zones=() if zone else dice.choice(SEVERAL),
        state=dice.choice([None, None, None, "FL", "TX"]),
        debt=dice.choice([None, "a", "b"]),
    )


def _with_others(
    dice: random.Random, campaigns: tuple[Campaign, ...], people: tuple[Person, ...]
) -> tuple[tuple[Campaign, ...], tuple[Person, ...]]:
    """Return a day in which some have other numbers, those of other people among them, and some rules turn to them."""
    if dice.random() < 0.15:
        return campaigns, people
    known = [person.phone for person in people]
    share = dice.choice([0.4, 0.7, 1.0])
    told = []
    for person in people:
        others: list[str] = []
        while dice.random() < share * 0.8 and len(others) < 4:
            other = dice.choice(known) if dice.random() < 0.5 else f"+1555{dice.randrange(900, 999):07d}"
            if other not in (person.phone, *others):
                others.append(other)
        told.append(replace(person, others=tuple(others)))
    return tuple(_turning(dice, campaign) for campaign in campaigns), tuple(told)


def _turning(dice: random.Random, campaign: Campaign) -> Campaign:
    own = campaign.rules.own
    rules = [replace(rule, other_number=dice.random() < 0.7) for rule in own.retry_rules]
    has = {rule.disposition for rule in rules}
    rules += [
        RetryRule(disposition, dice.choice([None, 2]), dice.choice([30, 300]), other_number=True)
        for disposition in (Disposition.BUSY, Disposition.NO_ANSWER, Disposition.INVALID_NUMBER)
        if disposition not in has and dice.random() < 0.7
    ]
    return replace(campaign, rules=replace(campaign.rules, own=replace(own, retry_rules=tuple(rules))))


def _limit(dice: random.Random, place: int, campaigns: tuple[Campaign, ...], begin: datetime) -> AttemptLimit:
    counts = dice.choice(list(Counted))
    campaign = dice.choice([None, None, dice.choice(campaigns)])
    rule = LimitRule(
        dice.randrange(1, 4) if counts is Counted.ATTEMPTS else 1,
        dice.choice([1800, 4 * 3600, 24 * 3600]),
        counts,
        dice.choice([None, None, "debt"]),
    )
    return AttemptLimit(
        id=f"limit-{place}",
        account_id=ACCOUNT,
        iid=None if campaign is None else campaign.iid,
        campaign_id=None if campaign is None else str(campaign.id),
        rule=rule,
        preset=None,
        created_at=begin,
        created_by="plan",
    )


STOPS = ("stop", "stop-list", "stop-caller-id", "stop-account", "stop-number", "emergency")


def _acts(dice: random.Random, campaigns: int, people: int, nodes: int, engines: int) -> list[Act]:
    length = LENGTH.total_seconds()
    acts = []
    for campaign in range(campaigns):
        acts.append(Act(dice.uniform(0, length / 3), "start", campaign))
        # whoever paused by itself is resumed in the morning
        acts += [Act(hour * 3600 + dice.uniform(0, 600), "resume", campaign) for hour in range(3, 30, 5)]
        for _ in range(dice.choice([0, 0, 1, 2])):
            acts.append(Act(dice.uniform(0, length), "pause", campaign))
            acts.append(Act(acts[-1].at + dice.uniform(5, 3600), "resume", campaign))
        acts += [Act(dice.uniform(0, length), "start", campaign) for _ in range(dice.choice([0, 1, 1]))]
    for _ in range(dice.choice([0, 1, 1, 2])):
        word = dice.choice(STOPS)
        what = dice.randrange(people if word == "stop-number" else campaigns)
        point = dice.choice(["", *POINTS[:-1]])
        acts.append(Act(dice.uniform(length / 10, length), word, what, point=point))
        if point and dice.random() < 0.5:
            # a process frozen over the stop, which wakes up after the answer
            acts.append(Act(acts[-1].at, "freeze", dice.randrange(nodes), dice.choice([1, 30, 2000]), point))
        if word == "emergency":
            # somebody tries to go on
            acts.append(Act(acts[-1].at + 40.0, "start", what))
            acts.append(Act(acts[-1].at + dice.uniform(60, 7200), "lift"))
    for _ in range(dice.choice([0, 1, 3, 6])):
        word, point = dice.choice(["dnc", "dnc", "campaign-dnc"]), dice.choice(["", "", *POINTS[:-1]])
        acts.append(Act(dice.uniform(0, length), word, dice.randrange(people), point=point))
    for _ in range(dice.choice([0, 1, 3])):
        acts.append(
            Act(dice.uniform(0, length), "call-back", dice.randrange(people), dice.choice([-5, 60, 3600, 20000]))
        )
    for _ in range(dice.choice([0, 0, 1, 2])):
        point, at = dice.choice(POINTS), dice.uniform(0, length)
        acts.append(Act(at, dice.choice(["kill", "freeze"]), dice.randrange(nodes), dice.uniform(1, 3000), point))
    for _ in range(dice.choice([0, 0, 0, 1])):
        word = dice.choice(["engine-dies", "engine-away"])
        acts.append(Act(dice.uniform(0, length), word, dice.randrange(engines), dice.uniform(1, 1800)))
    for _ in range(dice.choice([0, 2, 5])):
        acts.append(Act(dice.uniform(0, length), "call-now", dice.randrange(people), point=dice.choice(["", *POINTS])))
    return acts

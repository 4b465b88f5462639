"""Simulations of campaigns: their own lists and rules, and what is supposed of calls, from the account's own where
there are enough of them. Nothing is stored and nobody is called."""

from __future__ import annotations

import asyncio
import threading
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain, groupby
from operator import attrgetter
from typing import Final

from outdial import clock, rule_data
from outdial.core.attempt_limits import AttemptLimit, PastAttempt, looked_at
from outdial.core.breaker import FAILING
from outdial.core.errors import BadReferenceError, LimitReachedError
from outdial.core.model import AtClosing, Campaign, DialingOrder, Disposition
from outdial.core.phone import zones_of
from outdial.core.schedule import FIRST_YEAR, LAST_YEAR
from outdial.core.simulation import (
    MOST_CONTACTS,
    MOST_DAYS,
    Conditions,
    Outcome,
    People,
    simulate,
)
from outdial.core.simulation_calls import Assumptions
from outdial.core.steps import Steps
from outdial.core.whereabouts import Whereabouts, whereabouts
from outdial.secretbox import SecretBox
from outdial.services.access import require_application
from outdial.services.fields import range_problems, require
from outdial.services.simulated_machines import Assumed, Source, SupposedMachines, chosen, suppose
from outdial.store import attempt_limits as limits_store
from outdial.store import simulations as store
from outdial.store import trunks as trunks_store
from outdial.store.database import Connection, Database
from outdial.store.run_contacts import POSITION_STEP, PRIORITY_STEP
from outdial.store.simulations import Ended, Lately, Listed

__all__ = ["Assumed", "Source", "SupposedMachines"]

AHEAD_SECONDS: Final = 1.2
"""For so long after its turn a call must lie within calling hours: what ``dialer.claim`` asks for (a test holds both
together)."""

MOST_LINES: Final = 100_000
LOWEST_RATE: Final = 0.001
MOST_RATE: Final = 10_000
"""Calls a second."""
LONGEST_RING_SECONDS: Final = 120
LONGEST_TALK_SECONDS: Final = 24 * 3600
HIGHEST_SEED: Final = (1 << 53) - 1
"""The largest that every JSON reader keeps (RFC 8259 §6)."""

FEWEST_CALLS: Final = 200
"""From so many calls of the account on its own history says more than defaults do."""

LOT: Final = 10_000
"""Contacts read at once."""

NUMBERS: Final = 500
"""Numbers of which the latest calls are asked for at once."""

CALLS: Final = 5_000
"""Calls read at once."""

BLOCK_DIGITS: Final = 4
"""Numbers that differ in no more than their last digits are taken to be in the same zones and places: numbers are
assigned in blocks."""

DEFAULT_SHARES: Final[Mapping[Disposition, float]] = {
    Disposition.ANSWERED_HUMAN: 0.35,
    Disposition.NO_ANSWER: 0.45,
    Disposition.BUSY: 0.08,
    Disposition.REJECTED: 0.05,
    Disposition.INVALID_NUMBER: 0.04,
    Disposition.CONGESTION: 0.03,
}
"""Round numbers, no measurement: your own calls say more."""
DEFAULT_RING_SECONDS: Final = 12.0
DEFAULT_TALK_SECONDS: Final = 45.0
DEFAULT_REFUSAL_SECONDS: Final = 3.0

_LIKE: Final[Mapping[Disposition, Disposition]] = {
    Disposition.ANSWERED_MACHINE: Disposition.ANSWERED_HUMAN,
    Disposition.ABANDONED: Disposition.ANSWERED_HUMAN,
    Disposition.FAILED: Disposition.CONGESTION,
}
"""Endings that are played as others: what follows is the same. Where machines are detected, they are told apart again
(``simulated_machines``)."""


@dataclass(frozen=True, slots=True)
class SimulationDraft:
    """What somebody wants to be supposed; None = from history, or a default."""

    start_at: datetime | None = None
    """Aware; None = now."""
    answer_rate: float | None = None
    """By people or machines; 0 to 1, as all rates."""
    busy_rate: float | None = None
    no_answer_rate: float | None = None
    invalid_rate: float | None = None
    ring_seconds: float | None = None
    talk_seconds: float | None = None
    """Of people's calls."""
    machine_rate: float | None = None
    """Of answered calls: a machine's. Counts where the campaign has machines detected."""
    machine_seconds: float | None = None
    """From the answer to the end of a machine's call. Too."""
    lines: int | None = None
    calls_per_second: float | None = None
    seed: int = 1
    days: int = 60


@dataclass(frozen=True, slots=True)
class Simulation:
    """A simulation, and what it was made from."""

    campaign_id: str
    name: str
    zone: str
    """Of the campaign's calling hours."""
    outcome: Outcome
    lines: Assumed
    calls_per_second: Assumed
    shares: Mapping[Disposition, Assumed]
    ring_seconds: Assumed
    talk_seconds: Assumed
    machines: SupposedMachines | None
    """None: the campaign has none detected, and they hear what people hear."""
    calls_looked_at: int
    """Calls of the account that the history consists of."""
    seed: int
    days: int
    notes: tuple[str, ...]
    """What to know about it, in sentences."""


async def simulate_campaign(
    database: Database,
    secrets: SecretBox,
    campaign: Campaign,
    draft: SimulationDraft,
    *,
    most_contacts: int = MOST_CONTACTS,
    most_steps: int | None = None,
) -> Simulation:
    """Play a campaign through, from its first contact on, as if it were started at an instant and left alone. A thread
    of its own plays it; when this is cancelled it ends within a moment.

    Raises InvalidInputError, BadReferenceError (no trunk has its caller ID, and lines and rate are not given),
    RulePackError (its rule pack or a holiday calendar cannot be read), LimitReachedError (it has more than
    ``most_contacts``), SimulationTooLongError (it takes more than ``most_steps``).
    """
    require(_problems(draft))
    begin = clock.now() if draft.start_at is None else draft.start_at
    hours = campaign.rules.calling_hours
    await rule_data.prepare(hours, begin)
    rule_data.pinned(hours, begin)
    async with database.connection() as connection:
        history = await store.endings(connection, campaign.account_id)
        machines = await suppose(connection, campaign, rate=draft.machine_rate, seconds=draft.machine_seconds)
        lines, per_second = await _capacity(connection, secrets, campaign, draft)
        limits = tuple(
            limit
            for limit in await limits_store.of_account(connection, campaign.account_id, campaign.iid)
            if limit.campaign_id in {None, campaign.id}
        )
    ended = threading.Event()
    steps = Steps(most_steps, ended=ended.is_set)
    looked_at_count = sum(one.count for one in history)
    enough = looked_at_count >= FEWEST_CALLS
    shares = _shares(draft, history if enough else ())
    if machines is not None:
        shares = machines.split(shares)
        # their calls say nothing of how long people talk
        history = [one for one in history if one.disposition is not Disposition.ANSWERED_MACHINE]
    ring, talk, refusal = _durations(draft, history if enough else ())
    conditions = Conditions(
        rules=campaign.rules,
        limits=limits,
        timetable=partial(rule_data.timetable, hours),
        begin=begin,
        lines=int(lines.value),
        per_second=per_second.value,
        ahead_seconds=AHEAD_SECONDS,
        seed=draft.seed,
        days=draft.days,
    )
    supposed = Assumptions(
        shares={disposition: one.value for disposition, one in shares.items()},
        ring_seconds=ring.value,
        talk_seconds=talk.value,
        refusal_seconds=refusal,
        machines=None if machines is None else machines.calls,
    )
    try:
        found = _Reader(campaign, begin, limits, steps, most=most_contacts)
        people = await _read(database, campaign, found)
        outcome = await asyncio.to_thread(simulate, people, conditions, supposed, steps=steps)
    finally:
        # a thread cannot be cancelled
        ended.set()
    return Simulation(
        campaign_id=campaign.id,
        name=campaign.name,
        zone=hours.zone,
        outcome=outcome,
        lines=lines,
        calls_per_second=per_second,
        shares=shares,
        ring_seconds=ring,
        talk_seconds=talk,
        machines=machines,
        calls_looked_at=looked_at_count,
        seed=draft.seed,
        days=draft.days,
        notes=(*(machines.notes() if machines is not None else ()), *_notes(campaign, supposed, outcome)),
    )


def _problems(draft: SimulationDraft) -> list[str]:
    rates = {
        "answerRate": draft.answer_rate,
        "busyRate": draft.busy_rate,
        "noAnswerRate": draft.no_answer_rate,
        "invalidRate": draft.invalid_rate,
    }
    given = [rate for rate in rates.values() if rate is not None]
    rates["machineRate"] = draft.machine_rate
    problems = [
        problem
        for name, rate in rates.items()
        if rate is not None
        for problem in range_problems(name, rate, least=0, most=1)
    ]
    if not problems and sum(given) > 1 + 1e-9:
        problems.append("The rates are shares of all calls: together they must not be more than 1.")
    bounds: dict[str, tuple[float | None, float, float]] = {
        "ringSeconds": (draft.ring_seconds, 0, LONGEST_RING_SECONDS),
        "talkSeconds": (draft.talk_seconds, 0, LONGEST_TALK_SECONDS),
        "machineSeconds": (draft.machine_seconds, 0, LONGEST_TALK_SECONDS),
        "lines": (draft.lines, 1, MOST_LINES),
        "callsPerSecond": (draft.calls_per_second, LOWEST_RATE, MOST_RATE),
        "days": (draft.days, 1, MOST_DAYS),
        "seed": (draft.seed, 0, HIGHEST_SEED),
    }
    for name, (value, least, most) in bounds.items():
        if value is not None:
            problems += range_problems(name, value, least=least, most=most)
    if draft.start_at is not None and draft.start_at.tzinfo is None:
        problems.append("`startAt` must have a time zone, like 2026-11-18T09:00:00Z.")
    if draft.start_at is not None and not FIRST_YEAR <= draft.start_at.year <= LAST_YEAR:
        problems.append(f"`startAt` must lie in the years {FIRST_YEAR} to {LAST_YEAR}.")
    return problems


async def _capacity(
    connection: Connection, secrets: SecretBox, campaign: Campaign, draft: SimulationDraft
) -> tuple[Assumed, Assumed]:
    """Return lines and calls a second: as given, else as the trunk and the application allow."""
    trunk = await trunks_store.by_caller_id(connection, secrets, campaign.iid, campaign.rules.caller_id)
    if trunk is None and (draft.lines is None or draft.calls_per_second is None):
        raise BadReferenceError(
            f"No trunk of the application has the caller ID {campaign.rules.caller_id}, so its lines are not known. "
            f"Add one with: outdial trunk add --iid {campaign.iid} --caller-id {campaign.rules.caller_id} …; or say "
            "how many lines and calls a second there are."
        )
    cap = (await require_application(connection, campaign.iid)).max_concurrent_calls
    lines = Assumed(0 if trunk is None else trunk.max_channels, Source.TRUNK)
    if cap is not None and cap < lines.value:
        lines = Assumed(cap, Source.APPLICATION)
    rate = Assumed(0 if trunk is None else trunk.calls_per_second, Source.TRUNK)
    return (
        lines if draft.lines is None else Assumed(draft.lines, Source.GIVEN),
        rate if draft.calls_per_second is None else Assumed(draft.calls_per_second, Source.GIVEN),
    )


# People


async def _read(database: Database, campaign: Campaign, found: _Reader) -> People:
    """Read the campaign's lists, in lots, each with a connection lent for it alone and looked through in a thread: to
    find where numbers may be takes up to a second or two a lot, and whoever dials beside it must not wait for that."""
    async with database.connection() as connection:
        account_list = await store.account_dnc_list_id(connection, campaign.account_id)
    # as a start loads them: of a number on several lists the first one counts
    lists = list(enumerate(campaign.list_ids))
    for position, list_id in reversed(lists) if found.lifo else lists:
        async with database.connection() as connection:
            duplicates = await store.allows_duplicates(connection, list_id)
        found.duplicates |= duplicates
        after = 0
        while True:
            async with database.connection() as connection:
                lot = await store.contacts(
                    connection,
                    list_id,
                    account_dnc_list_id=account_list,
                    dnc_list_id=campaign.dnc_list_id,
                    matters=found.names,
                    after=after,
                    limit=LOT,
                )
            once = len(lists) > 1 and not duplicates
            phones = await asyncio.to_thread(found.add, lot, position=position, once=once)
            for first in range(0, len(phones), NUMBERS):
                await _read_calls(database, campaign.account_id, phones[first : first + NUMBERS], found)
            if len(lot) < LOT:
                break
            after = lot[-1].id
    return await asyncio.to_thread(found.people)


async def _read_calls(database: Database, account_id: str, phones: list[str], found: _Reader) -> None:
    """Read what was lately called of some numbers, in lots."""
    after = None
    while True:
        async with database.connection() as connection:
            calls = await store.called_lately(
                connection, account_id, phones, seconds=found.seconds, after=after, limit=CALLS
            )
        await asyncio.to_thread(found.remember, calls)
        if len(calls) < CALLS:
            return
        after = calls[-1][:3]
        phones = [phone for phone in phones if phone >= after[0]]


class _Reader:
    """Makes rows what a simulation plays with. All but making it is done in threads, one after the other."""

    def __init__(
        self, campaign: Campaign, begin: datetime, limits: Sequence[AttemptLimit], steps: Steps, *, most: int
    ) -> None:
        self._most, self._steps = most, steps
        self._rules = [limit.rule for limit in limits]
        self.seconds = max((rule.window_seconds for rule in self._rules), default=0)
        """As far as limits look back; 0: there are none."""
        self.names = sorted({rule.matter for rule in self._rules if rule.matter is not None})
        """Attributes that limits name."""
        self.lifo = campaign.rules.order is DialingOrder.LIFO
        self.duplicates = False
        """Whether one number may be on the lists more than once."""
        self._timetable = rule_data.timetable(campaign.rules.calling_hours, begin)
        self._matters: dict[int, Mapping[str, str]] | None = {} if self.names else None
        self._found = People()
        self._place_of: dict[Whereabouts, int] = {}
        self._known: dict[tuple[str | None, str | None, str], int] = {}
        self._of, self._keys, self._ids, self._numbers = array("I"), array("q"), array("q"), array("Q")
        self._seen: set[int] = set()

    def add(self, lot: Sequence[Listed], *, position: int, once: bool) -> list[str]:
        """Take some rows, and return the numbers of which past calls are to be remembered.

        ``once``: a number that was seen before is not taken again. Raises LimitReachedError, SimulationEndedError.
        """
        self._steps.look()
        if len(self._of) + len(lot) > self._most:
            raise LimitReachedError(
                f"The campaign has more than {self._most:,} contacts, as many as are simulated here; the command "
                f"`outdial simulate` plays up to {MOST_CONTACTS:,}."
            )
        pack, known = self._timetable.pack is not None, self._known
        denied, sign = self._found.denied, -1 if self.lifo else 1
        phones: dict[str, None] = {}
        for contact_id, phone, zone, state, priority, account, listed, matters in lot:
            number = int(phone[1:])
            if once:
                if number in self._seen:
                    continue
                self._seen.add(number)
            if account or listed:
                denied["account's" if account else "campaign's"] += 1
                continue
            block = phone[:-BLOCK_DIGITS] if pack or not zone else ""
            key = (zone, state if pack else None, f"{block}/{len(phone)}" if block else "")
            place = known.get(key)
            if place is None:
                place = known[key] = self._placed(phone, zone, state)
            self._of.append(place)
            self._keys.append(priority * -PRIORITY_STEP + sign * (position * POSITION_STEP + contact_id))
            self._ids.append(contact_id)
            self._numbers.append(number)
            if self._rules and number not in self._found.past:
                phones[phone] = None
            if self._matters is not None and matters:
                self._matters[contact_id] = matters
        return list(phones)

    def remember(self, calls: Sequence[Lately]) -> None:
        """Take calls, of each number the latest first, and keep what limits can look at.

        Raises SimulationEndedError.
        """
        self._steps.look()
        past = self._found.past
        for phone, of_number in groupby(calls, key=attrgetter("phone")):
            number = int(phone[1:])
            more = (
                PastAttempt(one.at, one.ended_at, Disposition(one.disposition), one.matters or {}) for one in of_number
            )
            # a lot may end between calls to one number
            past[number] = tuple(looked_at(self._rules, chain(past.get(number, ()), more)))

    def _placed(self, phone: str, zone: str | None, state: str | None) -> int:
        self._steps.look()
        where = whereabouts(
            self._timetable.pack,
            phone=phone,
            contact_zone=zone,
            contact_state=state,
            number_zones=() if zone and self._timetable.pack is None else zones_of(phone),
            campaign_zone=self._timetable.hours.zone,
        )
        place = self._place_of.get(where)
        if place is None:
            place = self._place_of[where] = len(self._found.places)
            self._found.places.append(where)
        return place

    def people(self) -> People:
        """Return everybody in dialing order."""
        keys, ids, found = self._keys, self._ids, self._found
        turn: Sequence[int] = range(len(keys))
        if any(keys[place] > keys[place + 1] for place in range(len(keys) - 1)):
            turn = sorted(turn, key=keys.__getitem__)
        found.of = array("I", (self._of[place] for place in turn))
        if self._rules or self.duplicates:
            found.numbers = array("Q", (self._numbers[place] for place in turn))
        if self._matters:
            for contact, place in enumerate(turn):
                if ids[place] in self._matters:
                    found.matters[contact] = self._matters[ids[place]]
        return found


# Assumptions


def _shares(draft: SimulationDraft, history: Sequence[Ended]) -> dict[Disposition, Assumed]:
    """Return how calls are supposed to end: what is given, and the rest in the proportions that are known of it."""
    source = Source.HISTORY if history else Source.DEFAULT
    usual = dict.fromkeys(DEFAULT_SHARES, 0.0)
    for one in history:
        usual[_LIKE.get(one.disposition, one.disposition)] += one.count
    if not history:
        usual = dict(DEFAULT_SHARES)
    given = {
        disposition: rate
        for disposition, rate in (
            (Disposition.ANSWERED_HUMAN, draft.answer_rate),
            (Disposition.BUSY, draft.busy_rate),
            (Disposition.NO_ANSWER, draft.no_answer_rate),
            (Disposition.INVALID_NUMBER, draft.invalid_rate),
        )
        if rate is not None
    }
    left = max(1.0 - sum(given.values()), 0.0)
    rest = {disposition: weight for disposition, weight in usual.items() if disposition not in given}
    total = sum(rest.values())
    if not total:
        # nothing is known of what is left
        unknown = Disposition.NO_ANSWER if Disposition.NO_ANSWER in rest else Disposition.REJECTED
        rest, total = {**rest, unknown: 1.0}, 1.0
    return {
        disposition: Assumed(given[disposition], Source.GIVEN)
        if disposition in given
        else Assumed(rest[disposition] / total * left, source)
        for disposition in usual
    }


def _durations(draft: SimulationDraft, history: Sequence[Ended]) -> tuple[Assumed, Assumed, float]:
    """Return how long it rings until an answer, how long people talk, and how long a refused call takes."""
    answered = [one for one in history if one.ring_seconds is not None and one.talk_seconds is not None]
    refused = [one for one in history if one.ring_seconds is None and one.disposition is not Disposition.NO_ANSWER]
    ring = _mean([(one.ring_seconds or 0.0, one.count) for one in answered])
    talk = _mean([(one.talk_seconds or 0.0, one.count) for one in answered])
    refusal = _mean([(one.seconds, one.count) for one in refused])
    return (
        chosen(draft.ring_seconds, ring, DEFAULT_RING_SECONDS),
        chosen(draft.talk_seconds, talk, DEFAULT_TALK_SECONDS),
        DEFAULT_REFUSAL_SECONDS if refusal is None else refusal,
    )


def _mean(values: Sequence[tuple[float, int]]) -> float | None:
    count = sum(weight for _, weight in values)
    return sum(value * weight for value, weight in values) / count if count else None


def _notes(campaign: Campaign, supposed: Assumptions, outcome: Outcome) -> list[str]:
    notes = []
    breaker = campaign.rules.own.breaker
    failing = sum(share for disposition, share in supposed.shares.items() if disposition in FAILING)
    if breaker is not None and failing >= breaker.share:
        notes.append(
            f"{failing:.0%} of the calls are supposed to fail: the run would pause itself (from {breaker.share:.0%} of "
            f"its last {breaker.attempts} calls on), which is not played."
        )
    if campaign.rules.calling_hours.at_closing is AtClosing.PAUSE:
        notes.append("The run pauses itself at closing time; it is played as if somebody resumed it at each opening.")
    if not outcome.finished:
        notes.append(
            f"{outcome.left_count} contacts are still to be called when the days played are over; play more of them, "
            "or give it more lines."
        )
    return notes

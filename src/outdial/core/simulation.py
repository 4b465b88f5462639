"""How a campaign would go: its dialing played through by the rules that dial it, call by call, without placing any.

A discrete simulation: the next call leaves as soon as a line is free, the rate lets it and somebody may be called.
Calling hours, retries, limits and what ends a contact are asked of the functions that a dialer node asks
(``core.calling_hours``, ``core.closing``, ``core.retry``, ``core.screening``, ``core.attempt_limits``); what they say
alike of many people is asked once. How each call ends is drawn from the assumptions, by the seed, the contact and which
try it is: whatever else changes, the same try of the same contact ends alike.

A million contacts are played in compact arrays. People are told apart only by where they may be, since that decides
when they may be called: all of one place share their calling hours.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from heapq import heapify, heappop, heappush
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from outdial.core.attempt_limits import AttemptLimit, PastAttempt, looked_at, standing
from outdial.core.calling_hours import Timetable, opening, spans_around
from outdial.core.closing import expired
from outdial.core.model import AtClosing, DialingRules, Disposition, DoneReason, RetryOrder
from outdial.core.retry import Finish, PutBack, TryAgain, after_attempt, next_window
from outdial.core.screening import Candidate, Deny, Moment, Policy, retry_count
from outdial.core.simulation_calls import Assumptions, Endings
from outdial.core.steps import Steps
from outdial.core.whereabouts import Whereabouts
from outdial.core.zones import find_zone

MOST_CONTACTS: Final = 1 << 24
"""A contact's place and the instant at which it comes due share one whole number."""

MOST_DAYS: Final = 366
"""Farthest that a simulation looks ahead."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND: Final = 1_000_000
_HOUR: Final = 3600 * _SECOND
_PLACE_BITS: Final = 24
_PLACE: Final = MOST_CONTACTS - 1
_LOT: Final = timedelta(days=14)
"""Spans are known for so long after the day they are asked for, and two days more."""
_STEPS_OF_SPANS: Final = 100
"""Finding calling hours of some days takes as long as so many calls."""
_LOOKS_IN_A_STEP: Final = 8
"""So many past calls are held against one limit in the time of one step."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a campaign is dialed by."""

    rules: DialingRules
    limits: tuple[AttemptLimit, ...]
    timetable: Callable[[datetime], Timetable]
    """Of the rules' calling hours around an instant."""
    begin: datetime
    """When it is started; aware."""
    lines: int
    """Calls at once; 1 or more."""
    per_second: float
    """Calls that may leave in a second; more than 0."""
    ahead_seconds: float
    """For so long after its turn a call must lie within calling hours."""
    seed: int
    days: int = MOST_DAYS
    """How far it is played."""


@dataclass(slots=True)
class People:
    """Everybody on the lists who may be called, in the order in which they are dialed."""

    places: list[Whereabouts] = field(default_factory=list)
    """Where people may be, each once."""
    of: array[int] = field(default_factory=lambda: array("I"))
    """Of each contact, its place in ``places``."""
    denied: Counter[str] = field(default_factory=Counter)
    """Contacts that are not called at all, by the rule that says so."""
    numbers: array[int] = field(default_factory=lambda: array("Q"))
    """Of each contact, its number as a whole one; empty: each has a number of its own, which is its place here."""
    past: dict[int, tuple[PastAttempt, ...]] = field(default_factory=dict)
    """Of numbers that were called lately: those calls, the latest first; needed where there are limits."""
    matters: dict[int, Mapping[str, str]] = field(default_factory=dict)
    """What calls to contacts are about, where limits name it."""


@dataclass(slots=True)
class Hour:
    """What happens in one hour."""

    calls: int = 0
    answered: int = 0
    """By people or machines."""
    lines: int = 0
    """The most at once."""


@dataclass(frozen=True, slots=True)
class Never:
    """People who are never called, for one reason."""

    why: str
    count: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a simulation came to. Every contact is in exactly one of ``done``, ``never`` and ``left_count``."""

    contacts: int
    begin: datetime
    last_call_at: datetime | None
    """When the last call ended; None when there was none."""
    finished: bool
    """Nobody is left who could still be called within the days played."""
    hours: Mapping[datetime, Hour]
    """By the UTC instant at which each begins, an hour of the campaign's zone; those without a call are left out."""
    dispositions: Mapping[Disposition, int]
    done: Mapping[DoneReason, int]
    attempts: Mapping[int, int]
    """How many contacts have had so many attempts, 0 among them."""
    never: tuple[Never, ...]
    left_count: int
    """Contacts who wait for another try, or their first one, when the days played are over."""

    @property
    def calls(self) -> int:
        """All calls placed."""
        return sum(self.dispositions.values())

    @property
    def lines(self) -> int:
        """The most lines in use at once."""
        return max((hour.lines for hour in self.hours.values()), default=0)


_NO_MATTERS: Final[Mapping[str, str]] = MappingProxyType({})


def simulate(
    people: People, conditions: Conditions, assumptions: Assumptions, *, steps: Steps | None = None
) -> Outcome:
    """Play a campaign from its start until nobody is left to be called, or the days are over.

    ``steps``: what it may use up; without them it takes as long as it takes. Raises what ``Steps.take`` does.
    """
    return _Play(people, conditions, assumptions, steps or Steps()).outcome()


def _recurring(numbers: Sequence[int]) -> frozenset[int]:
    ordered = sorted(numbers)
    return frozenset(one for one, following in pairwise(ordered) if one == following)


class _Hours:
    """Calling hours of one place, as far as they are looked at: spans in microseconds since the begin."""

    def __init__(self, where: Whereabouts, conditions: Conditions, end: int, steps: Steps) -> None:
        self._where, self._conditions, self._end, self._steps = where, conditions, end, steps
        self._since = (conditions.begin - _EPOCH) // _MICROSECOND
        self._ahead = int(conditions.ahead_seconds * _SECOND)
        self._opens: list[int] = []
        self._closes: list[int] = []
        self._known_to = 0
        """Up to here every span is known."""
        self._windows: dict[int, int] = {}
        self._open_from = self._open_until = 0
        """A stretch in which calls may leave, the last one that was asked about."""
        self.expires_at = self._expiry()

    def _more(self) -> bool:
        """Read on; False at the end of the days played."""
        if self._known_to > self._end:
            return False
        self._steps.take(_STEPS_OF_SPANS)
        at = self._conditions.begin + self._known_to * _MICROSECOND
        known_to = datetime.combine(at.astimezone(UTC).date(), time.min, tzinfo=UTC) + _LOT
        upto = (known_to - self._conditions.begin) // _MICROSECOND
        for start, end in spans_around(self._conditions.timetable(at), self._where, at):
            opens, closes = max(start - self._since, self._known_to), min(end - self._since, upto)
            if opens >= closes:
                continue
            if self._closes and self._closes[-1] == opens:
                self._closes[-1] = closes
            else:
                self._opens.append(opens)
                self._closes.append(closes)
        self._known_to = upto
        return True

    def is_open(self, now: int) -> bool:
        """Whether a call may leave now."""
        return self._open_from <= now < self._open_until or self.opens(now) == now

    def opens(self, now: int) -> int | None:
        """Return the first instant from ``now`` on at which a call may leave; None: never in the days played."""
        while (place := bisect_right(self._closes, now + self._ahead)) == len(self._closes):
            if not self._more():
                return None
        if self._opens[place] > self._end:
            return None
        self._open_from, self._open_until = self._opens[place], self._closes[place] - self._ahead
        return max(self._opens[place], now)

    def opens_later(self, now: int) -> bool:
        """Whether they are known to open after the days played, where they do not within them."""
        return bisect_right(self._closes, now + self._ahead) < len(self._closes)

    def next_window(self, now: int) -> int:
        """Return when hours begin the next time after having been closed (``core.retry.next_window``)."""
        place = bisect_right(self._opens, now)
        known = self._windows.get(place)
        if known is not None:
            return known
        self._steps.take(_STEPS_OF_SPANS)
        at = self._conditions.begin + now * _MICROSECOND
        begins = (next_window(self._conditions.timetable(at), self._where, at) - self._conditions.begin) // _MICROSECOND
        if place < len(self._opens):
            # the same for whoever asks before it
            self._windows[place] = begins
        return begins

    def _expiry(self) -> int | None:
        """Return the instant from which on whoever was not reached is not called any more; None: there is none."""
        conditions = self._conditions
        if conditions.rules.calling_hours.at_closing is not AtClosing.EXPIRE:
            return None
        place = 0
        while place < len(self._closes) - 1 or self._more():
            while place < len(self._closes) - 1:
                self._steps.take(_STEPS_OF_SPANS)
                at = conditions.begin + self._closes[place] * _MICROSECOND
                closed = expired(conditions.timetable(at), self._where, since=conditions.begin, at=at)
                if closed is not None:
                    return (closed - conditions.begin) // _MICROSECOND
                place += 1
        return None

    def why_never(self) -> str:
        """Return why a call can never leave."""
        at = self._conditions.begin
        found = opening(self._conditions.timetable(at), self._where, at)
        why = found.closed_by[0].sentence if found.closed_by else "All of their zones and rules are never open at once."
        return f"Calling hours do not open. {why}"


class _Play:
    """One simulation under way. Instants are microseconds since its begin."""

    def __init__(self, people: People, conditions: Conditions, assumptions: Assumptions, steps: Steps) -> None:
        self._people, self._conditions, self._steps = people, conditions, steps
        self._rules = conditions.rules
        self._end = conditions.days * 24 * _HOUR
        self._hours_of = [_Hours(where, conditions, self._end, steps) for where in people.places]
        self._endings = Endings(assumptions, ring_seconds=self._rules.ring_seconds, seed=conditions.seed)
        self._attempts = bytearray(len(people.of))
        self._tried: dict[int, tuple[Disposition, ...]] = {}
        """How contacts' attempts ended, where a retry rule counts them."""
        self._counts_endings = any(rule.most for rule in self._rules.own.retry_rules)
        self._past = dict(people.past) if conditions.limits else {}
        """Of numbers: what was dialed before."""
        self._shared = _recurring(people.numbers)
        """Numbers of several contacts."""
        self._busy: dict[int, int] = {}
        """Until when the latest call to each of those lasts."""
        self._after: dict[tuple[Disposition, int], Finish | TryAgain] = {}
        self._retries: list[int] = []
        """Whoever comes due at an instant: the instant and the contact's place in one number, a heap."""
        self._first = [array("I") for _ in people.places]
        """Of each place, who was never tried, in order."""
        self._turn = [0] * len(people.places)
        self._open: list[tuple[int, int, int]] = []
        """Places in which somebody may be called for the first time: who was put off comes after who was not."""
        self._closed: list[tuple[int, int]] = []
        """When the others open."""
        self._live: list[int] = []
        """When each call under way ends, a heap."""
        self._by_hour: dict[int, Hour] = {}
        zone = find_zone(self._rules.calling_hours.zone) or UTC
        local = conditions.begin.astimezone(zone)
        self._into_hour = ((local.minute * 60 + local.second) * _SECOND) + local.microsecond
        """How far the begin is into an hour of the campaign's zone: hours are counted by that clock."""
        self._dispositions: Counter[Disposition] = Counter()
        self._done: Counter[DoneReason] = Counter()
        self._never: Counter[str] = Counter()
        self._left = 0
        self._last = 0
        """When the last call ends."""
        self._line_up()

    def _line_up(self) -> None:
        for contact, place in enumerate(self._people.of):
            self._first[place].append(contact)
        for place, waiting in enumerate(self._first):
            if waiting:
                self._let_wait(place, 0)
        heapify(self._open)

    def _let_wait(self, place: int, now: int) -> None:
        """Put those of a place who were never tried where they belong: open now, later, or never."""
        hours, waiting = self._hours_of[place], len(self._first[place]) - self._turn[place]
        opens = hours.opens(now)
        if hours.expires_at is not None and (opens is None or opens >= hours.expires_at):
            self._done[DoneReason.EXPIRED] += waiting
        elif opens is None and hours.opens_later(now):
            self._left += waiting
        elif opens is None:
            self._never[hours.why_never()] += waiting
        elif opens <= now:
            heappush(self._open, (0, self._first[place][self._turn[place]], place))
        else:
            heappush(self._closed, (opens, place))

    def outcome(self) -> Outcome:
        """Play it, and tell what came of it."""
        conditions, live = self._conditions, self._live
        interval = _SECOND / conditions.per_second
        next_at = 0.0
        now = 0
        while now <= self._end:
            self._steps.take()
            now = max(now, int(next_at))
            if len(live) >= conditions.lines:
                now = max(now, live[0])
            while live and live[0] <= now:
                heappop(live)
            contact = self._next(now)
            if contact is not None:
                self._call(contact, now)
                next_at = max(next_at, now) + interval
                continue
            later = self._later()
            if later is None:
                break
            now = max(later, now)
        waiting = {one[-1] for one in (*self._open, *self._closed)}
        self._left += len(self._retries) + sum(len(self._first[place]) - self._turn[place] for place in waiting)
        return self._told()

    def _later(self) -> int | None:
        """Return when somebody may be called next; None: nobody any more."""
        found = [one[0] for one in self._closed[:1]] + [one >> _PLACE_BITS for one in self._retries[:1]]
        return min(found) if found else None

    def _next(self, now: int) -> int | None:
        """Return who is called now, as the run's order has it; None: nobody may be."""
        if self._rules.own.retry_order is RetryOrder.WHEN_DUE:
            found = self._next_retry(now)
            return self._next_first(now) if found is None else found
        found = self._next_first(now)
        return self._next_retry(now) if found is None else found

    def _next_first(self, now: int) -> int | None:
        while self._closed and self._closed[0][0] <= now:
            opens, place = heappop(self._closed)
            if self._hours_of[place].is_open(now):
                heappush(self._open, (1 + opens, self._first[place][self._turn[place]], place))
            else:
                self._let_wait(place, now)
        while self._open:
            self._steps.take()
            order, contact, place = heappop(self._open)
            if not self._hours_of[place].is_open(now):
                self._let_wait(place, now)
                continue
            self._turn[place] += 1
            if self._turn[place] < len(self._first[place]):
                heappush(self._open, (order, self._first[place][self._turn[place]], place))
            if self._limited(contact, now):
                continue
            return contact
        return None

    def _next_retry(self, now: int) -> int | None:
        retries, limit = self._retries, (now + 1) << _PLACE_BITS
        while retries and retries[0] < limit:
            self._steps.take()
            contact = heappop(retries) & _PLACE
            hours = self._hours_of[self._people.of[contact]]
            if hours.expires_at is not None and now >= hours.expires_at:
                self._done[DoneReason.EXPIRED] += 1
            elif self._limited(contact, now):
                continue
            elif hours.is_open(now):
                return contact
            elif (opens := hours.opens(now)) is None:
                self._left += 1
            else:
                heappush(retries, opens << _PLACE_BITS | contact)
        return None

    def _limited(self, contact: int, now: int) -> bool:
        """Put a contact off whose number is on a call, or has been called as often as it may be; whether it was."""
        number = self._number(contact)
        busy_until = self._busy.get(number, 0)
        if busy_until > now:
            heappush(self._retries, busy_until << _PLACE_BITS | contact)
            return True
        past = self._past.get(number)
        if past is None:
            return False
        self._steps.take(len(past) * len(self._conditions.limits) // _LOOKS_IN_A_STEP)
        at, matters = self._instant(now), self._people.matters.get(contact, _NO_MATTERS)
        free = [
            free_at
            for limit in self._conditions.limits
            if (free_at := standing(limit.rule, past, matters, at).free_at) is not None
        ]
        if free:
            due = -((self._conditions.begin - max(free)) // _MICROSECOND)
            heappush(self._retries, due << _PLACE_BITS | contact)
        return bool(free)

    def _call(self, contact: int, now: int) -> None:
        number = self._attempts[contact] + 1
        self._attempts[contact] = number
        disposition, seconds = self._endings.of(contact, number)
        end = now + int(seconds * _SECOND)
        heappush(self._live, end)
        self._last = max(self._last, end)
        place = (now + self._into_hour) // _HOUR
        hour = self._by_hour.get(place)
        if hour is None:
            hour = self._by_hour[place] = Hour()
        hour.calls += 1
        hour.lines = max(hour.lines, len(self._live))
        hour.answered += disposition is Disposition.ANSWERED_HUMAN or disposition is Disposition.ANSWERED_MACHINE
        self._dispositions[disposition] += 1
        decided = self._decided(disposition, number)
        self._note(contact, disposition, (now, end), decided)
        if isinstance(decided, Finish):
            self._done[decided.reason] += 1
        else:
            self._again(contact, disposition, end, decided)

    def _number(self, contact: int) -> int:
        return self._people.numbers[contact] if self._people.numbers else contact

    def _note(
        self, contact: int, disposition: Disposition, lasted: tuple[int, int], decided: Finish | TryAgain
    ) -> None:
        """Keep what a call means for further ones to its number, as far as there may be any."""
        number = self._number(contact)
        if number in self._shared:
            self._busy[number] = lasted[1]
        elif isinstance(decided, Finish):
            self._past.pop(number, None)
            return
        if not self._conditions.limits:
            return
        dialed_at, ended_at = (self._instant(one) for one in lasted)
        matters = self._people.matters.get(contact, _NO_MATTERS)
        past = (PastAttempt(dialed_at, ended_at, disposition, matters), *self._past.get(number, ()))
        rules = [limit.rule for limit in self._conditions.limits]
        self._steps.take(len(past) * len(rules) // _LOOKS_IN_A_STEP)
        self._past[number] = tuple(looked_at(rules, past))

    def _decided(self, disposition: Disposition, number: int) -> Finish | TryAgain:
        """Return what becomes of a contact after an attempt: alike for all whose try it was."""
        found = self._after.get((disposition, number))
        if found is None:
            made = after_attempt(
                disposition,
                sent=True,
                attempts_count=number,
                rules=self._rules,
                run_stopping=False,
                message_left=self._endings.message_left,
            )
            assert not isinstance(made, PutBack)  # noqa: S101 - it was sent
            if isinstance(made, TryAgain) and made.otherwise is not None:
                # everybody is played at their first number
                made = Finish(made.otherwise)
            found = self._after[disposition, number] = made
        return found

    def _again(self, contact: int, disposition: Disposition, end: int, decided: TryAgain) -> None:
        rule = self._rules.own.after(disposition)
        if self._counts_endings:
            self._tried[contact] = (*self._tried.get(contact, ()), disposition)
            if rule is not None and rule.most is not None and self._denied(self._tried[contact]):
                self._done[DoneReason.ATTEMPTS_USED] += 1
                del self._tried[contact]
                return
        due = end + int(decided.after_seconds * _SECOND)
        if rule is not None and rule.next_window:
            due = max(due, self._hours_of[self._people.of[contact]].next_window(end))
        heappush(self._retries, due << _PLACE_BITS | contact)

    def _denied(self, tried: Sequence[Disposition]) -> bool:
        """Whether a retry rule lets nobody whose attempts ended so be tried again (``core.screening.retry_count``)."""
        begin = self._conditions.begin
        candidate = Candidate(
            contact_id=0,
            phone="",
            contact_zone=None,
            number_zones=(),
            attempts_count=len(tried),
            not_before=None,
            on_account_dnc=False,
            on_campaign_dnc=False,
            tried=tuple((one, begin) for one in tried),
        )
        answer = retry_count(candidate, Policy(self._rules), Moment(begin, begin))
        return isinstance(answer.verdict, Deny)

    def _instant(self, micros: int) -> datetime:
        return self._conditions.begin + micros * _MICROSECOND

    def _told(self) -> Outcome:
        hours: dict[datetime, Hour] = {}
        for hour, found in sorted(self._by_hour.items()):
            hours[self._instant(hour * _HOUR - self._into_hour)] = found
        never = [
            *((f"On the {rule} do-not-call list.", count) for rule, count in self._people.denied.items()),
            *self._never.items(),
        ]
        attempts = Counter(self._attempts)
        attempts[0] += self._people.denied.total()
        return Outcome(
            contacts=len(self._people.of) + self._people.denied.total(),
            begin=self._conditions.begin,
            last_call_at=self._instant(self._last) if self._dispositions else None,
            finished=not self._left,
            hours=hours,
            dispositions=dict(self._dispositions),
            done=dict(self._done),
            attempts=dict(sorted((count, people) for count, people in attempts.items() if people)),
            never=tuple(Never(why, count) for why, count in sorted(never, key=lambda one: -one[1]) if count),
            left_count=self._left,
        )

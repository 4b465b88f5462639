"""The evidence as the rules ask for it: whose call is whose, what ended when, and what was struck around an instant."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice
from typing import Any

from nemesis.evidence import SECOND, Ask, Call, Evidence, Injected
from nemesis.plan import LINE, TCP_LINE

Row = dict[str, Any]

SETTLE = 3 * SECOND
"""How long after the last fault has ended a stop may still not be provable: leases and clocks are learnt anew."""

GIVEN_BACK = 10 * SECOND
"""How long after an engine or a database was struck something may still be given back, or booked."""

ENDED_SLACK = SECOND // 4
"""An engine tells that a call is over some milliseconds before its INVITE leaves, or its CANCEL; only a stop waits for
the former."""

DISTURBING = (
    (("kill", "freeze", "cut", "stall", "slow"), SETTLE),
    # a connection whose packets were lost waits as long again before it sends them once more (RFC 6298 section 5.5)
    (("lossy", "mute", "deaf"), SETTLE + 4 * SECOND),
    # what was to last until an instant of the clock that was ahead lasts by so much longer
    (("clock",), SETTLE + 6 * SECOND),
)
"""Faults that let a stop be answered 503, and for how long after they are over."""

STOPS = frozenset({"stop", "native-stop"})
FINAL = frozenset({"ended", "unknown"})


@dataclass(frozen=True)
class Violation:
    """One thing that must not be."""

    rule: int
    what: str
    at: int
    run_id: int | None = None
    number: str = ""
    campaign_id: str = ""


class Found:
    """The evidence, indexed."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.runs = {row["id"]: row for row in evidence.runs}
        self.by_instance = {row["instance_id"]: row for row in evidence.runs}
        self.attempts = {row["id"]: row for row in evidence.attempts}

    @cached_property
    def attempts_to(self) -> dict[tuple[str, str], list[Row]]:
        """Number and caller ID → attempts in the order in which they were reserved."""
        found = defaultdict(list)
        for row in sorted(self.evidence.attempts, key=lambda row: row["reserved_at"]):
            found[row["phone"], row["caller_id"]].append(row)
        return found

    @cached_property
    def attempt_of(self) -> dict[str, Row | None]:
        """Call-ID → the attempt it is of."""
        found = {}
        for call in self.evidence.calls:
            rows = self.attempts_to[call.number, call.caller]
            place = bisect_right(rows, call.at, key=lambda row: row["reserved_at"])
            found[call.call_id] = rows[place - 1] if place else None
        return found

    @cached_property
    def calls_of(self) -> dict[str, list[Call]]:
        """Attempt → its calls."""
        found = defaultdict(list)
        for call in self.evidence.calls:
            row = self.attempt_of[call.call_id]
            if row is not None:
                found[row["id"]].append(call)
        return found

    @cached_property
    def calls_of_run(self) -> dict[int, list[Call]]:
        found = defaultdict(list)
        for call in self.evidence.calls:
            row = self.attempt_of[call.call_id]
            if row is not None:
                found[row["run_id"]].append(call)
        return found

    @cached_property
    def moves(self) -> dict[str, list[Row]]:
        """Attempt → its history."""
        found = defaultdict(list)
        for row in self.evidence.history:
            if row["action"] == "attempt":
                found[row["attempt_id"]].append(row)
        return found

    @cached_property
    def run_moves(self) -> dict[int, list[Row]]:
        found = defaultdict(list)
        for row in self.evidence.history:
            if row["action"] == "run":
                found[row["run_id"]].append(row)
        return found

    @cached_property
    def asks_of(self) -> dict[str, list[Ask]]:
        """Campaign → what was asked, in order of sending."""
        found = defaultdict(list)
        for ask in sorted(self.evidence.asks, key=lambda ask: ask.sent):
            found[ask.campaign_id].append(ask)
        return found

    @cached_property
    def stopped(self) -> dict[int, Ask]:
        """Run → the first answer that said it is stopped."""
        found: dict[int, Ask] = {}
        for ask in sorted(self.evidence.asks, key=lambda ask: ask.received or 0):
            if ask.word in STOPS and ask.ok:
                run = self.run_named(ask)
                if run is not None:
                    found.setdefault(run["id"], ask)
        return found

    def run_named(self, ask: Ask) -> Row | None:
        """The run an answer speaks of."""
        body = ask.body if isinstance(ask.body, dict) else {}
        return self.by_instance.get(body.get("campaignInstanceId") or body.get("instanceId") or "")

    def ended_at(self, attempt: Row) -> int | None:
        """When it was written down that the attempt was over."""
        return next((row["at"] for row in self.moves[attempt["id"]] if row["to_state"] in FINAL), None)

    @cached_property
    def _deaths(self) -> dict[int, list[int]]:
        """Engine's port → when it was killed."""
        found = defaultdict(list)
        for one in sorted(self.evidence.faults, key=lambda one: one.begin):
            if one.kind == "kill-asterisk" and one.target in self.evidence.engines:
                found[self.evidence.engines[one.target]].append(one.begin)
        return found

    def died(self, engine_port: int, after: int) -> int | None:
        """When the engine with that port was killed first after an instant: its calls ended then."""
        deaths = self._deaths.get(engine_port, [])
        place = bisect_right(deaths, after)
        return deaths[place] if place < len(deaths) else None

    @cached_property
    def _faults(self) -> list[Injected]:
        return sorted(self.evidence.faults, key=lambda one: one.begin)

    @cached_property
    def _longest(self) -> int:
        """The longest any fault took, of those that are over."""
        return max((one.end - one.begin for one in self._faults if one.end is not None), default=0)

    @cached_property
    def _not_over(self) -> list[Injected]:
        return [one for one in self._faults if one.end is None]

    def faults_between(self, begin: int, end: int) -> Iterator[Injected]:
        """Faults that began before ``end`` and were not over before ``begin``."""
        first = bisect_right(self._faults, begin - self._longest - 1, key=lambda one: one.begin)
        for one in islice(self._faults, first, None):
            if one.begin >= end:
                break
            if one.end is not None and one.end > begin:
                yield one
        yield from (one for one in self._not_over if one.begin < end)


def was_sent(attempt: Row) -> bool:
    """Whether the database says that something may have left for it."""
    return attempt["dialed_at"] is not None or attempt["state"] == "unknown"


def disturbed(found: Found, ask: Ask) -> bool:
    """Whether anything but the carrier was struck, or had been until three seconds before, while the stop was asked; or
    the machine itself had no time."""
    until = ask.received or ask.sent
    starved = any(begin < until and end + SETTLE > ask.sent for begin, end in found.evidence.starved)
    # the line is asked for once a second and believed down after one without an answer, so it is known to be up again
    # two seconds after the fault at the latest; and a stop looks from three seconds after its commit on
    line = ask.line == TCP_LINE and struck(found, ask, (LINE,), settle=SETTLE)
    return starved or line or any(struck(found, ask, words, settle=settle) for words, settle in DISTURBING)


def struck(found: Found, ask: Ask, words: tuple[str, ...], *, settle: int) -> bool:
    """Whether a fault one of whose words, its target's included, is among these was not over for so long when the stop
    was asked."""
    near = found.faults_between(ask.sent - settle, ask.received or ask.sent)
    return any(not _words(one.kind, one.target).isdisjoint(words) for one in near)


@cache
def _words(kind: str, target: str) -> frozenset[str]:
    # a clock that is stepped takes neither calls nor answers away, and the line of one trunk is not that of the others
    if kind.startswith("clock-"):
        return frozenset({"clock"})
    return frozenset({LINE} if target == LINE else {*kind.split("-"), *target.split("-")})

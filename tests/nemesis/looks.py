"""A look now and then while the suite plays: what can be judged from the carrier's record and the clients' log alone.

A run of two hours that was broken in its fifth minute ends there, with its evidence. What needs the tables is judged at
the end. Which run a call is of is not known here, but whose campaign it is: numbers belong to one.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from nemesis.carrier import Carrier
from nemesis.checks import do_not_call_is_obeyed, no_503_for_nothing, nothing_fails_inside
from nemesis.evidence import Ask, Call, Evidence
from nemesis.found import STOPS, Found, Violation

LOOK_SECONDS = 150.0
FAILED_INSIDE = 10
"""The rule that no request fails inside: counted like all, and no reason to see no more of a run."""


def silent_between_stop_and_start(found: Found) -> Iterator[Violation]:
    """After a stop's 200 no new Call-ID to the campaign's numbers, until it is started again (rules 1 and 8)."""
    campaign_of: dict[str, str] = {}
    for ask in found.evidence.asks:
        if ask.word == "add":
            campaign_of.update(dict.fromkeys(ask.phones, ask.campaign_id))
    calls_of = defaultdict(list)
    for call in found.evidence.calls:
        calls_of[campaign_of.get(call.number, "")].append(call)
    for campaign_id, asks in found.asks_of.items():
        calls = sorted(calls_of.get(campaign_id, ()), key=lambda call: call.at) if campaign_id else []
        for ask in asks if calls else ():
            if not ask.ok or ask.word not in (*STOPS, "pause"):
                continue
            until = _may_dial_from(asks, ask)
            place = bisect_right(calls, ask.received, key=lambda call: call.at)
            if place < len(calls) and (until is None or calls[place].at < until):
                late = (calls[place].at - ask.received) / 1e6
                what = f"a new call left {late:.3f} ms after the 200 of its campaign's {ask.word}, before any start"
                rule = 8 if ask.word == "pause" else 1
                yield Violation(rule, what, calls[place].at, None, calls[place].number, campaign_id)


def _may_dial_from(asks: list[Ask], answered: Ask) -> int | None:
    """From when on something that was asked for may have begun or resumed a run; None: nothing was."""
    begins = [
        ask.sent for ask in asks
        if ask.word in ("start", "resume") and (ask.received is None or ask.received > answered.sent)
    ]  # fmt: skip
    return min(begins, default=None)


LOOKS: tuple[Callable[[Found], Iterator[Violation]], ...] = (
    silent_between_stop_and_start,
    do_not_call_is_obeyed,
    no_503_for_nothing,
    nothing_fails_inside,
)


def look(evidence: Evidence) -> list[Violation]:
    """What is seen to be wrong so far."""
    found = Found(evidence)
    return sorted((one for rule in LOOKS for one in rule(found)), key=lambda one: one.at)


class BrokenError(Exception):
    """Something is wrong already: the run may end."""


class Looker:
    """Looks while the run goes on."""

    def __init__(self, evidence: Evidence, carrier: Carrier, scratch: Path, tell: Callable[[str], None]) -> None:
        self._evidence = evidence
        self._carrier = carrier
        self._scratch = scratch
        self._tell = tell
        self._calls: list[Call] = []

    async def run(self) -> None:
        """Look every few minutes, for ever. Raises BrokenError."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Look once. Raises BrokenError."""
        self._calls += self._carrier.fresh(self._scratch)
        now = self._evidence
        # in a thread, over what there is now: clients and faults go on
        seen = Evidence(
            calls=list(self._calls), asks=list(now.asks), faults=list(now.faults), fell=list(now.fell),
            starved=list(now.starved), engines=now.engines,
        )  # fmt: skip
        wrong = await asyncio.to_thread(look, seen)
        stops = sum(ask.word in STOPS and ask.ok for ask in seen.asks)
        self._tell(f"stops={stops} faults={len(seen.faults)} calls={len(seen.calls)} violations={len(wrong)} so far")
        grave = [one for one in wrong if one.rule != FAILED_INSIDE]
        if grave:
            raise BrokenError(f"rule {grave[0].rule}: {grave[0].what}")

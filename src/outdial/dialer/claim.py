"""One claim: which contacts of a run may be called now, when each call may leave, and their reservation."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, assert_never

from outdial import clock
from outdial.core import ids
from outdial.core.model import DoneReason, Run, Trunk
from outdial.core.pacing import HORIZON_SECONDS, caps, leaves_within, room, slots, slowed
from outdial.core.screening import Allow, Candidate, Decision, Deny, NotBefore, screen
from outdial.services.gate import policy_of
from outdial.store import reserve as store
from outdial.store.database import Database
from outdial.store.reserve import Budget, Facts, Reservation, Verdict

LARGEST_CLAIM: Final = 16
"""Attempts per reservation. What a dying node has reserved and not dialed is at risk of ending ``unknown``."""

LARGEST_SCREENING: Final = 200
"""Contacts looked at when the last ones looked at could not be dialed: whole lists may be outside calling hours."""

NO_LEAD: Final = timedelta()

IDLE_SECONDS: Final = 1.0
"""Longest wait before another look, when nothing says when something can be dialed."""


@dataclass(frozen=True, slots=True)
class Place:
    """One reserved attempt and the instant at which its call may leave."""

    attempt_id: str
    candidate: Candidate
    at: float
    """Boot time."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one claim came to."""

    verdict: Verdict
    places: tuple[Place, ...] = ()
    wait_seconds: float = 0.0
    """How long nothing can be claimed, as far as is known; 0 = look again at once."""
    exhausted: bool = False
    """No contact is due now or later: the run may be complete."""
    screened_out: bool = False
    """Every contact looked at was denied or deferred: look at more of them next time."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be reserved, decided without any IO."""

    wish: Reservation
    instants: tuple[datetime, ...]
    next_at: datetime
    """When the rate lets the next call leave."""


async def claim(
    database: Database, run: Run, trunk: Trunk, node_id: str, *, many: bool, asked: set[str], lead: timedelta = NO_LEAD
) -> Claim:
    """Reserve up to :data:`LARGEST_CLAIM` attempts of a run for a node. Raises DatabaseUnavailableError.

    ``asked`` gets the ids of the attempts that are asked for, before they are; the caller takes them out again. Each
    call leaves so much as ``lead`` after its turn.
    """
    async with database.connection() as connection:
        facts = await store.facts(connection, run)
        # the answer's instant, not the question's: a call may leave a moment late, never early
        heard = clock.boottime()
        free = room(caps(run, trunk, **facts.counts()), wanted=LARGEST_CLAIM)
        if free == 0:
            return Claim(Verdict.RESERVED, wait_seconds=IDLE_SECONDS)
        found = await store.candidates(connection, run, LARGEST_SCREENING if many else free, facts.limits)
        if not found:
            due = await store.next_due(connection, run.id)
            if due is None:
                return Claim(Verdict.RESERVED, wait_seconds=IDLE_SECONDS, exhausted=True)
            seconds = (due - facts.now).total_seconds()
            return Claim(Verdict.RESERVED, wait_seconds=min(max(seconds, 0.05), IDLE_SECONDS))
        plan = make_plan(run, trunk, facts, found, (uuid.uuid4() for _ in found), free=free, lead=lead)
        wish = plan.wish
        if not (wish.wanted or wish.denied or wish.deferred):
            seconds = (plan.next_at - facts.now).total_seconds() - HORIZON_SECONDS
            return Claim(Verdict.RESERVED, wait_seconds=max(seconds, 0.001))
        asked.update(attempt_id for _, attempt_id in wish.wanted)
        verdict, reserved = await store.reserve(connection, run, node_id, wish)
    people = {candidate.contact_id: candidate for candidate in found}
    places = tuple(
        Place(attempt_id, people[contact_id], heard + (at + lead - facts.now).total_seconds())
        for (contact_id, attempt_id), at in zip(wish.wanted, plan.instants, strict=True)
        if attempt_id in reserved
    )
    return Claim(verdict, places, screened_out=not wish.wanted)


def make_plan(
    run: Run,
    trunk: Trunk,
    facts: Facts,
    found: list[Candidate],
    drawn: Iterator[uuid.UUID],
    *,
    free: int,
    lead: timedelta = NO_LEAD,
) -> Plan:
    """Screen the contacts and give those that may be dialed their instants."""
    denied: list[tuple[int, DoneReason]] = []
    deferred: list[tuple[int, datetime]] = []
    allowed: list[int] = []
    decisions: dict[int, Decision] = {}
    latest = facts.now + leaves_within(lead)
    policy = policy_of(run, facts.limits, facts.now)
    for candidate in found:
        decision = screen(candidate, policy, now=facts.now, until=latest)
        decisions[candidate.contact_id] = decision
        match decision.verdict:
            case Allow():
                allowed.append(candidate.contact_id)
            case Deny(reason=reason):
                denied.append((candidate.contact_id, reason))
            case NotBefore(at=at):
                deferred.append((candidate.contact_id, at))
            case _:
                assert_never(decision.verdict)
    trunk_rate = slowed(trunk.calls_per_second, facts.refused_at, now=facts.now)
    rates = [trunk_rate, *(() if run.calls_per_second is None else (run.calls_per_second,))]
    seen = [at for at in (facts.run_next_at, facts.trunk_next_at) if at is not None]
    instants, next_at = slots(
        max([facts.now, *seen]),
        now=facts.now,
        per_second=min(rates),
        count=min(len(allowed), free),
        horizon_seconds=HORIZON_SECONDS,
    )
    wanted = [
        (contact_id, ids.attempt_id(value)) for contact_id, value in zip(allowed[: len(instants)], drawn, strict=False)
    ]
    wish = Reservation(
        denied=denied,
        deferred=deferred,
        wanted=wanted,
        budgets=_budgets(run, trunk, trunk_rate, facts, instants),
        run_cap=_run_cap(run, trunk),
        trunk_cap=trunk.max_channels,
        application_cap=facts.application_cap,
        decisions={contact_id: decisions[contact_id].document() for contact_id, _ in (*denied, *deferred, *wanted)},
    )
    return Plan(wish, instants, next_at)


def _run_cap(run: Run, trunk: Trunk) -> int:
    return trunk.max_channels if run.max_concurrent_calls is None else run.max_concurrent_calls


def _budgets(run: Run, trunk: Trunk, trunk_rate: float, facts: Facts, instants: tuple[datetime, ...]) -> list[Budget]:
    """Return what the instants leave of each rate: the last call's instant and one interval of that rate."""
    if not instants:
        return []
    after = _interval(run.calls_per_second)
    budgets = [
        Budget(store.run_budget(run.id), facts.run_next_at, instants[-1] + after),
        Budget(store.trunk_budget(trunk.id), facts.trunk_next_at, instants[-1] + _interval(trunk_rate)),
    ]
    if facts.application_cap is not None:
        # no rate: the row only lets one reservation at a time count the application's calls
        budgets.append(Budget(store.application_budget(run.iid), _EPOCH, _EPOCH))
    return budgets


def _interval(per_second: float | None) -> timedelta:
    return timedelta() if per_second is None else timedelta(seconds=1 / per_second)


_EPOCH: Final = datetime.fromtimestamp(0, tz=UTC)

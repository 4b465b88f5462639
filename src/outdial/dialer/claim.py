"""One claim: which contacts of a run may be called now, when each call may leave, and their reservation."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, assert_never

from outdial import clock
from outdial.core import ids, shares
from outdial.core.model import DoneReason, Run, Trunk
from outdial.core.pacing import HORIZON_SECONDS, TRUNK, caps, full, leaves_within, room, slots, slowed
from outdial.core.screening import Allow, Candidate, Decision, Deny, NotBefore, at_number, screen
from outdial.secretbox import SecretBox
from outdial.services.gate import policy_of
from outdial.store import dnc_hashes, turns
from outdial.store import reserve as store
from outdial.store.database import Connection, Database
from outdial.store.reserve import Budget, Facts, Reservation, Verdict

LARGEST_CLAIM: Final = 16
"""Attempts per reservation. What a dying node has reserved and not dialed is at risk of ending ``unknown``."""

LARGEST_SCREENING: Final = 200
"""Contacts looked at when the last ones looked at could not be dialed: whole lists may be outside calling hours."""

NO_LEAD: Final = timedelta()

TURN_SECONDS: Final = 0.05
"""Wait before another look when it is another run's turn, for each of those that want lines."""

SHARED_SECONDS: Final = shares.LOOK_SECONDS
"""Wait before another look at a trunk that is full and shared, for each of those that want its lines: whose call ends,
the others are not told."""

TURN: Final = "turn"
"""What holds a run back: the runs it shares the lines of its trunk with."""

HELD_SECONDS: Final = 0.25
"""How long a node waits before it looks again for whoever is due and may not be called at their number now."""

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
    allowed: int
    """Contacts that may be dialed now, whether or not there is a line for them."""


async def claim(
    database: Database,
    run: Run,
    trunk: Trunk,
    node_id: str,
    *,
    many: bool,
    asked: set[str],
    lead: timedelta = NO_LEAD,
    secrets: SecretBox | None = None,
) -> Claim:
    """Reserve up to :data:`LARGEST_CLAIM` attempts of a run for a node. ``secrets`` recognizes erased numbers; without
    it nothing is reserved where one is on a do-not-call list of the run. Raises DatabaseUnavailableError,
    WrongSecretKeyError.

    ``asked`` gets the ids of the attempts that are asked for, before they are; the caller takes them out again. Each
    call leaves so much as ``lead`` after its turn.
    """
    async with database.connection() as connection:
        facts = await store.facts(connection, run)
        # the answer's instant, not the question's: a call may leave a moment late, never early
        heard = clock.boottime()
        limits, stand = caps(run, trunk, **facts.counts()), facts.stand
        free = room(limits, wanted=LARGEST_CLAIM)
        if free == 0:
            return await _full(connection, run, trunk, facts, full(limits) or "")
        own = _placed(trunk, facts)
        may = _allowance(own, stand.others, trunk, facts)
        if may == 0:
            await _wait_for(connection, own, trunk, facts)
        if may == 0 and stand.wants_freshly(facts.now):
            await _note(connection, run, trunk, facts, "", wants=True)
            return Claim(Verdict.RESERVED, wait_seconds=_wait(facts, TURN_SECONDS))
        # of whom it is not the turn, it is still looked at whether there is anybody to dial: others wait for it
        free = free if may is None else min(free, may)
        most = LARGEST_SCREENING if many else free or LARGEST_CLAIM
        found = await store.candidates(connection, run, most, facts.limits, facts.asked, far=facts.far)
        if not found:
            return await _nobody(connection, run, trunk, facts)
        hashes: dict[int, bytes] | None = None
        if facts.hashed:
            found, hashes = await _with_hashes(connection, secrets, run, found)
        plan = make_plan(run, trunk, facts, found, (uuid.uuid4() for _ in found), free=free, lead=lead)
        wish = replace(plan.wish, hashes=hashes)
        if stand.others:
            # one that is slow by itself wants a line too while its turn is all that it waits for
            wants = plan.allowed > 0 and (_wants(run, trunk, facts) or (may == 0 and _is_ready(facts)))
            taken = tuple(shares.after(own, stand.others, calls) for calls in range(1, len(wish.wanted) + 1))
            wish = replace(wish, shares=taken, wants=wants)
            if not wish.wanted:
                # to take turns is no waiting; to have none for a second is
                by = TURN if may == 0 and wants and stand.own.wants else ""
                await _note(connection, run, trunk, facts, by, wants=wants)
        if not (wish.wanted or wish.denied or wish.deferred):
            seconds = (plan.next_at - facts.now).total_seconds() - HORIZON_SECONDS
            until_then = _wait(facts, TURN_SECONDS) if may == 0 else max(seconds, 0.001)
            if stand.others:
                # what it wants holds for a few seconds, and no longer than it is said again
                until_then = min(until_then, IDLE_SECONDS)
            return Claim(Verdict.RESERVED, wait_seconds=until_then)
        asked.update(attempt_id for _, attempt_id in wish.wanted)
        verdict, reserved = await store.reserve(connection, run, node_id, wish)
    people = {candidate.contact_id: candidate for candidate in found}
    places = tuple(
        Place(attempt_id, people[contact_id], heard + (at + lead - facts.now).total_seconds())
        for (contact_id, attempt_id), at in zip(wish.wanted, plan.instants, strict=True)
        if attempt_id in reserved
    )
    return Claim(verdict, places, screened_out=plan.allowed == 0)


async def _with_hashes(
    connection: Connection, secrets: SecretBox | None, run: Run, found: list[Candidate]
) -> tuple[list[Candidate], dict[int, bytes]]:
    """Return the contacts with what the run's do-not-call lists have of them as hashes, and each one's hash."""
    if secrets is None:
        raise RuntimeError("contacts are claimed without the secret key, by which erased numbers are recognized")
    phones = list({phone for one in found for phone in one.phones})
    known = dict(zip(phones, await dnc_hashes.hashes(connection, secrets, run.account_id, phones), strict=True))
    listed = await dnc_hashes.of_run(connection, run.id, known)
    told = [_told(one, listed) for one in found]
    return told, {one.contact_id: known[one.phone] for one in told}


def _told(one: Candidate, listed: dnc_hashes.Listed) -> Candidate:
    """Return a contact with what lists have of its numbers as hashes: another of them may be dialed for that."""
    if one.numbers and one.next_phone is not None:
        numbers = tuple(
            replace(
                number,
                on_account_dnc=number.on_account_dnc or number.phone in listed.on_account,
                on_campaign_dnc=number.on_campaign_dnc or number.phone in listed.on_campaign,
            )
            for number in one.numbers
        )
        return at_number(one, numbers, one.next_phone)
    return replace(
        one,
        on_account_dnc=one.on_account_dnc or one.phone in listed.on_account,
        on_campaign_dnc=one.on_campaign_dnc or one.phone in listed.on_campaign,
    )


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
    trunk_rate = _trunk_rate(trunk, facts)
    rates = [trunk_rate, *_own_rates(run, facts)]
    seen = [at for at in (facts.run_next_at, facts.trunk_next_at, facts.caller_next_at) if at is not None]
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
        phones={one.contact_id: (one.next_phone, one.phone) for one in found if one.next_phone is not None},
    )
    return Plan(wish, instants, next_at, len(allowed))


async def _full(connection: Connection, run: Run, trunk: Trunk, facts: Facts, by: str) -> Claim:
    """Return what a claim comes to for which there is no line."""
    stand = facts.stand
    # who is full by itself leaves the lines to others
    wants = by == TRUNK and (stand.own.wants or await _somebody(connection, run, trunk, facts))
    await _note(connection, run, trunk, facts, by, wants=wants)
    return Claim(
        Verdict.RESERVED, wait_seconds=_wait(facts, SHARED_SECONDS) if wants and stand.others else IDLE_SECONDS
    )


async def _nobody(connection: Connection, run: Run, trunk: Trunk, facts: Facts) -> Claim:
    """Return what a claim comes to for which there is nobody to dial."""
    if facts.stand.own.wants:
        await _note(connection, run, trunk, facts, "", wants=False)
    due = await store.next_due(connection, run.id)
    if due is None:
        return Claim(Verdict.RESERVED, wait_seconds=IDLE_SECONDS, exhausted=True)
    seconds = (due - facts.now).total_seconds()
    if seconds <= 0:
        # somebody is due whose phone rings for another run, or may ring on for minutes
        seconds = HELD_SECONDS
    return Claim(Verdict.RESERVED, wait_seconds=min(max(seconds, 0.05), IDLE_SECONDS))


async def _somebody(connection: Connection, run: Run, trunk: Trunk, facts: Facts) -> bool:
    """Whether a run that shares its trunk has somebody to dial who only wants a line."""
    if not facts.stand.others:
        return False
    found = await store.candidates(connection, run, LARGEST_CLAIM, facts.limits, facts.asked, far=facts.far)
    return make_plan(run, trunk, facts, found, iter(()), free=0).allowed > 0


def _wait(facts: Facts, each: float) -> float:
    """Return after how many seconds a run that waits for those of its trunk looks again."""
    slot = facts.now if facts.trunk_next_at is None else facts.trunk_next_at
    seconds = (slot - facts.now).total_seconds() - HORIZON_SECONDS
    return shares.wait(facts.stand.others, each=each, slot_seconds=seconds)


async def _note(connection: Connection, run: Run, trunk: Trunk, facts: Facts, by: str, *, wants: bool) -> None:
    """Write down what holds the run back, where that is news, and where it goes on from, where it had another share."""
    stand, share = facts.stand, _placed(trunk, facts).share
    moved = share < stand.own.share or (stand.passed and not stand.own.wants)
    if moved or not stand.is_known(by=by, wants=wants, now=facts.now):
        await turns.held(connection, run.id, by=by, wants=wants, share=share, moved=moved)


async def _wait_for(connection: Connection, own: shares.Turn, trunk: Trunk, facts: Facts) -> None:
    """Write down of whom it is the turn, where they could take a call now: the run does not wait for them for ever."""
    at = facts.trunk_next_at
    if at is not None and (at - facts.now).total_seconds() > HORIZON_SECONDS:
        return
    stand = facts.stand
    late = [
        run_id
        for run_id, other in zip(stand.new_to_it, stand.others, strict=True)
        if run_id is not None and _allowance(own, (other,), trunk, facts) == 0
    ]
    if late:
        await turns.passed(connection, late)


def _allowance(own: shares.Turn, others: Sequence[shares.Turn], trunk: Trunk, facts: Facts) -> int | None:
    """Return how many calls the run may take beside others; None: as many as there are."""
    lines = min(_trunk_rate(trunk, facts) * HORIZON_SECONDS, trunk.max_channels - facts.trunk_live)
    return shares.allowance(own, others, step=shares.step(own, others, lines=lines))


def _placed(trunk: Trunk, facts: Facts) -> shares.Turn:
    """Return how the run stands, its share being the one from which it goes on."""
    stand = facts.stand
    longest = max(shares.LEAST_STEP, min(trunk.calls_per_second * HORIZON_SECONDS, trunk.max_channels))
    return replace(stand.own, share=shares.begins_at(stand.own, stand.others, longest=longest))


def _trunk_rate(trunk: Trunk, facts: Facts) -> float:
    return slowed(trunk.calls_per_second, facts.refused_at, now=facts.now)


def _own_rates(run: Run, facts: Facts) -> list[float]:
    return [rate for rate in (run.calls_per_second, facts.caller.calls_per_second) if rate is not None]


def _wants(run: Run, trunk: Trunk, facts: Facts) -> bool:
    """Whether a run with somebody to dial wants its part of the trunk's rate: one that may not dial that fast by its
    own takes what it can, and nobody waits for it."""
    weights = facts.stand.own.weight + sum(other.weight for other in facts.stand.others if other.wants)
    part = _trunk_rate(trunk, facts) * facts.stand.own.weight / weights
    return all(rate >= part for rate in _own_rates(run, facts))


def _is_ready(facts: Facts) -> bool:
    """Whether the run's own rates let a call leave now."""
    seen = (at for at in (facts.run_next_at, facts.caller_next_at) if at is not None)
    return all((at - facts.now).total_seconds() <= HORIZON_SECONDS for at in seen)


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
    if facts.caller.calls_per_second is not None:
        next_at = instants[-1] + _interval(facts.caller.calls_per_second)
        budgets.append(Budget(store.caller_budget(run.iid, run.rules.caller_id), facts.caller_next_at, next_at))
    if facts.application_cap is not None:
        # no rate: the row only lets one reservation at a time count the application's calls
        budgets.append(Budget(store.application_budget(run.iid), _EPOCH, _EPOCH))
    return budgets


def _interval(per_second: float | None) -> timedelta:
    return timedelta() if per_second is None else timedelta(seconds=1 / per_second)


_EPOCH: Final = datetime.fromtimestamp(0, tz=UTC)

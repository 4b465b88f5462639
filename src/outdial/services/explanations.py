"""Explanations: why a contact is called, why not, and when next, by the rules and facts that the dialer itself uses."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from outdial import clock, rule_data
from outdial.core import ids
from outdial.core.errors import ConflictError, NotFoundError
from outdial.core.explanation import Explanation, Situation, explain, never_run
from outdial.core.model import Campaign, Run
from outdial.core.pacing import caps, leaves_within
from outdial.core.phone import parse_phone
from outdial.core.pre_call import LEAD
from outdial.core.screening import Policy, screen
from outdial.core.waterfall import LARGEST_SAMPLE, Waterfall, waterfall
from outdial.services.campaigns import get_campaign
from outdial.services.fields import is_storable
from outdial.services.gate import policy_of
from outdial.services.run_views import get_run
from outdial.store import callbacks as clock_store
from outdial.store import emergencies as emergencies_store
from outdial.store import explanations as store
from outdial.store import nodes, pre_calls, reserve, trunks
from outdial.store import runs as runs_store
from outdial.store.database import Connection, Database
from outdial.store.explanations import PastStep
from outdial.store.reserve import Facts

MOST_PAST: Final = 200
"""Rows of a contact's history in a run that are told: the last ones."""

MOST_REFUSALS: Final = 20
"""Of those the refused calls by hand."""

MOST_ALIKE: Final = 10
"""Contacts of one number that are named."""

SCREENED_AT_ONCE: Final = 100
"""Contacts the gate is asked about without a pause, some ten milliseconds."""

MOST_AHEAD: Final = 10_000
"""How many contacts that come before one are counted, of each kind."""

EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
FURTHEST: Final = timedelta(days=366)
"""From now; holidays further ahead are not known for certain."""

_LOOKED_AHEAD: Final = timedelta(days=400)
"""So far from the instant asked about rule data is read beforehand; next openings lie within a year."""

_BETWEEN: Final = timedelta(days=40)
"""Distance of the instants for which it is read: each serves for as long before and after."""


@dataclass(frozen=True, slots=True)
class Explained:
    """A contact of a campaign, explained."""

    campaign_id: str
    run: Run | None
    """None: the campaign has never run."""
    contact_id: int | None
    """None: it is not in the run."""
    phone: str
    """Of several, the one that is dialed next; of an instant that has passed, the one that was asked about."""
    now: datetime
    """By the database's clock."""
    at: datetime
    explanation: Explanation | None
    """None: the instant has passed, and what was decided then stands in ``past``."""
    ahead_count: int | None
    """Contacts that come before it; None: it is not due, or there are more than are counted."""
    past: tuple[PastStep, ...]
    """What was decided about it in this run up to the instant, oldest first."""


def may_be_asked_about(at: datetime) -> bool:
    """Whether an instant lies where it can be explained: from :data:`EARLIEST` to :data:`FURTHEST` from now."""
    # compared as it is: the edges of the calendar have no instant in UTC
    return EARLIEST <= at <= clock.now() + FURTHEST


async def explain_in_run(
    database: Database,
    *,
    iid: str,
    instance_id: str,
    contact: str,
    at: datetime | None = None,
    statement_seconds: float | None = None,
) -> Explained:
    """Explain a contact in a run: why it is called at an instant (None: now), why not, and when next.

    ``contact`` is its number, or its id in the run (``cdl-…``). Raises NotFoundError, ConflictError when several
    contacts of the run have the number, InvalidInputError for what is no number, and BusyError when a statement takes
    longer than ``statement_seconds`` (None: however long).
    """
    run = await get_run(database, iid=iid, instance_id=instance_id)
    return await explain_contact(database, run, contact, at=at, statement_seconds=statement_seconds)


async def explain_in_campaign(
    database: Database,
    *,
    iid: str,
    campaign_id: str,
    contact: str,
    at: datetime | None = None,
    statement_seconds: float | None = None,
) -> Explained:
    """Explain a contact in the latest run of a campaign, otherwise as :func:`explain_in_run`."""
    campaign = await get_campaign(database, iid, campaign_id)
    async with database.connection() as connection:
        run = await runs_store.latest_run(connection, campaign.id)
    if run is not None:
        return await explain_contact(database, run, contact, at=at, statement_seconds=statement_seconds)
    return await _never_run(database, campaign, contact, at, statement_seconds)


async def explain_contact(
    database: Database, run: Run, contact: str, *, at: datetime | None, statement_seconds: float | None = None
) -> Explained:
    """Explain a contact in a run that the caller may see; otherwise as :func:`explain_in_run`."""
    await prepare(run, at)
    async with database.snapshot(statement_seconds=statement_seconds) as connection:
        now = await clock_store.now(connection)
        moment = now if at is None else at
        # the run as it is in this snapshot
        run = await runs_store.by_id(connection, run.id)
        contact_id, phone = await _find(connection, run, contact)
        past: list[PastStep] = []
        if contact_id is not None:
            past = await store.past_steps(
                connection, run.id, contact_id, until=moment, limit=MOST_PAST, refusals=MOST_REFUSALS
            )
        found, ahead = None, None
        if moment >= now:
            found, phone = await _explained(connection, run, contact_id, phone, moment)
            if found.dialable and contact_id is not None:
                ahead = await reserve.ahead_of(connection, run, contact_id, most=MOST_AHEAD)
    return Explained(
        campaign_id=run.campaign_id,
        run=run,
        contact_id=contact_id,
        phone=phone,
        now=now,
        at=moment,
        explanation=found,
        ahead_count=ahead,
        past=tuple(past),
    )


async def prepare(run: Run, at: datetime | None = None) -> None:
    """Read the rule data that a look from an instant (None: now) on needs, none of it in the event loop or within a
    transaction."""
    at = clock.now() if at is None else at
    for days in range(0, _LOOKED_AHEAD.days, _BETWEEN.days):
        await rule_data.prepare(run.rules.calling_hours, at + timedelta(days=days))


async def look(connection: Connection, run: Run, contact: str, *, at: datetime) -> tuple[int | None, str, Explanation]:
    """Return a contact's id in a run, None where it is only in a list of the campaign, the number of its next call,
    and why it may be called at an instant that has not passed, or why not.

    The caller has called :func:`prepare`. Raises as :func:`explain_in_run`.
    """
    contact_id, phone = await _find(connection, run, contact)
    told, phone = await _explained(connection, run, contact_id, phone, at)
    return contact_id, phone, told


async def _find(connection: Connection, run: Run, contact: str) -> tuple[int | None, str]:
    """Return a contact's id in a run, None where it is only in a list of the campaign, and its number."""
    contact_id = ids.read_dialing_list_id(contact, run.instance_id)
    if contact_id is not None:
        phone = await store.phone_of(connection, run.id, contact_id)
        if phone is None:
            raise NotFoundError(f"The run {run.instance_id} has no contact {contact}.")
        return contact_id, phone
    if contact.startswith("cdl-") or not is_storable(contact):
        raise NotFoundError(f"The run {run.instance_id} has no contact {contact[:60]}.")
    phone = parse_phone(contact)
    found = await store.contact_ids(connection, run.id, phone, limit=MOST_ALIKE + 1)
    if len(found) > 1:
        named = ", ".join(ids.dialing_list_id(run.instance_id, one) for one in found[:MOST_ALIKE])
        raise ConflictError(f"Several contacts of the run {run.instance_id} have the number; name one of: {named}.")
    if not found and not await store.is_listed_for(connection, run.campaign_id, phone):
        raise NotFoundError(f"Neither the run {run.instance_id} nor a contact list of its campaign has the number.")
    return next(iter(found), None), phone


async def _explained(
    connection: Connection, run: Run, contact_id: int | None, phone: str, at: datetime
) -> tuple[Explanation, str]:
    """Explain a contact that was asked about by a number; return with that the number that it is about: of a contact
    with several the one that is dialed next."""
    facts = await reserve.facts(connection, run)
    situation = await _situation(connection, run, facts)
    candidate = None
    if contact_id is not None:
        candidate = await reserve.candidate(connection, run, contact_id, facts.limits, at=at)
        phone = phone if candidate is None else candidate.phone
        stands = await store.contact_facts(connection, run, contact_id, phone, at=at)
        if stands is not None:
            situation = replace(
                situation,
                contact_state=stands.state,
                done_reason=stands.done_reason,
                live_call=stands.live_call,
                listed=stands.listed,
            )

    def policy_at(instant: datetime) -> Policy:
        return policy_of(run, facts.limits, instant)

    return explain(candidate, policy_at, situation, at=at, within=await _within(connection, run)), phone


async def _within(connection: Connection, run: Run) -> timedelta:
    """Return how long after the look a call of the run may leave: a pre-call fetch takes its time before."""
    asks = await pre_calls.has_one(connection, run.campaign_id)
    return leaves_within(LEAD if asks else timedelta())


async def _situation(connection: Connection, run: Run, facts: Facts) -> Situation:
    """Return what holds for every contact of the run."""
    trunk = await trunks.by_id(connection, None, run.trunk_id)
    emergency = await emergencies_store.in_force(connection)
    by, reason = await store.last_move(connection, run.id)
    return Situation(
        run_state=run.state,
        moved_by=by,
        move_reason=reason,
        emergency=None if emergency is None else emergency.reason,
        caller_id=run.rules.caller_id,
        trunk_id=await trunks.trunk_of_caller_id(connection, run.iid, run.rules.caller_id),
        contact_state=None,
        loaded=run.loaded,
        nodes_ready=await nodes.ready(connection),
        caps=caps(run, trunk, **facts.counts()),
        slot_at=max((at for at in (facts.run_next_at, facts.trunk_next_at) if at is not None), default=None),
    )


async def _never_run(
    database: Database, campaign: Campaign, contact: str, at: datetime | None, statement_seconds: float | None
) -> Explained:
    phone = parse_phone(contact)
    async with database.snapshot(statement_seconds=statement_seconds) as connection:
        if not await store.is_listed_for(connection, campaign.id, phone):
            raise NotFoundError(f"No contact list of the campaign {campaign.name!r} has the number.")
        now = await clock_store.now(connection)
        emergency = await emergencies_store.in_force(connection)
        trunk_id = await trunks.trunk_of_caller_id(connection, campaign.iid, campaign.rules.caller_id)
    moment = now if at is None else at
    situation = Situation(
        run_state=None,
        emergency=None if emergency is None else emergency.reason,
        caller_id=campaign.rules.caller_id,
        trunk_id=trunk_id,
    )
    return Explained(
        campaign_id=campaign.id,
        run=None,
        contact_id=None,
        phone=phone,
        now=now,
        at=moment,
        explanation=never_run(situation, at=moment) if moment >= now else None,
        ahead_count=None,
        past=(),
    )


async def waterfall_of(database: Database, run: Run, *, statement_seconds: float | None = None) -> Waterfall:
    """Return how many of a run's contacts may be dialed now, step by step, and why nothing is dialing.

    One scan of the run's contacts, and up to :data:`~outdial.core.waterfall.LARGEST_SAMPLE` questions to the gate,
    some more where the hash of their ids is uneven. Raises DatabaseUnavailableError, and BusyError when a statement
    takes longer than ``statement_seconds`` (None: however long).
    """
    await rule_data.prepare(run.rules.calling_hours, clock.now())
    async with database.snapshot(statement_seconds=statement_seconds) as connection:
        now = await clock_store.now(connection)
        run = await runs_store.by_id(connection, run.id)
        facts = await reserve.facts(connection, run)
        situation = await _situation(connection, run, facts)
        found = await store.counted(connection, run, at=now)
        one_in = max(1, -(-found.due // LARGEST_SAMPLE))
        people = await reserve.sample(connection, run, one_in, facts.limits, at=now)
        until = now + await _within(connection, run)
    policy = policy_of(run, facts.limits, now)
    asked = []
    for place, one in enumerate(people):
        asked.append(screen(one, policy, now=now, until=until).rule)
        if place % SCREENED_AT_ONCE == 0:
            # others of this process have their turn
            await asyncio.sleep(0)
    return waterfall(found, asked, situation, live_calls=facts.run_live, at=now)

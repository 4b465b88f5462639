"""Runs: start, pause and resume them, load their contacts, show their progress. Stopping is ``services.stop``."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import Final

import structlog

from outdial import clock, rule_data
from outdial.core import ids
from outdial.core.breaker import ACTOR
from outdial.core.campaign import RunAction, move
from outdial.core.errors import (
    BadReferenceError,
    ConflictError,
    EmergencyStopError,
    InUseError,
    NotBuiltError,
    NotFoundError,
    NothingToDialError,
    PauseNotProvenError,
)
from outdial.core.model import (
    LIVE_RUN_STATES,
    AttemptState,
    Campaign,
    DialingMode,
    Disposition,
    DoneReason,
    RingingCalls,
    Run,
    RunContactState,
    RunState,
)
from outdial.secretbox import SecretBox
from outdial.services import barrier
from outdial.services.engines import Engines
from outdial.store import campaigns as campaigns_store
from outdial.store import dnc as dnc_store
from outdial.store import emergencies as emergencies_store
from outdial.store import run_contacts as contacts_store
from outdial.store import runs as store
from outdial.store import schedules as schedules_store
from outdial.store import trunks as trunks_store
from outdial.store.database import Connection, Database
from outdial.store.run_contacts import RunContactRow as RunContactView

__all__ = [
    "Paused",
    "RunContactPage",
    "RunContactView",
    "RunProgress",
    "StartedRun",
    "begin",
    "load_more",
    "pause",
    "pause_failing",
    "progress",
    "prove_pause",
    "require_startable",
    "resume",
    "run_contacts",
    "start",
]

FIRST_LOT: Final = 20_000
"""Contacts read while the run is being started, so that most runs are whole when the start answers."""

PATIENCE_SECONDS: Final = 0.5
"""How much longer than a healthy engine takes a pause waits for one."""

IDLE_SECONDS: Final = 2.0
"""How long a start or a resume may fall silent while a stop would have to wait for it."""

LOT: Final = 2_000
"""Contacts a node reads per transaction afterwards, some 40 ms: a stop waits for the lot under way."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that has just begun."""

    run: Run
    calls_completed: int
    """Answered calls of the campaign's earlier runs."""


@dataclass(frozen=True, slots=True)
class Paused:
    """A run that has paused itself."""

    run: Run
    problems: str
    """What could not be shown of its engines, a sentence each; empty when no call can leave any more."""


@dataclass(frozen=True, slots=True)
class RunContactPage:
    """A page of the contacts of a run, in dialing order."""

    results: tuple[RunContactView, ...]
    page: int
    """From 1."""
    limit: int
    total: int


@dataclass(frozen=True, slots=True)
class RunProgress:
    """What a run has come to, all of one instant."""

    run: Run
    contacts: dict[RunContactState, int]
    done: dict[DoneReason, int]
    dispositions: dict[Disposition, int]
    live: dict[AttemptState, int]
    placed: int
    """Calls handed to an engine."""
    answered: int


async def start(database: Database, secrets: SecretBox, *, iid: str, campaign_id: str, actor: str) -> StartedRun:
    """Begin a run of a campaign because somebody asks for it. Raises ConflictError when a schedule will start it, and
    NotFoundError; else as :func:`begin`."""
    async with database.connection() as connection:
        known = await campaigns_store.by_id(connection, iid, campaign_id)
    if known is not None:
        await rule_data.prepare(known.rules.calling_hours, clock.now())
    async with database.transaction() as connection:
        # frozen in the middle of this, the process must not hold up a stop
        await store.limit_idle(connection, IDLE_SECONDS)
        campaign = await campaigns_store.by_id(connection, iid, campaign_id, lock=True)
        if campaign is None:
            raise NotFoundError(f"There is no campaign with the id {campaign_id}.")
        # in a statement of its own: one that waits for the lock sees the schedule as it was before the wait
        schedule = (await schedules_store.of_campaigns(connection, [campaign.id])).get(campaign.id)
        if schedule is not None and schedule.upcoming:
            raise ConflictError(
                f"The campaign {campaign.name} is scheduled and will start by itself; switch its schedule off before "
                "starting it by hand."
            )
        return await begin(connection, secrets, campaign, actor=actor)


async def begin(connection: Connection, secrets: SecretBox, campaign: Campaign, *, actor: str) -> StartedRun:
    """Begin a run of a campaign whose row is locked, by the rules it has now.

    Raises EmergencyStopError, NotBuiltError (dialing mode), ConflictError (a run of it is live), BadReferenceError (it
    has no flow, or no trunk has its caller ID), RulePackError (its rule pack or a holiday calendar cannot be read),
    InUseError (another live run dials one of its lists), NothingToDialError.
    """
    await _refuse_in_emergency(connection)
    # a wider stop that is asked for from here on waits, and finds the run
    await emergencies_store.starting(connection, campaign.account_id)
    require_startable(campaign)
    latest = await store.latest_run(connection, campaign.id)
    if latest is not None and latest.state in LIVE_RUN_STATES:
        raise ConflictError(
            f"The campaign {campaign.name} has a run that is {latest.state}; stop it before starting another."
        )
    run = await _insert(connection, secrets, campaign, actor)
    taken = await store.take_lists(connection, run.id, campaign.list_ids)
    if taken:
        raise InUseError(
            " ".join(
                f"The contact list {name} is being dialed by the campaign {other or 'of another start'}."
                for name, other in taken.items()
            )
            + " Wait until that run has ended, or stop it."
        )
    await _load_first(connection, run)
    await _require_somebody(connection, run, campaign)
    await schedules_store.forget_stop(connection, campaign.id)
    completed = await store.calls_completed(connection, campaign.id)
    await store.announce(connection, run.id)
    # only now, for a moment: reading contacts takes as long as it takes, and everybody's emergency stop waits for this
    await _require_no_emergency(connection)
    return StartedRun(await store.by_id(connection, run.id), completed)


def require_startable(campaign: Campaign) -> None:
    """Raise NotBuiltError or BadReferenceError for a campaign that can never be started as it is."""
    if campaign.mode is not DialingMode.AGENTLESS:
        raise NotBuiltError(
            f"The campaign {campaign.name} is {campaign.mode}: dialing for agents is not built yet. "
            "Only agentless campaigns can be started."
        )
    if campaign.flow_id is None:
        raise BadReferenceError(
            f"The campaign {campaign.name} has no flow, so whoever answers would hear nothing. Add one with: "
            "outdial flow add, and update the campaign to use it."
        )


async def _insert(connection: Connection, secrets: SecretBox, campaign: Campaign, actor: str) -> Run:
    trunk = await trunks_store.by_caller_id(connection, secrets, campaign.iid, campaign.rules.caller_id)
    if trunk is None:
        raise BadReferenceError(
            f"No trunk of the application has the caller ID {campaign.rules.caller_id}. Add one with: outdial trunk "
            f"add --iid {campaign.iid} --caller-id {campaign.rules.caller_id} …"
        )
    account_list = await dnc_store.account_list(
        connection, campaign.account_id, new_id=ids.contact_list_id(uuid.uuid4())
    )
    # the pack's version is part of the snapshot: a later one does not change the rules of a run that has begun
    hours = rule_data.pinned(campaign.rules.calling_hours, clock.now())
    run = await store.insert_run(
        connection,
        instance_id=ids.instance_id(uuid.uuid4()),
        campaign_id=campaign.id,
        account_id=campaign.account_id,
        iid=campaign.iid,
        rules=replace(campaign.rules, calling_hours=hours),
        trunk_id=trunk.id,
        flow_id=campaign.flow_id,
        courtesy_flow_id=campaign.courtesy_flow_id,
        dnc_list_ids=[account_list, *([] if campaign.dnc_list_id is None else [campaign.dnc_list_id])],
        max_concurrent_calls=None,
        actor=actor,
    )
    if run is None:
        # declared since it was looked for above
        await _refuse_in_emergency(connection)
        raise EmergencyStopError("An emergency stop was in force at that instant: ask again.")
    return run


async def _load_first(connection: Connection, run: Run) -> None:
    """Read the first contacts, and on until somebody is found who may be dialed or the lists are at their end."""
    allowed = loaded = 0
    while not allowed or loaded < FIRST_LOT:
        if not await contacts_store.load_lot(connection, run, limit=FIRST_LOT):
            await store.mark_loaded(connection, run.id)
            return
        loaded, allowed = await contacts_store.dialable(connection, run)


async def _require_somebody(connection: Connection, run: Run, campaign: Campaign) -> None:
    total, allowed = await contacts_store.dialable(connection, run)
    if not total:
        raise NothingToDialError(
            f"There is nobody to dial: the contact lists of the campaign ({', '.join(campaign.list_names)}) are empty."
        )
    if not allowed:
        raise NothingToDialError(
            f"There is nobody to dial: all {total} contacts are on a do-not-call list of the account or the campaign."
        )


async def load_more(database: Database, run: Run) -> bool:
    """Read one more lot of contacts; return whether more is left. Nothing is read into a run that is stopping."""
    async with database.transaction() as connection:
        await store.share_run(connection, run.id)
        present = await store.by_id(connection, run.id)
        if present.loaded or present.state not in (RunState.ACTIVE, RunState.PAUSED):
            return False
        if await contacts_store.load_lot(connection, present, limit=LOT):
            return True
        await store.mark_loaded(connection, run.id)
        return False


async def pause(database: Database, engines: Engines, *, iid: str, campaign_id: str, actor: str) -> Run:
    """Pause the campaign's run: when this returns no new call leaves, what rings or is connected goes on.

    Pausing a paused run changes nothing, and looks at the engines again. Raises NotFoundError, ConflictError,
    PauseNotProvenError (committed, but an engine could not be shown to be silent in time: ask again).
    """
    async with database.transaction() as connection:
        await store.limit_idle(connection, engines.ttl_seconds)
        run = await locked_latest(connection, iid, campaign_id)
        if run.state is not RunState.PAUSED:
            run = await move_locked(connection, run, RunAction.PAUSE, actor)
    if problems := await _silence(database, engines, run, patient=False):
        raise PauseNotProvenError(
            "The run is paused and no new call is claimed, but it is not shown yet that no call which was under way "
            f"before can leave: {problems} Ask again; or stop the campaign, which goes on trying by itself. If an "
            "engine is gone for good, say so: outdial engine retire ENGINE"
        )
    return run


async def pause_failing(database: Database, engines: Engines, run: Run, *, reason: str) -> Paused | None:
    """Pause a run because its calls fail; return None when it has moved on since it was looked at.

    Otherwise as :func:`pause`, but that nobody is there to ask again: what could not be shown is told in the log and in
    the answer, for :func:`prove_pause`.
    """
    async with database.transaction() as connection:
        await store.limit_idle(connection, engines.ttl_seconds)
        await store.lock_run(connection, run.id)
        present = await store.by_id(connection, run.id)
        if present.state is not RunState.ACTIVE or present.epoch != run.epoch:
            return None
        paused = await move_locked(connection, present, RunAction.PAUSE, ACTOR, reason=reason)
    problems = await _silence(database, engines, paused)
    if problems:
        _log.warning("pause_not_proven", run_id=run.id, reason=problems)
    return Paused(paused, problems)


async def prove_pause(database: Database, engines: Engines, paused: Run) -> str:
    """Look once more whether a paused run is silent at every engine; return what could not be shown, as a sentence.

    Nothing is left to show, so the answer is empty, once somebody has resumed or stopped the run.
    """
    async with database.connection() as connection:
        present = await store.by_id(connection, paused.id)
    if present.state is not RunState.PAUSED or present.epoch != paused.epoch:
        return ""
    problems = await _silence(database, engines, paused)
    if not problems:
        _log.info("pause_proven", run_id=paused.id)
    return problems


async def _silence(database: Database, engines: Engines, run: Run, *, patient: bool = True) -> str:
    """Let no new call of a paused run leave; what rings or is connected goes on. Return what could not be shown;
    ``patient`` where nobody waits for the answer."""
    async with database.connection() as connection:
        target = await barrier.target_of(connection, run, engines)
    wishes = barrier.Wishes(ringing=RingingCalls.LET_RING)
    # an engine that does not answer fences itself when its permits run out; but a call it has let through by then, and
    # was frozen before it could send it, leaves as it thaws (seen by the nemesis suite)
    deadline = target.settled_at + PATIENCE_SECONDS
    unheard_until = None if patient else target.unheard_until
    found = await barrier.silence(
        engines, target, wishes, deadline=deadline, database=database, unheard_until=unheard_until
    )
    return barrier.problems(found)


async def resume(database: Database, *, iid: str, campaign_id: str, actor: str) -> Run:
    """Go on with a paused run. Raises NotFoundError, ConflictError, EmergencyStopError."""
    async with database.transaction() as connection:
        await store.limit_idle(connection, IDLE_SECONDS)
        await _require_no_emergency(connection)
        run = await locked_latest(connection, iid, campaign_id)
        return await move_locked(connection, run, RunAction.RESUME, actor)


async def _require_no_emergency(connection: Connection) -> None:
    """Let none be declared until commit. Raises EmergencyStopError when one is in force."""
    await emergencies_store.hold(connection)
    await _refuse_in_emergency(connection)


async def _refuse_in_emergency(connection: Connection) -> None:
    """Raise EmergencyStopError when one is in force, or was since this transaction began."""
    emergency = await emergencies_store.in_force(connection, since_begin=True)
    if emergency is not None:
        raise EmergencyStopError(
            f"An emergency stop is in force since {emergency.declared_at:%Y-%m-%d %H:%M:%S} UTC, declared by "
            f"{emergency.declared_by}: {emergency.reason or 'no reason given'}. Nothing can be started before somebody "
            "lifts it: outdial emergency-stop --lift"
        )


async def locked_latest(connection: Connection, iid: str, campaign_id: str) -> Run:
    """Return the campaign's latest run, whose lock is held until the transaction ends.

    Raises NotFoundError, and ConflictError when it never ran.
    """
    name = await campaigns_store.name_of(connection, iid, campaign_id)
    if name is None:
        raise NotFoundError(f"There is no campaign with the id {campaign_id}.")
    run_id = await store.latest_id(connection, campaign_id)
    if run_id is None:
        raise ConflictError(f"The campaign {name} has never been started, so it has no run to pause, resume or stop.")
    await store.lock_run(connection, run_id)
    return await store.by_id(connection, run_id)


async def move_locked(
    connection: Connection, run: Run, action: RunAction, actor: str, *, reason: str | None = None
) -> Run:
    """Do something to a run that was read under its lock, which is held, and wake every node; return it as it is then.
    Raises ConflictError when its state forbids it.

    ``reason`` is what the history says, the action itself unless told.
    """
    moved = await store.move_run(
        connection,
        run.id,
        before=run.state,
        epoch=run.epoch,
        after=move(run.state, action),
        actor=actor,
        reason=str(action) if reason is None else reason,
    )
    if moved is None:
        raise ConflictError(f"The run {run.instance_id} has just changed: ask again.")
    await store.announce(connection, run.id)
    return moved.of(run)


async def run_contacts(database: Database, *, iid: str, campaign_id: str, page: int, limit: int) -> RunContactPage:
    """Return a page of the contacts of the campaign's latest run. Raises NotFoundError."""
    async with database.connection() as connection:
        campaign = await campaigns_store.by_id(connection, iid, campaign_id)
        if campaign is None:
            raise NotFoundError(f"There is no campaign with the id {campaign_id}.")
        run = await store.latest_run(connection, campaign_id)
        if run is None:
            return RunContactPage((), page, limit, 0)
        rows, total = await contacts_store.page(connection, run.id, offset=(page - 1) * limit, limit=limit)
    return RunContactPage(tuple(rows), page, limit, total)


async def progress(database: Database, run_id: int) -> RunProgress:
    """Return what a run has come to."""
    async with database.snapshot() as connection:
        run = await store.by_id(connection, run_id)
        counts = await contacts_store.counts(connection, run_id)
    return RunProgress(
        run=run,
        contacts=counts.contacts,
        done=counts.done,
        dispositions=counts.dispositions,
        live=counts.live,
        placed=counts.placed,
        answered=counts.answered,
    )

"""Schedules: set and switched off by people, kept by every process that has a database.

An occurrence is one transaction: it locks the campaign, takes the occurrence by compare-and-set on the schedule's row,
and begins the run. So it happens once however many processes look, a stop either prevents it or sees its run, and a
crash leaves it as due as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from outdial.core.errors import (
    BadReferenceError,
    ConflictError,
    DatabaseUnavailableError,
    InvalidInputError,
    NotBuiltError,
    NotFoundError,
)
from outdial.core.model import LIVE_RUN_STATES, Campaign, RunState
from outdial.core.schedule import LATEST, Outcome, Recurrence, Schedule
from outdial.secretbox import SecretBox
from outdial.services import campaigns, runs
from outdial.services.stop import commit_stopping
from outdial.store import campaigns as campaigns_store
from outdial.store import runs as runs_store
from outdial.store import schedules as store
from outdial.store import scrubs as scrubs_store
from outdial.store.database import Connection, Database, server_time
from outdial.store.schedules import Due, Occurrence
from outdial.store.scrubs import Scrub

__all__ = [
    "Occurrence",
    "SchedulePlan",
    "ScheduleView",
    "Scrub",
    "disable",
    "enable",
    "keep",
    "require_named",
    "show",
]

ACTOR: Final = "schedule"
"""Who starts and stops what a schedule starts and stops."""

LOOK_SECONDS: Final = 1.0
"""Between two looks for what is due."""

IDLE_SECONDS: Final = 2.0
"""How long whoever changes a schedule may fall silent while a stop would have to wait for them."""

SHOWN: Final = 50
"""Past occurrences that are shown."""

_REFUSALS: Final = (ConflictError, BadReferenceError, NotBuiltError)
"""What a start may answer that another try in a second would answer again."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SchedulePlan:
    """A schedule as people give it; its zone is that of the campaign's calling hours."""

    start: datetime
    """Wall clock: naive."""
    end: datetime
    """Wall clock: naive, exclusive."""
    recurrence: Recurrence
    every: int
    weekdays: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A campaign with its schedule, what became of its occurrences, and the latest look at its do-not-call lists."""

    campaign: Campaign
    occurrences: tuple[Occurrence, ...]
    """Latest first, at most fifty."""
    scrub: Scrub | None


async def require_named(database: Database, iid: str, name: str, campaign_id: str | None = None) -> str:
    """Return the id of the application's campaign of that exact name; where several bear it, ``campaign_id`` says
    which. Raises NotFoundError, ConflictError."""
    async with database.connection() as connection:
        found = [each.id for each in await campaigns_store.named(connection, iid, name)]
    fitting = found if campaign_id is None else [each for each in found if each == campaign_id]
    if not fitting:
        with_id = "" if campaign_id is None else f" and the id {campaign_id}"
        raise NotFoundError(f"There is no campaign with the name {name!r}{with_id}.")
    if len(fitting) > 1:
        raise ConflictError(
            f"{len(fitting)} campaigns are named {name!r}: say which with `campaignId`, one of {', '.join(fitting)}."
        )
    return fitting[0]


async def enable(database: Database, *, iid: str, campaign_id: str, plan: SchedulePlan, actor: str) -> Campaign:
    """Let a campaign run by itself from now on, by this schedule and no other.

    Raises NotFoundError; NotBuiltError or BadReferenceError for a campaign that cannot be started as it is;
    InvalidInputError for a schedule of which nothing is left to happen.
    """
    async with database.transaction() as connection:
        await runs_store.limit_idle(connection, IDLE_SECONDS)
        campaign = await _locked(connection, iid, campaign_id)
        runs.require_startable(campaign)
        schedule = Schedule(
            start=plan.start,
            end=plan.end,
            zone=campaign.rules.calling_hours.zone,
            recurrence=plan.recurrence,
            every=plan.every,
            weekdays=plan.weekdays,
        )
        # the clock by which occurrences come due
        now = await server_time(connection)
        problems = schedule.problems(now)
        next_at = None if problems else schedule.next_after(now)
        if next_at is None:
            raise InvalidInputError([f"{problem}." for problem in problems])
        await store.enable(
            connection,
            campaign.id,
            account_id=campaign.account_id,
            schedule=schedule,
            next_at=next_at,
            ends_at=schedule.ends_at(),
            actor=actor,
        )
        return await _whole(connection, campaign)


async def disable(database: Database, *, iid: str, campaign_id: str, actor: str) -> Campaign:
    """Switch a campaign's schedule off; a run that is live goes on. One that is off stays so. Raises NotFoundError."""
    async with database.transaction() as connection:
        await runs_store.limit_idle(connection, IDLE_SECONDS)
        campaign = await _locked(connection, iid, campaign_id)
        await store.switch_off(connection, campaign.id, actor=actor, reason="disable")
        return await _whole(connection, campaign)


async def show(database: Database, *, iid: str, campaign_id: str) -> ScheduleView:
    """Return a campaign's schedule and what became of it. Raises NotFoundError."""
    campaign = await campaigns.get_campaign(database, iid, campaign_id)
    async with database.snapshot() as connection:
        return ScheduleView(
            campaign=campaign,
            occurrences=tuple(await store.occurrences(connection, campaign_id, limit=SHOWN)),
            scrub=await scrubs_store.of_campaign(connection, campaign_id),
        )


async def _locked(connection: Connection, iid: str, campaign_id: str) -> Campaign:
    campaign = await campaigns_store.by_id(connection, iid, campaign_id, lock=True)
    if campaign is None:
        raise NotFoundError(f"There is no campaign with the id {campaign_id}.")
    return campaign


async def _whole(connection: Connection, campaign: Campaign) -> Campaign:
    found = await campaigns_store.whole_by_id(connection, campaign.iid, campaign.id)
    assert found is not None  # noqa: S101 - it is locked
    return found


async def keep(database: Database, secrets: SecretBox, *, ttl_seconds: float) -> None:
    """Start what is due, stop what has come to its schedule's end, compare with do-not-call lists, for ever; ends by
    cancel. Any number of processes may do so at once."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_again(_Keeper(database, secrets, ttl_seconds).look))
        # a list of a million takes seconds, and must not keep a campaign from starting
        group.create_task(_again(_Scrubber(database).look))


async def _again(look: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await look()
        except DatabaseUnavailableError as error:
            _log.warning("schedules_wait_for_database", reason=error.message)
        await asyncio.sleep(LOOK_SECONDS)


class _Keeper:
    """Starts what is due and ends what is over."""

    def __init__(self, database: Database, secrets: SecretBox, ttl_seconds: float) -> None:
        self._database = database
        self._secrets = secrets
        self._ttl_seconds = ttl_seconds

    async def look(self) -> None:
        async with self._database.connection() as connection:
            due = await store.due(connection)
            ended = await store.ended(connection)
        for one in due:
            await self._each(one, self._occur)
        for one in ended:
            await self._each(one, self._end)

    async def _each(self, one: Due, act: Callable[[Due], Awaitable[None]]) -> None:
        """Do it; what goes wrong with one schedule must not keep the others, nor stops, from being served."""
        try:
            await act(one)
        except DatabaseUnavailableError:
            raise
        except Exception:  # noqa: BLE001 - told with its traceback; the same is tried again at the next look
            _log.exception("schedule_failed", campaign_id=one.campaign_id, next_at=str(one.schedule.next_at))

    async def _occur(self, due: Due) -> None:
        due_at = due.schedule.next_at
        if due_at is None:
            return
        async with self._database.transaction() as connection:
            # frozen in the middle of this, the process must not hold up a stop
            await runs_store.limit_idle(connection, self._ttl_seconds)
            campaign = await _locked(connection, due.iid, due.campaign_id)
            following = due.schedule.schedule.next_after(due_at)
            now = await store.take(connection, campaign.id, due.schedule, next_at=following)
            if now is None or await store.happened(connection, campaign.id, due_at):
                return
            outcome, run_id, reason = await self._outcome(connection, campaign, late=now - due_at)
            await store.record(connection, campaign.id, due_at, outcome, run_id=run_id, reason=reason)
        tell = _log.info if outcome is Outcome.STARTED else _log.warning
        tell("occurrence", campaign_id=campaign.id, due_at=due_at.isoformat(), outcome=outcome, reason=reason)

    async def _outcome(
        self, connection: Connection, campaign: Campaign, *, late: timedelta
    ) -> tuple[Outcome, int | None, str]:
        if late > LATEST:
            return (
                Outcome.MISSED,
                None,
                f"No outdial was running when it was due; seen {late.total_seconds():.0f} s late.",
            )
        try:
            # a savepoint: what a refused start has written is undone, that it was refused is not
            async with connection.transaction():
                started = await runs.begin(connection, self._secrets, campaign, actor=ACTOR)
        except _REFUSALS as refusal:
            return Outcome.REFUSED, None, refusal.message
        return Outcome.STARTED, started.run.id, ""

    async def _end(self, ended: Due) -> None:
        async with self._database.transaction() as connection:
            await runs_store.limit_idle(connection, self._ttl_seconds)
            # nobody can start the campaign, or give it another schedule, while its row is locked
            campaign = await _whole(connection, await _locked(connection, ended.iid, ended.campaign_id))
            if campaign.schedule is None or campaign.schedule.version != ended.schedule.version:
                return
            await store.switch_off(connection, campaign.id, actor=ACTOR, reason="end")
            run = campaign.run
            if run is None or run.state not in LIVE_RUN_STATES or not await store.began(connection, run.id):
                return
            await runs_store.lock_run(connection, run.id)
            run = await runs_store.by_id(connection, run.id)
            if run.state in (RunState.ACTIVE, RunState.PAUSED):
                # from here on nothing is claimed; the proof is finished by services.stop.resume_stops
                await commit_stopping(connection, run, actor=ACTOR)
        _log.info("schedule_ended", campaign_id=campaign.id)


class _Scrubber:
    """Counts contacts on do-not-call lists, after a campaign is saved and ahead of an occurrence."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self) -> None:
        while True:
            async with self._database.transaction() as connection:
                campaign_id = await scrubs_store.pick(connection)
                if campaign_id is None:
                    return
                scrub = await scrubs_store.scrub(connection, campaign_id)
            _log.info(
                "scrubbed", campaign_id=campaign_id, contacts=scrub.contacts_count, on_do_not_call=scrub.dnc_count
            )

"""Stops of more than one campaign: a caller ID, a contact list, a number, an account, everything.

Each run is stopped by the barrier of ``services.stop``, with a report of its own: first all are committed, so that
nothing more is claimed anywhere, then each is proven. What is asked for is written down before, so that the record says
what was stopped even when the process that was asked dies; the runs' stops are finished by whoever lives.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec

from outdial.core.errors import (
    ConflictError,
    NotFoundError,
    StopNotProvenError,
)
from outdial.core.model import (
    ConnectedCalls,
    DncSource,
    Run,
)
from outdial.core.numbers import OF_PERSON
from outdial.core.paging import Page
from outdial.core.phone import mask, parse_phone
from outdial.core.wide_stop import StopScope, StopTarget
from outdial.services import dnc
from outdial.services import stop as stops
from outdial.services.dnc import DncChange, Listed
from outdial.services.engines import Engines
from outdial.services.fields import is_storable
from outdial.services.number_calls import NumberCalls
from outdial.services.stop import StopOptions, StopReport
from outdial.store import contacts as contacts_store
from outdial.store import dnc as dnc_store
from outdial.store import emergencies as emergencies_store
from outdial.store import runs as runs_store
from outdial.store import schedules as schedules_store
from outdial.store import wide_stops as store
from outdial.store.database import Database
from outdial.store.wide_stops import ToStop, WideStopRow

AT_ONCE: Final = 4
"""Runs, or numbers, whose stops are committed or proven at the same time: each takes a database connection or two."""

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class NumberReport:
    """What a number's stop did beside listing it."""

    cancelled: int
    """Calls that were not answered."""
    hung_up: int
    """Conversations that were ended, when that was asked for."""
    connected: int
    """Conversations that go on."""
    contacts_removed: int
    """Contacts of live runs that waited to be called."""


@dataclass(frozen=True, slots=True)
class RunStop:
    """One run of a wide stop."""

    campaign_id: str
    instance_id: str
    state: str
    """``stopped``, or ``stopping`` while that is not proven."""
    report: StopReport | None


@dataclass(frozen=True, slots=True)
class WideStop:
    """A stop of more than one campaign, and how far it is."""

    id: str
    target: StopTarget
    requested_at: datetime
    requested_by: str
    stopped_at: datetime | None
    """The instant from which on nothing of it could start; None while that is not proven."""
    latency_seconds: float | None
    runs: tuple[RunStop, ...]
    schedules_off: tuple[str, ...]
    """Campaigns whose schedules were switched off."""
    number: NumberReport | None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, times as ISO 8601 UTC."""
        document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        for run, told in zip(self.runs, document["runs"], strict=True):
            told["report"] = None if run.report is None else run.report.as_json()
        return document


async def stop_caller_id(
    database: Database,
    engines: Engines,
    *,
    account_id: str,
    iid: str,
    caller_id: str,
    actor: str,
    options: StopOptions = StopOptions(),  # noqa: B008 - frozen
) -> WideStop:
    """Stop every campaign of the application that calls from the number; as :func:`stop_target`.

    Raises InvalidInputError for what is no number.
    """
    target = StopTarget(StopScope.CALLER_ID, parse_phone(caller_id, None), account_id, iid)
    return await stop_target(database, engines, target, actor=actor, options=options)


async def stop_contact_list(
    database: Database,
    engines: Engines,
    *,
    account_id: str,
    iid: str,
    list_id: str,
    actor: str,
    options: StopOptions = StopOptions(),  # noqa: B008 - frozen
) -> WideStop:
    """Stop every campaign of the application that dials the list; as :func:`stop_target`. Raises NotFoundError."""
    async with database.connection() as connection:
        found = await contacts_store.list_by_id(connection, iid, list_id) if is_storable(list_id) else None
    if found is None:
        raise NotFoundError(f"There is no contact list with the id {list_id}.")
    target = StopTarget(StopScope.CONTACT_LIST, list_id, account_id, iid)
    return await stop_target(database, engines, target, actor=actor, options=options)


async def stop_account(
    database: Database,
    engines: Engines,
    *,
    account_id: str,
    actor: str,
    options: StopOptions = StopOptions(),  # noqa: B008 - frozen
) -> WideStop:
    """Stop every campaign of the account; as :func:`stop_target`."""
    target = StopTarget(StopScope.ACCOUNT, account_id=account_id)
    return await stop_target(database, engines, target, actor=actor, options=options)


async def stop_target(
    database: Database,
    engines: Engines,
    target: StopTarget,
    *,
    actor: str,
    options: StopOptions = StopOptions(),  # noqa: B008 - frozen
    stop_id: str | None = None,
    keep_schedules: bool = False,
) -> WideStop:
    """Stop every run the target reaches and switch the schedules of its campaigns off; return when no further call of
    any of them can leave.

    Nothing to stop is no error: then nothing could leave. A run started by hand afterwards dials. ``stop_id`` goes on
    with a stop that is written down already. Raises StopNotProvenError, which names each engine that could not be shown
    to be silent, DatabaseUnavailableError.
    """
    if stop_id is None:
        stop_id = new_id()
        async with database.connection() as connection:
            await store.insert(connection, stop_id, target, actor=actor, options=asdict(options))
    asking = _Asking(database, engines, stop_id, actor, options, keep_schedules=keep_schedules)
    runs = await asking.commit_all(target)
    problems = [problem for problem in await _at_once(runs, asking.prove) if problem is not None]
    if problems:
        raise StopNotProvenError(
            f"{len(runs) - len(problems)} of {len(runs)} runs are stopped. " + " ".join(sorted(set(problems)))
        )
    async with database.connection() as connection:
        await store.proven(connection, stop_id)
    return await wide_stop(database, stop_id)


@dataclass(frozen=True, slots=True)
class _Asking:
    """Stops the campaigns of one wide stop."""

    database: Database
    engines: Engines
    stop_id: str
    actor: str
    options: StopOptions
    keep_schedules: bool = False
    asked_at: datetime | None = None
    """When it was asked for, of one that is gone on with: what somebody has started since goes on."""

    async def commit_all(self, target: StopTarget) -> list[Run]:
        """Take every run the target reaches to ``stopping`` and note it."""
        if target.account_id is not None:
            # whatever was being started when this was asked for is found below; a declared emergency has waited already
            async with self.database.transaction() as connection:
                await runs_store.limit_idle(connection, self.engines.ttl_seconds)
                await emergencies_store.let_starts_end(connection, target.account_id)
        async with self.database.connection() as connection:
            found = await store.in_scope(connection, target, asked_at=self.asked_at)
        runs = [run for run in await _at_once(found, self.commit) if run is not None]
        async with self.database.connection() as connection:
            await store.committed(connection, self.stop_id)
        return runs

    async def commit(self, found: ToStop) -> Run | None:
        """Take the campaign's run to ``stopping`` and note it; None when nothing of it is live any more."""
        async with self.database.transaction() as connection:
            await runs_store.limit_idle(connection, self.engines.ttl_seconds)
            planned = await schedules_store.of_campaigns(connection, [found.campaign_id])
            schedule = planned.get(found.campaign_id)
            keep_schedule = self.keep_schedules or found.keep_schedule
            try:
                over = await stops.commit_stop(
                    connection,
                    found.iid,
                    found.campaign_id,
                    actor=self.actor,
                    options=self.options,
                    keep_schedule=keep_schedule,
                )
            except (ConflictError, NotFoundError):
                # it has completed meanwhile, and perhaps its campaign was deleted
                over = None
            if schedule is not None and schedule.enabled and not keep_schedule:
                await store.add_schedule(connection, self.stop_id, found.campaign_id)
            if not isinstance(over, Run):
                return None
            await store.add_run(connection, self.stop_id, over.id)
            return over

    async def prove(self, run: Run) -> str | None:
        """Finish one run's stop; return why that is not shown yet, None when it is."""
        try:
            await stops.prove_stop(
                self.database, self.engines, run, actor=self.actor, tell=lambda _step, _sentence: None
            )
        except StopNotProvenError as error:
            return error.message
        return None


async def stop_number(
    database: Database,
    engines: Engines,
    *,
    account_id: str,
    phone: str,
    others: Sequence[str] = (),
    actor: str,
    reason: str = "stop",
    source: DncSource = DncSource.STOP,
    connected: ConnectedCalls = ConnectedCalls.KEEP,
    default_region: str | None = None,
) -> WideStop:
    """Stop one number in the whole account, for good: it goes on the account's do-not-call list, out of everything
    pending, and a call to it that is not answered is cancelled. When this returns no further call to it can leave. Who
    has another number that may be dialed is called there, but where the source means the person: then nobody who has it
    is called at any, and ``others`` are stopped with it, each by a stop of its own. Returned is the first.

    Raises InvalidInputError for what is no number, NotFoundError for an unknown account, StopNotProvenError while a
    call to it may still ring.
    """
    numbers = [parse_phone(one, default_region) for one in (phone, *others)]
    stop_ids, change = await stop_numbers(
        database,
        engines,
        account_id=account_id,
        numbers=numbers,
        actor=actor,
        reason=reason,
        source=source,
        connected=connected,
    )
    if change.problems:
        raise StopNotProvenError(f"{' '.join(change.problems)} Ask again.")
    return await wide_stop(database, stop_ids[0])


async def stop_numbers(
    database: Database,
    engines: Engines,
    *,
    account_id: str,
    numbers: Sequence[str],
    actor: str,
    reason: str,
    source: DncSource,
    connected: ConnectedCalls = ConnectedCalls.KEEP,
    listed: Listed | None = None,
) -> tuple[tuple[str, ...], DncChange]:
    """Stop numbers in E.164 as :func:`stop_number` does, listed in one transaction; return their stops, in order, and
    what became of the list, with a sentence for each number to which a call may still ring: its stop goes on by itself.
    A call that is slow to leave keeps none of the others from being cancelled.

    Raises InvalidInputError for what is no reason, NotFoundError for an unknown account.
    """
    stops = {number: new_id() for number in numbers}
    options = StopOptions(connected=connected)
    async with database.transaction() as connection:
        await dnc.require_owner(connection, account_id)
        dnc.require_reason(reason)
        for number, stop_id in stops.items():
            target, asked = StopTarget(StopScope.NUMBER, number, account_id), {"reason": reason, "source": source}
            await store.insert(connection, stop_id, target, actor=actor, options=asdict(options) | asked)
    # all of them at once, before anything else: else whoever has one would be called at another meanwhile
    change = await _list_numbers(database, stops, account_id, reason=reason, source=source, actor=actor, listed=listed)

    async def end(number: str) -> str | None:
        try:
            await _end_number(
                database, engines, stops[number], account_id, number, connected=connected, source=source, actor=actor
            )
        except StopNotProvenError as error:
            return error.message
        return None

    problems = [not_left(list(stops))] if change.problems else []
    problems += [problem for problem in await _at_once(list(stops), end) if problem is not None]
    return tuple(stops.values()), replace(change, problems=tuple(problems))


async def _list_numbers(
    database: Database,
    stops: Mapping[str, str],
    account_id: str,
    *,
    reason: str,
    source: DncSource,
    actor: str,
    listed: Listed | None = None,
) -> DncChange:
    """Put the numbers, each with its stop, on the account's do-not-call list, for good, in one transaction."""
    change = await dnc.add_numbers(
        # their lines are asked about once their calls are cancelled
        database,
        account_id=account_id,
        phones=list(stops),
        as_stored=True,
        reason=reason,
        source=source,
        actor=actor,
        lines_later=True,
        listed=listed,
    )
    async with database.connection() as connection:
        for stop_id in stops.values():
            await store.committed(connection, stop_id)
    return change


async def _end_number(
    database: Database,
    engines: Engines,
    stop_id: str,
    account_id: str,
    number: str,
    *,
    connected: ConnectedCalls,
    source: DncSource,
    actor: str,
) -> None:
    """End the calls to a number that is listed, and take it out of everything pending. Raises StopNotProvenError."""
    of_person = source in OF_PERSON
    calls = NumberCalls(database, engines, account_id, number, actor, of_person=of_person)
    cancelled, hung_up, left = await calls.end(connected)
    await calls.require_lines()
    async with database.connection() as connection:
        removed = await store.remove_number(connection, account_id, number, actor=actor, of_person=of_person)
        report = NumberReport(cancelled=cancelled, hung_up=hung_up, connected=left, contacts_removed=removed)
        await store.proven(connection, stop_id, number_report=report)


async def go_on(database: Database, engines: Engines, row: WideStopRow) -> bool:
    """Go on with a stop whose process has died, or has given up; return whether all is shown.

    Of a caller ID, a list or an account only what was left is committed: ``stop.resume_stops`` proves its runs.
    What somebody has started since, or has taken off the do-not-call list again, is left alone. Raises
    StopNotProvenError, DatabaseUnavailableError.
    """
    target, actor = row.target, row.requested_by
    if target.scope is StopScope.NUMBER:
        return await _go_on_with_number(database, engines, row)
    if row.committed_at is None:
        options = msgspec.convert(row.options, StopOptions)
        await _Asking(database, engines, row.id, actor, options, asked_at=row.requested_at).commit_all(target)
    async with database.connection() as connection:
        if any(run.report is None for run in await store.runs_of(connection, row.id)):
            return False
        await store.proven(connection, row.id)
    return True


async def _go_on_with_number(database: Database, engines: Engines, row: WideStopRow) -> bool:
    account_id, number, actor = row.target.account_id, row.target.value, row.requested_by
    assert account_id is not None and number is not None  # noqa: S101, PT018 - of every number's stop
    source = DncSource(row.options.get("source", DncSource.STOP))
    if row.committed_at is None:
        change = await _list_numbers(
            database, {number: row.id}, account_id, reason=row.options["reason"], source=source, actor=actor
        )
        require_left(number, change)
    async with database.connection() as connection:
        listed = await dnc_store.listed_count(connection, account_id, [number])
    if not listed:
        return False
    connected = msgspec.convert(row.options, StopOptions).connected
    await _end_number(database, engines, row.id, account_id, number, connected=connected, source=source, actor=actor)
    return True


def require_left(number: str, change: DncChange) -> None:
    """Raise StopNotProvenError unless each call to a listed number that was being placed has left or was given back."""
    if change.problems:
        raise StopNotProvenError(not_left([number]))


def not_left(numbers: Sequence[str]) -> str:
    """Return the sentence for listed numbers to one of which a call may be on its way."""
    if len(numbers) == 1:
        listed, called = f"{mask(numbers[0])} is", "it"
    else:
        listed, called = f"{', '.join(mask(number) for number in numbers)} are", "one of the numbers"
    return (
        f"{listed} on the do-not-call list, but whether a call to {called} that was being placed has left is not "
        "known yet."
    )


async def wide_stop(
    database: Database, stop_id: str, *, account_id: str | None = None, iid: str | None = None
) -> WideStop:
    """Return a stop and how far it is; only one of that account and application where they are given.

    Raises NotFoundError.
    """
    async with database.snapshot() as connection:
        row = await store.by_id(connection, stop_id) if is_storable(stop_id) else None
        if row is None or account_id not in (None, row.target.account_id) or iid not in (None, row.target.iid):
            raise NotFoundError(f"There is no stop with the id {stop_id}.")
        runs = await store.runs_of(connection, stop_id)
        schedules = await store.schedules_of(connection, stop_id)
    stopped = tuple(
        RunStop(
            campaign_id=run.campaign_id,
            instance_id=run.instance_id,
            state=run.state,
            report=None if run.report is None else msgspec.convert(run.report, StopReport),
        )
        for run in runs
    )
    return _view(row, stopped, tuple(schedules))


async def list_wide_stops(
    database: Database, *, account_id: str, iid: str | None = None, skip: int, limit: int
) -> Page[WideStop]:
    """Return some stops of an account, or of one of its applications, newest first."""
    async with database.connection() as connection:
        rows, total = await store.of_account(connection, account_id, iid, skip=skip, limit=limit)
    items = [await wide_stop(database, row.id) for row in rows]
    return Page(items=tuple(items), skip=skip, limit=limit, total=total)


def _view(row: WideStopRow, runs: tuple[RunStop, ...], schedules: tuple[str, ...]) -> WideStop:
    reports = [run.report for run in runs if run.report is not None]
    # of one whose process died before all was committed, the runs that are noted are not all
    settled = row.proven_at is not None or (row.committed_at is not None and bool(runs))
    over = settled and len(reports) == len(runs)
    stopped_at = None
    if over:
        # of a number, and where nothing ran, the record itself has the instant
        stopped_at = max((report.stopped_at for report in reports), default=row.proven_at)
    return WideStop(
        id=row.id,
        target=row.target,
        requested_at=row.requested_at,
        requested_by=row.requested_by,
        stopped_at=stopped_at,
        latency_seconds=None if stopped_at is None else max((stopped_at - row.requested_at).total_seconds(), 0.0),
        runs=runs,
        schedules_off=schedules,
        number=None if row.number_report is None else msgspec.convert(row.number_report, NumberReport),
    )


def new_id() -> str:
    """Draw the id of a stop."""
    return f"sp-{uuid.uuid4()}"


async def _at_once(given: Sequence[Given], act: Callable[[Given], Awaitable[Made]]) -> list[Made]:
    """Do something with each, a few at a time; every one is done before the first failure is raised."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(each: Given) -> Made:
        async with turns:
            return await act(each)

    results = await asyncio.gather(*(one(each) for each in given), return_exceptions=True)
    made = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        made.append(result)
    return made

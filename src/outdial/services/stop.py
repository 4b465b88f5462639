"""Stop: after it returns no further call leaves for the run, whoever runs, crashes, sleeps or wakes up afterwards.

The order is the proof. *Commit* ``stopping`` at a new epoch: nothing can be reserved, no permit made, for the old one.
*Fence* every engine: originates in flight are refused there. *Quiesce*: what passed before the fence is cancelled.
*Acknowledge*: the nodes book what they know. *Commit* ``stopped`` with the report. What cannot be shown is not claimed:
StopNotProvenError, and the run stays ``stopping`` until somebody asks again or :func:`resume_stops` finishes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from outdial import clock
from outdial.core.campaign import RunAction
from outdial.core.errors import (
    DatabaseUnavailableError,
    NotFoundError,
    OutdialError,
    StopNotProvenError,
)
from outdial.core.model import (
    AttemptState,
    ConnectedCalls,
    Disposition,
    DoneReason,
    RingingCalls,
    Run,
    RunContactState,
    RunState,
)
from outdial.core.transfer import attempt_of_leg
from outdial.logs import log_often
from outdial.services import acknowledging, barrier, runs
from outdial.services.acknowledging import NodeOutcome
from outdial.services.barrier import Silence, Wishes
from outdial.services.early_books import EarlyBooks
from outdial.services.engines import Engines
from outdial.services.insisting import insisting
from outdial.store import attempts as attempts_store
from outdial.store import campaigns as campaigns_store
from outdial.store import nodes as nodes_store
from outdial.store import runs as runs_store
from outdial.store import schedules as schedules_store
from outdial.store import stops as store
from outdial.store import transfers as transfers_store
from outdial.store.attempts import AttemptNews, ContactNews
from outdial.store.database import Connection, Database

__all__ = [
    "EngineReport",
    "NodeReport",
    "StopOptions",
    "StopProgress",
    "StopReport",
    "StoppedRun",
    "StoppedSchedule",
    "commit_stop",
    "commit_stopping",
    "prove_stop",
    "report_of",
    "resume_stops",
    "stop",
]

StopOptions = Wishes

PATIENCE_SECONDS: Final = 1.5
"""How long an engine that answers gets to become quiet after the instant at which its permits must have expired; also
one that does not answer, where nobody waits for what the stop says."""

RETRIES_LOT: Final = 500
"""Contacts per statement when retries are dropped: some 10 ms."""

RESUME_SECONDS: Final = 1.0
"""Between two looks for stops that nobody finishes."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StopProgress:
    """One step of a stop, as it is done."""

    step: str
    """``committed``, ``fenced``, ``quiesced``, ``acknowledged``, ``stopped``."""
    sentence: str
    elapsed_seconds: float


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What the stop did at one engine."""

    engine_id: str
    fenced_at: datetime | None
    """None: a person had declared the engine gone; its permits had expired."""
    quiesced_at: datetime | None
    cancelled: int
    hung_up: int


@dataclass(frozen=True, slots=True)
class NodeReport:
    """How one dialer node was accounted for."""

    node_id: str
    name: str
    outcome: NodeOutcome
    at: datetime | None = None
    """When it said that it has dropped the run, or its lease or its life ended; None: neither has happened."""


@dataclass(frozen=True, slots=True)
class StopReport:
    """What a stop did, step by step, and what it left."""

    instance_id: str
    campaign_id: str
    requested_at: datetime
    requested_by: str
    stopped_at: datetime
    latency_seconds: float
    ringing: RingingCalls
    connected: ConnectedCalls
    engines: tuple[EngineReport, ...]
    nodes: tuple[NodeReport, ...]
    cancelled_count: int
    """Calls that were cancelled while they rang."""
    retries_cancelled_count: int
    """Contacts that were attempted before and will not be tried again."""
    never_reached_count: int
    """Contacts that were never attempted."""
    connected_count: int
    """Conversations that go on."""
    talking: tuple[str, ...] = ()
    """Their attempts."""
    untold: tuple[str, ...] = ()
    """Attempts that are booked as answered and were over all the same: their nodes had not told how they ended."""

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values, times as ISO 8601 UTC, without the attempts it notes for its own
        completion."""
        document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        del document["talking"], document["untold"]
        return document


@dataclass(frozen=True, slots=True)
class StoppedRun:
    """A run that is stopped, with the report of its stop."""

    run: Run
    report: StopReport


@dataclass(frozen=True, slots=True)
class StoppedSchedule:
    """A campaign that would have run by itself and will not: nothing of it was running."""

    run: Run | None
    """Its latest run, long over; None when it never ran."""
    stopped_at: datetime


async def stop(
    database: Database,
    engines: Engines,
    *,
    iid: str,
    campaign_id: str,
    actor: str,
    options: StopOptions = StopOptions(),  # noqa: B008 - frozen
    keep_schedule: bool = False,
    on_progress: Callable[[StopProgress], None] | None = None,
) -> StoppedRun | StoppedSchedule:
    """Stop the campaign's run and return when no further call can leave; its schedule is switched off with it, unless
    it is to be kept.

    A stopped campaign answers with the same again; a stop under way is joined, with the options it was asked for first.
    Raises NotFoundError, ConflictError (nothing to stop: never started, or completed, and not scheduled),
    StopNotProvenError (committed, but an engine could not be shown to be silent in time: ask again),
    DatabaseUnavailableError.
    """
    began = clock.boottime()

    def tell(step: str, sentence: str) -> None:
        if on_progress is not None:
            on_progress(StopProgress(step, sentence, clock.boottime() - began))

    async def commit() -> Run | StoppedRun | StoppedSchedule:
        # a stop that is asked for once more finds here what it would find below, under the run's lock: a stopped run
        # is stopped for good, and with no schedule in force there is nothing to switch off. Whatever else there is, a
        # schedule above all, whose occurrence may just be starting a run, is looked at below and nowhere else
        async with database.connection() as connection:
            settled = await store.settled(connection, iid, campaign_id)
        if settled is not None:
            return _as_before(settled)
        async with database.transaction() as connection:
            # this process may be frozen at any instant; what it holds must not keep another one from stopping
            await runs_store.limit_idle(connection, engines.ttl_seconds)
            return await commit_stop(
                connection, iid, campaign_id, actor=actor, options=options, keep_schedule=keep_schedule
            )

    run = await insisting(commit)
    if not isinstance(run, Run):
        return run
    tell("committed", "The stop is committed: no new call is claimed.")
    return await prove_stop(database, engines, run, actor=actor, tell=tell)


async def commit_stop(
    connection: Connection, iid: str, campaign_id: str, *, actor: str, options: StopOptions, keep_schedule: bool
) -> Run | StoppedRun | StoppedSchedule:
    """Switch the campaign's schedule off and take its run to ``stopping``; return it, or what there is when nothing is
    live. Raises NotFoundError, ConflictError (nothing to stop)."""
    if await campaigns_store.name_of(connection, iid, campaign_id) is None:
        raise NotFoundError(f"There is no campaign with the id {campaign_id}.")
    if not keep_schedule:
        # waits for an occurrence that is being started: its run is seen by the next statement
        await schedules_store.switch_off(connection, campaign_id, actor=actor, reason="stop")
    stopped_at = await schedules_store.stopped_at(connection, campaign_id)
    if stopped_at is not None and await runs_store.latest_run(connection, campaign_id) is None:
        return StoppedSchedule(None, stopped_at)
    run = await runs.locked_latest(connection, iid, campaign_id)
    if stopped_at is not None and _is_over(run, before=stopped_at):
        return StoppedSchedule(run, stopped_at)
    if run.state is RunState.STOPPED:
        return StoppedRun(run, _report_from(await store.read_report(connection, run.id)))
    return await commit_stopping(connection, run, actor=actor, options=options, keep_schedule=keep_schedule)


def _as_before(settled: store.Settled) -> StoppedRun | StoppedSchedule:
    """Return what the stop of a campaign answered of which nothing has been started since."""
    stopped_at = settled.schedule_stopped_at
    if stopped_at is not None and _is_over(settled.run, before=stopped_at):
        return StoppedSchedule(settled.run, stopped_at)
    return StoppedRun(settled.run, _report_from(settled.report))


def _is_over(run: Run, *, before: datetime) -> bool:
    """Whether a stop that switched the schedule off at an instant found this run over, or about to complete."""
    if run.state is RunState.STOPPED:
        return run.ended_at is not None and run.ended_at < before
    return run.state is RunState.COMPLETED


async def commit_stopping(
    connection: Connection,
    run: Run,
    *,
    actor: str,
    options: StopOptions = StopOptions(),  # noqa: B008 - frozen
    keep_schedule: bool = False,
) -> Run:
    """Take a run whose lock is held to ``stopping``, where it is not yet; :func:`resume_stops` finishes what nobody
    else does. Raises ConflictError when it is over."""
    if run.state is RunState.STOPPING:
        return run
    moved = await runs.move_locked(connection, run, RunAction.STOP, actor)
    await store.remember_options(connection, run.id, {**msgspec.to_builtins(options), "keep_schedule": keep_schedule})
    return moved


async def prove_stop(
    database: Database,
    engines: Engines,
    run: Run,
    *,
    actor: str,
    tell: Callable[[str, str], None],
    patient: bool = False,
) -> StoppedRun:
    """Take a run that is ``stopping`` to ``stopped``; ``patient`` where nobody waits for the answer. Raises
    StopNotProvenError: of an engine that says nothing after a permit's time to live and half a second."""

    async def read() -> tuple[barrier.Target, store.ToProve]:
        async with database.connection() as connection:
            target = await barrier.target_of(connection, run, engines)
            return target, await store.to_prove(connection, run.id)

    target, asked = await insisting(read)
    wishes = StopOptions() if asked.options is None else msgspec.convert(asked.options, StopOptions)
    deadline = target.settled_at + PATIENCE_SECONDS
    early = EarlyBooks(
        database,
        run,
        begins=target.committed + acknowledging.EARLY_SECONDS,
        ttl_seconds=engines.ttl_seconds,
        news_of=lambda attempt_id, fenced_at: _cancelled(attempt_id, actor, fenced_at),
    )
    beside: list[asyncio.Task[None]] = []
    if asked.has_waiting:
        # where none does, a task that finds nothing would be broken off in the middle of its statement now and then,
        # and to take that back at the server needs a connection of its own
        beside.append(asyncio.create_task(_drop_retries(database, run.id, actor)))
    if target.permits:
        # where no engine ever held a permit there is no call to be booked
        beside.append(asyncio.create_task(early.run()))
    try:
        silences = await barrier.silence(
            engines,
            target,
            wishes,
            deadline=deadline,
            database=database,
            on_gone=early.gone,
            unheard_until=None if patient else target.unheard_until,
        )
        early.close()
        _require_silence(silences)
        tell("fenced", f"No engine accepts a call of this run any more ({len(silences)} asked).")
        ended = {attempt_id: one.fenced_at for one in silences for attempt_id in one.cancelled}
        tell("quiesced", f"{len(ended)} calls that were not answered yet were cancelled.")
        found = await insisting(partial(acknowledging.acknowledgements, database, target, wishes, silences))
        tell("acknowledged", f"{len(found[NodeOutcome.ACKNOWLEDGED])} dialer nodes have dropped the run.")
        for task in beside:
            if task.done():
                task.result()
    finally:
        early.close()
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
    # engines are silent for good: what is left is to say so
    stopped = await insisting(
        partial(
            _commit_stopped,
            database,
            run,
            silences,
            found,
            ended,
            actor=actor,
            wishes=wishes,
            ttl_seconds=engines.ttl_seconds,
        )
    )
    tell("stopped", "Stopped: no further call can leave.")
    return stopped


def _require_silence(silences: Sequence[Silence]) -> None:
    if problems := barrier.problems(silences):
        raise StopNotProvenError(
            "The stop is committed and no new call is claimed, but it is not shown yet that every engine is silent: "
            f"{problems} Ask again; outdial itself goes on trying. If an engine is gone for good, say so: "
            "outdial engine retire ENGINE"
        )


async def _drop_retries(database: Database, run_id: int, actor: str) -> None:
    """End the waits of a run that is stopping or stopped, lot by lot."""

    async def drop() -> int:
        async with database.connection() as connection:
            return await store.drop_retries(connection, run_id, limit=RETRIES_LOT, actor=actor)

    while await insisting(drop) == RETRIES_LOT:
        pass


async def _commit_stopped(
    database: Database,
    run: Run,
    silences: Sequence[Silence],
    found: dict[NodeOutcome, list[nodes_store.Serving]],
    ended: Mapping[str, datetime | None],
    *,
    actor: str,
    wishes: StopOptions,
    ttl_seconds: float,
) -> StoppedRun:
    async with database.transaction() as connection:
        await runs_store.limit_idle(connection, ttl_seconds)
        await runs_store.lock_run(connection, run.id)
        # what the nodes have not booked themselves: they are gone, or too slow. Nobody else knows of these, also where
        # another process was asked the same and was faster
        left = await attempts_store.live_of(connection, ended) if ended else {}
        crossed = frozenset[str]().union(*(one.crossed for one in silences))
        await attempts_store.book(
            connection,
            [
                _crossed(id_, actor, ended[id_])
                if state is AttemptState.ANSWERED or id_ in crossed
                else _cancelled(id_, actor, ended[id_])
                for id_, state in left.items()
            ],
        )
        if legs := [id_ for id_ in ended if attempt_of_leg(id_) is not None]:
            await transfers_store.end_all(connection, legs, outcome=Disposition.CANCELLED)
        present = (await runs_store.present(connection, run.id)).of(run)
        if present.state is RunState.STOPPED:
            return StoppedRun(present, await _recounted(connection, run.id, silences, left, actor=actor))
        await store.release_lists(connection, run.id)
        moved = await runs.move_locked(connection, present, RunAction.CONFIRM_STOPPED, actor)
        numbers = await store.counts(connection, run.id)
        talking, untold = await _conversations(connection, run.id, silences)
        stopped_at = moved.ended_at or numbers.now
        report = StopReport(
            instance_id=run.instance_id,
            campaign_id=run.campaign_id,
            requested_at=numbers.requested_at,
            requested_by=actor,
            stopped_at=stopped_at,
            latency_seconds=(stopped_at - numbers.requested_at).total_seconds(),
            ringing=wishes.ringing,
            connected=wishes.connected,
            engines=tuple(
                EngineReport(one.engine_id, one.fenced_at, one.quiesced_at, len(one.cancelled), len(one.hung_up))
                for one in silences
            ),
            nodes=tuple(
                NodeReport(node.node_id, node.name, outcome, _accounted_at(node, outcome))
                for outcome, nodes in found.items()
                for node in nodes
            ),
            cancelled_count=numbers.cancelled_count,
            retries_cancelled_count=numbers.retries_cancelled_count,
            never_reached_count=numbers.never_reached_count,
            connected_count=len(talking),
            talking=tuple(sorted(talking)),
            untold=tuple(sorted(untold)),
        )
        await store.store_report(connection, run.id, report)
    log_often("run_stopped", run_id=run.id, latency_seconds=round(report.latency_seconds, 3), by=actor)
    return StoppedRun(moved, report)


async def _conversations(
    connection: Connection, run_id: int, silences: Sequence[Silence]
) -> tuple[frozenset[str], frozenset[str]]:
    """Return which attempts are booked as answered and go on, and which are and do not.

    Of what an engine let ring some is answered by now. One that was given up, or is within another process, has shown
    nothing: what is booked of its calls counts.
    """
    engine_of = await attempts_store.answered_of(connection, run_id)
    listed = {one.engine_id for one in silences if one.listed}
    shown = frozenset[str]().union(*(one.talking | one.ringing for one in silences))
    over = {id_ for id_, engine_id in engine_of.items() if engine_id in listed and id_ not in shown}
    # of one that was given up later on: what it said it hung up does not go on
    hung_up = frozenset[str]().union(*(one.cancelled | one.hung_up for one in silences if not one.listed))
    over |= engine_of.keys() & hung_up
    return frozenset(engine_of.keys() - over), frozenset(over)


async def _recounted(
    connection: Connection,
    run_id: int,
    silences: Sequence[Silence],
    booked: Mapping[str, AttemptState],
    *,
    actor: str,
) -> StopReport:
    """Return the report of a stop that another process has committed, with what this one has cancelled counted too: the
    other found these calls gone, and nobody had booked them yet. ``booked`` are those this one has just booked, each as
    it was before: one that was answered did not go on.

    Once it is signed it stays as it is (a trigger sees to that as well), and what comes to light is told in the
    history, beside the rows of the attempts themselves: whoever has the signed report finds it after its last seal.
    """
    report = _report_from(await store.read_report(connection, run_id))
    if not any(one.cancelled for one in silences):
        return report
    talking = [id_ for id_ in report.talking if booked.get(id_) is not AttemptState.ANSWERED]
    counted = replace(
        report,
        cancelled_count=(await store.counts(connection, run_id)).cancelled_count,
        connected_count=report.connected_count - len(report.talking) + len(talking),
        talking=tuple(talking),
    )
    if counted == report:
        return report
    if await store.is_signed(connection, run_id):
        facts = {"cancelled_count": counted.cancelled_count, "signed_cancelled_count": report.cancelled_count}
        if counted.connected_count != report.connected_count:
            facts |= {
                "connected_count": counted.connected_count,
                "signed_connected_count": report.connected_count,
            }
        await store.add_late_facts(connection, run_id, facts, actor=actor)
        return report
    await store.store_report(connection, run_id, counted)
    return counted


def _accounted_at(node: nodes_store.Serving, outcome: NodeOutcome) -> datetime | None:
    match outcome:
        case NodeOutcome.ACKNOWLEDGED:
            return node.dropped_at
        case NodeOutcome.LEASE_EXPIRED:
            return node.lease_until if node.ended_at is None else min(node.lease_until, node.ended_at)
        case NodeOutcome.NOT_ANSWERING:
            return None


def _cancelled(attempt_id: str, actor: str, fenced_at: datetime | None) -> AttemptNews:
    """Return the end of a call that the stop hung up. Its node may not have lived to say when it was dialed: before the
    fence, which lets nothing through."""
    return AttemptNews(
        id=attempt_id,
        state=AttemptState.ENDED,
        by=actor,
        disposition=Disposition.CANCELLED,
        dialed_at=fenced_at or clock.now(),
        ended_at=clock.now(),
        reason="stop",
        contact=ContactNews(state=RunContactState.DONE, done_reason=DoneReason.STOPPED),
    )


def _crossed(attempt_id: str, actor: str, fenced_at: datetime | None) -> AttemptNews:
    """Return the end of a call that the stop hung up and that was answered in that moment, of which its node says
    nothing more: who answered heard nothing, or an instant of it. What the node has booked of it stays."""
    news = _cancelled(attempt_id, actor, fenced_at)
    return replace(
        news,
        disposition=Disposition.ABANDONED,
        answered_at=news.ended_at,
        reason="answered as it was cancelled (stop)",
        contact=ContactNews(state=RunContactState.DONE, done_reason=DoneReason.REACHED),
    )


def _report_from(document: Any) -> StopReport:
    return msgspec.convert(document, StopReport)


async def report_of(database: Database, run_id: int) -> StopReport:
    """Return the report of a run that is stopped."""
    async with database.connection() as connection:
        return _report_from(await store.read_report(connection, run_id))


async def resume_stops(database: Database, engines: Engines) -> None:
    """Finish every stop whose process died or gave up, and end waits that were left, for ever; ends by cancel.

    A stop is left for a while to whoever was asked for it; done twice it would still be true, but each would know only
    of the calls it has cancelled itself.
    """
    async with asyncio.TaskGroup() as group:
        group.create_task(_again(_Resuming(database, engines).look))
        # a million contacts take a while, and must not keep a stop from being finished
        group.create_task(_again(partial(_drop_left, database)))


async def _again(look: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await look()
        except DatabaseUnavailableError as error:
            _log.warning("resume_stops_waits", reason=error.message)
        await asyncio.sleep(RESUME_SECONDS)


async def _drop_left(database: Database) -> None:
    async with database.connection() as connection:
        left = await store.stopped_with_retries(connection)
    for run_id in left:
        await _drop_retries(database, run_id, "outdial")


class _Resuming:
    """Finishes what is stopping; tells each failure once."""

    def __init__(self, database: Database, engines: Engines) -> None:
        self._database = database
        self._engines = engines
        self._complained: set[int] = set()

    async def look(self) -> None:
        age = timedelta(seconds=self._engines.ttl_seconds)
        async with self._database.connection() as connection:
            stopping = await store.stopping_runs(connection, older_than=age)
        self._complained.intersection_update(run.id for run, _ in stopping)
        await asyncio.gather(*(self._resume(run, actor) for run, actor in stopping))

    async def _resume(self, run: Run, actor: str) -> None:
        try:
            await prove_stop(
                self._database, self._engines, run, actor=actor, tell=lambda _step, _sentence: None, patient=True
            )
        except OutdialError as error:
            if run.id not in self._complained:
                self._complained.add(run.id)
                _log.error("stop_not_proven_yet", run_id=run.id, reason=error.message)
        except Exception:  # noqa: BLE001 - told with its traceback; it must not keep other stops from being finished
            _log.exception("stop_not_finished", run_id=run.id)

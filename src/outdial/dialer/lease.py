"""The node's lease: renews it, learns from the same look which runs are active, opens and shuts their gates."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from outdial import clock, rule_data
from outdial.core.errors import DatabaseUnavailableError, EngineUnavailableError, OutdialError
from outdial.core.flow import fixed_texts
from outdial.core.model import EngineKind, RingingCalls, Run, RunState
from outdial.dialer import outcomes
from outdial.dialer.calls import Messages
from outdial.dialer.flow_player import PlayableFlow, PlayableSound
from outdial.dialer.node import Node
from outdial.dialer.worker import Worker
from outdial.services import barrier
from outdial.services import flows as flows_service
from outdial.store import engines as engines_store
from outdial.store import nodes as nodes_store
from outdial.store import pre_calls as pre_calls_store
from outdial.store import runs as runs_store
from outdial.store import stops as stops_store
from outdial.store import trunks as trunks_store
from outdial.store.database import Connection

RENEWALS_PER_TTL: Final = 4
"""Lease and permits are renewed this often within their life, so that one lost renewal closes nothing."""

RETRY_SECONDS: Final = 0.2
"""Before the database is asked again for what could not be read or written."""

_log = structlog.get_logger()


@dataclass(slots=True)
class _Served:
    """One run this node dials."""

    worker: Worker
    task: asyncio.Task[None]


class LeaseKeeper:
    """Owns the workers of a node: starts, confirms, closes them, and acknowledges what was dropped."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._wake = asyncio.Event()
        self._served: dict[int, _Served] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        """Run id → the task that starts or drops its worker."""
        self._failure: BaseException | None = None
        self._database_away = False
        self._heard_at = clock.boottime()
        """When the database was heard of last."""
        self._hushed = False
        """No call is placed here and what rang has been cancelled: an emergency, or a database away for a lease."""
        self._leaving = False

    async def run(self) -> None:
        """Keep the lease until the node's life is over. Raises what a worker, or the look for emergencies, raised."""
        hushing = asyncio.create_task(self._hush())
        # a node whose dead man's switch is broken must not dial
        hushing.add_done_callback(self._worked)
        try:
            await self._keep()
        finally:
            hushing.cancel()
            await asyncio.gather(hushing, return_exceptions=True)

    async def _keep(self) -> None:
        await self._listen()
        while not self._node.over.is_set():
            self._wake.clear()
            await self._renew()
            if self._failure is not None:
                raise self._failure
            await self._until_next()

    def workers(self) -> list[Worker]:
        """Return the workers there are."""
        return [served.worker for served in self._served.values()]

    async def close(self) -> None:
        """Close every worker for good, and return when none has anything in flight; the lease is kept meanwhile."""
        self._leaving = True
        for served in self._served.values():
            served.worker.close()
        await asyncio.gather(*(served.task for served in list(self._served.values())), return_exceptions=True)
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self) -> None:
        while True:
            try:
                await self._node.database.listen(runs_store.RUNS_CHANNEL, self._notified)
            except DatabaseUnavailableError as error:
                _log.warning("node_waits_for_database", reason=error.message)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    def _notified(self, payload: str) -> None:
        """Some run has changed: shut its gate at once, then look what it is now."""
        if payload.isdecimal() and (served := self._served.get(int(payload))) is not None:
            served.worker.suspend()
        self._wake.set()

    async def _until_next(self) -> None:
        try:
            async with asyncio.timeout(self._node.ttl_seconds / RENEWALS_PER_TTL):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _renew(self) -> None:
        # before asking: whatever the answer says was true at this instant or later
        boot, wall = clock.boottime(), clock.now()
        engine = self._node.engine
        try:
            async with self._node.database.connection() as connection:
                # first the lease, committed; then, in a new snapshot, the runs: a stop that does not see the lease yet
                # is seen here
                renewed = await nodes_store.renew(
                    connection, self._node.id, ttl_seconds=self._node.ttl_seconds, engine_up=engine.up
                )
                live = await runs_store.live_runs(connection)
                await self._learn_of_stops(connection, live)
                if engine.up:
                    await engines_store.seen(connection, engine.id, clock_offset_seconds=engine.clock_offset_seconds)
        except DatabaseUnavailableError as error:
            # the gates shut by themselves when nothing opens them anew
            if not self._database_away:
                _log.error("node_without_database", reason=error.message)
            self._database_away = True
            return
        self._database_away = False
        self._heard_at = clock.boottime()
        if not renewed:
            _log.error("node_ended_by_another", node_id=self._node.id)
            self._node.over.set()
            return
        self._apply([] if self._node.switch.on else live, boot, wall)

    async def _learn_of_stops(self, connection: Connection, live: list[Run]) -> None:
        """Tell the calls whose run is being stopped, or was, so that whoever answers one hears its courtesy message;
        where there is none nothing is asked. A stop that ends conversations, or lets phones ring, cancels none."""
        goes_on = {run.id for run in live if run.state in (RunState.ACTIVE, RunState.PAUSED)}
        ended = self._node.calls.with_courtesy() - goes_on
        for run_id, stored in (await stops_store.options_of(connection, ended) if ended else {}).items():
            if msgspec.convert(stored, barrier.Wishes).spares_answered:
                self._node.calls.cancelled_elsewhere(run_id, outcomes.STOPPED)

    async def _hush(self) -> None:
        """Cancel what rings while the file of the emergency stop is there, or the database has been away for a lease:
        whoever could stop a call by it cannot be heard. Beside the lease, which may be waiting for the database."""
        node, late = self._node, 0
        while True:
            emergency = node.switch.on
            # two looks in a row: a process that was stopped itself for a moment asks the database first
            late = late + 1 if clock.boottime() - self._heard_at > node.ttl_seconds else 0
            away = late > 1
            if emergency:
                for served in self._served.values():
                    served.worker.suspend()
            if emergency or away:
                if not self._hushed:
                    _log.error("node_hushed", reason="emergency stop" if emergency else "database away for a lease")
                # again and again: a call whose request was under way shows a moment later
                node.calls.hang_up_unanswered(outcomes.EMERGENCY if emergency else outcomes.AWAY)
            self._hushed = emergency or away
            await asyncio.sleep(node.ttl_seconds / RENEWALS_PER_TTL)

    def _apply(self, live: list[Run], boot: float, wall: datetime) -> None:
        by_id = {run.id: run for run in live}
        for run_id, served in self._served.items():
            run = by_id.get(run_id)
            if run is not None and run.state is RunState.ACTIVE and run.epoch == served.worker.run.epoch:
                served.worker.confirm(boot=boot, wall=wall)
            else:
                served.worker.close()
                self._task(run_id, self._drop(run_id, served, run))
        for run in live:
            if run.state is RunState.ACTIVE and run.id not in self._served and not self._leaving:
                self._task(run.id, self._start(run))

    def _task(self, run_id: int, work: Coroutine[Any, Any, None]) -> None:
        """Start or drop one run's worker, one thing at a time; what waits is asked for again by the next look."""
        if run_id in self._tasks:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[run_id] = task
        task.add_done_callback(lambda done: self._done(run_id, done))

    def _done(self, run_id: int, task: asyncio.Task[None]) -> None:
        self._tasks.pop(run_id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
        self._wake.set()

    async def _start(self, run: Run) -> None:
        try:
            async with self._node.database.connection() as connection:
                trunk = await trunks_store.by_id(connection, self._node.secrets, run.trunk_id)
                fetch = await pre_calls_store.of_campaign(connection, self._node.secrets, run.campaign_id)
            await rule_data.prepare(run.rules.calling_hours, clock.now())
            messages = Messages(await flow_of(self._node, run.flow_id), await self._courtesy_of(run))
            await self._speak_ahead(messages.flow)
        except OutdialError as error:
            _log.error("run_cannot_be_served", run_id=run.id, reason=error.message)
            await asyncio.sleep(RETRY_SECONDS)
            return
        if self._leaving:
            return
        worker = Worker(self._node, run, trunk, messages, fetch)
        task = asyncio.get_running_loop().create_task(worker.work())
        task.add_done_callback(self._worked)
        self._served[run.id] = _Served(worker, task)

    def _worked(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
            self._wake.set()

    async def _speak_ahead(self, flow: PlayableFlow | None) -> None:
        """Speak what everybody will hear alike before anybody is called: later it is on disk."""
        if flow is not None:
            texts = fixed_texts(flow.plan)
            said = await asyncio.gather(
                *(self._node.voice.say(text, flow.plan.language) for text in texts), return_exceptions=True
            )
            for problem in said:
                if isinstance(problem, OutdialError):
                    _log.warning("text_not_spoken", flow_id=flow.id, reason=problem.message)
                elif isinstance(problem, BaseException):
                    raise problem

    async def _courtesy_of(self, run: Run) -> PlayableFlow | None:
        """Return the run's courtesy message; one that cannot be had keeps nobody from being called."""
        try:
            return await flow_of(self._node, run.courtesy_flow_id)
        except DatabaseUnavailableError:
            raise
        except OutdialError as error:
            _log.error("courtesy_message_missing", run_id=run.id, reason=error.message)
            return None

    async def _drop(self, run_id: int, served: _Served, run: Run | None) -> None:
        """Acknowledge that nothing of the run is in flight here any more."""
        await asyncio.wait([served.task])
        await self._quiet_own_engine(run)
        await self._node.book.flush()
        del self._served[run_id]
        while True:
            try:
                async with self._node.database.connection() as connection:
                    present = await runs_store.by_id(connection, run_id)
                    # at this epoch the run may be active again: what was dropped is all before it
                    epoch = present.epoch - 1 if present.state is RunState.ACTIVE else present.epoch
                    await nodes_store.dropped(connection, run_id=run_id, node_id=self._node.id, epoch=epoch)
            except DatabaseUnavailableError:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def _quiet_own_engine(self, run: Run | None) -> None:
        """Fence and quiesce an engine that only this process can reach, on behalf of the stop or pause."""
        engine = self._node.engine
        if engine.kind is not EngineKind.SIMULATED or run is None:
            return
        while True:
            try:
                wishes = await self._wishes(run)
                if await barrier.quiet(engine, run, wishes, ttl_seconds=self._node.ttl_seconds):
                    return
            except (EngineUnavailableError, DatabaseUnavailableError) as error:
                # nobody else can ask it, so nothing is acknowledged before it answers
                _log.error("own_engine_not_quiet", run_id=run.id, reason=error.message)
                await asyncio.sleep(RETRY_SECONDS)

    async def _wishes(self, run: Run) -> barrier.Wishes:
        """Return what becomes of the calls there are; a pause lets them ring."""
        if run.state is not RunState.STOPPING:
            return barrier.Wishes(ringing=RingingCalls.LET_RING)
        async with self._node.database.connection() as connection:
            stored = await stops_store.read_options(connection, run.id)
        return barrier.Wishes() if stored is None else msgspec.convert(stored, barrier.Wishes)


async def flow_of(node: Node, flow_id: str | None) -> PlayableFlow | None:
    """Return what calls hear by a flow, its recordings written where the engine reads them; None where there is none.

    Raises DatabaseUnavailableError, FileError.
    """
    if flow_id is None:
        return None
    found = await flows_service.to_play(node.database, flow_id, node.audio_dir)
    sounds = {file: PlayableSound(path, seconds) for file, (path, seconds) in found.files.items()}
    return PlayableFlow(flow_id, found.plan, sounds)

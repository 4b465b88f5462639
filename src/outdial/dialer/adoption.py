"""Dead nodes: ends their lives, takes their calls over, and finds out what became of each of their attempts."""

from __future__ import annotations

import asyncio
import platform
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from outdial import clock
from outdial.core.errors import DatabaseUnavailableError, EngineUnavailableError, OutdialError
from outdial.core.machine import MachineDetection
from outdial.core.model import Attempt, AttemptState, Disposition, Run, Transport
from outdial.dialer import outcomes
from outdial.dialer.flow_player import PlayableFlow
from outdial.dialer.lease import flow_of
from outdial.dialer.node import Node
from outdial.dialer.outcomes import Known
from outdial.services import barrier
from outdial.services.engines import Engines, reachable_from_anywhere
from outdial.store import attempts as attempts_store
from outdial.store import nodes as nodes_store
from outdial.store import runs as runs_store
from outdial.store import transfers as transfers_store
from outdial.store import trunks as trunks_store
from outdial.store.database import server_time
from outdial.store.nodes import NodeRow
from outdial.telephony.engine import CallState, LiveCall

LOT: Final = 200
"""Attempts settled per look."""

FOREIGN_GRACE: Final = 3.0
"""A node with another engine waits this many TTLs longer before it takes a dead node over: one with the same engine
can go on with the conversations, it can only end them."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Instant:
    """One instant by two clocks; the first was read a moment earlier."""

    boot: float
    database: datetime


def this_host() -> str:
    """Return a name for this host and its process ids: two containers may share a host name, not a namespace."""
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    return f"{platform.node()}/{namespace}"


def process_is_gone(node: NodeRow) -> bool:
    """Whether the node's process certainly does not exist any more: then nothing can still be sent by it."""
    return node.host == this_host() and not Path(f"/proc/{node.pid}").exists()


class Adoption:
    """Looks after what dead nodes have left."""

    def __init__(self, node: Node, engines: Engines) -> None:
        self._node = node
        self._engines = engines
        self._complained: set[str] = set()

    async def run(self) -> None:
        """Look every half TTL, for ever."""
        while True:
            try:
                await self.look()
            except DatabaseUnavailableError as error:
                _log.warning("adoption_waits_for_database", reason=error.message)
            await asyncio.sleep(self._node.ttl_seconds / 2)

    async def look(self) -> None:
        """Take over dead nodes, and settle the attempts of those that are this node's to settle."""
        grace = timedelta(seconds=FOREIGN_GRACE * self._node.ttl_seconds)
        async with self._node.database.connection() as connection:
            for dead in await nodes_store.take_over(
                connection, self._node.id, self._node.engine.id, foreign_grace=grace
            ):
                _log.warning("node_taken_over", dead_node_id=dead.id, name=dead.name, engine_id=dead.engine_id)
            # also what it knows and has not booked yet; what it comes to know while this is read is no matter
            known = self._node.calls.ids()
            left = [
                attempt
                for attempt in await attempts_store.live_of_nodes_adopted_by(connection, self._node.id, LOT, known)
                if attempt.id not in self._node.calls
            ]
            legs = await transfers_store.open_of_nodes_adopted_by(connection, self._node.id, LOT)
            dead_ids = sorted({attempt.node_id for attempt in left} | {leg.node_id for leg in legs})
            nodes = await nodes_store.by_ids(connection, dead_ids)
            permits = await nodes_store.permits_of_nodes(connection, dead_ids)
            # one instant by two clocks; whatever is later than it is not claimed to be earlier
            boot = clock.boottime()
            instant = _Instant(boot, await server_time(connection))
            # of a node that may still be putting a permit nothing can be said yet
            making = await nodes_store.still_making(connection, dead_ids)
            left = [attempt for attempt in left if attempt.node_id not in making]
            legs = [leg for leg in legs if leg.node_id not in making]
            runs = {run_id: await runs_store.by_id(connection, run_id) for run_id in {one.run_id for one in left}}
            connected = {
                trunk_id
                for trunk_id in {attempt.trunk_id for attempt in left}
                if await trunks_store.transport_of(connection, trunk_id) is not Transport.UDP
            }
        for engine_id in {attempt.engine_id for attempt in left} | {leg.engine_id for leg in legs}:
            of_engine = [attempt for attempt in left if attempt.engine_id == engine_id]
            try:
                if engine_id == self._node.engine.id:
                    await self._settle_own(of_engine, nodes, runs, permits, instant, connected)
                else:
                    await self._settle_foreign(engine_id, of_engine, runs, permits)
                await self._end_legs(engine_id, [leg.id for leg in legs if leg.engine_id == engine_id], permits)
                self._complained.discard(engine_id)
            except EngineUnavailableError as error:
                if engine_id not in self._complained:
                    self._complained.add(engine_id)
                    _log.error("attempts_wait_for_engine", engine_id=engine_id, reason=error.message)

    async def _settle_own(
        self,
        attempts: list[Attempt],
        nodes: dict[str, NodeRow],
        runs: dict[int, Run],
        stale: list[tuple[int, int, str]],
        instant: _Instant,
        connected: set[str],
    ) -> None:
        """Settle attempts at this node's engine: calls that live are taken over with their events.

        ``connected``: the trunks that are reached over TCP or TLS.
        """
        engine = self._node.engine
        if not engine.up:
            return
        # a node that was frozen before it sent sends when it wakes up: from here on that is refused
        for permit in stale:
            await engine.remove_permit(*permit)
        flows = {run_id: await self._flow(runs[run_id]) for run_id in {one.run_id for one in attempts}}
        # connect under each dead node's name first, so that no event after the listing is missed; where that cannot be,
        # that node's attempts wait and no other's
        dead_ids = sorted({attempt.node_id for attempt in attempts})
        adopted = {node_id for node_id in dead_ids if await self._adopt(nodes[node_id])}
        attempts = [attempt for attempt in attempts if attempt.node_id in adopted]
        alive = {call.id: call for call in await barrier.calls_let_through(engine)}
        for attempt in attempts:
            known = replace(
                self._known(attempt, runs[attempt.run_id], flows[attempt.run_id]),
                over_connection=attempt.trunk_id in connected,
            )
            call = alive.get(attempt.id)
            if call is not None:
                self._node.calls.adopt(_seen(known, call, attempt), flows[attempt.run_id])
                continue
            record = await engine.record(attempt.id)
            placed = not self._never_placed(attempt, nodes[attempt.node_id], instant)
            self._node.book.put(outcomes.from_record(known, record, at=clock.now(), placed=placed))

    async def _adopt(self, dead: NodeRow) -> bool:
        """Take over a dead node's event stream; False when the engine does not open it now."""
        try:
            await self._node.engine.adopt(dead.stasis_app)
        except EngineUnavailableError as error:
            if dead.id not in self._complained:
                self._complained.add(dead.id)
                _log.error("node_not_adopted_yet", dead_node_id=dead.id, reason=error.message)
            return False
        self._complained.discard(dead.id)
        return True

    async def _flow(self, run: Run) -> PlayableFlow | None:
        try:
            return await flow_of(self._node, run.flow_id)
        except DatabaseUnavailableError:
            raise
        except OutdialError as error:
            _log.error("flow_of_adopted_calls_missing", run_id=run.id, reason=error.message)
            return None

    def _never_placed(self, attempt: Attempt, dead: NodeRow, instant: _Instant) -> bool:
        """Whether the engine, asked in vain, would have to know the call if it had ever been placed, and nobody is
        left who could still place it."""
        up_since = self._node.calls.up_since
        if attempt.state is not AttemptState.RESERVED or attempt.reserved_at is None or up_since is None:
            return False
        # each duration by one clock: no two of them need to agree
        reserved_for = (instant.database - attempt.reserved_at).total_seconds()
        watched_for = instant.boot - up_since
        return self._node.engine.keeps_records and watched_for > reserved_for and process_is_gone(dead)

    async def _settle_foreign(
        self, engine_id: str, attempts: list[Attempt], runs: dict[int, Run], stale: list[tuple[int, int, str]]
    ) -> None:
        """Settle attempts at another engine: end what lives, book what is gone."""
        flows = {run_id: await self._flow(runs[run_id]) for run_id in {one.run_id for one in attempts}}
        row = (await self._engines.rows([engine_id]))[engine_id]
        # one inside a process ends with it, and its calls are no real ones
        gone = row.retired_at is not None or not reachable_from_anywhere(row)
        try:
            control = await self._engines.control(engine_id)
            for permit in stale:
                await control.remove_permit(*permit)
            alive = {call.id: call for call in await barrier.calls_let_through(control)}
            for attempt in attempts:
                if attempt.id in alive and not await control.hang_up(attempt.id):
                    # it has ended otherwise meanwhile
                    del alive[attempt.id]
        except EngineUnavailableError:
            if not gone:
                raise
            alive = {}
        for attempt in attempts:
            known = self._known(attempt, runs[attempt.run_id], flows[attempt.run_id])
            call = alive.get(attempt.id)
            if call is None:
                news = outcomes.from_record(known, None, at=clock.now(), placed=True)
            else:
                news = outcomes.ended(
                    _seen(known, call, attempt),
                    at=clock.now(),
                    cause=None,
                    sip_code=None,
                    cancelled_by_us=True,
                    reason="its node was gone",
                )
            self._node.book.put(news)

    async def _end_legs(self, engine_id: str, leg_ids: list[str], stale: list[tuple[int, int, str]]) -> None:
        """End the transfers of dead nodes: whoever was to be connected has nobody to talk to, or soon will not. Written
        down once the engine has them no more, and can let none through."""
        if not leg_ids:
            return
        row = (await self._engines.rows([engine_id]))[engine_id]
        own = engine_id == self._node.engine.id
        gone = not own and (row.retired_at is not None or not reachable_from_anywhere(row))
        try:
            control = self._node.engine if own else await self._engines.control(engine_id)
            for permit in stale:
                await control.remove_permit(*permit)
            alive = {call.id for call in await barrier.calls_let_through(control)}.intersection(leg_ids)
            for leg_id in alive:
                await control.hang_up(leg_id)
        except EngineUnavailableError:
            if not gone:
                raise
            alive = set()
        # what was hung up is looked for once more
        over = [leg_id for leg_id in leg_ids if leg_id not in alive]
        async with self._node.database.connection() as connection:
            await transfers_store.end_all(connection, over, outcome=Disposition.UNKNOWN)

    def _known(self, attempt: Attempt, run: Run, flow: PlayableFlow | None) -> Known:
        told = Known(
            attempt_id=attempt.id,
            number=attempt.number,
            rules=run.rules,
            by=self._node.id,
            state=attempt.state,
            dialed_at=attempt.dialed_at,
            ringing_at=attempt.ringing_at,
            answered_at=attempt.answered_at,
            detection=attempt.detection,
        )
        return may_have_heard(told, flow)


def may_have_heard(known: Known, flow: PlayableFlow | None) -> Known:
    """Return what is known of a dead node's call: an answering machine that was to hear a message, or of whose flow
    nothing is known, may have heard it, be its call up or over, and is not called again for that."""
    if not known.is_machine or known.rules.machine_detection is not MachineDetection.DETECT:
        return known
    return replace(known, message_left=flow is None or flow.plan.machine_start is not None)


def _seen(known: Known, call: LiveCall, attempt: Attempt) -> Known:
    """Return what is known, with what the engine says of the call now. Its node may not have lived to write down that
    it was dialed: that was a moment after it was reserved."""
    known = replace(known, dialed_at=known.dialed_at or attempt.reserved_at)
    if call.state is CallState.ANSWERED and known.answered_at is None:
        return outcomes.answered(known, at=clock.now())
    return known

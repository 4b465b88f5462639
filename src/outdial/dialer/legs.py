"""Second legs: the calls a node places to connect whoever is on the line with somebody else.

A leg is a call like any: placed under the run's permit, at an open gate, after it was written down, so that a stop
fences, cancels and counts it. It never outlives the call it was placed for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

import structlog

from outdial import clock
from outdial.core.disposition import disposition_of
from outdial.core.errors import DatabaseUnavailableError, EngineUnavailableError
from outdial.core.flow_play import Done, Failed, StartTransfer
from outdial.core.model import Disposition
from outdial.core.transfer import attempt_of_leg, leg_id
from outdial.dialer.outcomes import looks_lost
from outdial.store import transfers as store
from outdial.store.database import Database
from outdial.telephony.engine import CallAnswered, CallEnded, Engine, OriginateResult

RETRY_SECONDS: Final = 0.5
"""Before a leg that should end is hung up again."""

GRACE_SECONDS: Final = 5.0
"""How much longer than it may ring a leg is waited for: then the event that says what became of it was lost."""

_NORMAL_CLEARING: Final = 16

_log = structlog.get_logger()


@dataclass(slots=True)
class Leg:
    """One second leg."""

    id: str
    attempt_id: str
    to: str
    """As the flow has it."""
    ring_seconds: int
    answered: bool = False
    ended: CallEnded | None = None
    guessed: bool = False
    """Nobody has told its end: the engine did not have it."""
    in_flight: bool = True
    """Its originate has not returned yet, or its outcome is unknown."""
    placed_at: float = field(default_factory=clock.boottime)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of the request to place a leg."""

    result: OriginateResult
    reason: str = ""
    """Why it was not placed."""


Place: TypeAlias = Callable[[Leg], Awaitable[Placed]]
"""Writes a leg down and places it, where the run's gate is open: ``Worker.place_leg``."""


class Notes(Protocol):
    """Writes down what became of legs."""

    async def dialed(self, leg: Leg) -> None:
        """Write down that the engine has taken a leg."""
        ...

    async def end(self, leg: Leg, outcome: str) -> None:
        """Write down that a leg is over, how where nobody answered."""
        ...


class TransferNotes:
    """Writes down in the database what became of transfers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def dialed(self, leg: Leg) -> None:
        """Write down that the engine has taken a leg; with the database away its end will tell."""
        try:
            async with self._database.connection() as connection:
                await store.dialed(connection, leg.id)
        except DatabaseUnavailableError as error:
            _log.warning("transfer_not_noted", leg_id=leg.id, reason=error.message)

    async def end(self, leg: Leg, outcome: str) -> None:
        """Write down that a leg is over, how where nobody answered; a database that is away is waited for."""
        while True:
            try:
                async with self._database.connection() as connection:
                    await store.end(connection, leg.id, answered=leg.answered, outcome=outcome)
            except DatabaseUnavailableError:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return


class Legs:
    """All second legs of a node."""

    def __init__(
        self,
        engine: Engine,
        notes: Notes,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        *,
        ttl_seconds: float,
    ) -> None:
        self._engine = engine
        self._notes = notes
        self._spawn = spawn
        self._ttl_seconds = ttl_seconds
        self._legs: dict[str, Leg] = {}
        self._missing: set[str] = set()
        self._orphans: set[str] = set()
        """Legs at the engine whose call was not there at the last look."""

    def __contains__(self, call_id: str) -> bool:
        return call_id in self._legs

    def __len__(self) -> int:
        return len(self._legs)

    async def transfer(self, attempt_id: str, action: StartTransfer, place: Place | None) -> Done | Failed:
        """Call somebody for whoever is at an answered call and let them talk; return when they have, or could not.

        ``place``: None when nobody here dials for the run any more.
        """
        if place is None:
            return Failed(action.turn, "the transfer failed: its run is not dialed any more")
        leg = Leg(leg_id(attempt_id, action.turn), attempt_id, action.to, action.ring_seconds)
        self._legs[leg.id] = leg
        try:
            reason = await self._connected(leg, place)
            return Failed(action.turn, f"the transfer failed: {reason}") if reason else Done(action.turn)
        finally:
            # whatever has happened, nobody is left alone at the other end
            self._spawn(self._end(leg))

    def hear(self, event: CallAnswered | CallEnded) -> None:
        """Hear what has become of a leg."""
        leg = self._legs[event.call_id]
        if isinstance(event, CallEnded):
            leg.ended, leg.guessed = event, False
        else:
            leg.answered = True
        leg.changed.set()

    def end_of(self, attempt_id: str) -> None:
        """The call is over: so is what was placed for it."""
        for leg in list(self._legs.values()):
            if leg.attempt_id == attempt_id:
                self._spawn(self._hang_up(leg))

    def end_unanswered(self) -> None:
        """Cancel those that ring."""
        for leg in list(self._legs.values()):
            if not leg.answered:
                self._spawn(self._hang_up(leg))

    def end_all(self) -> None:
        """End all."""
        for leg in list(self._legs.values()):
            self._spawn(self._hang_up(leg))

    def placed(self) -> list[Leg]:
        """Return those that an engine asked from now on knows of, unless they are over."""
        return [leg for leg in self._legs.values() if not leg.in_flight and leg.ended is None]

    def reconcile(self, before: Collection[Leg], alive: Collection[str], *, twice: bool) -> None:
        """Compare with the calls the engine has: one whose end nobody told has ended, and one whose call is gone, of
        whatever node it was, has nobody to talk to. ``before``: what :meth:`placed` was before the engine was asked.
        ``twice``: only what was so at the last look too."""
        missing, self._missing = self._missing, set()
        for leg in before:
            if leg.ended is not None or leg.id in alive or leg.id not in self._legs:
                continue
            if twice and leg.id not in missing:
                self._missing.add(leg.id)
            else:
                self.hear(CallEnded(leg.id, clock.now(), None, None))
        alone = {each for each in alive if (attempt := attempt_of_leg(each)) is not None and attempt not in alive}
        for call_id in alone & self._orphans:
            _log.warning("leg_without_call", call_id=call_id)
            self._spawn(self._end_orphan(call_id))
        self._orphans = alone

    async def _connected(self, leg: Leg, place: Place) -> str:
        """Place it, wait for its answer, connect, and wait for its end; return why they did not talk, empty when they
        did."""
        placed = await place(leg)
        if placed.result is not OriginateResult.UNKNOWN:
            leg.in_flight = False
        if placed.result is not OriginateResult.ACCEPTED:
            if placed.result is not OriginateResult.UNKNOWN:
                # nothing was sent
                leg.ended = leg.ended or CallEnded(leg.id, clock.now(), None, None)
            return placed.reason or "it is not known whether it was placed"
        if leg.guessed:
            # somebody ended it while the engine was slow to take it: it rings now, and is ended as it should be
            leg.ended, leg.guessed = None, False
            return "it was ended before it was placed"
        # whoever adds its number to a do-not-call list waits for this; the person on the line does not
        self._spawn(self._notes.dialed(leg))
        until = clock.boottime() + leg.ring_seconds + GRACE_SECONDS
        while not leg.answered and leg.ended is None:
            if not await _happens(leg, until - clock.boottime()):
                return "nobody heard what became of it"
        if leg.ended is not None:
            return _why(leg.ended)
        try:
            await self._engine.connect(leg.attempt_id, leg.id)
        except EngineUnavailableError as error:
            return error.message
        # a flow bounds the whole call
        while leg.ended is None:
            leg.changed.clear()
            await leg.changed.wait()
        return ""

    async def _end(self, leg: Leg) -> None:
        await self._hang_up(leg)
        try:
            await self._engine.part(leg.id)
        except EngineUnavailableError as error:
            # an empty bridge is left; whoever was in it hears the flow or has gone
            _log.warning("bridge_not_removed", leg_id=leg.id, reason=error.message)
        await self._notes.end(leg, "" if leg.answered or leg.ended is None else _why(leg.ended))
        self._legs.pop(leg.id, None)

    async def _hang_up(self, leg: Leg) -> None:
        """End it, until the engine has answered and nothing can let it through any more."""
        while leg.ended is None:
            # asked before: an originate that returns while the engine looks may have been carried out after it
            open_ = leg.in_flight and clock.boottime() < leg.placed_at + self._ttl_seconds + RETRY_SECONDS
            with contextlib.suppress(EngineUnavailableError):
                if await self._engine.hang_up(leg.id):
                    await _happens(leg, RETRY_SECONDS)
                    return
                if not open_:
                    leg.ended, leg.guessed = CallEnded(leg.id, clock.now(), None, None), True
                    leg.changed.set()
                    return
            await asyncio.sleep(RETRY_SECONDS)

    async def _end_orphan(self, call_id: str) -> None:
        try:
            await self._engine.hang_up(call_id)
        except EngineUnavailableError as error:
            # the next look finds it again
            _log.warning("leg_not_ended", call_id=call_id, reason=error.message)


async def _happens(leg: Leg, seconds: float) -> bool:
    """Wait for the next thing that happens to it; False when nothing does in time."""
    if leg.ended is not None:
        return True
    leg.changed.clear()
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await leg.changed.wait()
    except TimeoutError:
        return False
    return True


def _why(ended: CallEnded) -> str:
    """Return how it ended without an answer, in the words of dispositions."""
    if ended.by_carrier is False and looks_lost(ended.cause, ended.sip_code):
        return Disposition.UNKNOWN.value
    ours = ended.sip_code is None and ended.cause in (None, _NORMAL_CLEARING)
    return disposition_of(answered=False, cause=ended.cause, sip_code=ended.sip_code, cancelled_by_us=ours).value

"""One run at one epoch on one node: its permit, its claims, its calls; and a gate that closes at once."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from outdial import clock
from outdial.core import ids
from outdial.core.errors import DatabaseUnavailableError, EngineUnavailableError, TrunkUnresolvedError
from outdial.core.flow import texts
from outdial.core.model import Run, RunState, Transport, Trunk
from outdial.core.pacing import LATE_SECONDS
from outdial.core.permit import Gate, gate_until, may_dial, silent_after
from outdial.core.phone import written_for
from outdial.core.pre_call import LEAD, PreCallContact, PreCallFetch
from outdial.core.transfer import NotOnTrunkError, destination
from outdial.dialer.calls import Messages
from outdial.dialer.claim import NO_LEAD, Claim, Place, claim
from outdial.dialer.legs import Leg, Placed
from outdial.dialer.node import Node
from outdial.dialer.outcomes import Known
from outdial.dialer.pre_call import PreCall, unless
from outdial.secretbox import WrongSecretKeyError
from outdial.store import nodes as nodes_store
from outdial.store import pre_calls as pre_calls_store
from outdial.store import runs as runs_store
from outdial.store import transfers as transfers_store
from outdial.store.database import Connection
from outdial.store.reserve import Verdict
from outdial.store.transfers import Transfer
from outdial.telephony.engine import OriginateResult, OutgoingCall, Permit, TrunkAddress

PAUSE_SECONDS: Final = 0.25
"""Before another try after something (database, engine, trunk, name server) was not available."""

CONFLICT_SECONDS: Final = 0.005
"""Before another look when another node was faster on a budget."""

LISTING_SECONDS: Final = 0.02
"""Before another look when a leg waits for numbers that are being put on a do-not-call list."""

_NOT_PLACED: Final = {
    OriginateResult.REFUSED: "no permit at the engine",
    OriginateResult.FAILED: "the engine did not take it",
}

_log = structlog.get_logger()


class Worker:
    """Dials one run while its gate is open. Made by the node's lease keeper, which alone opens the gate."""

    def __init__(
        self, node: Node, run: Run, trunk: Trunk, messages: Messages, fetch: PreCallFetch | None = None
    ) -> None:
        self._node = node
        self._run = run
        self._trunk = trunk
        self._messages = messages
        self._pre_call = None if fetch is None else PreCall(fetch, private_hosts=node.private_hosts)
        self._lead = LEAD if fetch is not None else NO_LEAD
        self._gate: Gate | None = None
        self._found_active_at: datetime | None = None
        self._address: TrunkAddress | None = None
        self._key = ""
        """Of the permit that was put last."""
        self._closing = asyncio.Event()
        self._wake = asyncio.Event()
        self._renew = asyncio.Event()
        self._permitted = asyncio.Event()
        self._legs_placed = 0
        """Requests to place a second leg that are under way."""
        self._no_leg_placed = asyncio.Event()
        self._no_leg_placed.set()
        self.exhausted = False
        self._told_key = False
        """The last look found no contact that is due now or later: the run may be complete."""

    @property
    def run(self) -> Run:
        """The run, at the epoch this worker serves."""
        return self._run

    def confirm(self, *, boot: float, wall: datetime) -> None:
        """Open the gate anew: a database read begun at these instants found the run active at this epoch."""
        self._gate = Gate(self._run.id, self._run.epoch, gate_until(boot, ttl_seconds=self._node.ttl_seconds))
        self._found_active_at = wall
        self._renew.set()
        self._wake.set()

    def suspend(self) -> None:
        """Shut the gate until the next :meth:`confirm`."""
        self._gate = None

    def close(self) -> None:
        """Shut the gate for good; :meth:`work` ends soon."""
        self._gate = None
        self._closing.set()
        self._wake.set()
        self._renew.set()

    def nudge(self) -> None:
        """Look for something to dial now: a call has ended, or contacts have been loaded."""
        self._wake.set()

    async def work(self) -> None:
        """Dial until closed. On return nothing of this run is in flight here, and what was not dialed is given back."""
        self._node.calls.let_transfer(self._run.id, self.place_leg)
        try:
            async with self._pre_call or contextlib.nullcontext(), asyncio.TaskGroup() as group:
                group.create_task(self._keep_permit())
                group.create_task(self._dial(group))
        finally:
            self._node.calls.let_transfer_no_more(self._run.id, self.place_leg)
        await self._no_leg_placed.wait()

    # The permit

    async def _keep_permit(self) -> None:
        """Put the permit, then extend it at each confirmation; put another whenever the engine has lost it."""
        while not self._closing.is_set():
            await self._renew.wait()
            self._renew.clear()
            if not self._may_dial():
                continue
            try:
                if not (self._permitted.is_set() and await self._node.engine.renew_permit(await self._renewed())):
                    self._permitted.clear()
                    if await self._put():
                        self._permitted.set()
                        self._wake.set()
            except (EngineUnavailableError, DatabaseUnavailableError, TrunkUnresolvedError) as error:
                # the permit runs out by itself, and the next confirmation tries again
                _log.warning("permit_not_renewed", run_id=self._run.id, reason=error.message)

    async def _renewed(self) -> Permit:
        """Return the permit as it may be now: it ends one TTL after the read that found the run active."""
        self._address = await self._node.resolver.address(self._trunk)
        assert self._found_active_at is not None  # noqa: S101 - confirm() came first
        return self._permit(self._key, self._found_active_at, self._address)

    def _permit(self, key: str, found_active_at: datetime, address: TrunkAddress) -> Permit:
        expires_at = found_active_at + timedelta(seconds=self._node.ttl_seconds)
        return Permit(self._run.id, self._run.epoch, key, self._trunk, address, expires_at)

    async def _put(self) -> bool:
        """Put a permit, under a key nobody has used; False when the run has moved on, this node's life is over, or it
        took so long that it must not be used.

        That it is being put is noted before, under the run's lock and in the same transaction that finds the run
        active: whoever stops the run sees the note, waits until it is gone or has run out, and fences after that. No
        lock is held meanwhile, since a lock ends with its database session and a request does not.
        """
        node, key = self._node, uuid.uuid4().hex
        address = await node.resolver.address(self._trunk)
        wall = clock.now()
        if not await self._note_making(key, address):
            return False
        await node.engine.put_permit(self._permit(key, wall, address))
        async with node.database.connection() as connection:
            if not await nodes_store.made(connection, run_id=self._run.id, node_id=node.id, key=key):
                return False
        self._key, self._address = key, address
        return True

    async def _note_making(self, key: str, address: TrunkAddress) -> bool:
        node, run = self._node, self._run
        async with node.database.transaction() as connection:
            # a node that freezes here must not hold up a stop longer than a permit lives
            await runs_store.limit_idle(connection, node.ttl_seconds)
            await runs_store.share_run(connection, run.id)
            if not await self._is_current(connection):
                return False
            await nodes_store.serve(connection, run_id=run.id, node_id=node.id, epoch=run.epoch)
            noted = await nodes_store.making(
                connection,
                run_id=run.id,
                node_id=node.id,
                engine_id=node.engine.id,
                epoch=run.epoch,
                key=key,
                address=(address.host, address.port),
                seconds=silent_after(0.0, ttl_seconds=node.ttl_seconds),
            )
        if not noted:
            node.over.set()
        return noted

    async def _is_current(self, connection: Connection) -> bool:
        """Whether the run is active at this epoch; the lock was taken in an earlier statement."""
        present = await runs_store.by_id(connection, self._run.id)
        return present.state is RunState.ACTIVE and present.epoch == self._run.epoch

    # The calls

    async def _dial(self, group: asyncio.TaskGroup) -> None:
        many = False
        while not self._closing.is_set():
            self._wake.clear()
            if not await self._open():
                await self._idle(PAUSE_SECONDS)
                continue
            found = await self._claim_or_not(many=many)
            if found is None:
                await self._idle(PAUSE_SECONDS)
                continue
            many = found.screened_out
            self.exhausted = found.exhausted
            if found.verdict is Verdict.NODE_ENDED:
                self._node.over.set()
                return
            if found.verdict is Verdict.MOVED_ON:
                # the lease keeper will see the same and close this worker
                await self._idle(PAUSE_SECONDS)
            if found.verdict is Verdict.CONFLICT:
                await self._idle(CONFLICT_SECONDS)
            if found.places:
                await self._send(group, found.places)
            elif found.wait_seconds > 0:
                await self._idle(found.wait_seconds)

    async def _claim_or_not(self, *, many: bool) -> Claim | None:
        """Claim; None where the database is away, or the secret key is not the one by which erased numbers are
        recognized: nobody is dialed then, and conversations go on."""
        try:
            return await self._claim(many=many)
        except DatabaseUnavailableError:
            return None
        except WrongSecretKeyError as error:
            if not self._told_key:
                _log.error("run_not_dialed", run_id=self._run.id, reason=error.message)
            self._told_key = True
            return None

    async def _open(self) -> bool:
        """Whether it makes sense to reserve: the decision that counts is made at each originate."""
        if not (self._permitted.is_set() and self._may_dial() and self._address is not None):
            return False
        try:
            return await self._node.engine.trunk_up(self._trunk, self._address)
        except EngineUnavailableError:
            return False

    def _may_dial(self) -> bool:
        return (
            not self._closing.is_set()
            and not self._node.over.is_set()
            and self._node.engine.up
            and may_dial(self._gate, epoch=self._run.epoch, now=clock.boottime())
        )

    def _take(self, place: Place) -> None:
        known = Known(
            attempt_id=place.attempt_id,
            number=place.candidate.attempts_count + 1,
            rules=self._run.rules,
            by=self._node.id,
            over_connection=self._trunk.transport is not Transport.UDP,
        )
        self._node.calls.reserve(known, self._messages, self._wake.set)

    async def _claim(self, *, many: bool) -> Claim:
        """Claim, and take what is reserved in the same step in which it stops being asked for."""
        node, asked = self._node, set[str]()
        node.asked_for[id(asked)] = asked
        try:
            found = await claim(
                node.database,
                self._run,
                self._trunk,
                node.id,
                many=many,
                asked=asked,
                lead=self._lead,
                secrets=node.secrets,
            )
            for place in found.places:
                self._take(place)
        finally:
            del node.asked_for[id(asked)]
        return found

    async def _send(self, group: asyncio.TaskGroup, places: tuple[Place, ...]) -> None:
        if not await self._inform(places):
            return
        if self._pre_call is not None:
            # its calls leave seconds after their turn, and claims go on meanwhile
            group.create_task(self._ask_and_place(self._pre_call, places))
        else:
            await self._place(places)

    async def _inform(self, places: tuple[Place, ...]) -> bool:
        """Tell each attempt's flow what it wants to know of the contact; False when that cannot be read: who would hear
        a message with gaps is not called."""
        if self._messages.flow is None or not self._messages.flow.wants:
            return True
        try:
            async with self._node.database.connection() as connection:
                known = await pre_calls_store.contacts(connection, [place.candidate.contact_id for place in places])
        except DatabaseUnavailableError:
            for place in places:
                self._node.calls.put_back(place.attempt_id, "the database was away before the call")
            return False
        for place in places:
            contact = _called(known, place)
            self._node.calls.inform(place.attempt_id, texts(contact.data()))
        return True

    async def _ask_and_place(self, pre_call: PreCall, places: tuple[Place, ...]) -> None:
        """Ask about all at once, and place the calls that may be."""
        contact_ids = [place.candidate.contact_id for place in places]
        try:
            async with self._node.database.connection() as connection:
                known = await pre_calls_store.contacts(connection, contact_ids)
        except DatabaseUnavailableError:
            for place in places:
                self._node.calls.put_back(place.attempt_id, "the database was away before the pre-call fetch")
            return
        async with asyncio.TaskGroup() as group:
            for place in places:
                group.create_task(self._ask(pre_call, place, _called(known, place)))

    async def _ask(self, pre_call: PreCall, place: Place, contact: PreCallContact) -> None:
        dialing_list_id = ids.dialing_list_id(self._run.instance_id, place.candidate.contact_id)
        answer = await unless(self._closing, pre_call.ask(contact, dialing_list_id))
        if answer is None:
            self._node.calls.put_back(place.attempt_id, "the pre-call fetch was broken off")
            return
        if not self._node.calls.tell(place.attempt_id, answer):
            return
        await self._until(place.at)
        await self._originate(place)

    async def _place(self, places: tuple[Place, ...]) -> None:
        async with asyncio.TaskGroup() as group:
            for place in places:
                await self._until(place.at)
                group.create_task(self._originate(place))

    async def _originate(self, place: Place) -> None:
        outgoing = OutgoingCall(
            id=place.attempt_id,
            run_id=self._run.id,
            epoch=self._run.epoch,
            key=self._key,
            number=written_for(self._trunk, place.candidate.phone),
            caller_id=self._run.rules.caller_id,
            ring_seconds=self._run.rules.ring_seconds,
        )
        async with self._node.unanswered:
            # nothing runs between this check and the write: see Engine.originate
            if not self._may_dial():
                self._node.calls.put_back(place.attempt_id, "the gate was closed before the call was placed")
                return
            if clock.boottime() - place.at > LATE_SECONDS:
                # whether the person may be called was asked for that instant
                self._node.calls.put_back(place.attempt_id, "its turn came too late")
                return
            result = await self._node.calls.originate(outgoing)
        if result is OriginateResult.REFUSED:
            self._permitted.clear()
            self._renew.set()

    async def place_leg(self, leg: Leg) -> Placed:
        """Place a second leg of one of the run's calls, if the run may be dialed now: written down first, in the
        transaction that finds the run active and no list against its number, then at an open gate and under the run's
        permit, as any call. While this is under way the run is not dropped."""
        self._legs_placed += 1
        self._no_leg_placed.clear()
        try:
            return await self._place_leg(leg)
        finally:
            self._legs_placed -= 1
            if not self._legs_placed:
                self._no_leg_placed.set()

    async def _place_leg(self, leg: Leg) -> Placed:
        try:
            dialed, phone = destination(leg.to, self._trunk)
        except NotOnTrunkError as error:
            return Placed(OriginateResult.REFUSED, str(error))
        began = clock.boottime()
        try:
            while (refused := await self._reserve_leg(leg, dialed, phone)) == transfers_store.LISTING:
                if clock.boottime() - began > LATE_SECONDS:
                    break
                await asyncio.sleep(LISTING_SECONDS)
        except DatabaseUnavailableError as error:
            refused = error.message
        if refused:
            return Placed(OriginateResult.REFUSED, refused)
        rules = self._run.rules
        outgoing = OutgoingCall(
            leg.id, self._run.id, self._run.epoch, self._key, dialed, rules.caller_id, leg.ring_seconds
        )
        async with self._node.unanswered:
            # nothing runs between this check and the write: see Engine.originate
            if not self._may_dial():
                return Placed(OriginateResult.REFUSED, "the gate was closed before it was placed")
            if leg.ended is not None or leg.attempt_id not in self._node.calls:
                return Placed(OriginateResult.REFUSED, "the call it was for is over")
            if clock.boottime() - began > LATE_SECONDS:
                # whoever puts its number on a do-not-call list waits for some seconds only
                return Placed(OriginateResult.REFUSED, "its turn came too late")
            leg.placed_at = clock.boottime()
            result = await self._node.engine.originate(outgoing)
        if result is OriginateResult.REFUSED:
            self._permitted.clear()
            self._renew.set()
        return Placed(result, _NOT_PLACED.get(result, ""))

    async def _reserve_leg(self, leg: Leg, dialed: str, phone: str | None) -> str:
        """Write down that it is about to be placed; return why it may not be, empty when it may."""
        node, run = self._node, self._run
        if not await self._open():
            return "its run is not dialed now"
        async with node.database.transaction() as connection:
            await runs_store.limit_idle(connection, node.ttl_seconds)
            await runs_store.share_run(connection, run.id)
            return await transfers_store.reserve(
                connection,
                Transfer(leg.id, leg.attempt_id, run.id, run.account_id, run.epoch, node.engine.id, dialed, phone),
                node.secrets,
            )

    async def _until(self, instant: float) -> None:
        """Wait until boot time ``instant``, or until closing."""
        seconds = instant - clock.boottime()
        if seconds > 0:
            await _either(self._closing, seconds)

    async def _idle(self, seconds: float) -> None:
        await _either(self._wake, seconds)


def _called(known: Mapping[int, PreCallContact], place: Place) -> PreCallContact:
    """Return what is known of a contact, by the number it is called at; of one that was deleted from its list meanwhile
    no more than that."""
    found = known.get(place.candidate.contact_id)
    phone = place.candidate.phone
    return PreCallContact(phone) if found is None else replace(found, phone=phone)


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set or the time is up."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return

"""A run at a real Asterisk with a watchdog beside it, and somebody who commands that Asterisk and should not."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from dialer.test_run import fetch, start
from dialing import Stage, dialing, set_stage, with_rules
from outdial import clock
from outdial.config import Settings
from outdial.context import Context
from outdial.core.ids import permit_name
from outdial.core.model import Run
from outdial.secretbox import load_secret_box
from outdial.services.engines import Engines
from outdial.services.stop import stop
from outdial.store.database import Database
from outdial.store.watch import Alarm
from outdial.telephony.asterisk import AsteriskEngine
from outdial.telephony.engine import OriginateResult, OutgoingCall, Permit, TrunkAddress
from outdial.telephony.managed import ManagedAsterisk
from outdial.watchdog.watching import Watchdog, watching
from support.asterisk import connected_engine
from support.sip_peer import SipPeer
from waiting import until

CALLER = "+15550100999"
PEOPLE = ("+15550000001", "+15550000401", "+15550000180", "+15550000486", "+15550000201")
"""They answer, ask for credentials, ring for ever, are busy, and cross the CANCEL."""

SILENT = "+15550000100"
"""Says nothing at all: its INVITE is repeated for 32 s, and heard by whoever listens then."""

STRANGER = "+15550099180"
"""In no list."""


@dataclass
class Scene:
    """A run's world with a watchdog, and somebody who may command the Asterisk and should not."""

    stage: Stage
    peer: SipPeer
    managed: ManagedAsterisk
    engine: AsteriskEngine
    rogue: AsteriskEngine
    engines: Engines
    watchdog: Watchdog
    folder: Path
    alarms: list[Alarm] = field(default_factory=list)

    def metric(self, name: str) -> float:
        lines = self.watchdog.counts.text().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"outdial_watchdog_{name}"))

    async def run(self) -> Run:
        return await start(self.stage)

    async def stop(self) -> None:
        owner = self.stage.owner
        await stop(
            self.stage.database, self.engines, iid=owner.iid, campaign_id=self.stage.campaign_id, actor="supervisor"
        )

    async def put(self, run_id: int, epoch: int, key: str) -> str:
        """Put a permit by hand."""
        address = TrunkAddress(self.peer.host, self.peer.port)
        ends = clock.now() + timedelta(minutes=5)
        await self.rogue.put_permit(Permit(run_id, epoch, key, self.stage.trunk, address, ends))
        return permit_name(run_id, epoch, key)

    async def place(self, run_id: int, epoch: int, key: str, number: str) -> str:
        """Place a call by hand, return its Call-ID."""
        before = set(self.peer.calls)
        call = OutgoingCall(uuid.uuid4().hex, run_id, epoch, key, number, CALLER, 20)
        assert await self.rogue.originate(call) is OriginateResult.ACCEPTED
        await self.peer.until(lambda: set(self.peer.calls) > before)
        (call_id,) = set(self.peer.calls) - before
        return call_id

    async def alarm(self, call_id: str) -> Alarm:
        """The alarm that the call raises."""

        def raised() -> bool:
            for part in self.watchdog.parts:
                assert not part.done(), part.result()
            return any(alarm.call_id == call_id for alarm in self.alarms)

        await until(raised)
        return next(alarm for alarm in self.alarms if alarm.call_id == call_id)

    async def names(self) -> set[str]:
        return {permit_name(*permit) for permit in await self.rogue.permits()}

    async def key_of(self, run: Run) -> tuple[int, str]:
        rows = await fetch(self.stage, "SELECT epoch, key FROM run_engines WHERE run_id = $1 ORDER BY epoch", run.id)
        return rows[0]["epoch"], rows[0]["key"]


@contextlib.asynccontextmanager
async def set_scene(
    watched: tuple[ManagedAsterisk, Settings],
    database: Database,
    dsn: str,
    folder: Path,
    people: Sequence[str] = PEOPLE,
) -> AsyncIterator[Scene]:
    """Set it; the watchdog's parts must live to the end."""
    managed, settings = watched
    secrets = load_secret_box(settings)
    async with AsyncExitStack() as stack:
        peer = await SipPeer.start()
        stack.push_async_callback(peer.close)
        stage = await set_stage(
            database,
            secrets,
            people,
            rules=with_rules(max_attempts=1),
            port=peer.port,
            username="user",
            password="secret",
        )
        engine = await stack.enter_async_context(connected_engine(managed, f"test-{uuid.uuid4().hex}"))
        rogue = await stack.enter_async_context(connected_engine(managed, f"rogue-{uuid.uuid4().hex}"))
        engines = Engines(database, secrets, ttl_seconds=1.0)
        stack.push_async_callback(engines.close)
        alarms: list[Alarm] = []
        # heard from the first packet on: no INVITE can be the repetition of an earlier one
        watchdog = await stack.enter_async_context(
            watching(Context(settings, database, dsn, secrets), on_alarm=alarms.append, may_repeat=timedelta())
        )
        await until(lambda: engine.up and rogue.up)
        yield Scene(stage, peer, managed, engine, rogue, engines, watchdog, folder, alarms)
        assert not [part for part in watchdog.parts if part.done()]
        for call in await rogue.calls():
            await rogue.hang_up(call.id)
        for run_id, epoch, key in await rogue.permits():
            await rogue.remove_permit(run_id, epoch, key)


def node(scene: Scene):
    return dialing(scene.stage, scene.engine, scene.folder, engines=scene.engines, address=scene.managed.address)


async def dialed(scene: Scene, people: int = len(PEOPLE)) -> Run:
    """Run the campaign until everybody's call has been judged."""
    run = await scene.run()
    await until(lambda: len(scene.peer.calls) == people)
    await until(lambda: scene.metric('invites_total{outcome="judged"}') == people)
    return run

"""The watchdog beside a real Asterisk: a run in order raises nothing, and each call that should not have left is found,
told and fenced."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from dialer.test_run import fetch, start
from dialing import Stage, dialing, set_stage, with_rules
from outdial import clock
from outdial.context import Context
from outdial.core.ids import permit_name
from outdial.core.model import Run
from outdial.core.watch import Breach
from outdial.secretbox import load_secret_box
from outdial.services import dnc, runs
from outdial.services.engines import Engines
from outdial.services.stop import stop
from outdial.store.watch import Alarm
from outdial.telephony.asterisk import AsteriskEngine
from outdial.telephony.engine import OriginateResult, OutgoingCall, Permit, TrunkAddress
from outdial.telephony.managed import ManagedAsterisk
from outdial.watchdog.watching import Watchdog, watching
from support.asterisk import connected_engine
from support.asterisk import watched_asterisk as watched_asterisk_fixture
from support.sip_peer import SipPeer
from values import KEY
from waiting import until

watched_asterisk = watched_asterisk_fixture

CALLER = "+15550100999"
PEOPLE = ("+15550000001", "+15550000401", "+15550000180", "+15550000486", "+15550000201", "+15550000100")
"""They answer, ask for credentials, ring for ever, are busy, cross the CANCEL, and say nothing at all."""

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
        await until(lambda: any(alarm.call_id == call_id for alarm in self.alarms))
        return next(alarm for alarm in self.alarms if alarm.call_id == call_id)

    async def names(self) -> set[str]:
        return {permit_name(*permit) for permit in await self.rogue.permits()}

    async def key_of(self, run: Run) -> tuple[int, str]:
        rows = await fetch(self.stage, "SELECT epoch, key FROM run_engines WHERE run_id = $1 ORDER BY epoch", run.id)
        return rows[0]["epoch"], rows[0]["key"]


@pytest.fixture
async def scene(watched_asterisk, database, dsn, tmp_path):
    managed, settings = watched_asterisk
    secrets = load_secret_box(settings)
    async with AsyncExitStack() as stack:
        peer = await SipPeer.start()
        stack.push_async_callback(peer.close)
        stage = await set_stage(
            database,
            secrets,
            PEOPLE,
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
        yield Scene(stage, peer, managed, engine, rogue, engines, watchdog, tmp_path, alarms)
        for call in await rogue.calls():
            await rogue.hang_up(call.id)
        for run_id, epoch, key in await rogue.permits():
            await rogue.remove_permit(run_id, epoch, key)


def node(scene: Scene):
    return dialing(scene.stage, scene.engine, scene.folder, engines=scene.engines, address=scene.managed.address)


async def dialed(scene: Scene) -> Run:
    """Run the campaign until everybody's call has been judged."""
    run = await scene.run()
    await until(lambda: len(scene.peer.calls) == len(PEOPLE))
    await until(lambda: scene.metric('invites_total{outcome="judged"}') == len(PEOPLE))
    return run


async def test_a_run_in_order_raises_no_alarm(scene):
    async with node(scene):
        run = await dialed(scene)
        (answered,) = scene.peer.of_number(PEOPLE[0])
        await scene.peer.until(lambda: answered.acknowledged_at is not None)
        scene.peer.renew(answered.call_id)
        await scene.peer.until(lambda: answered.call_id in scene.peer.renewed)
        # the challenged call is sent a second time, the unanswered one again and again: each is one call
        (challenged,), (silent,) = scene.peer.of_number(PEOPLE[1]), scene.peer.of_number(PEOPLE[5])
        await scene.peer.until(lambda: len(challenged.invites) == 2 and len(silent.invites) > 1)
        await until(lambda: scene.metric('invites_total{outcome="repeated"}') >= 2)
        await scene.stop()
        assert (await runs.progress(scene.stage.database, run.id)).run.state == "stopped"
        # the carrier that is silent goes on seeing its INVITE after the stop
        seen = len(silent.invites)
        await scene.peer.until(lambda: len(silent.invites) > seen)
        await until(lambda: scene.metric('invites_total{outcome="repeated"}') >= 3)
    assert scene.alarms == []
    assert scene.metric('invites_total{outcome="judged"}') == len(scene.peer.calls) == len(PEOPLE)
    assert scene.metric("problems_total") == scene.metric("dropped_total") == scene.metric("alarms_total") == 0
    assert await fetch(scene.stage, "SELECT * FROM watchdog_alarms") == []


async def test_a_call_through_a_permit_that_was_put_back_after_the_stop(scene):
    async with node(scene):
        run = await dialed(scene)
        epoch, key = await scene.key_of(run)
        await scene.stop()
    assert scene.alarms == []
    name = await scene.put(run.id, epoch, key)
    other = await scene.put(run.id, epoch + 1, "f" * 32)
    alarm = await scene.alarm(await scene.place(run.id, epoch, key, STRANGER))
    assert alarm.breaches == (Breach.RUN_STOPPED, Breach.NO_ATTEMPT)
    assert (alarm.account_id, alarm.run_id) == (scene.stage.owner.account_id, run.id)
    assert (alarm.number, alarm.caller, alarm.permit) == (STRANGER, CALLER, name)
    assert alarm.engine_name == scene.engine.id
    assert alarm.destination == f"{scene.peer.host}:{scene.peer.port}"
    assert alarm.fence["problems"] == []
    assert set(alarm.fence["removed"][scene.engine.id]) == {name, other}
    assert await scene.names() == set()
    call = OutgoingCall(uuid.uuid4().hex, run.id, epoch, key, STRANGER, CALLER, 20)
    assert await scene.rogue.originate(call) is OriginateResult.REFUSED
    (row,) = await fetch(scene.stage, "SELECT * FROM history WHERE action = 'watchdog_alarm'")
    assert (row["account_id"], row["to_state"], row["detail"]["alarm"]) == (
        scene.stage.owner.account_id,
        "run_stopped",
        alarm.id,
    )
    assert len(scene.alarms) == 1


async def test_a_call_to_a_number_on_a_do_not_call_list(scene):
    async with node(scene):
        run = await dialed(scene)
        epoch, key = await scene.key_of(run)
        await dnc.add_numbers(
            scene.stage.database, account_id=scene.stage.owner.account_id, phones=[STRANGER], actor="anna"
        )
        alarm = await scene.alarm(await scene.place(run.id, epoch, key, STRANGER))
        assert alarm.breaches == (Breach.DNC_NUMBER, Breach.NO_ATTEMPT)
        assert permit_name(run.id, epoch, key) in alarm.fence["removed"][scene.engine.id]
        assert len(scene.alarms) == 1
        await scene.stop()


async def test_a_call_without_an_attempt_and_one_made_again(scene):
    async with node(scene):
        run = await dialed(scene)
        epoch, key = await scene.key_of(run)
        alarm = await scene.alarm(await scene.place(run.id, epoch, key, STRANGER))
        assert alarm.breaches == (Breach.NO_ATTEMPT,)
        assert permit_name(run.id, epoch, key) in alarm.fence["removed"][scene.engine.id]
        # who is called rings still, and is called again through a permit put by hand
        await scene.put(run.id, epoch, key)
        again = await scene.alarm(await scene.place(run.id, epoch, key, PEOPLE[2]))
        assert again.breaches == (Breach.DIALED_AGAIN,)
        assert len(scene.alarms) == 2
        await scene.stop()


async def test_calls_through_permits_that_nobody_noted_leave_those_in_order_alone(scene):
    async with node(scene):
        run = await dialed(scene)
        epoch, key = await scene.key_of(run)
        bogus = await scene.put(run.id + 1000, 1, KEY)
        alarm = await scene.alarm(await scene.place(run.id + 1000, 1, KEY, STRANGER))
        assert alarm.breaches == (Breach.UNKNOWN_PERMIT,)
        assert alarm.account_id is None
        assert alarm.fence == {"removed": {scene.engine.id: [bogus]}, "problems": []}
        assert permit_name(run.id, epoch, key) in await scene.names()
        await scene.stop()


async def test_a_call_through_no_permit_at_all(scene):
    # an endpoint that is none of outdial's, as somebody else's configuration would have it
    address = TrunkAddress(scene.peer.host, scene.peer.port)
    await scene.rogue._put_endpoint(scene.stage.trunk, address, "theirs")
    body = {"fields": [{"attribute": "sdp_session", "value": "Asterisk"}]}
    await scene.rogue._request("PUT", "asterisk/config/dynamic/res_pjsip/endpoint/theirs", body=body)
    target = f"PJSIP/theirs/sip:{STRANGER}@{scene.peer.host}:{scene.peer.port}"
    query = {"endpoint": target, "app": scene.rogue._app, "channelId": uuid.uuid4().hex, "callerId": CALLER}
    assert (await scene.rogue._request("POST", "channels", query)).ok
    await scene.peer.until(lambda: bool(scene.peer.calls))
    (call_id,) = scene.peer.calls
    alarm = await scene.alarm(call_id)
    assert alarm.breaches == (Breach.NO_PERMIT,)
    assert (alarm.account_id, alarm.permit, alarm.fence["removed"]) == (None, None, {})
    assert alarm.fence["problems"] == ["The call went through no permit: there is none to remove."]
    await scene.rogue.hang_up(query["channelId"])
    for kind in ("endpoint", "aor", "auth"):
        await scene.rogue._request("DELETE", f"asterisk/config/dynamic/res_pjsip/{kind}/theirs")


async def test_what_an_engine_receives_is_not_what_it_sends(scene):
    """An INVITE from the carrier raises nothing, whatever it says."""
    request = (
        f"INVITE sip:{STRANGER}@{{host}}:{{port}} SIP/2.0\r\nVia: SIP/2.0/UDP {scene.peer.host}:{scene.peer.port};"
        f"branch=z9hG4bKin\r\nFrom: <sip:x@127.0.0.1>;tag=1\r\nTo: <sip:{STRANGER}@127.0.0.1>\r\nCall-ID: inbound-"
        f"{uuid.uuid4().hex}\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContact: <sip:x@127.0.0.1>\r\n"
        "Content-Length: 0\r\n\r\n"
    )
    host, port = scene.managed.sip_address.host, scene.managed.sip_address.port
    scene.peer._send_to(request.format(host=host, port=port).encode(), (host, port))
    await until(lambda: scene.metric('invites_total{outcome="received"}') >= 1)
    assert scene.metric('invites_total{outcome="judged"}') == 0
    assert scene.alarms == []

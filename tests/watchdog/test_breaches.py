"""Each call that should not have left a real Asterisk is found, told and fenced."""

from __future__ import annotations

import uuid

import pytest

from dialer.test_run import fetch
from outdial.core.ids import permit_name
from outdial.core.watch import Breach
from outdial.services import dnc
from outdial.telephony.engine import OriginateResult, OutgoingCall, TrunkAddress
from support.asterisk import watched_asterisk as watched_asterisk_fixture
from values import KEY
from waiting import until
from watching_scene import CALLER, PEOPLE, STRANGER, dialed, node, set_scene

watched_asterisk = watched_asterisk_fixture


@pytest.fixture
async def scene(watched_asterisk, database, dsn, tmp_path):
    async with set_scene(watched_asterisk, database, dsn, tmp_path) as opened:
        yield opened


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
        # the node's own reaper may have been faster
        assert alarm.fence["problems"] == []
        assert set(alarm.fence["removed"][scene.engine.id]) <= {bogus}
        assert bogus not in await scene.names()
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

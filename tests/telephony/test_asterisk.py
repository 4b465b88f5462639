"""What only a real Asterisk shows: trunks on the wire, other processes, dead nodes, a lost event stream, kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from outdial.config import Settings
from outdial.core.errors import EngineUnavailableError
from outdial.core.model import Transport
from outdial.core.phone import written_for
from outdial.telephony.asterisk_control import AsteriskControl
from outdial.telephony.engine import (
    CallAnswered,
    CallEnded,
    CallRinging,
    CallState,
    EngineDown,
    EngineUp,
    OriginateResult,
    PlaybackEnded,
    TrunkAddress,
)
from outdial.telephony.managed import ManagedAsterisk
from sounds import tone, wav
from support.asterisk import connected_engine, require_asterisk
from support.programs import end_all_of, processes_of
from support.sip_peer import SipPeer
from telephony.conftest import TRUNK, Line, listening
from values import KEY
from waiting import until

ACCEPTED, REFUSED = OriginateResult.ACCEPTED, OriginateResult.REFUSED


@contextlib.asynccontextmanager
async def at_peer(asterisk, new_app, *, trunk=TRUNK, peer: SipPeer):
    """A line whose calls go to the peer."""
    async with (
        connected_engine(asterisk, new_app()) as engine,
        listening(engine, TrunkAddress(peer.host, peer.port)) as line,
    ):
        line.trunk = replace(trunk, port=peer.port, transport=Transport(peer.transport))
        yield line


@pytest.fixture
async def peer():
    opened = await SipPeer.start()
    yield opened
    await opened.close()


async def place(line: Line, number: str, **more):
    await line.engine.put_permit(line.permit())
    call = line.call(written_for(line.trunk, number), **more)
    assert await line.engine.originate(call) is ACCEPTED
    return call


class TestTrunks:
    async def test_the_invite_carries_number_and_caller_id(self, asterisk, new_app, peer):
        async with at_peer(asterisk, new_app, peer=peer) as line:
            call = await place(line, "+15550100001")
            await line.heard(call.id, CallAnswered)
            (seen,) = peer.calls.values()
            assert (seen.number, seen.caller) == ("+15550100001", "+15550100999")
            await line.settle(call.id)
            await peer.until(lambda: seen.bye_at is not None)

    async def test_numbers_are_written_as_the_trunk_wants_them(self, asterisk, new_app, peer):
        trunk = replace(TRUNK, number_format="e164", number_prefix="9")
        async with at_peer(asterisk, new_app, trunk=trunk, peer=peer) as line:
            call = await place(line, "+15550100001")
            await line.heard(call.id, CallAnswered)
            assert [seen.number for seen in peer.calls.values()] == ["915550100001"]
            await line.settle(call.id)

    @pytest.mark.parametrize("status", ["401", "407"])
    async def test_a_challenge_is_answered_within_the_same_call(self, asterisk, new_app, peer, status):
        trunk = replace(TRUNK, username="user", password="secret")
        async with at_peer(asterisk, new_app, trunk=trunk, peer=peer) as line:
            call = await place(line, f"+15550100{status}")
            await line.heard(call.id, CallAnswered)
            (seen,) = peer.calls.values()
            assert seen.authorized
            # the same Call-ID twice: one call, not two
            assert len(seen.invites) == 2
            await line.settle(call.id)

    async def test_a_wrong_password_ends_the_call(self, asterisk, new_app, peer):
        trunk = replace(TRUNK, username="user", password="wrong")
        async with at_peer(asterisk, new_app, trunk=trunk, peer=peer) as line:
            call = await place(line, "+15550100401")
            await line.heard(call.id, CallEnded)
            assert line.of(call.id, CallAnswered) == []

    @pytest.mark.parametrize("code", [486, 404, 503, 603, 480, 500])
    async def test_the_carriers_status_is_told_in_full(self, asterisk, new_app, peer, code):
        async with at_peer(asterisk, new_app, peer=peer) as line:
            call = await place(line, f"+15550100{code}")
            assert (await line.heard(call.id, CallEnded)).sip_code == code

    async def test_early_media_counts_as_ringing(self, asterisk, new_app, peer):
        async with at_peer(asterisk, new_app, peer=peer) as line:
            call = await place(line, "+15550100183")
            await line.heard(call.id, CallRinging)
            await line.heard(call.id, CallAnswered)
            await line.settle(call.id)

    async def test_an_answer_that_crosses_our_cancel_is_acknowledged_and_ended(self, asterisk, new_app, peer):
        async with at_peer(asterisk, new_app, peer=peer) as line:
            call = await place(line, "+15550100201")
            await line.heard(call.id, CallRinging)
            await line.engine.hang_up(call.id)
            await line.heard(call.id, CallEnded)
            (seen,) = peer.calls.values()
            await peer.until(lambda: seen.bye_at is not None)
            assert seen.acknowledged_at is not None
            assert seen.bye_at >= seen.acknowledged_at

    async def test_a_flow_is_heard_at_the_far_end(self, asterisk, new_app, peer, tmp_path):
        tmp_path.chmod(0o755)
        sound = tmp_path / "hello.wav"
        sound.write_bytes(wav(tone(440, rate=8000, seconds=1.0), rate=8000))
        async with at_peer(asterisk, new_app, peer=peer) as line:
            call = await place(line, "+15550100001")
            await line.heard(call.id, CallAnswered)
            peer.audio_packets()
            await line.engine.play(call.id, sound, f"{call.id}-1")
            await line.heard(call.id, PlaybackEnded)
            # a second of sound is fifty packets of 20 ms
            assert 40 <= peer.audio_packets() <= 60
            await line.settle(call.id)

    async def test_a_tcp_trunk_is_dialed_only_while_its_connection_is_up(self, asterisk, new_app):
        peer = await SipPeer.start(transport="tcp")
        try:
            async with at_peer(asterisk, new_app, peer=peer) as line:

                async def up() -> bool:
                    return await line.engine.trunk_up(line.trunk, line.address)

                await until(up, seconds=20)
                call = await place(line, "+15550100001")
                await line.heard(call.id, CallAnswered)
                await line.settle(call.id)
        finally:
            await peer.close()
        async with connected_engine(asterisk, new_app()) as engine:
            nobody = replace(TRUNK, id="tr-nobody", transport=Transport.TCP, port=9)
            assert not await engine.trunk_up(nobody, TrunkAddress("127.0.0.1", 9))


class TestOtherProcesses:
    async def test_a_stop_elsewhere_fences_and_cancels(self, asterisk, new_app, peer):
        address = asterisk.address
        control = AsteriskControl(
            engine_id=address.engine_id, url=address.url, username=address.username, password=address.password
        )
        async with at_peer(asterisk, new_app, peer=peer) as line:
            call = await place(line, "+15550100180")
            await line.heard(call.id, CallRinging)
            await control.fence(line.run_id, [(1, KEY)])
            assert await line.engine.originate(line.call("+15550100001")) is REFUSED
            (found,) = await control.calls(line.run_id)
            assert (found.id, found.state) == (call.id, CallState.RINGING)
            assert await control.hang_up(call.id) is True
            await line.heard(call.id, CallEnded)
            (seen,) = peer.calls.values()
            await peer.until(lambda: seen.cancelled_at is not None)
        assert re.match(r"\d+", await control.probe())
        await control.close()

    async def test_an_engine_that_is_not_there_says_so(self):
        control = AsteriskControl(engine_id="x", url="http://127.0.0.1:9", username="u", password="p")
        for work in (
            *(control.fence(1, [(1, KEY)]), control.calls(1), control.permits(), control.hang_up("x")),
            *(control.cancel("x"), control.probe(), control.line_up("tr-1", TrunkAddress("192.0.2.1", 5060))),
        ):
            with pytest.raises(EngineUnavailableError, match=r"127\.0\.0\.1:9 does not answer"):
                await work
        await control.close()

    async def test_a_wrong_password_says_which_settings_to_check(self, asterisk):
        control = AsteriskControl(
            engine_id="x", url=asterisk.address.url, username=asterisk.address.username, password="wrong"
        )
        with pytest.raises(EngineUnavailableError, match="OUTDIAL_ASTERISK_PASSWORD"):
            await control.calls()
        await control.close()


class TestDeadNodes:
    async def test_their_calls_and_events_are_taken_over(self, asterisk, new_app, peer):
        dead_app = new_app()
        address = TrunkAddress(peer.host, peer.port)
        async with (
            connected_engine(asterisk, new_app()) as survivor,
            listening(survivor, address) as line,
            connected_engine(asterisk, dead_app) as dead,
            listening(dead, address) as lost,
        ):
            lost.run_id = line.run_id
            await dead.put_permit(lost.permit())
            ringing, talking = lost.call("+15550100180"), lost.call("+15550100001")
            for call in (ringing, talking):
                assert await dead.originate(call) is ACCEPTED
            await lost.heard(ringing.id, CallRinging)
            await lost.heard(talking.id, CallAnswered)
            found = {call.id: call.state for call in await survivor.adopt(dead_app)}
            assert found == {ringing.id: CallState.RINGING, talking.id: CallState.ANSWERED}
            # the dead node is told when it was only asleep
            await until(lambda: any(isinstance(event, EngineDown) for event in lost.events))
            for call in (ringing, talking):
                assert await survivor.hang_up(call.id)
                await line.heard(call.id, CallEnded)
            assert not dead.up

    async def test_adopting_twice_is_no_error(self, asterisk, new_app):
        async with connected_engine(asterisk, new_app()) as engine:
            app = new_app()
            assert list(await engine.adopt(app)) == []
            assert list(await engine.adopt(app)) == []


async def test_without_its_event_stream_nothing_is_placed(asterisk, new_app, peer):
    async with at_peer(asterisk, new_app, peer=peer) as line:
        await line.engine.put_permit(line.permit())
        await line.engine._socket._websocket.close()
        await until(lambda: any(isinstance(event, EngineDown) for event in line.events))
        await until(lambda: [type(event) for event in line.events].count(EngineUp) == 2)
        # what was put is there still, but this engine has to put it anew: the Asterisk may be another one
        assert await line.engine.renew_permit(line.permit()) is False
        assert line.engine.up


async def test_a_number_that_could_name_another_endpoint_is_not_dialed(asterisk, new_app, peer):
    async with at_peer(asterisk, new_app, peer=peer) as line:
        await line.engine.put_permit(line.permit())
        for number in ("1@other", "1/2", "", "1,2", "+1&PJSIP/2"):
            assert await line.engine.originate(line.call(number)) is OriginateResult.FAILED
        assert peer.calls == {}


class TestManaged:
    @pytest.fixture
    async def own(self, tmp_path):
        settings = Settings(data_dir=tmp_path / "data", _env_file=None)
        await asyncio.to_thread(require_asterisk, settings)
        managed = ManagedAsterisk(settings)
        await managed.start()
        yield managed
        await managed.stop()
        left = processes_of(tmp_path / "data")
        end_all_of(tmp_path / "data")
        assert not left

    async def test_killed_it_is_started_again_and_has_forgotten_every_permit(self, own, new_app):
        async with connected_engine(own, new_app()) as engine, listening(engine, own.loopback_trunk_address) as line:
            await engine.put_permit(line.permit())
            first = own.pid
            os.kill(first, signal.SIGKILL)
            await until(lambda: any(isinstance(event, EngineDown) for event in line.events))
            assert await engine.originate(line.call("+15550100001")) is REFUSED
            await until(lambda: own.pid != first and engine.up, seconds=40)
            assert await engine.originate(line.call("+15550100001")) is REFUSED
            assert await engine.renew_permit(line.permit()) is False
            await engine.put_permit(line.permit())
            call = line.call("+15550100001")
            assert await engine.originate(call) is ACCEPTED
            await line.heard(call.id, CallAnswered)
            await line.settle(call.id)

    async def test_a_shell_that_says_nothing_is_no_end_of_looking_after_it(self, own, monkeypatch):
        """A machine out of processes or memory, for a while."""
        run, first, said = asyncio.create_subprocess_exec, own.pid, []

        async def failing_first(program, *args, **more):
            if program == "/bin/sh":
                said.append(len(said) > 0)
                program = program if said[-1] else "/bin/true"
            return await run(program, *args, **more)

        monkeypatch.setattr(asyncio, "create_subprocess_exec", failing_first)
        os.kill(first, signal.SIGKILL)
        await until(lambda: own.pid != first and own.running, seconds=40)
        assert said == [False, True]

    async def test_it_listens_on_loopback_only(self, own):
        def sockets(name: str) -> list[str]:
            inodes = set()
            for entry in Path(f"/proc/{own.pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    inodes.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
            rows = [line.split() for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
            listening = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}[name]
            return [row[1] for row in rows if row[9] in inodes and row[3] == listening]

        def elsewhere(found: list[str]) -> list[str]:
            loopback = {"0100007F", "00000000000000000000000001000000"}
            return [where for where in found if where.partition(":")[0] not in loopback]

        assert sockets("tcp")
        assert sockets("udp")
        assert elsewhere(sockets("tcp") + sockets("tcp6")) == []
        # the SIP stack has one more of each family for asking name servers; nothing is ever asked: trunks are
        # given to it as addresses
        assert len(elsewhere(sockets("udp") + sockets("udp6"))) <= 2

    async def test_its_password_is_drawn_at_each_start_and_shown_nowhere(self, own):
        assert len(own.address.password) >= 32
        assert own.address.password not in repr(own.address)

    async def test_two_processes_share_one(self, own):
        other = ManagedAsterisk(own._settings)
        assert await other.start() == own.address
        await other.stop()
        assert own.running


def test_ids_are_never_the_beginning_of_one_another():
    # Asterisk's test for a channel id in use is a case-insensitive prefix test
    ids = {uuid.uuid4().hex for _ in range(1000)}
    assert {len(one) for one in ids} == {32}

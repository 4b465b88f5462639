"""What becomes of an event stream that closes, stalls or is cut, and of the people at its calls: on a real Asterisk."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest

from outdial.core.errors import EngineUnavailableError
from outdial.telephony import asterisk as module
from outdial.telephony.engine import CallEnded, CallRinging, EngineDown, EngineUp, OriginateResult, TrunkAddress
from support.asterisk import connected_engine
from support.relay import relay_to
from support.sip_peer import SipPeer
from telephony.conftest import TRUNK, listening
from values import KEY
from waiting import until

ACCEPTED, REFUSED, UNKNOWN = OriginateResult.ACCEPTED, OriginateResult.REFUSED, OriginateResult.UNKNOWN
RINGS = "+15550100180"


@pytest.fixture
async def peer():
    opened = await SipPeer.start()
    yield opened
    await opened.close()


@pytest.fixture
async def relay(asterisk):
    async with relay_to(asterisk.address.url) as opened:
        yield opened


@pytest.fixture
async def line(asterisk, new_app, peer, relay):
    """A line whose calls go to the peer, and whose engine is reached over the relay."""
    async with (
        connected_engine(asterisk, new_app(), url=relay.url) as engine,
        listening(engine, TrunkAddress(peer.host, peer.port)) as opened,
    ):
        opened.trunk = replace(TRUNK, port=peer.port)
        yield opened
        relay.shut = False
        relay.go_on()
        await until(lambda: engine.up)


class TestClosed:
    """Between the end of the stream and the moment the engine's own task learns of it."""

    async def test_nothing_is_placed_from_the_instant_it_is_closed(self, line, peer):
        await line.engine.put_permit(line.permit())
        socket = line.engine._socket
        socket._reader.cancel()
        await asyncio.wait([socket._reader])
        # nobody has taken note of it yet
        assert line.engine._socket is socket
        assert not line.engine.up
        assert await line.engine.originate(line.call(RINGS)) is REFUSED
        await until(lambda: line.engine._socket is not socket and line.engine.up)
        assert await line.engine.calls(line.run_id) == []
        assert peer.calls == {}

    async def test_what_was_written_before_is_not_sent_again_another_way(self, line, peer, relay):
        await line.engine.put_permit(line.permit())
        relay.stall()
        placing = asyncio.create_task(line.engine.originate(line.call(RINGS)))
        await asyncio.sleep(0)
        relay.cut()
        assert await placing is UNKNOWN
        relay.shut = False
        await until(lambda: line.engine.up)
        assert peer.calls == {}

    async def test_requests_that_cannot_travel_on_it_need_it_all_the_same(self, line, peer):
        """An Asterisk before 22.4 takes requests over HTTP alone."""
        await line.engine.put_permit(line.permit())
        line.engine._rest_on_socket = False
        call = line.call(RINGS)
        assert await line.engine.originate(call) is ACCEPTED
        await line.heard(call.id, CallRinging)
        await line.settle(call.id)
        socket = line.engine._socket
        socket._reader.cancel()
        await asyncio.wait([socket._reader])
        assert await line.engine.originate(line.call(RINGS)) is REFUSED
        await until(lambda: line.engine._socket is not socket and line.engine.up)
        assert len(peer.calls) == 1


class TestStalled:
    """Open, and nothing comes through; HTTP would."""

    async def test_a_stop_here_is_as_quick_as_one_from_elsewhere(self, line, peer, relay):
        await line.engine.put_permit(line.permit())
        ringing = line.call(RINGS)
        assert await line.engine.originate(ringing) is ACCEPTED
        await line.heard(ringing.id, CallRinging)
        relay.stall()
        # less than the stream is given before it is connected anew
        async with asyncio.timeout(module.GIVE_UP_SECONDS / 2):
            await line.engine.fence(line.run_id, [(1, KEY)])
            (found,) = await line.engine.calls(line.run_id)
            assert await line.engine.hang_up(found.id) is True
            (seen,) = peer.calls.values()
            await peer.until(lambda: seen.cancelled_at is not None)

            async def nothing() -> bool:
                return not await line.engine.calls(line.run_id)

            await until(nothing)
        assert not line.engine.up
        relay.go_on()
        await line.heard(ringing.id, CallEnded)

    async def test_only_the_first_request_waits_for_it(self, line, relay, monkeypatch):
        relay.stall()
        await line.engine.fence(line.run_id, [(1, KEY), (2, KEY)])
        waited = []
        ask = type(line.engine._socket).request

        async def noting(socket, *request):
            waited.append(request)
            return await ask(socket, *request)

        monkeypatch.setattr(type(line.engine._socket), "request", noting)
        await line.engine.fence(line.run_id, [(1, KEY), (2, KEY)])
        assert [request for request in waited if request[0] == "DELETE"] == []

    async def test_nothing_is_placed_or_put_over_http_instead(self, line, peer, relay):
        await line.engine.put_permit(line.permit())
        relay.stall()
        call = line.call(RINGS)
        assert await line.engine.originate(call) is UNKNOWN
        with pytest.raises(EngineUnavailableError):
            await line.engine.renew_permit(line.permit())
        assert peer.calls == {}
        # what was written is carried out when it comes through after all, but not past a fence
        await line.engine.fence(line.run_id, [(1, KEY)])
        relay.go_on()
        await until(lambda: line.engine.up)
        assert await line.engine.calls(line.run_id) == []
        assert peer.calls == {}

    async def test_it_is_used_again_once_it_answers(self, line, peer, relay):
        relay.stall()
        with contextlib.suppress(EngineUnavailableError):
            await line.engine.calls()
        assert not line.engine.up
        relay.go_on()
        await until(lambda: line.engine.up)
        await line.engine.put_permit(line.permit())
        call = line.call(RINGS)
        assert await line.engine.originate(call) is ACCEPTED
        await line.settle(call.id)

    async def test_a_slow_answer_alone_is_no_lost_stream(self, line, relay):
        """Calls that ring are cancelled for a lost one."""
        relay.stall()
        asyncio.get_running_loop().call_later(1.05, relay.go_on)
        await line.engine.calls()
        await until(lambda: line.engine.up)
        downs = [type(event) for event in line.events].count(EngineDown)
        ups = [type(event) for event in line.events].count(EngineUp)
        assert ups == downs + 1


class TestPermits:
    async def test_their_end_is_told_by_the_clock_that_was_checked(self, line, peer, monkeypatch):
        """A measurement that comes while a permit is being made may be of a clock an hour off."""
        engine = line.engine
        put_endpoint = engine._put_endpoint

        async def meanwhile_measured(*args, **more) -> None:
            await put_endpoint(*args, **more)
            engine._clock._least += 3600.0

        monkeypatch.setattr(engine, "_put_endpoint", meanwhile_measured)
        await engine.put_permit(line.permit(seconds=-0.1))
        assert await engine.originate(line.call(RINGS)) is REFUSED
        assert peer.calls == {}


async def test_a_stranger_who_answers_is_hung_up_on_however_often_it_takes(asterisk, new_app, peer, monkeypatch):
    """Placed under this node's name, by its former life say: nobody plays anything to whoever answers."""
    app = new_app()
    async with (
        connected_engine(asterisk, app) as engine,
        listening(engine, TrunkAddress(peer.host, peer.port)) as line,
        connected_engine(asterisk, new_app()) as other,
    ):
        line.trunk = replace(TRUNK, port=peer.port)
        hang_up, tries = engine.hang_up, []

        async def failing_first(call_id: str) -> bool:
            tries.append(call_id)
            if len(tries) < 4:
                raise EngineUnavailableError("no answer in time")
            return await hang_up(call_id)

        monkeypatch.setattr(engine, "hang_up", failing_first)
        await engine.put_permit(line.permit())
        await until(lambda: other.up)
        other._app = app
        stranger = line.call("+15550100001")
        assert await other.originate(stranger) is ACCEPTED
        await until(lambda: bool(peer.calls))
        (seen,) = peer.calls.values()
        await peer.until(lambda: seen.bye_at is not None)
        assert tries == [stranger.id] * 4
        await line.heard(stranger.id, CallEnded)

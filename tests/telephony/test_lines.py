"""What is known of a TCP trunk's line at a real Asterisk, while its carrier goes silent and comes back."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from outdial.core.model import Transport
from outdial.telephony import ended_context, permits
from outdial.telephony.asterisk_control import AsteriskControl
from outdial.telephony.engine import CallEnded, CallRinging, OriginateResult, TrunkAddress
from support import sip_peer
from support.asterisk import connected_engine
from support.sip_peer import SipPeer
from telephony.conftest import TRUNK, listening
from waiting import until


@dataclass
class Carrier:
    """One that can fail in every way a network can."""

    peer: SipPeer

    @contextlib.asynccontextmanager
    async def mute(self) -> AsyncIterator[None]:
        """Its connection stays open and it says nothing."""
        self.peer.mute = True
        yield
        self.peer.mute = False

    @contextlib.asynccontextmanager
    async def gone(self) -> AsyncIterator[None]:
        """Its connection is cut, and nobody listens."""
        await self.peer.close()
        yield
        self.peer = await SipPeer.start(transport="tcp", port=self.peer.port)

    @contextlib.asynccontextmanager
    async def swallowed(self) -> AsyncIterator[None]:
        """Its connection is cut, and nobody answers who wants a new one: the queue of those who do is full."""
        await self.peer.close()
        with contextlib.ExitStack() as stack:
            deaf = stack.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            deaf.bind((self.peer.host, self.peer.port))
            deaf.listen(0)
            for _ in range(3):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex((self.peer.host, self.peer.port))
            yield
        self.peer = await SipPeer.start(transport="tcp", port=self.peer.port)


@pytest.fixture
async def carrier():
    opened = Carrier(await SipPeer.start(transport="tcp"))
    yield opened
    await opened.peer.close()


@pytest.fixture
async def control(asterisk):
    """Another process's."""
    address = asterisk.address
    opened = AsteriskControl(
        engine_id=address.engine_id, url=address.url, username=address.username, password=address.password
    )
    yield opened
    await opened.close()


@pytest.fixture
async def line(asterisk, new_app, carrier):
    address = TrunkAddress(carrier.peer.host, carrier.peer.port)
    async with connected_engine(asterisk, new_app()) as engine, listening(engine, address) as opened:
        port = carrier.peer.port
        opened.trunk = replace(
            TRUNK, id=f"tr-{port}", port=port, transport=Transport.TCP, username="user", password="secret"
        )
        yield opened


@pytest.mark.parametrize("failure", ["mute", "gone", "swallowed"])
async def test_it_is_down_while_its_carrier_is_and_up_when_it_is_back(line, carrier, control, failure):
    async def up() -> bool:
        return await control.line_up(line.trunk.id, line.address)

    async def down() -> bool:
        return not await control.line_up(line.trunk.id, line.address)

    await until(lambda: line.engine.trunk_up(line.trunk, line.address))
    assert await up()
    for _ in range(2):
        async with getattr(carrier, failure)():
            await until(down)
            assert not await line.engine.trunk_up(line.trunk, line.address)
        await until(up)
        assert await line.engine.trunk_up(line.trunk, line.address)


async def test_it_is_down_until_it_was_found_up(line, carrier, control, asterisk, new_app):
    async with carrier.swallowed():
        for _ in range(3):
            # each time as if the engine had forgotten it
            line.engine._made.clear()
            assert not await line.engine.trunk_up(line.trunk, line.address)
            assert not await control.line_up(line.trunk.id, line.address)
    await until(lambda: control.line_up(line.trunk.id, line.address))


async def test_an_engine_that_has_forgotten_it_is_asked_anew_by_whoever_wants_to_know(line, control):
    """As one that was restarted has."""
    await control.ask_line(line.trunk, line.address)
    await until(lambda: control.line_up(line.trunk.id, line.address))
    # where it is asked for already nothing changes, not for an instant
    await control.ask_line(replace(line.trunk, host="192.0.2.1"), line.address)
    assert await control.line_up(line.trunk.id, line.address)
    for path in permits.removal_paths(permits.probe_name(line.trunk.id, line.address)):
        await control._request("DELETE", path)
    assert not await control.line_up(line.trunk.id, line.address)
    await control.ask_line(line.trunk, line.address)
    await until(lambda: control.line_up(line.trunk.id, line.address))


async def test_of_a_trunk_nobody_has_asked_for_nothing_is_known(line, control):
    assert not await control.line_up("tr-nobody", line.address)
    # nor of one that needs no connection
    assert await line.engine.trunk_up(replace(TRUNK, id="tr-udp"), line.address)
    assert not await control.line_up("tr-udp", line.address)


async def placed(line, carrier, ending: str) -> str:
    """Place a call that the carrier has received; return its id."""
    await until(lambda: line.engine.trunk_up(line.trunk, line.address))
    await line.engine.put_permit(line.permit())
    call = line.call(f"+15550100{ending}")
    assert await line.engine.originate(call) is OriginateResult.ACCEPTED
    await carrier.peer.until(lambda: bool(carrier.peer.calls))
    return call.id


@pytest.mark.parametrize("ending", ["180", "100", "407"])
async def test_of_a_call_whose_connection_breaks_the_engine_makes_up_an_end_and_says_so(line, carrier, ending):
    """It rings on at the carrier, which is told nothing."""
    carrier.peer.ring_seconds = 60
    call_id = await placed(line, carrier, ending)
    if ending == "100":
        assert await line.engine.calls(line.run_id)
    else:
        # one of them once it has sent its credentials
        await line.heard(call_id, CallRinging)
    await carrier.peer.drop_connections()
    ended = await line.heard(call_id, CallEnded)
    assert (ended.cause, ended.sip_code, ended.by_carrier) == (34, 503, False)
    (seen,) = carrier.peer.calls.values()
    assert (seen.cancelled_at, seen.bye_at, seen.ended_at) == (None, None, None)


@pytest.mark.parametrize(("ending", "cause"), [("503", 34), ("486", 17)])
async def test_a_carriers_own_refusal_is_told_as_its_own(line, carrier, ending, cause):
    ended = await line.heard(await placed(line, carrier, ending), CallEnded)
    assert (ended.cause, ended.sip_code, ended.by_carrier) == (cause, int(ending), True)


async def test_nobody_else_says_anything_of_a_call_that_we_end(line, carrier):
    call_id = await placed(line, carrier, "180")
    await line.heard(call_id, CallRinging)
    ended = await line.settle(call_id)
    assert (ended.cause, ended.sip_code, ended.by_carrier) == (16, None, False)
    await carrier.peer.until(lambda: all(call.cancelled_at for call in carrier.peer.calls.values()))


@pytest.mark.parametrize("phrase", ["x,said: SIP 180", 'a "b" (c) \\ ; | $', "Dienst überlastet", ""])
async def test_what_a_carrier_writes_beside_its_status_changes_nothing(line, carrier, monkeypatch, phrase):
    monkeypatch.setitem(sip_peer._REASONS, 503, phrase)
    written = SipPeer._response
    # in Latin-1, which SIP does not know and carriers write
    monkeypatch.setattr(SipPeer, "_response", lambda *one, **more: written(*one, **more).replace("ü".encode(), b"\xfc"))
    ended = await line.heard(await placed(line, carrier, "503"), CallEnded)
    assert (ended.sip_code, ended.by_carrier) == (503, True)


@pytest.mark.parametrize(
    ("said", "status", "by_carrier"),
    [
        ("SIP 503", 503, True),
        ("SIP 486", 486, True),
        ("SIP 180", 503, False),
        ("", 503, False),
        # INVITEs that were sent once more, and the last of them lost
        ("SIP 401", 503, False),
        ("SIP 422", 422, False),
        # an Asterisk that gives no status
        ("SIP 503", None, True),
        ("SIP 180", None, False),
        ("SIP 407", None, False),
        ("", None, False),
        ("ISDN 34", None, False),
        ("SIP x", None, False),
    ],
)
def test_it_was_the_carrier_whose_last_word_is_the_end(said, status, by_carrier):
    assert ended_context.is_by_carrier(said, status) is by_carrier

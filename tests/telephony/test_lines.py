"""What is known of a TCP trunk's line at a real Asterisk, while its carrier goes silent and comes back."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from outdial.core.model import Transport
from outdial.telephony.asterisk_control import AsteriskControl
from outdial.telephony.engine import TrunkAddress
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
        opened.trunk = replace(TRUNK, id=f"tr-{port}", port=port, transport=Transport.TCP)
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


async def test_of_a_trunk_nobody_has_asked_for_nothing_is_known(line, control):
    assert not await control.line_up("tr-nobody", line.address)
    # nor of one that needs no connection
    assert await line.engine.trunk_up(replace(TRUNK, id="tr-udp"), line.address)
    assert not await control.line_up("tr-udp", line.address)

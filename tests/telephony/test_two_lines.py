"""A trunk whose name has two addresses: what is known of one line says nothing of the other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from outdial.core.model import Transport
from outdial.telephony.engine import TrunkAddress
from support.asterisk import connected_engine
from support.sip_peer import SipPeer
from telephony.conftest import TRUNK, listening
from telephony.test_lines import Carrier
from waiting import until


@pytest.fixture
async def carriers():
    opened = [Carrier(await SipPeer.start(transport="tcp")) for _ in range(2)]
    yield opened
    for carrier in opened:
        await carrier.peer.close()


async def test_each_address_has_a_line_of_its_own(asterisk, new_app, carriers):
    addresses = [TrunkAddress(carrier.peer.host, carrier.peer.port) for carrier in carriers]
    async with connected_engine(asterisk, new_app()) as engine, listening(engine, addresses[0]):
        trunk = replace(TRUNK, id=f"tr-{addresses[0].port}", transport=Transport.TCP)
        for address in addresses:
            await until(lambda address=address: engine.trunk_up(trunk, address))

        async def first_is_down() -> bool:
            return not await engine.line_up(trunk.id, addresses[0])

        async with carriers[0].swallowed():
            await until(first_is_down)
            assert not await engine.trunk_up(trunk, addresses[0])
            # the name has turned to the other address: its line is up, and says nothing of the first
            assert await engine.trunk_up(trunk, addresses[1])
            assert await engine.line_up(trunk.id, addresses[1])
            assert not await engine.line_up(trunk.id, addresses[0])
        await until(lambda: engine.line_up(trunk.id, addresses[0]))

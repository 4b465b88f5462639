"""A stop over a TCP trunk whose connection broke just as a call was placed: real Asterisk, real kernel queues."""

from __future__ import annotations

import contextlib
import time
import uuid
from datetime import timedelta

import pytest

from dialing import CALLER_ID, phones, set_stage
from outdial import clock
from outdial.core.errors import StopNotProvenError
from outdial.core.model import EngineKind
from outdial.services import runs
from outdial.services.barrier import INVITE_SECONDS
from outdial.services.engines import Engines
from outdial.services.stop import stop
from outdial.store import engines as engines_store
from outdial.store import nodes, trunks
from outdial.store.nodes import NodeRow
from outdial.telephony.engine import OriginateResult, OutgoingCall, Permit, TrunkAddress
from support.asterisk import connected_engine
from support.asterisk import module_asterisk as asterisk  # noqa: F401 - a fixture
from support.sip_peer import SipPeer
from telephony.test_lines import Carrier
from values import KEY
from waiting import until

TTL = 0.5


@pytest.fixture
async def carrier():
    opened = Carrier(await SipPeer.start(transport="tcp"))
    yield opened
    await opened.peer.close()


async def test_it_is_not_proven_while_a_cancelled_call_waits_for_the_connection(
    database,
    secret_box,
    carrier,
    asterisk,  # noqa: F811 - the fixture
):
    stage = await set_stage(database, secret_box, phones(3), port=carrier.peer.port)
    async with database.connection() as connection:
        await connection.execute("UPDATE trunks SET transport = 'tcp'")
    run = (await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")).run
    trunk = await tcp_trunk(database, secret_box, stage)
    address = TrunkAddress(carrier.peer.host, carrier.peer.port)
    engines = Engines(database, secret_box, ttl_seconds=TTL)

    async def press():
        return await stop(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")

    async with connected_engine(asterisk, f"test-{uuid.uuid4().hex}") as engine:
        await serve(database, secret_box, run, asterisk.address, address)
        await until(lambda: engine.trunk_up(trunk, address))
        await engine.put_permit(Permit(run.id, run.epoch, KEY, trunk, address, clock.now() + timedelta(minutes=1)))
        async with carrier.swallowed():
            call = OutgoingCall(uuid.uuid4().hex, run.id, run.epoch, KEY, "+15550100180", CALLER_ID, 30)
            assert await engine.originate(call) is OriginateResult.ACCEPTED
            with pytest.raises(StopNotProvenError, match="line of the trunk is down"):
                await press()
            # it was cancelled, and would leave all the same
            assert await engine.calls(run.id) == []
        report = (await press()).report
        proven = time.time_ns()
        assert [found.engine_id for found in report.engines] == [asterisk.address.engine_id]
        # longer than anything that waited for the connection takes now that it is up
        await until(lambda: time.time_ns() - proven > 2_000_000_000)
        assert carrier.peer.new_calls_after(proven) == []
    await engines.close()


async def test_it_asks_an_engine_that_was_restarted_for_the_line_itself(
    database,
    secret_box,
    carrier,
    asterisk,  # noqa: F811 - the fixture
):
    """Nobody dials any more who would; without it the stop were proven when nothing can wait any more, half a minute
    later."""
    stage = await set_stage(database, secret_box, phones(3), port=carrier.peer.port)
    async with database.connection() as connection:
        await connection.execute("UPDATE trunks SET transport = 'tcp'")
    run = (await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")).run
    trunk = await tcp_trunk(database, secret_box, stage)
    address = TrunkAddress(carrier.peer.host, carrier.peer.port)
    engines = Engines(database, secret_box, ttl_seconds=TTL)
    await serve(database, secret_box, run, asterisk.address, address)
    control = await engines.control(asterisk.address.engine_id)
    assert not await control.line_up(trunk.id, address)
    began = clock.boottime()

    async def is_proven() -> bool:
        with contextlib.suppress(StopNotProvenError):
            await stop(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
            return True
        return False

    await until(is_proven, seconds=60)
    assert clock.boottime() - began < INVITE_SECONDS
    assert await control.line_up(trunk.id, address)
    await engines.close()


async def tcp_trunk(database, secret_box, stage):
    async with database.connection() as connection:
        return await trunks.by_id(connection, secret_box, stage.trunk.id)


async def serve(database, secret_box, run, address, trunk_address) -> None:
    """Note that a node of another process dials the run by the Asterisk."""
    async with database.transaction() as connection:
        await engines_store.put(
            connection,
            secret_box,
            engine_id=address.engine_id,
            kind=EngineKind.ASTERISK,
            url=address.url,
            username=address.username,
            password=address.password,
        )
        await nodes.register(connection, NodeRow("n1", "n1", "h", 1, "app", address.engine_id), ttl_seconds=TTL)
        await nodes.serve(connection, run_id=run.id, node_id="n1", epoch=run.epoch)
        await nodes.making(
            connection,
            run_id=run.id,
            node_id="n1",
            engine_id=address.engine_id,
            epoch=run.epoch,
            key=KEY,
            address=(trunk_address.host, trunk_address.port),
            seconds=-1.0,
        )

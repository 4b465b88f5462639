"""A number put on a do-not-call list over a TCP trunk whose connection broke just as it was called: real Asterisk."""

from __future__ import annotations

import time
import uuid
from datetime import timedelta

from dialing import CALLER_ID, phones, set_stage
from outdial import clock
from outdial.services import dnc, runs
from outdial.services.engines import Engines
from outdial.telephony.engine import OriginateResult, OutgoingCall, Permit, TrunkAddress
from services.test_barrier_lines import TTL, serve, tcp_trunk
from services.test_number_lines import carrier, dialing, reserved  # noqa: F401 - a fixture
from support.asterisk import connected_engine
from support.asterisk import module_asterisk as asterisk  # noqa: F401 - a fixture
from values import KEY
from waiting import until


async def test_a_call_that_waits_for_its_connection_does_not_leave_after_the_addition(
    database,
    secret_box,
    carrier,  # noqa: F811 - the fixture
    asterisk,  # noqa: F811 - the fixture
):
    stage = await set_stage(database, secret_box, phones(1), port=carrier.peer.port)
    (phone,) = phones(1)
    async with database.connection() as connection:
        await connection.execute("UPDATE trunks SET transport = 'tcp'")
    run = (await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")).run
    trunk = await tcp_trunk(database, secret_box, stage)
    address = TrunkAddress(carrier.peer.host, carrier.peer.port)
    engines = Engines(database, secret_box, ttl_seconds=TTL)

    async def add(asked):
        return await dnc.add_numbers(
            database, account_id=stage.owner.account_id, phones=[phone], actor="test", engines=asked
        )

    async with connected_engine(asterisk, f"test-{uuid.uuid4().hex}") as engine:
        await serve(database, secret_box, run, asterisk.address, address)
        await until(lambda: engine.trunk_up(trunk, address))
        await engine.put_permit(Permit(run.id, run.epoch, KEY, trunk, address, clock.now() + timedelta(minutes=1)))
        async with carrier.swallowed():
            attempt_id = await reserved(database, run)
            call = OutgoingCall(attempt_id, run.id, run.epoch, KEY, phone, CALLER_ID, 30)
            assert await engine.originate(call) is OriginateResult.ACCEPTED
            await dialing(database, attempt_id)
            # neither who asks nobody nor who asks the engine is told that it cannot leave
            for asked in (None, engines):
                change = await add(asked)
                assert len(change.problems) == 1, change
                assert "may leave yet" in change.problems[0]
            assert "the line of the trunk is down" in change.problems[0]
        # the line comes up: whatever waited has left when the answer says so
        change = await add(engines)
        added = time.time_ns()
        assert (change.problems, change.unchanged) == ((), 1)
        await until(lambda: time.time_ns() - added > 2_000_000_000)
        assert carrier.peer.new_calls_after(added) == []
    await engines.close()

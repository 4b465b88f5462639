"""A number put on a do-not-call list over a TCP trunk whose connection broke just as it was called: real Asterisk."""

from __future__ import annotations

import time
import uuid
from datetime import timedelta

import pytest

from dialing import CALLER_ID, phones, set_stage
from outdial import clock
from outdial.services import dnc, runs
from outdial.telephony.engine import OriginateResult, OutgoingCall, Permit, TrunkAddress
from services.test_barrier_lines import serve, tcp_trunk
from services.test_number_lines import carrier, dialing, reserved  # noqa: F401 - a fixture
from support.asterisk import connected_engine
from support.asterisk import module_asterisk as asterisk  # noqa: F401 - a fixture
from values import KEY
from waiting import until


@pytest.mark.xfail(strict=True, reason="an addition waits for calls to be placed, not for their line")
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
    async with connected_engine(asterisk, f"test-{uuid.uuid4().hex}") as engine:
        await serve(database, secret_box, run, asterisk.address, address)
        await until(lambda: engine.trunk_up(trunk, address))
        await engine.put_permit(Permit(run.id, run.epoch, KEY, trunk, address, clock.now() + timedelta(minutes=1)))
        async with carrier.swallowed():
            attempt_id = await reserved(database, run)
            call = OutgoingCall(attempt_id, run.id, run.epoch, KEY, phone, CALLER_ID, 30)
            assert await engine.originate(call) is OriginateResult.ACCEPTED
            await dialing(database, attempt_id)
            change = await dnc.add_numbers(database, account_id=stage.owner.account_id, phones=[phone], actor="test")
            added = time.time_ns()
        up = time.time_ns()
        await until(lambda: time.time_ns() - up > 2_000_000_000)
        assert change.problems or carrier.peer.new_calls_after(added) == []

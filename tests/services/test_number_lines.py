"""A number's stop over a TCP trunk whose connection broke just as it was called: real Asterisk, real kernel queues."""

from __future__ import annotations

import contextlib
import time
import uuid
from datetime import timedelta

import pytest

from dialing import CALLER_ID, phones, set_stage
from outdial import clock
from outdial.core.errors import StopNotProvenError
from outdial.core.model import AttemptState, RunContactState
from outdial.services import runs, wide_stops
from outdial.services.engines import Engines
from outdial.store import attempts, reserve
from outdial.store.attempts import AttemptNews, ContactNews
from outdial.store.reserve import Reservation
from outdial.telephony.engine import OriginateResult, OutgoingCall, Permit, TrunkAddress
from services.test_barrier_lines import TTL, serve, tcp_trunk
from support.asterisk import connected_engine
from support.asterisk import module_asterisk as asterisk  # noqa: F401 - a fixture
from support.sip_peer import SipPeer
from telephony.test_lines import Carrier
from values import KEY
from waiting import until


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
    stage = await set_stage(database, secret_box, phones(1), port=carrier.peer.port)
    (phone,) = phones(1)
    async with database.connection() as connection:
        await connection.execute("UPDATE trunks SET transport = 'tcp'")
    run = (await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")).run
    trunk = await tcp_trunk(database, secret_box, stage)
    address = TrunkAddress(carrier.peer.host, carrier.peer.port)
    engines = Engines(database, secret_box, ttl_seconds=TTL)
    proven: int | None = None

    async def press():
        return await wide_stops.stop_number(
            database, engines, account_id=stage.owner.account_id, phone=phone, actor="test"
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
            # asked again it knows of the call, which is over by then
            for _ in range(2):
                with contextlib.suppress(StopNotProvenError):
                    await press()
                    proven = time.time_ns()
            # it was cancelled, and leaves all the same when the connection comes up
            assert await engine.calls(run.id) == []
        up = time.time_ns()
        await until(lambda: time.time_ns() - up > 2_000_000_000)
        left = [] if proven is None else carrier.peer.new_calls_after(proven)
        # the line is up again
        assert (await press()).stopped_at is not None
    await engines.close()
    assert left == []
    assert proven is None


async def reserved(database, run) -> str:
    async with database.connection() as connection:
        (candidate,) = await reserve.candidates(connection, run, 1)
        attempt_id = uuid.uuid4().hex
        wish = Reservation((), (), [(candidate.contact_id, attempt_id)], (), 10, 10, None)
        _, made = await reserve.reserve(connection, run, "n1", wish)
    assert made == {attempt_id}
    return attempt_id


async def dialing(database, attempt_id: str) -> None:
    news = AttemptNews(
        attempt_id, AttemptState.DIALING, by="n1", dialed_at=clock.now(), contact=ContactNews(RunContactState.DIALING)
    )
    async with database.connection() as connection:
        await attempts.book(connection, [news])

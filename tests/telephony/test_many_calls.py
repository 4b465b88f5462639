"""Many calls at once over real Asterisk and SIP: every event comes, in order, for every one of them."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter

import pytest

from outdial.telephony.engine import (
    CallAnswered,
    CallEnded,
    CallRinging,
    CallState,
    EngineDown,
    OriginateResult,
    TrunkAddress,
)
from support.asterisk import connected_engine
from support.sip_peer import SipPeer
from telephony.conftest import listening
from waiting import until

ENDINGS = {"001": None, "486": 486, "404": 404, "603": 603, "487": None}
"""Last digits, and the status an unanswered call ends with."""


@pytest.fixture
async def peer():
    opened = await SipPeer.start()
    yield opened
    await opened.close()


@pytest.fixture
async def line(asterisk, peer):
    async with (
        connected_engine(asterisk, f"many-{uuid.uuid4().hex}") as engine,
        listening(engine, TrunkAddress(peer.host, peer.port)) as opened,
    ):
        await engine.put_permit(opened.permit())
        yield opened


async def place(line, numbers):
    calls = [line.call(number) for number in numbers]
    results = []
    # as the dialer does it: eight unanswered requests at once
    for first in range(0, len(calls), 8):
        results += await asyncio.gather(*(line.engine.originate(call) for call in calls[first : first + 8]))
    assert set(results) == {OriginateResult.ACCEPTED}
    return calls


async def test_every_call_has_its_events_in_order(line, peer):
    numbers = [f"+1555{place:04d}{suffix}" for place in range(12) for suffix in ENDINGS]
    calls = await place(line, numbers)
    talking = [call for call in calls if call.number.endswith("001")]
    for call in talking:
        await line.heard(call.id, CallAnswered)
        await line.engine.hang_up(call.id)
    for call in calls:
        ended = await line.heard(call.id, CallEnded)
        mine = [event for event in line.events if getattr(event, "call_id", None) == call.id]
        assert [event.at for event in mine] == sorted(event.at for event in mine)
        assert mine[-1] is ended
        assert Counter(type(event) for event in mine)[CallEnded] == 1
        answered = bool(line.of(call.id, CallAnswered))
        status = ENDINGS[call.number[-3:]]
        assert answered is (status is None)
        if status is not None:
            assert ended.sip_code == status
    assert await line.engine.calls(line.run_id) == []
    assert len(peer.calls) == len(numbers)


async def test_a_hundred_that_ring_are_cancelled_to_the_last(line, peer):
    calls = await place(line, [f"+1555{place:04d}180" for place in range(100)])
    for call in calls:
        await line.heard(call.id, CallRinging)
    assert len(await line.engine.calls(line.run_id)) == 100
    assert all(await asyncio.gather(*(line.engine.hang_up(call.id) for call in calls)))
    for call in calls:
        await line.heard(call.id, CallEnded)
    await peer.until(lambda: all(call.cancelled_at is not None for call in peer.calls.values()))
    assert await line.engine.calls(line.run_id) == []


async def test_ringing_is_told_once_however_often_the_carrier_says_it(line):
    (call,) = await place(line, ["+15550000001"])
    await line.heard(call.id, CallAnswered)
    assert len(line.of(call.id, CallRinging)) == 1
    await line.settle(call.id)


async def test_without_its_event_stream_calls_can_still_be_ended(line, peer):
    (call,) = await place(line, ["+15550000180"])
    await line.heard(call.id, CallRinging)
    await line.engine._socket.close()
    # over HTTP, whatever the event stream does
    assert await line.engine.hang_up(call.id) is True
    await until(lambda: any(isinstance(event, EngineDown) for event in line.events))
    (seen,) = peer.calls.values()
    await peer.until(lambda: seen.cancelled_at is not None)


async def test_states_are_told_as_they_are(line):
    ringing, talking = await place(line, ["+15550000180", "+15550000001"])
    await line.heard(ringing.id, CallRinging)
    await line.heard(talking.id, CallAnswered)
    found = {call.id: call.state for call in await line.engine.calls(line.run_id)}
    assert found == {ringing.id: CallState.RINGING, talking.id: CallState.ANSWERED}
    for call in (ringing, talking):
        await line.settle(call.id)

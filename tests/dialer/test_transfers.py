"""The transfer step over real Asterisk, SIP and RTP, with a database and a node: heard both ways, fenced by a stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asyncpg import Record

from dialer.test_run import fetch, press_stop, start
from outdial.core.model import ConnectedCalls
from outdial.services import dnc
from outdial.services.stop import StopOptions
from sounds import tone, wav
from support.asterisk import module_asterisk as asterisk  # noqa: F401 - a fixture
from support.line import Line, line_to
from support.rtp import amplitude
from waiting import until

PERSON = "+15550100001"
DESK, LEAVES, RINGS, BUSY = "+15550200001", "+15550200487", "+15550200180", "+15550200486"
PERSON_SAYS, DESK_SAYS = 620, 1130

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def line(database, secret_box, asterisk, tmp_path) -> AsyncIterator[Line]:  # noqa: F811
    async with line_to([PERSON], database=database, secret_box=secret_box, asterisk=asterisk, folder=tmp_path) as line:
        yield line


async def transfer_to(line: Line, to: str, *, before: float = 0.2) -> None:
    """Have the campaign's calls hear a moment of sound, and be connected then."""
    document: dict[str, Any] = {
        "start": "hello",
        "sounds": {"hello": "hello.wav", "sorry": "sorry.wav"},
        "steps": {
            "hello": {"play": "hello", "next": "connect"},
            "connect": {"transfer": {"to": to, "ring_seconds": 60}, "next": "talked", "failed": "sorry"},
            "talked": {"result": "talked"},
            "sorry": {"play": "sorry", "next": "missed"},
            "missed": {"result": "not there"},
        },
    }
    sounds = {
        "hello.wav": wav(tone(440, rate=8000, seconds=before), rate=8000),
        "sorry.wav": wav(tone(1900, rate=8000, seconds=1.0), rate=8000),
    }
    await line.flow(document, sounds)


async def transfer_of(line: Line) -> Record:
    return await line.one("SELECT * FROM transfers WHERE ended_at IS NOT NULL", seconds=30)


async def test_both_hear_each_other_and_the_flow_goes_on_when_one_leaves(line):
    line.peer.hang_up_seconds = 6.0
    await transfer_to(line, LEAVES)
    await start(line.stage)
    await line.peer.until(lambda: bool(line.peer.of_number(LEAVES)) and line.peer.of_number(LEAVES)[0].answered_at, 60)
    talking = [
        asyncio.create_task(line.phones.say(PERSON_SAYS, 5.0, PERSON)),
        asyncio.create_task(line.phones.say(DESK_SAYS, 5.0, LEAVES)),
    ]
    await until(lambda: amplitude(line.phones.of(PERSON)[-1600:], DESK_SAYS) > 1000, seconds=20)
    await until(lambda: amplitude(line.phones.of(LEAVES)[-1600:], PERSON_SAYS) > 1000, seconds=20)
    # nobody hears themselves
    assert amplitude(line.phones.of(PERSON)[-1600:], PERSON_SAYS) < 500
    await asyncio.gather(*talking)
    outcome = await line.outcome()
    assert (outcome["result"], list(outcome["path"])) == ("talked", ["hello", "connect", "talked"])
    transfer = await transfer_of(line)
    assert (transfer["dialed"], transfer["phone"]) == (LEAVES, LEAVES)
    assert (transfer["answered"], transfer["outcome"]) == (True, "")


async def test_who_is_busy_is_not_waited_for(line):
    await transfer_to(line, BUSY)
    await start(line.stage)
    outcome = await line.outcome()
    assert outcome["result"] == "not there"
    assert (await transfer_of(line))["outcome"] == "busy"


async def test_an_address_at_the_trunk_is_called_by_its_user(line):
    await transfer_to(line, f"sip:desk-487@127.0.0.1:{line.peer.port}")
    await start(line.stage)
    assert (await line.outcome())["result"] == "talked"
    assert len(line.peer.of_number("desk-487")) == 1


async def test_one_elsewhere_is_not_called(line):
    await transfer_to(line, "sip:desk@192.0.2.7")
    await start(line.stage)
    assert (await line.outcome())["result"] == "not there"
    assert {call.number for call in line.peer.calls.values()} == {PERSON}


async def test_a_stop_while_the_leg_rings_cancels_it_before_it_answers(line):
    """The person's conversation goes on, and hears that nobody could be reached."""
    await transfer_to(line, RINGS)
    await start(line.stage)
    await line.peer.until(lambda: any(call.responded_at for call in line.peer.of_number(RINGS)), 60)
    stopped = await press_stop(line.stage, line.engines)
    answered_at = time.time_ns()
    (leg,) = line.peer.of_number(RINGS)
    assert leg.cancelled_at is not None
    assert leg.cancelled_at < answered_at, "the answer came when it was gone"
    assert sum(engine.cancelled for engine in stopped.report.engines) == 1, "the barrier counts it"
    outcome = await line.outcome()
    assert outcome["result"] == "not there"
    assert line.peer.of_number(PERSON)[0].cancelled_at is None
    assert line.peer.new_calls_after(answered_at) == []
    assert (await transfer_of(line))["outcome"] == "cancelled"


async def test_after_a_stop_no_leg_leaves_though_the_conversation_goes_on(line):
    await transfer_to(line, DESK, before=6.0)
    await start(line.stage)
    await line.peer.until(lambda: bool(line.peer.of_number(PERSON)) and line.peer.of_number(PERSON)[0].answered_at, 60)
    await press_stop(line.stage, line.engines)
    answered_at = time.time_ns()
    outcome = await line.outcome()
    assert (outcome["result"], outcome["finished"]) == ("not there", True)
    assert line.peer.new_calls_after(answered_at) == []
    assert line.peer.of_number(DESK) == []
    assert await fetch(line.stage, "SELECT FROM transfers") == []


async def test_a_stop_that_ends_conversations_ends_both_ends_of_a_transfer(line):
    await transfer_to(line, DESK)
    await start(line.stage)
    await line.peer.until(lambda: bool(line.peer.of_number(DESK)) and line.peer.of_number(DESK)[0].answered_at, 60)
    await press_stop(line.stage, line.engines, options=StopOptions(connected=ConnectedCalls.HANG_UP))
    for number in (PERSON, DESK):
        (call,) = line.peer.of_number(number)
        await line.peer.until(lambda call=call: call.bye_at is not None, 20)


async def test_a_number_on_a_do_not_call_list_is_not_called(line):
    owner = line.stage.owner
    await dnc.add_numbers(
        line.stage.database, account_id=owner.account_id, iid=None, list_name=None, phones=[DESK], actor="test"
    )
    await transfer_to(line, DESK)
    await start(line.stage)
    assert (await line.outcome())["result"] == "not there"
    assert line.peer.of_number(DESK) == []

"""The simulated engine's faults: what a frozen, unreachable or restarted engine does, on demand and repeatably."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest

from outdial import clock
from outdial.core.errors import EngineUnavailableError
from outdial.telephony.engine import (
    CallAnswered,
    CallEnded,
    EngineDown,
    EngineUp,
    OriginateResult,
    OutgoingCall,
    Permit,
    TrunkAddress,
)
from outdial.telephony.loopback import Phone, Rule
from outdial.telephony.simulated import SimulatedEngine
from telephony.conftest import TRUNK
from values import KEY
from waiting import until

ANSWERS, RINGS, HANGS_UP, BUSY = "+15550100001", "+15550100080", "+15550100096", "+15550100070"


class Heard:
    """An engine and what its event stream has said."""

    def __init__(self, engine: SimulatedEngine) -> None:
        self.engine = engine
        self.events: list = []

    async def listen(self) -> None:
        async for event in self.engine.events():
            self.events.append(event)

    def kinds(self) -> list[type]:
        return [type(event) for event in self.events]

    async def place(self, number: str, **more) -> str:
        call = OutgoingCall(uuid.uuid4().hex, 1, 1, KEY, number, "+15550100999", more.pop("ring_seconds", 30))
        self.result = await self.engine.originate(call)
        return call.id


@pytest.fixture
async def heard():
    engine = SimulatedEngine(engine_id="s", seed=1, speed=20.0, timeout_seconds=0.05)
    await engine.start()
    await engine.put_permit(
        Permit(1, 1, KEY, TRUNK, TrunkAddress("127.0.0.1", 5060), clock.now() + timedelta(minutes=1))
    )
    found = Heard(engine)
    task = asyncio.create_task(found.listen())
    yield found
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await engine.close()


class TestFrozen:
    async def test_it_answers_nothing(self, heard):
        heard.engine.freeze()
        for ask in (
            heard.engine.calls(),
            heard.engine.permits(),
            heard.engine.fence(1),
            heard.engine.hang_up("x"),
            heard.engine.cancel("x"),
            heard.engine.probe(),
            heard.engine.remove_permit(1, 1, KEY),
            heard.engine.line_up("tr-1", TrunkAddress("192.0.2.1", 5060)),
        ):
            with pytest.raises(EngineUnavailableError):
                await ask
        assert not heard.engine.up

    async def test_an_originate_waits_in_it_and_is_carried_out_when_it_goes_on(self, heard):
        heard.engine.freeze()
        await heard.place(RINGS)
        assert heard.result is OriginateResult.UNKNOWN
        assert heard.engine.sent == []
        heard.engine.thaw()
        assert len(heard.engine.sent) == 1

    async def test_unless_its_permit_has_run_out_meanwhile(self, heard):
        await heard.engine.put_permit(
            Permit(1, 1, KEY, TRUNK, TrunkAddress("127.0.0.1", 5060), clock.now() + timedelta(seconds=0.02))
        )
        heard.engine.freeze()
        await heard.place(RINGS)
        heard.engine.thaw()
        assert heard.engine.sent == []

    async def test_both_ends_of_it_are_told(self, heard):
        heard.engine.freeze()
        heard.engine.freeze()
        heard.engine.thaw()
        heard.engine.thaw()
        await until(lambda: heard.kinds() == [EngineUp, EngineDown, EngineUp])


class TestDisconnected:
    async def test_nothing_is_placed(self, heard):
        heard.engine.disconnect()
        await heard.place(RINGS)
        assert heard.result is OriginateResult.REFUSED
        assert not heard.engine.up

    async def test_what_happens_meanwhile_is_not_told_afterwards(self, heard):
        call_id = await heard.place(BUSY)
        heard.engine.disconnect("cut")

        async def gone() -> bool:
            return not await heard.engine.calls()

        await until(gone)
        heard.engine.reconnect()
        await until(lambda: heard.kinds()[-1:] == [EngineUp])
        assert CallEnded not in heard.kinds()
        # but it is on record
        assert (await heard.engine.record(call_id)).cause == 17

    async def test_whoever_picks_up_meanwhile_is_let_go(self, heard):
        call_id = await heard.place(ANSWERS)
        heard.engine.disconnect()

        async def gone() -> bool:
            return not await heard.engine.calls()

        await until(gone)
        record = await heard.engine.record(call_id)
        assert record.answered_at is not None
        assert CallAnswered not in heard.kinds()

    async def test_calls_can_still_be_listed_and_ended(self, heard):
        call_id = await heard.place(RINGS)
        heard.engine.disconnect()
        assert [call.id for call in await heard.engine.calls()] == [call_id]
        assert await heard.engine.hang_up(call_id)


class TestRepeatable:
    async def order(self, seed: int) -> list[str]:
        engine = SimulatedEngine(engine_id="s", seed=seed, speed=50.0)
        await engine.start()
        await engine.put_permit(
            Permit(1, 1, KEY, TRUNK, TrunkAddress("127.0.0.1", 5060), clock.now() + timedelta(minutes=1))
        )
        drawn = [engine._scattered(1.0) for _ in range(20)]
        await engine.close()
        return drawn

    async def test_by_its_seed(self):
        assert await self.order(7) == await self.order(7)
        assert await self.order(7) != await self.order(8)

    async def test_its_table_can_be_another(self):
        engine = SimulatedEngine(
            engine_id="s", seed=1, speed=50.0, rule_of=lambda _number: Rule(0, 99, Phone.BUSY, "is busy", 486, 17)
        )
        await engine.start()
        await engine.put_permit(
            Permit(1, 1, KEY, TRUNK, TrunkAddress("127.0.0.1", 5060), clock.now() + timedelta(minutes=1))
        )
        heard = Heard(engine)
        task = asyncio.create_task(heard.listen())
        await heard.place(ANSWERS)
        await until(lambda: CallEnded in heard.kinds())
        assert heard.events[-1].sip_code == 486
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await engine.close()


async def test_closing_ends_everything_without_a_word(heard):
    await heard.place(RINGS)
    before = len(heard.events)
    await heard.engine.close()
    assert await heard.engine.calls() == []
    assert len(heard.events) == before


async def test_it_has_no_line_that_could_be_down(heard):
    assert await heard.engine.line_up("tr-1", TrunkAddress("192.0.2.1", 5060))


async def test_a_person_may_hang_up(heard):
    call_id = await heard.place(HANGS_UP)
    await until(lambda: CallEnded in heard.kinds())
    record = await heard.engine.record(call_id)
    assert record.answered_at < record.ended_at


async def test_every_call_that_left_is_remembered_in_order(heard):
    ids = [await heard.place(RINGS) for _ in range(5)]
    assert [call.call_id for call in heard.engine.sent] == ids
    assert {(call.run_id, call.epoch, call.number) for call in heard.engine.sent} == {(1, 1, RINGS)}

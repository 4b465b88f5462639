"""Numbers that must not be called any more, while a transfer to them is being placed, rings or is talked on."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from dialer.test_node import confirm, node_at, register, working
from dialer.test_run import fetch, start
from dialing import dialing, phones, set_stage, with_rules
from outdial.core.model import ConnectedCalls
from outdial.core.transfer import leg_id
from outdial.dialer import worker as worker_module
from outdial.dialer.calls import Messages
from outdial.dialer.legs import Leg
from outdial.dialer.outcomes import Known
from outdial.services import dnc, flows, lines, wide_stops
from outdial.store import dnc as dnc_store
from outdial.store import reserve, transfers
from outdial.store.reserve import Reservation
from outdial.store.transfers import Transfer
from outdial.telephony.engine import OriginateResult
from sounds import tone, wav
from waiting import until

PERSON = "+15550100010"
LISTENS, RINGS = "+15550200001", "+15550200080"


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, [PERSON], rules=with_rules(max_attempts=1))


@pytest.fixture
async def leg(stage, engine, database, secret_box):
    """A leg that may be reserved, of a run that is active."""
    run = await start(stage)
    await register(database, secret_box, engine.id, "n1")
    return Transfer(
        "f" * 32 + "-t1", await attempt_of(database, run), run.id, run.account_id, 1, engine.id, RINGS, RINGS
    )


async def attempt_of(database, run, node_id: str = "n1") -> str:
    async with database.connection() as connection:
        (person,) = await reserve.candidates(connection, run, 1)
        attempt_id = uuid.uuid4().hex
        wish = Reservation((), (), [(person.contact_id, attempt_id)], (), 10, 10, None)
        _, made = await reserve.reserve(connection, run, node_id, wish)
    assert made == {attempt_id}
    return attempt_id


def take(node, attempt_id: str) -> None:
    """Have the node answer for an attempt."""
    known = Known(attempt_id=attempt_id, number=1, rules=with_rules(), by=node.id)
    node.calls.reserve(known, Messages(None), lambda: None)


async def flow(stage, to: str) -> None:
    """Have the campaign's calls be connected with somebody."""
    document: dict[str, Any] = {
        "start": "hello",
        "sounds": {"hello": "hello.wav"},
        "steps": {
            "hello": {"play": "hello", "next": "connect"},
            "connect": {"transfer": {"to": to, "ring_seconds": 120}, "next": "talked", "failed": "missed"},
            "talked": {"result": "talked"},
            "missed": {"result": "not there"},
        },
    }
    sounds = {"hello.wav": wav(tone(440, rate=8000, seconds=0.2), rate=8000)}
    made = await flows.add_flow_document(stage.database, stage.owner.iid, f"to {to}", document, sounds)
    async with stage.database.connection() as connection:
        await connection.execute("UPDATE campaigns SET flow_id = $1", made.id)


async def outcome(stage) -> str:
    await until(lambda: fetch(stage, "SELECT FROM flow_outcomes"))
    (row,) = await fetch(stage, "SELECT result FROM flow_outcomes")
    return row["result"]


def adds(stage):
    return dnc.add_numbers(stage.database, account_id=stage.owner.account_id, phones=[RINGS], actor="test")


async def reserved(database, leg) -> str:
    async with database.transaction() as connection:
        return await transfers.reserve(connection, leg)


class TestLists:
    async def test_no_leg_is_reserved_while_numbers_are_added(self, database, stage, leg):
        async with database.transaction() as adding:
            await dnc_store.freeze(adding, stage.owner.account_id)
            assert await reserved(database, leg) == transfers.LISTING
        assert await fetch(stage, "SELECT FROM transfers") == []
        assert await reserved(database, leg) == ""

    async def test_an_addition_waits_for_a_leg_that_is_reserved(self, database, stage, leg, monkeypatch):
        counts, looks = dnc_store.reserved_count, []

        async def noted(*args):
            looks.append(await counts(*args))
            return looks[-1]

        monkeypatch.setattr(dnc_store, "reserved_count", noted)
        await reserved(database, leg)
        adding = asyncio.create_task(adds(stage))
        await until(lambda: len(looks) > 1 or adding.done())
        assert not adding.done()
        async with database.connection() as connection:
            await transfers.dialed(connection, leg.id)
        assert (await adding).problems == ()

    @pytest.mark.parametrize("over", [False, True])
    async def test_and_tells_of_one_of_which_nothing_is_heard(self, database, stage, leg, monkeypatch, over):
        monkeypatch.setattr(dnc, "SETTLE_SECONDS", 0.1)
        await reserved(database, leg)
        if over:
            async with database.connection() as connection:
                await transfers.end(connection, leg.id, answered=False, outcome="failed")
        assert len((await adds(stage)).problems) == (0 if over else 1)

    async def test_another_account_s_leg_is_nobody_s_business(self, database, secret_box, stage, leg, monkeypatch):
        monkeypatch.setattr(dnc, "SETTLE_SECONDS", 0.0)
        other = await set_stage(database, secret_box, phones(1, area=558), account="Other", name="other")
        await reserved(database, leg)
        assert (await adds(other)).problems == ()

    @pytest.mark.parametrize(
        ("transport", "answered", "waits"), [("tcp", False, True), ("tcp", True, False), ("udp", False, False)]
    )
    async def test_one_that_may_wait_for_its_connection_is_told(self, database, stage, leg, transport, answered, waits):
        await reserved(database, leg)
        async with database.connection() as connection:
            await connection.execute("UPDATE trunks SET transport = $1", transport)
            await transfers.dialed(connection, leg.id)
            await transfers.end(connection, leg.id, answered=answered, outcome="" if answered else "cancelled")
        why = await lines.waited_for(database, None, stage.owner.account_id, [RINGS])
        assert bool(why) is waits

    async def test_a_leg_whose_turn_comes_late_does_not_leave(
        self, database, secret_box, stage, engine, tmp_path, monkeypatch
    ):
        """It waited for the engine's answers to others, beyond the time an addition waits for it."""
        async with node_at(database, secret_box, engine, tmp_path) as node:
            run = await start(stage)
            attempt_id = await attempt_of(database, run)
            take(node, attempt_id)
            async with working(node, run, stage) as (worker, _):
                confirm(worker)
                await until(worker._open)
                for _ in range(8):
                    await node.unanswered.acquire()
                placing = asyncio.create_task(worker.place_leg(Leg(leg_id(attempt_id, 1), attempt_id, RINGS, 30)))
                await until(lambda: fetch(stage, "SELECT FROM transfers"))
                monkeypatch.setattr(worker_module, "LATE_SECONDS", 0.0)
                confirm(worker)
                node.unanswered.release()
                placed = await placing
                for _ in range(8):
                    node.unanswered.release()
        assert (placed.result, placed.reason) == (OriginateResult.REFUSED, "its turn came too late")
        assert RINGS not in {call.number for call in engine.sent}


async def test_a_leg_whose_call_is_over_meanwhile_does_not_leave(database, secret_box, stage, engine, tmp_path):
    async with node_at(database, secret_box, engine, tmp_path) as node:
        run = await start(stage)
        attempt_id = await attempt_of(database, run)
        take(node, attempt_id)
        async with working(node, run, stage) as (worker, _):
            confirm(worker)
            await until(worker._open)
            for _ in range(8):
                await node.unanswered.acquire()
            placing = asyncio.create_task(worker.place_leg(Leg(leg_id(attempt_id, 1), attempt_id, RINGS, 30)))
            await until(lambda: fetch(stage, "SELECT FROM transfers"))
            node.calls.put_back(attempt_id, "over")
            confirm(worker)
            for _ in range(8):
                node.unanswered.release()
            placed = await placing
    assert (placed.result, placed.reason) == (OriginateResult.REFUSED, "the call it was for is over")
    assert engine.sent == []


class TestStops:
    def press(self, stage, engines, phone: str, **more):
        return wide_stops.stop_number(
            stage.database, engines, account_id=stage.owner.account_id, phone=phone, actor="test", **more
        )

    async def test_a_leg_that_rings_is_cancelled(self, stage, engine, engines, tmp_path):
        await flow(stage, RINGS)
        async with dialing(stage, engine, tmp_path, engines=engines):
            run = await start(stage)
            await until(lambda: RINGS in {call.number for call in engine.sent})
            stopped = await self.press(stage, engines, RINGS)
            assert RINGS not in {call.number for call in engine._calls.values()}
            assert (stopped.number.cancelled, stopped.number.hung_up, stopped.number.connected) == (1, 0, 0)
            assert await outcome(stage) == "not there"
            assert await engine.calls(run.id) == []
        (row,) = await fetch(stage, "SELECT * FROM transfers")
        assert (row["answered"], row["outcome"]) == (False, "cancelled")
        assert row["reserved_at"] <= row["dialed_at"] <= row["ended_at"]

    @pytest.mark.parametrize("connected", list(ConnectedCalls))
    async def test_one_that_is_talked_on_is_a_conversation(self, stage, engine, engines, tmp_path, connected):
        await flow(stage, LISTENS)
        async with dialing(stage, engine, tmp_path, engines=engines):
            await start(stage)
            await until(lambda: bool(engine.connected))
            stopped = await self.press(stage, engines, LISTENS, connected=connected)
            number = stopped.number
            if connected is ConnectedCalls.KEEP:
                assert (number.cancelled, number.hung_up, number.connected) == (0, 0, 1)
                assert len(engine.connected) == 1
            else:
                assert (number.cancelled, number.hung_up, number.connected) == (0, 1, 0)
                assert await outcome(stage) == "talked"

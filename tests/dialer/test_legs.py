"""The transfer step on a simulated engine: second legs, and what becomes of both calls whoever ends them."""

from __future__ import annotations

import asyncio

import pytest

from dialer.test_flow_player import HANGS_UP, LISTENS, phones  # noqa: F401 - a fixture
from flows import steps
from outdial.core.errors import EngineUnavailableError
from outdial.core.transfer import leg_id
from outdial.dialer import legs as module
from outdial.dialer.legs import Leg, Placed
from outdial.telephony.engine import CallEnded, CallState, OriginateResult, OutgoingCall
from outdial.telephony.simulated import NORMAL_CLEARING
from values import KEY
from waiting import until

DESK, BUSY_DESK, ABSENT, LEAVES = "+15550100003", "+15550100070", "+15550100080", "+15550100097"


@pytest.fixture
async def desk(phones):  # noqa: F811
    """Calls whose flows may transfer."""

    async def place(leg: Leg) -> Placed:
        call = OutgoingCall(leg.id, 1, 1, KEY, leg.to, "+15550100999", leg.ring_seconds)
        return Placed(await phones.engine.originate(call))

    phones.calls.let_transfer(1, place)
    return phones


def asks_for(to: str):
    return steps(
        {
            "connect": {"transfer": {"to": to, "ring_seconds": 10}, "next": "talked", "failed": "not_there"},
            "talked": {"result": "talked"},
            "not_there": {"result": "not there"},
        }
    )


def numbers(phones) -> list[str]:  # noqa: F811
    return [sent.number for sent in phones.engine.sent]


async def alone(phones) -> None:  # noqa: F811
    """Nobody is left at the engine, and nobody is waited for."""
    await until(lambda: not phones.engine._calls and len(phones.calls._legs) == 0)
    assert phones.engine.connected == {}


async def test_they_talk_and_the_flow_goes_on_when_the_other_hangs_up(desk, monkeypatch):
    pairs = []
    connects = desk.engine.connect

    async def noted(call_id, other_id):
        pairs.append((call_id, other_id))
        await connects(call_id, other_id)

    monkeypatch.setattr(desk.engine, "connect", noted)
    news = await desk.call(LISTENS, asks_for(LEAVES))
    assert news.flow.result == "talked"
    assert pairs == [(news.id, leg_id(news.id, 1))]
    assert numbers(desk) == [LISTENS, LEAVES]
    await alone(desk)


@pytest.mark.parametrize("to", [BUSY_DESK, ABSENT])
async def test_who_is_not_there_leads_to_the_other_branch(desk, to):
    assert (await desk.call(LISTENS, asks_for(to))).flow.result == "not there"
    await alone(desk)


async def test_who_hangs_up_ends_the_leg_that_rings(desk):
    news = await desk.call(HANGS_UP, asks_for(ABSENT))
    assert not news.flow.finished
    await alone(desk)


async def test_who_hangs_up_ends_the_talk(desk):
    talking = asyncio.create_task(desk.call(LISTENS, asks_for(DESK)))
    await until(lambda: bool(desk.engine.connected))
    ((leg, call_id),) = desk.engine.connected.items()
    await desk.engine.hang_up(call_id)
    news = await talking
    assert (news.id, news.flow.finished) == (call_id, False)
    await alone(desk)
    assert leg not in desk.engine._calls


async def test_after_the_fence_no_leg_leaves(desk, monkeypatch):
    answers = desk.calls._answered

    def fenced_first(call, at):
        desk.engine._permits.clear()
        answers(call, at)

    monkeypatch.setattr(desk.calls, "_answered", fenced_first)
    assert (await desk.call(LISTENS, asks_for(DESK))).flow.result == "not there"
    assert numbers(desk) == [LISTENS]
    await alone(desk)


async def test_when_the_run_is_dialed_by_nobody_any_more(desk):
    placed = desk.calls._placing[1]
    desk.calls.let_transfer_no_more(1, placed)
    assert (await desk.call(LISTENS, asks_for(DESK))).flow.result == "not there"
    assert numbers(desk) == [LISTENS]


async def test_a_leg_that_rings_is_cancelled_with_all_that_rings(desk):
    calling = asyncio.create_task(desk.call(LISTENS, asks_for(ABSENT)))
    await until(
        lambda: any(call.state is CallState.RINGING and "-t" in call.id for call in desk.engine._calls.values())
    )
    desk.calls.hang_up_unanswered()
    assert (await calling).flow.result == "not there"
    await alone(desk)


async def test_an_engine_that_does_not_connect_them(desk, monkeypatch):
    async def fails(_call_id, _other_id):
        raise EngineUnavailableError("no bridge")

    monkeypatch.setattr(desk.engine, "connect", fails)
    assert (await desk.call(LISTENS, asks_for(DESK))).flow.result == "not there"
    await alone(desk)


async def test_one_of_which_nobody_knows_whether_it_was_placed_is_ended_if_it_was(desk):
    placed = desk.calls._placing[1]

    async def no_answer(leg: Leg) -> Placed:
        await placed(leg)
        return Placed(OriginateResult.UNKNOWN)

    desk.calls.let_transfer(1, no_answer)
    assert (await desk.call(LISTENS, asks_for(DESK))).flow.result == "not there"
    await alone(desk)


async def test_an_end_nobody_tells_is_found(desk, monkeypatch):
    calling = asyncio.create_task(desk.call(LISTENS, asks_for(DESK)))
    await until(lambda: bool(desk.engine.connected))
    (leg,) = desk.engine.connected
    monkeypatch.setattr(desk.engine, "_tell", lambda _event: None)
    await desk.engine.hang_up(leg)
    monkeypatch.undo()
    assert not calling.done()
    for _ in range(2):
        await desk.calls.reconcile()
    assert (await calling).flow.result == "talked"


async def test_a_leg_whose_call_is_gone_is_ended_whoever_placed_it(desk):
    """Its node died between the two: nobody else knows of it."""
    lost = leg_id("f" * 32, 4)
    assert (
        await desk.engine.originate(OutgoingCall(lost, 1, 1, KEY, DESK, "+15550100999", 30)) is OriginateResult.ACCEPTED
    )
    for _ in range(2):
        await desk.calls.reconcile()
    await until(lambda: lost not in desk.engine._calls)


async def test_one_that_was_ended_while_the_engine_was_slow_to_take_it_is_ended_when_it_has(desk, monkeypatch):
    """Nothing was found at the engine for longer than a permit lives, and then it rings."""
    placed = desk.calls._placing[1]
    given_up = []

    async def slow(leg: Leg) -> Placed:
        given_up.append(leg)
        await until(lambda: leg.ended is not None)
        return await placed(leg)

    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    desk.calls.let_transfer(1, slow)
    news = asyncio.create_task(desk.call(HANGS_UP, asks_for(ABSENT)))
    await until(lambda: ABSENT in numbers(desk))
    await news
    await alone(desk)
    record = await desk.engine.record(given_up[0].id)
    assert record.cause == NORMAL_CLEARING, "it was hung up, and did not ring to its end"


async def test_one_placed_while_the_engine_lists_its_calls_is_not_missed_in_the_answer(desk, monkeypatch):
    lists = desk.engine.calls
    calling: list[asyncio.Task] = []

    async def slow(run_id=None):
        found = await lists(run_id)
        calling.append(asyncio.create_task(desk.call(LISTENS, asks_for(DESK))))
        await until(lambda: bool(desk.engine.connected))
        return found

    monkeypatch.setattr(desk.engine, "calls", slow)
    await desk.calls._reconcile()
    monkeypatch.undo()
    (leg,) = desk.calls._legs._legs.values()
    assert leg.ended is None
    await desk.engine.hang_up(leg.id)
    assert (await calling[0]).flow.result == "talked"


async def test_one_that_nothing_is_heard_of_is_not_waited_for_for_ever(desk, monkeypatch):
    monkeypatch.setattr(module, "GRACE_SECONDS", -9.8)
    monkeypatch.setattr(desk.calls._legs, "hear", lambda _event: None)
    assert (await desk.call(LISTENS, asks_for(ABSENT))).flow.result == "not there"


async def test_what_goes_wrong_unforeseen_ends_in_the_other_branch(desk):
    async def fails(_leg):
        raise ZeroDivisionError

    desk.calls.let_transfer(1, fails)
    assert (await desk.call(LISTENS, asks_for(DESK))).flow.result == "not there"


def test_how_it_ended_is_told_in_the_words_of_dispositions():
    at = None
    assert module._why(CallEnded("x", at, 17, 486)) == "busy"
    assert module._why(CallEnded("x", at, 16, None)) == "cancelled"
    assert module._why(CallEnded("x", at, 19, 480)) == "no_answer"
    # over TCP, whose connection may have broken; over UDP it is not told who has said so
    assert module._why(CallEnded("x", at, 34, 503, by_carrier=False)) == "unknown"
    assert module._why(CallEnded("x", at, 34, 503, by_carrier=True)) == "congestion"
    assert module._why(CallEnded("x", at, 34, 503)) == "congestion"

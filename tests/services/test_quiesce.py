"""What is said of calls that a stop hangs up, when the engine fails in the middle, or somebody else was faster."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from outdial import clock
from outdial.core.errors import EngineUnavailableError
from outdial.core.model import ConnectedCalls, RingingCalls
from outdial.services.barrier import Wishes, _Quiesce
from outdial.telephony.engine import CallState, CancelResult, LiveCall
from values import RUN

FIRST, SECOND, THIRD = "a" * 32, "b" * 32, "c" * 32
"""Attempts."""
RINGING, ANSWERED = CallState.RINGING, CallState.ANSWERED


class Engine:
    """Has the calls it is given, and fails where it is told to."""

    id = "e1"

    def __init__(self, **states: CallState) -> None:
        self.states = dict(states)
        self.fails: set[str] = set()
        self.lingers: set[str] = set()
        """Shown once more after they were hung up."""
        self.asked: list[str] = []

    async def calls(self, run_id: int | None = None) -> list[LiveCall]:
        shown = [LiveCall(id_, RUN.id, RUN.epoch, state) for id_, state in self.states.items()]
        shown += [LiveCall(id_, RUN.id, RUN.epoch, RINGING) for id_ in self.lingers - self.states.keys()]
        self.lingers &= self.states.keys()
        return shown

    async def hang_up(self, call_id: str) -> bool:
        self.asked.append(call_id)
        if call_id in self.fails:
            raise EngineUnavailableError("no answer")
        await asyncio.sleep(0)
        return self.states.pop(call_id, None) is not None

    async def cancel(self, call_id: str) -> CancelResult:
        if self.states.get(call_id) is ANSWERED:
            return CancelResult.ANSWERED
        return CancelResult.CANCELLED if await self.hang_up(call_id) else CancelResult.GONE


@pytest.fixture(params=[None, "flow"], ids=["no message", "courtesy message"])
def run(request):
    return replace(RUN, courtesy_flow_id=request.param)


def looking(run, wishes=Wishes()) -> tuple[_Quiesce, list[frozenset[str]]]:  # noqa: B008 - frozen
    told: list[frozenset[str]] = []
    return _Quiesce(run, wishes, ttl_seconds=0.5, on_gone=told.append), told


async def quiet(quiesce: _Quiesce, engine: Engine) -> None:
    assert await asyncio.wait_for(quiesce.until_quiet(engine, clock.boottime() + 20), 20)


async def look_once(quiesce: _Quiesce, engine: Engine) -> None:
    """One look, that finds something open."""
    assert await quiesce._look(engine, clock.boottime() + 20)


async def test_what_was_hung_up_unanswered_is_cancelled(run):
    engine = Engine(**{FIRST: RINGING, SECOND: RINGING, THIRD: ANSWERED})
    quiesce, told = looking(run)
    await quiet(quiesce, engine)
    assert quiesce.cancelled == {FIRST, SECOND}
    assert quiesce.crossed == quiesce.over == set()
    assert told == [{FIRST, SECOND}]
    assert quiesce.talking == {THIRD}
    assert engine.states == {THIRD: ANSWERED}


async def test_what_is_listed_once_more_is_hung_up_once_more_and_was_cancelled_all_the_same(run):
    engine = Engine(**{FIRST: RINGING})
    engine.lingers = {FIRST}
    quiesce, told = looking(run)
    await quiet(quiesce, engine)
    assert engine.asked == [FIRST, FIRST]
    assert quiesce.crossed == quiesce.over == set()
    assert told == [{FIRST}]


async def test_what_was_over_before_its_turn_came_is_its_nodes_to_tell(run):
    engine = Engine(**{SECOND: RINGING})
    engine.lingers = {FIRST}
    quiesce, told = looking(run)
    await quiet(quiesce, engine)
    assert quiesce.cancelled == {SECOND}
    assert quiesce.over == {FIRST}
    assert told == [{SECOND}]


async def test_a_hang_up_that_failed_says_nothing_of_a_call_that_was_answered_since(run):
    """It is a conversation, and goes on."""
    engine = Engine(**{FIRST: RINGING, SECOND: RINGING, THIRD: RINGING})
    engine.fails = {FIRST, SECOND, THIRD}
    quiesce, told = looking(run)
    with pytest.raises(EngineUnavailableError):
        await quiesce.until_quiet(engine, clock.boottime() + 20)
    # the first is answered, the second busy; the third rings on
    engine.fails = set()
    engine.states = {FIRST: ANSWERED, THIRD: RINGING}
    await quiet(quiesce, engine)
    assert engine.states == {FIRST: ANSWERED}
    assert quiesce.talking == {FIRST}
    assert quiesce.cancelled == {THIRD}
    assert quiesce.over == {SECOND}
    assert quiesce.crossed == set()
    assert told == [{THIRD}]


async def test_what_shows_answered_after_it_was_hung_up_does_not_go_on(run):
    """A 200 OK that crossed the CANCEL: Asterisk ends it by itself."""
    engine = Engine(**{FIRST: RINGING})
    quiesce, told = looking(run)
    await look_once(quiesce, engine)
    engine.states = {FIRST: ANSWERED}
    await quiet(quiesce, engine)
    assert quiesce.cancelled == quiesce.crossed == {FIRST}
    assert quiesce.talking == frozenset()
    assert told == []


async def test_nor_does_what_is_found_answered_as_it_is_hung_up_once_more():
    """With a courtesy message it is asked about right before."""
    engine = Engine(**{FIRST: RINGING})
    quiesce, told = looking(replace(RUN, courtesy_flow_id="flow"))
    await look_once(quiesce, engine)
    engine.states, real = {FIRST: RINGING}, engine.cancel

    async def cancel(call_id: str) -> CancelResult:
        engine.states = {FIRST: ANSWERED}
        return await real(call_id)

    engine.cancel = cancel
    await quiet(quiesce, engine)
    assert quiesce.cancelled == quiesce.crossed == {FIRST}
    assert quiesce.over == set()
    assert told == []


async def test_a_stop_that_ends_conversations_ends_those_too_that_began_meanwhile(run):
    engine = Engine(**{FIRST: RINGING, SECOND: ANSWERED})
    engine.fails = {FIRST, SECOND}
    quiesce, _ = looking(run, Wishes(connected=ConnectedCalls.HANG_UP))
    with pytest.raises(EngineUnavailableError):
        await quiesce.until_quiet(engine, clock.boottime() + 20)
    engine.fails, engine.states = set(), {FIRST: ANSWERED, SECOND: ANSWERED}
    await quiet(quiesce, engine)
    assert engine.states == {}
    assert quiesce.hung_up == {FIRST, SECOND}
    assert quiesce.cancelled == quiesce.over == set()
    assert quiesce.talking == frozenset()


async def test_a_conversation_that_was_over_before_its_turn_came_was_not_hung_up(run):
    engine = Engine(**{FIRST: ANSWERED, SECOND: ANSWERED})
    real = engine.hang_up

    async def hang_up(call_id: str) -> bool:
        engine.states.pop(SECOND, None)
        return await real(call_id)

    engine.hang_up = hang_up
    quiesce, _ = looking(run, Wishes(connected=ConnectedCalls.HANG_UP))
    await quiet(quiesce, engine)
    assert (quiesce.hung_up, quiesce.over) == ({FIRST}, {SECOND})


async def test_what_was_cancelled_and_crossed_is_not_told_as_a_conversation_too(run):
    engine = Engine(**{FIRST: RINGING})
    quiesce, _ = looking(run, Wishes(connected=ConnectedCalls.HANG_UP))
    await look_once(quiesce, engine)
    engine.states = {FIRST: ANSWERED}
    await quiet(quiesce, engine)
    assert (quiesce.cancelled, quiesce.hung_up) == ({FIRST}, set())


async def test_phones_that_may_ring_on_are_told_as_ringing(run):
    engine = Engine(**{FIRST: RINGING, SECOND: ANSWERED})
    quiesce, told = looking(run, Wishes(ringing=RingingCalls.LET_RING))
    await quiet(quiesce, engine)
    assert (quiesce.ringing, quiesce.talking) == ({FIRST}, {SECOND})
    assert quiesce.cancelled == set()
    assert told == []
    assert engine.asked == []


async def test_one_that_fails_leaves_no_other_hang_up_under_way(run):
    """It might end a conversation that the next listing shows."""
    engine = Engine(**{FIRST: RINGING, SECOND: RINGING})
    engine.fails = {FIRST}
    real, begun, may_end, ended = engine.hang_up, asyncio.Event(), asyncio.Event(), []

    async def hang_up(call_id: str) -> bool:
        if call_id == SECOND:
            begun.set()
            await may_end.wait()
            ended.append(call_id)
        else:
            # whichever comes first: after it has failed none is begun any more
            await begun.wait()
        return await real(call_id)

    engine.hang_up = hang_up
    quiesce, _ = looking(run)
    looks = asyncio.create_task(quiesce.until_quiet(engine, clock.boottime() + 20))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not looks.done()
    may_end.set()
    with pytest.raises(EngineUnavailableError):
        await asyncio.wait_for(looks, 20)
    assert ended == [SECOND]

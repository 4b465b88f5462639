"""The calls of a node: what each event does, what is done about answers that never come, and about strangers."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from dialing import with_rules
from engines import simulated
from flows import kept_in, lasting, message, nobody_opts_out, silent, unnoted
from outdial import clock
from outdial.core.errors import EngineUnavailableError
from outdial.core.model import AttemptState, Disposition, DoneReason, RunContactState
from outdial.dialer import calls as module
from outdial.dialer.calls import Calls, Messages
from outdial.dialer.flow_player import PlayableFlow
from outdial.dialer.outcomes import Known
from outdial.store.attempts import AttemptNews
from outdial.telephony.engine import OriginateResult, OutgoingCall, Permit, TrunkAddress
from sounds import tone, wav
from values import KEY, TRUNK
from waiting import until

ANSWERS, BUSY, RINGS, HANGS_UP = "+15550100001", "+15550100070", "+15550100080", "+15550100096"


@dataclass
class Noted:
    """A book that only remembers."""

    news: list[AttemptNews] = field(default_factory=list)

    def put(self, news: AttemptNews) -> None:
        self.news.append(news)

    def of(self, attempt_id: str) -> list[AttemptState]:
        return [news.state for news in self.news if news.id == attempt_id]

    def last(self, attempt_id: str) -> AttemptNews:
        return [news for news in self.news if news.id == attempt_id][-1]


@dataclass
class Phone:
    """A node's calls at a simulated engine with a permit for run 1."""

    engine: object
    calls: Calls
    book: Noted
    over: list[str] = field(default_factory=list)

    async def place(
        self,
        number: str,
        *,
        flow: PlayableFlow | None = None,
        courtesy: PlayableFlow | None = None,
        ring_seconds: int = 30,
    ) -> str:
        attempt_id = uuid.uuid4().hex
        self.calls.reserve(
            Known(attempt_id=attempt_id, number=1, rules=with_rules(max_attempts=2), by="n1"),
            Messages(flow, courtesy),
            lambda: self.over.append(attempt_id),
        )
        self.result = await self.calls.originate(
            OutgoingCall(attempt_id, 1, 1, KEY, number, "+15550100999", ring_seconds)
        )
        return attempt_id

    async def ended(self, attempt_id: str) -> AttemptNews:
        await until(lambda: attempt_id not in self.calls)
        return self.book.last(attempt_id)


@pytest.fixture
async def phone(tmp_path):
    async with simulated(speed=20.0, timeout_seconds=0.1) as engine:
        await engine.put_permit(
            Permit(1, 1, KEY, TRUNK, TrunkAddress("127.0.0.1", 5060), clock.now() + timedelta(minutes=5))
        )
        book = Noted()
        calls = Calls(
            engine,
            book,
            silent(),
            nobody_opts_out(),
            ttl_seconds=0.2,
            recordings=kept_in(tmp_path, engine),
            transfer_notes=unnoted,
        )
        task = asyncio.create_task(calls.run())
        await until(lambda: calls.up_since is not None)
        yield Phone(engine, calls, book)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await calls.close()


@pytest.fixture
def flow(tmp_path) -> PlayableFlow:
    path = tmp_path / "hello.wav"
    path.write_bytes(wav(tone(440, rate=8000, seconds=1.0), rate=8000))
    return message(path, 1.0)


async def test_an_answered_call_hears_its_flow_and_is_hung_up(phone, flow):
    attempt_id = await phone.place(ANSWERS, flow=flow)
    news = await phone.ended(attempt_id)
    assert phone.book.of(attempt_id) == [
        AttemptState.DIALING,
        AttemptState.RINGING,
        AttemptState.ANSWERED,
        AttemptState.ENDED,
    ]
    assert news.disposition is Disposition.ANSWERED_HUMAN
    # a second of sound at twenty times the speed
    assert (news.ended_at - news.answered_at).total_seconds() >= 0.05
    assert phone.over == [attempt_id]


async def test_each_piece_of_news_says_all_that_came_before(phone, flow):
    news = await phone.ended(await phone.place(ANSWERS, flow=flow))
    assert news.dialed_at <= news.ringing_at <= news.answered_at <= news.ended_at


async def test_a_busy_line_is_told_with_cause_and_status(phone, flow):
    news = await phone.ended(await phone.place(BUSY, flow=flow))
    assert (news.disposition, news.cause, news.sip_code) == (Disposition.BUSY, 17, 486)
    assert news.contact.state is RunContactState.WAITING


async def test_without_a_flow_whoever_answers_is_not_kept_waiting(phone):
    assert (await phone.ended(await phone.place(ANSWERS))).disposition is Disposition.ANSWERED_HUMAN


async def test_a_flow_whose_file_is_gone_ends_the_call(phone, tmp_path):
    news = await phone.ended(await phone.place(ANSWERS, flow=message(tmp_path / "missing.wav", 1.0)))
    # who picked up heard nothing; called again they are not
    assert (news.disposition, news.contact.done_reason) == (Disposition.ABANDONED, DoneReason.REACHED)
    assert news.reason == "the flow could not be played"


@pytest.mark.parametrize("error", [EngineUnavailableError("no answer"), FileNotFoundError(2, "No such file")])
async def test_a_flow_that_cannot_even_be_asked_for_ends_the_call(phone, flow, monkeypatch, error):
    async def fails(_call_id, _audio, _playback_id) -> None:
        raise error

    monkeypatch.setattr(phone.engine, "play", fails)
    news = await phone.ended(await phone.place(ANSWERS, flow=lasting(flow, 600.0)))
    assert (news.disposition, news.reason) == (Disposition.ABANDONED, f"the flow could not be played: {error}")


async def test_a_call_answered_while_nobody_heard_of_it_was_abandoned(phone, flow):
    attempt_id = await phone.place(ANSWERS, flow=flow)
    # the stream is gone, and that not even known yet
    phone.engine._connected = False

    async def gone() -> bool:
        return not await phone.engine.calls()

    await until(gone)
    phone.engine.reconnect()
    news = await phone.ended(attempt_id)
    assert (news.disposition, news.contact.done_reason) == (Disposition.ABANDONED, DoneReason.REACHED)
    assert news.answered_at is not None


async def test_an_end_of_the_flow_that_nobody_told_is_made_up_for(phone, flow, monkeypatch):
    monkeypatch.setattr(module, "PLAYBACK_GRACE_SECONDS", 0.1)

    async def never_ends(_call_id, _audio, _playback_id) -> None:
        return

    monkeypatch.setattr(phone.engine, "play", never_ends)
    attempt_id = await phone.place(ANSWERS, flow=lasting(flow, 0.1))
    assert (await phone.ended(attempt_id)).disposition is Disposition.ANSWERED_HUMAN


async def test_a_person_who_hangs_up_first_was_reached(phone, flow):
    news = await phone.ended(await phone.place(HANGS_UP, flow=lasting(flow, 60.0)))
    assert (news.disposition, news.contact.done_reason) == (Disposition.ANSWERED_HUMAN, DoneReason.REACHED)


async def test_without_a_permit_nothing_was_sent(phone, flow):
    await phone.engine.fence(1)
    attempt_id = await phone.place(ANSWERS, flow=flow)
    assert phone.result is OriginateResult.REFUSED
    news = phone.book.last(attempt_id)
    assert (news.contact.state, news.contact.uncounted, news.dialed_at) == (RunContactState.PENDING, True, None)
    assert phone.engine.sent == []


async def test_what_is_put_back_before_it_was_placed_was_never_sent(phone, flow):
    attempt_id = uuid.uuid4().hex
    phone.calls.reserve(
        Known(attempt_id=attempt_id, number=1, rules=with_rules(), by="n1"), Messages(flow), lambda: None
    )
    assert attempt_id in phone.calls
    phone.calls.put_back(attempt_id, "the gate was closed")
    phone.calls.put_back(attempt_id, "again")
    assert phone.book.of(attempt_id) == [AttemptState.ENDED]
    assert phone.book.last(attempt_id).reason == "the gate was closed"
    assert len(phone.calls) == 0


async def test_a_lost_event_stream_lets_nobody_pick_up(phone, flow):
    attempt_id = await phone.place(RINGS, flow=flow)
    await until(lambda: AttemptState.RINGING in phone.book.of(attempt_id))
    phone.engine.disconnect()
    phone.engine.reconnect()
    news = await phone.ended(attempt_id)
    assert news.disposition is Disposition.CANCELLED
    assert await phone.engine.calls() == []


async def test_an_end_that_was_missed_is_found_when_the_stream_is_back(phone, flow):
    attempt_id = await phone.place(HANGS_UP, flow=lasting(flow, 60.0))
    await until(lambda: AttemptState.ANSWERED in phone.book.of(attempt_id))
    phone.engine.disconnect()

    async def gone() -> bool:
        return not await phone.engine.calls()

    await until(gone)
    assert attempt_id in phone.calls
    phone.engine.reconnect()
    news = await phone.ended(attempt_id)
    assert (news.disposition, news.contact.done_reason) == (Disposition.ANSWERED_HUMAN, DoneReason.REACHED)


async def test_an_originate_without_an_answer_that_was_never_carried_out_is_unknown(phone, flow):
    phone.engine.freeze()
    attempt_id = await phone.place(RINGS, flow=flow)
    assert phone.result is OriginateResult.UNKNOWN
    # what waited is refused when the engine goes on: its permit is gone
    phone.engine._permits.clear()
    phone.engine.thaw()
    news = await phone.ended(attempt_id)
    assert (news.state, news.contact.done_reason) == (AttemptState.UNKNOWN, DoneReason.UNKNOWN)
    assert phone.engine.sent == []


async def test_an_originate_without_an_answer_that_was_carried_out_goes_on(phone, flow):
    phone.engine.freeze()
    attempt_id = await phone.place(ANSWERS, flow=flow)
    assert phone.result is OriginateResult.UNKNOWN
    phone.engine.thaw()
    news = await phone.ended(attempt_id)
    assert news.disposition is Disposition.ANSWERED_HUMAN
    assert len(phone.engine.sent) == 1


class Late:
    """An engine that carries originates out later than it is asked about them, as one does that is asked two ways."""

    def __init__(self, engine, monkeypatch) -> None:
        self._originate, self._hang_up = engine.originate, engine.hang_up
        self.go_on = asyncio.Event()
        self.hung_up: list[bool] = []
        monkeypatch.setattr(engine, "originate", self.originate)
        monkeypatch.setattr(engine, "hang_up", self.hang_up)

    async def originate(self, call: OutgoingCall) -> OriginateResult:
        await self.go_on.wait()
        return await self._originate(call)

    async def hang_up(self, call_id: str) -> bool:
        self.hung_up.append(await self._hang_up(call_id))
        return self.hung_up[-1]


async def test_a_call_is_hung_up_even_if_it_was_not_there_yet(phone, flow, monkeypatch):
    monkeypatch.setattr(module, "HANG_UP_RETRY_SECONDS", 0.01)
    late = Late(phone.engine, monkeypatch)
    async with asyncio.TaskGroup() as group:
        placing = group.create_task(phone.place(RINGS, flow=flow))
        await until(lambda: len(phone.calls) == 1)
        phone.calls.hang_up_unanswered("test")
        await until(lambda: late.hung_up == [False, False])
        late.go_on.set()
    assert phone.result is OriginateResult.ACCEPTED
    assert (await phone.ended(placing.result())).disposition is Disposition.CANCELLED
    assert late.hung_up[-1] is True
    assert await phone.engine.calls() == []


async def test_an_originate_that_returns_while_the_engine_looks_may_have_come_after_it(phone, flow, monkeypatch):
    monkeypatch.setattr(module, "HANG_UP_RETRY_SECONDS", 0.01)
    late = Late(phone.engine, monkeypatch)
    looked = late.hang_up

    async def slowly(call_id: str) -> bool:
        found = await looked(call_id)
        late.go_on.set()
        await until(lambda: phone.result is OriginateResult.ACCEPTED)
        return found

    monkeypatch.setattr(phone.engine, "hang_up", slowly)
    phone.result = None
    async with asyncio.TaskGroup() as group:
        placing = group.create_task(phone.place(RINGS, flow=flow))
        await until(lambda: len(phone.calls) == 1)
        phone.calls.hang_up_all()
    await phone.ended(placing.result())
    assert late.hung_up == [False, True]


async def test_a_call_that_is_gone_is_hung_up_once(phone, flow, monkeypatch):
    late = Late(phone.engine, monkeypatch)
    late.go_on.set()
    attempt_id = await phone.place(RINGS, flow=flow)
    phone.engine._calls.clear()
    await phone.calls._hang_up(attempt_id)
    assert late.hung_up == [False]


async def test_a_stranger_who_answers_is_hung_up_on_however_often_it_takes(phone, monkeypatch):
    monkeypatch.setattr(module, "HANG_UP_RETRY_SECONDS", 0.01)
    hang_up, tries = phone.engine.hang_up, []

    async def failing_first(call_id: str) -> bool:
        tries.append(call_id)
        if len(tries) < 4:
            raise EngineUnavailableError("no answer in time")
        return await hang_up(call_id)

    monkeypatch.setattr(phone.engine, "hang_up", failing_first)
    stranger = uuid.uuid4().hex
    await phone.engine.originate(OutgoingCall(stranger, 1, 1, KEY, ANSWERS, "+15550100999", 30))

    async def ended() -> bool:
        return not await phone.engine.calls()

    await until(ended)
    assert tries == [stranger] * 4


async def test_a_stranger_who_answers_is_not_left_in_silence(phone):
    stranger = uuid.uuid4().hex
    await phone.engine.originate(OutgoingCall(stranger, 1, 1, KEY, ANSWERS, "+15550100999", 30))

    async def ended() -> bool:
        return not await phone.engine.calls()

    await until(ended)
    assert phone.book.of(stranger) == []


async def test_an_adopted_call_that_rings_is_cancelled(phone, flow):
    ringing = uuid.uuid4().hex
    await phone.engine.originate(OutgoingCall(ringing, 1, 1, KEY, RINGS, "+15550100999", 30))
    phone.calls.adopt(Known(ringing, 1, with_rules(), "n1", state=AttemptState.RINGING, dialed_at=clock.now()), flow)
    assert (await phone.ended(ringing)).disposition is Disposition.CANCELLED


async def test_an_adopted_conversation_hears_its_flow_to_the_end(phone, flow, monkeypatch):
    monkeypatch.setattr(module, "PLAYBACK_GRACE_SECONDS", 0.0)
    talking = uuid.uuid4().hex
    await phone.engine.originate(OutgoingCall(talking, 1, 1, KEY, ANSWERS, "+15550100999", 30))
    began = clock.now()
    phone.calls.adopt(
        Known(talking, 1, with_rules(), "n1", state=AttemptState.ANSWERED, dialed_at=began, answered_at=began),
        lasting(flow, 0.4),
    )
    news = await phone.ended(talking)
    assert news.disposition is Disposition.ANSWERED_HUMAN
    assert (news.ended_at - began).total_seconds() >= 0.35


async def test_at_the_end_everything_can_be_hung_up(phone, flow):
    ids = [await phone.place(number, flow=lasting(flow, 600.0)) for number in (ANSWERS, RINGS, RINGS)]
    await until(lambda: AttemptState.ANSWERED in phone.book.of(ids[0]))
    phone.calls.hang_up_unanswered("test")
    await until(lambda: len(phone.calls) == 1)
    assert ids[0] in phone.calls
    phone.calls.hang_up_all()
    await until(lambda: len(phone.calls) == 0)


async def test_a_call_that_ended_while_it_was_being_adopted_is_found_out(phone, flow):
    gone = uuid.uuid4().hex
    began = clock.now()
    phone.calls.adopt(
        Known(gone, 1, with_rules(), "n1", state=AttemptState.ANSWERED, dialed_at=began, answered_at=began),
        lasting(flow, 600.0),
    )
    await phone.calls.reconcile()
    # one look alone could be ahead of an event that is on its way
    assert gone in phone.calls
    await phone.calls.reconcile()
    assert (await phone.ended(gone)).contact.done_reason is DoneReason.REACHED


async def test_a_call_that_lives_is_not_taken_for_one_that_ended(phone, flow):
    attempt_id = await phone.place(RINGS, flow=flow)
    for _ in range(3):
        await phone.calls.reconcile()
    assert attempt_id in phone.calls

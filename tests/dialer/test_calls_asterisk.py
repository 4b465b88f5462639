"""A node's calls at a real Asterisk, where its answers and events come late, twice, or not at all."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from dialer.test_calls import Noted
from dialing import with_rules
from flows import kept_in, message, nobody_opts_out, silent, unnoted
from outdial import clock
from outdial.core.model import AttemptState, Disposition, DoneReason
from outdial.dialer.calls import Calls, Messages
from outdial.dialer.flow_player import PlayableFlow
from outdial.dialer.outcomes import Known
from outdial.store.attempts import AttemptNews
from outdial.telephony.asterisk import AsteriskEngine
from outdial.telephony.engine import CallState, CancelResult, OriginateResult, OutgoingCall, Permit, TrunkAddress
from sounds import tone, wav
from support.asterisk import connected_engine
from support.asterisk import module_asterisk as asterisk  # noqa: F401 - a fixture
from support.relay import Relay, relay_to
from support.sip_peer import SipPeer
from values import KEY, TRUNK
from waiting import until

RUN_ID = 900_001
ANSWERS, RINGS, PUTS_DOWN, CROSSES = "+15550100001", "+15550100180", "+15550100487", "+15550100201"


@dataclass
class Phone:
    """A node's calls, whose engine is reached over a relay and whose carrier is a peer."""

    engine: AsteriskEngine
    calls: Calls
    book: Noted
    relay: Relay
    peer: SipPeer

    async def permit(self) -> None:
        await self.engine.put_permit(
            Permit(
                RUN_ID,
                1,
                KEY,
                replace(TRUNK, port=self.peer.port),
                TrunkAddress(self.peer.host, self.peer.port),
                clock.now() + timedelta(minutes=1),
            )
        )

    def reserve(self, flow: PlayableFlow | None, courtesy: PlayableFlow | None = None) -> str:
        attempt_id = uuid.uuid4().hex
        known = Known(attempt_id=attempt_id, number=1, rules=with_rules(max_attempts=2), by="n1")
        self.calls.reserve(known, Messages(flow, courtesy), lambda: None)
        return attempt_id

    async def originate(self, attempt_id: str, number: str) -> OriginateResult:
        return await self.calls.originate(OutgoingCall(attempt_id, RUN_ID, 1, KEY, number, "+15550100999", 30))

    async def place(self, number: str, flow: PlayableFlow | None, courtesy: PlayableFlow | None = None) -> str:
        attempt_id = self.reserve(flow, courtesy)
        assert await self.originate(attempt_id, number) is OriginateResult.ACCEPTED
        return attempt_id

    async def ended(self, attempt_id: str) -> AttemptNews:
        await until(lambda: attempt_id not in self.calls)
        return self.book.last(attempt_id)


@pytest.fixture
async def phone(asterisk, tmp_path):  # noqa: F811 - the fixture
    peer = await SipPeer.start()
    async with (
        relay_to(asterisk.address.url) as relay,
        connected_engine(asterisk, f"test-{uuid.uuid4().hex}", url=relay.url) as engine,
    ):
        book = Noted()
        calls = Calls(
            engine,
            book,
            silent(),
            nobody_opts_out(),
            ttl_seconds=2.0,
            recordings=kept_in(tmp_path, engine),
            transfer_notes=unnoted,
            private_hosts=["127.0.0.1"],
        )
        task = asyncio.create_task(calls.run())
        await until(lambda: calls.up_since is not None)
        opened = Phone(engine, calls, book, relay, peer)
        await opened.permit()
        yield opened
        relay.shut = False
        relay.go_on()
        await until(lambda: engine.up)
        await engine.fence(RUN_ID, [(1, KEY)])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await calls.close()
    await peer.close()


@pytest.fixture
def flow(tmp_path) -> PlayableFlow:
    tmp_path.chmod(0o755)
    path = tmp_path / "hello.wav"
    path.write_bytes(wav(tone(440, rate=8000, seconds=2.0), rate=8000))
    return message(path, 2.0)


async def test_a_flow_that_cannot_be_played_leaves_its_call_abandoned(phone, tmp_path):
    attempt_id = await phone.place(ANSWERS, message(tmp_path / "missing.wav", 2.0))
    news = await phone.ended(attempt_id)
    assert (news.disposition, news.reason) == (Disposition.ABANDONED, "the flow could not be played")
    assert news.contact.done_reason is DoneReason.REACHED


async def test_one_who_puts_the_phone_down_in_the_middle_was_reached(phone, flow):
    """Asterisk says of that playback, too, that it failed."""
    attempt_id = await phone.place(PUTS_DOWN, flow)
    news = await phone.ended(attempt_id)
    assert (news.disposition, news.reason) == (Disposition.ANSWERED_HUMAN, "")
    assert news.ended_at - news.answered_at < timedelta(seconds=2)


async def test_one_we_hang_up_on_in_the_middle_was_reached(phone, flow):
    attempt_id = await phone.place(ANSWERS, flow)
    await until(lambda: AttemptState.ANSWERED in phone.book.of(attempt_id))
    phone.peer.audio_packets()
    await until(lambda: phone.peer.audio_packets() > 0)
    phone.calls.hang_up_all()
    news = await phone.ended(attempt_id)
    assert (news.disposition, news.reason) == (Disposition.ANSWERED_HUMAN, "")


async def test_one_who_answers_before_the_cancel_arrives_hears_the_courtesy_message(phone, flow, tmp_path, monkeypatch):
    sorry = tmp_path / "sorry.wav"
    sorry.write_bytes(wav(tone(440, rate=8000, seconds=1.0), rate=8000))
    cancel, said = phone.engine.cancel, []

    async def up() -> bool:
        return CallState.ANSWERED in {call.state for call in await phone.engine.calls(RUN_ID)}

    async def late(call_id: str) -> CancelResult:
        # the engine says so itself: its ACK is out some milliseconds before
        await until(up)
        said.append(await cancel(call_id))
        return said[-1]

    monkeypatch.setattr(phone.engine, "cancel", late)
    phone.peer.ring_seconds = 1.0
    attempt_id = await phone.place(ANSWERS, flow, message(sorry, 1.0))
    await until(lambda: AttemptState.RINGING in phone.book.of(attempt_id))
    phone.peer.audio_packets()
    phone.calls.hang_up_unanswered("hushed")
    news = await phone.ended(attempt_id)
    assert said == [CancelResult.ANSWERED]
    assert (news.disposition, news.contact.done_reason) == (Disposition.ANSWERED_HUMAN, DoneReason.REACHED)
    assert news.reason == "answered as it was cancelled (hushed): heard the courtesy message"
    # a second of sound, not the two of the flow
    assert 40 <= phone.peer.audio_packets() <= 60
    (seen,) = phone.peer.calls.values()
    assert seen.cancelled_at is None
    await phone.peer.until(lambda: seen.bye_at is not None)


async def test_an_answer_that_crosses_the_cancel_is_ended_by_the_engine_and_nobody_hears_of_it(phone, flow):
    """Whatever message there is: the channel is gone when the 200 OK arrives."""
    attempt_id = await phone.place(CROSSES, flow, flow)
    await until(lambda: AttemptState.RINGING in phone.book.of(attempt_id))
    phone.calls.hang_up_unanswered("hushed")
    news = await phone.ended(attempt_id)
    assert (news.disposition, news.answered_at, news.reason) == (Disposition.CANCELLED, None, "hushed")
    (seen,) = phone.peer.calls.values()
    await phone.peer.until(lambda: seen.bye_at is not None)
    assert (seen.cancelled_at is None, seen.acknowledged_at is None) == (False, False)


async def test_one_who_answers_while_there_is_no_stream_was_abandoned(phone, flow):
    phone.peer.ring_seconds = 1.0
    attempt_id = await phone.place(ANSWERS, flow)
    await until(lambda: AttemptState.RINGING in phone.book.of(attempt_id))
    phone.relay.cut()
    (seen,) = phone.peer.calls.values()
    # Asterisk ends it at once
    await phone.peer.until(lambda: seen.bye_at is not None)
    phone.relay.shut = False
    news = await phone.ended(attempt_id)
    assert (news.disposition, news.contact.done_reason) == (Disposition.ABANDONED, DoneReason.REACHED)
    assert (news.reason, news.answered_at is None) == ("answered while its node heard no events", False)


async def test_a_hang_up_that_overtakes_its_originate_is_said_again(phone, flow, monkeypatch):
    hang_up, found = phone.engine.hang_up, []

    async def noting(call_id: str) -> bool:
        found.append(await hang_up(call_id))
        return found[-1]

    monkeypatch.setattr(phone.engine, "hang_up", noting)
    phone.relay.stall()
    attempt_id = phone.reserve(flow)
    placing = asyncio.create_task(phone.originate(attempt_id, RINGS))
    await until(lambda: phone.calls._calls[attempt_id].in_flight)
    # so it goes over HTTP, where the engine does not have the call yet
    phone.engine._stalled = True
    phone.calls.hang_up(attempt_id)
    await until(lambda: found == [False])
    phone.relay.go_on()
    assert await placing is OriginateResult.ACCEPTED
    news = await phone.ended(attempt_id)
    assert news.disposition is Disposition.CANCELLED
    assert await phone.engine.calls(RUN_ID) == []


async def test_an_originate_that_still_waits_in_a_stalled_stream_is_not_given_up(phone, flow, monkeypatch):
    calls, looks = phone.engine.calls, []

    async def noting(*args):
        looks.append(await calls(*args))
        return looks[-1]

    phone.relay.stall()
    attempt_id = phone.reserve(flow)
    assert await phone.originate(attempt_id, RINGS) is OriginateResult.UNKNOWN
    monkeypatch.setattr(phone.engine, "calls", noting)
    # over HTTP the engine says, truly, that there is no such call
    await until(lambda: len(looks) > 1)
    assert looks[:2] == [[], []]
    assert attempt_id in phone.calls
    phone.relay.go_on()
    news = await phone.ended(attempt_id)
    assert news.disposition is Disposition.CANCELLED
    assert await calls(RUN_ID) == []

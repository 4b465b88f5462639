"""What the dialer and the stop rely on, of every engine alike: the simulated one and a real Asterisk."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

import pytest

from outdial.core.errors import EngineUnavailableError
from outdial.telephony.engine import (
    CallAnswered,
    CallEnded,
    CallRinging,
    CallState,
    CancelResult,
    KeyPressed,
    OriginateResult,
    PlaybackEnded,
    RecordingEnded,
)
from sounds import tone, wav
from values import KEY
from waiting import until

ANSWERS = "+15550100001"
BUSY = "+15550100070"
RINGS = "+15550100080"
PRESSES = "+15550100450"
SPEAKS = "+15550100060"
REJECTS = "+15550100090"
NOT_FOUND = "+15550100093"
HANGS_UP = "+15550100096"

ACCEPTED, REFUSED = OriginateResult.ACCEPTED, OriginateResult.REFUSED


class TestPermits:
    async def test_without_one_nothing_is_placed(self, line):
        assert await line.engine.originate(line.call(RINGS)) is REFUSED
        assert await line.engine.calls(line.run_id) == []

    async def test_with_one_a_call_is_placed(self, line):
        await line.engine.put_permit(line.permit())
        call = line.call(RINGS)
        assert await line.engine.originate(call) is ACCEPTED
        (found,) = await line.engine.calls(line.run_id)
        assert (found.id, found.run_id, found.epoch) == (call.id, line.run_id, 1)
        await line.settle(call.id)

    async def test_one_serves_its_own_epoch_only(self, line):
        await line.engine.put_permit(line.permit(epoch=1))
        assert await line.engine.originate(line.call(RINGS, epoch=2)) is REFUSED
        assert await line.engine.originate(line.call(RINGS, epoch=11)) is REFUSED

    async def test_one_ends_by_itself(self, line):
        await line.engine.put_permit(line.permit(seconds=0.4))

        async def refused() -> bool:
            call = line.call(RINGS)
            result = await line.engine.originate(call)
            if result is ACCEPTED:
                await line.settle(call.id)
            return result is REFUSED

        await until(refused, seconds=5)

    async def test_one_whose_end_has_passed_serves_nothing(self, line):
        await line.engine.put_permit(line.permit(seconds=-0.1))
        assert await line.engine.originate(line.call(RINGS)) is REFUSED

    async def test_renewing_extends_it(self, line):
        await line.engine.put_permit(line.permit(seconds=0.5))
        assert await line.engine.renew_permit(line.permit(seconds=30)) is True
        await asyncio.sleep(0.7)
        call = line.call(RINGS)
        assert await line.engine.originate(call) is ACCEPTED
        await line.settle(call.id)

    async def test_renewing_what_was_never_put_makes_nothing(self, line):
        assert await line.engine.renew_permit(line.permit()) is False
        assert await line.engine.originate(line.call(RINGS)) is REFUSED

    async def test_a_renewal_after_a_fence_revives_nothing(self, line):
        await line.engine.put_permit(line.permit())
        await line.engine.fence(line.run_id, [(1, KEY)])
        await line.engine.renew_permit(line.permit())
        assert await line.engine.originate(line.call(RINGS)) is REFUSED

    async def test_a_permit_lets_nothing_through_that_is_of_another_key(self, line):
        await line.engine.put_permit(line.permit())
        other = replace(line.call(RINGS), key=KEY[::-1])
        assert await line.engine.originate(other) is REFUSED
        assert await line.engine.renew_permit(replace(line.permit(), key=KEY[::-1])) is False
        assert await line.engine.originate(replace(other, id=uuid.uuid4().hex)) is REFUSED

    async def test_a_fence_takes_every_key(self, line):
        for key in (KEY, KEY[::-1]):
            await line.engine.put_permit(replace(line.permit(), key=key))
        await line.engine.fence(line.run_id, [(1, KEY), (1, KEY[::-1])])
        for key in (KEY, KEY[::-1]):
            assert await line.engine.originate(replace(line.call(RINGS), key=key)) is REFUSED

    async def test_they_are_listed_and_removed_one_by_one(self, line):
        for epoch in (1, 2):
            await line.engine.put_permit(line.permit(epoch=epoch))

        async def listed() -> set[int]:
            return {epoch for run_id, epoch, _ in await line.engine.permits() if run_id == line.run_id}

        async def both() -> bool:
            return await listed() == {1, 2}

        # Asterisk fills its list a moment later
        await until(both)
        await line.engine.remove_permit(line.run_id, 1, KEY)
        await line.engine.remove_permit(line.run_id, 1, KEY)

        async def one() -> bool:
            return await listed() == {2}

        await until(one)

    async def test_a_fence_takes_every_epoch_of_its_run_and_no_other_runs(self, line):
        other = type(line)(line.engine, line.address)
        for epoch in (1, 2):
            await line.engine.put_permit(line.permit(epoch=epoch))
        await line.engine.put_permit(other.permit())
        await line.engine.fence(line.run_id, [(epoch, KEY) for epoch in (1, 2, 3)])
        await line.engine.fence(line.run_id)
        for epoch in (1, 2):
            assert await line.engine.originate(line.call(RINGS, epoch=epoch)) is REFUSED
        call = other.call(RINGS)
        assert await line.engine.originate(call) is ACCEPTED
        await line.settle(call.id)
        await line.engine.fence(other.run_id, [(1, KEY)])

    async def test_a_fence_leaves_calls_alone(self, line):
        await line.engine.put_permit(line.permit())
        call = line.call(ANSWERS)
        await line.engine.originate(call)
        await line.heard(call.id, CallAnswered)
        await line.engine.fence(line.run_id, [(1, KEY)])
        (found,) = await line.engine.calls(line.run_id)
        assert found.state is CallState.ANSWERED
        await line.settle(call.id)

    async def test_after_a_fence_it_can_be_put_again_under_a_new_epoch(self, line):
        await line.engine.put_permit(line.permit())
        await line.engine.fence(line.run_id, [(1, KEY)])
        await line.engine.put_permit(line.permit(epoch=2))
        call = line.call(RINGS, epoch=2)
        assert await line.engine.originate(call) is ACCEPTED
        await line.settle(call.id)


class TestCalls:
    @pytest.fixture(autouse=True)
    async def _permit(self, line):
        await line.engine.put_permit(line.permit())

    async def test_one_that_is_answered_rings_first(self, line):
        call = line.call(ANSWERS)
        assert await line.engine.originate(call) is ACCEPTED
        answered = await line.heard(call.id, CallAnswered)
        (ringing,) = line.of(call.id, CallRinging)
        assert ringing.at < answered.at
        (found,) = await line.engine.calls(line.run_id)
        assert found.state is CallState.ANSWERED
        ended = await line.settle(call.id)
        assert ended.at >= answered.at

    @pytest.mark.parametrize(
        ("number", "cause", "sip_code"), [(BUSY, 17, 486), (REJECTS, 21, 603), (NOT_FOUND, 1, 404)]
    )
    async def test_one_that_is_refused_ends_with_cause_and_status(self, line, number, cause, sip_code):
        call = line.call(number)
        assert await line.engine.originate(call) is ACCEPTED
        ended = await line.heard(call.id, CallEnded)
        assert (ended.cause, ended.sip_code) == (cause, sip_code)
        assert line.of(call.id, CallAnswered) == []

    async def test_one_that_nobody_answers_ends_after_its_ring_time(self, line):
        call = line.call(RINGS, ring_seconds=1)
        await line.engine.originate(call)
        ended = await line.heard(call.id, CallEnded)
        assert (ended.cause, ended.sip_code) == (19, 480)

    async def test_one_that_rings_can_be_cancelled(self, line):
        call = line.call(RINGS)
        await line.engine.originate(call)
        await line.heard(call.id, CallRinging)
        (found,) = await line.engine.calls(line.run_id)
        assert found.state is CallState.RINGING
        assert await line.engine.hang_up(call.id) is True
        ended = await line.heard(call.id, CallEnded)
        # what tells our own cancel from every ending of the carrier's
        assert ended.sip_code is None
        assert ended.cause in (None, 16)
        assert await line.engine.calls(line.run_id) == []

    async def test_one_that_rings_can_be_cancelled_on_condition(self, line):
        call = line.call(RINGS)
        await line.engine.originate(call)
        await line.heard(call.id, CallRinging)
        assert await line.engine.cancel(call.id) is CancelResult.CANCELLED
        ended = await line.heard(call.id, CallEnded)
        assert (ended.sip_code, ended.cause in (None, 16)) == (None, True)
        assert await line.engine.cancel(call.id) is CancelResult.GONE

    async def test_one_that_is_answered_is_left_alone_by_a_cancel(self, line):
        call = line.call(ANSWERS)
        await line.engine.originate(call)
        await line.heard(call.id, CallAnswered)
        assert await line.engine.cancel(call.id) is CancelResult.ANSWERED
        (found,) = await line.engine.calls(line.run_id)
        assert found.state is CallState.ANSWERED
        await line.settle(call.id)

    async def test_one_the_person_ends_is_told(self, line):
        call = line.call(HANGS_UP)
        await line.engine.originate(call)
        await line.heard(call.id, CallAnswered)
        await line.heard(call.id, CallEnded)

    async def test_hanging_up_what_is_not_there_is_no_error(self, line):
        assert await line.engine.hang_up(uuid.uuid4().hex) is False

    async def test_an_id_is_never_used_for_two_calls_at_once(self, line):
        call = line.call(RINGS)
        assert await line.engine.originate(call) is ACCEPTED
        assert await line.engine.originate(call) is OriginateResult.UNKNOWN
        assert len(await line.engine.calls(line.run_id)) == 1
        await line.settle(call.id)

    async def test_a_flow_is_played_to_its_end(self, line, tmp_path):
        tmp_path.chmod(0o755)
        sound = tmp_path / "hello.wav"
        sound.write_bytes(wav(tone(440, rate=8000, seconds=0.3), rate=8000))
        call = line.call(ANSWERS)
        await line.engine.originate(call)
        answered = await line.heard(call.id, CallAnswered)
        await line.engine.play(call.id, sound, f"{call.id}-1")
        played = await line.heard(call.id, PlaybackEnded)
        assert not played.failed
        assert (played.at - answered.at).total_seconds() >= 0.25
        await line.settle(call.id)

    async def test_a_flow_that_cannot_be_played_says_so(self, line, tmp_path):
        call = line.call(ANSWERS)
        await line.engine.originate(call)
        await line.heard(call.id, CallAnswered)
        await line.engine.play(call.id, tmp_path / "missing.wav", f"{call.id}-1")
        assert (await line.heard(call.id, PlaybackEnded)).failed
        await line.settle(call.id)

    async def test_playing_to_somebody_who_is_gone_is_no_error(self, line, tmp_path):
        await line.engine.play(uuid.uuid4().hex, tmp_path / "hello.wav", "nobody-1")

    async def test_what_is_played_can_be_broken_off(self, line, tmp_path):
        tmp_path.chmod(0o755)
        sound = tmp_path / "long.wav"
        sound.write_bytes(wav(tone(440, rate=8000, seconds=30.0), rate=8000))
        call = line.call(ANSWERS)
        await line.engine.originate(call)
        await line.heard(call.id, CallAnswered)
        await line.engine.play(call.id, sound, f"{call.id}-1")
        await line.engine.stop_playing(f"{call.id}-1")
        ended = await line.heard(call.id, PlaybackEnded, seconds=10)
        assert (ended.playback_id, ended.failed) == (f"{call.id}-1", False)
        # what comes next is told by its own id
        await line.engine.play(call.id, tmp_path / "missing.wav", f"{call.id}-2")
        await until(lambda: len(line.of(call.id, PlaybackEnded)) == 2)
        assert line.of(call.id, PlaybackEnded)[1].playback_id == f"{call.id}-2"
        await line.settle(call.id)

    async def test_what_is_recorded_is_there_until_it_is_forgotten(self, line):
        call = line.call(ANSWERS)
        await line.engine.originate(call)
        await line.heard(call.id, CallAnswered)
        name = f"{call.id}-2-voice"
        await line.engine.start_recording(call.id, name, longest_seconds=2, silence_seconds=60)
        ended = await line.heard(call.id, RecordingEnded, seconds=30)
        assert ended.recording_id == name
        assert name in await line.engine.recordings()
        assert (await line.engine.recording(name)).startswith(b"RIFF")
        for _ in range(2):
            await line.engine.forget_recording(name)
        assert await line.engine.recording(name) is None
        assert name not in await line.engine.recordings()
        await line.settle(call.id)

    async def test_a_recording_ends_with_its_call_and_is_told_before(self, line):
        call = line.call(ANSWERS)
        await line.engine.originate(call)
        await line.heard(call.id, CallAnswered)
        name = f"{call.id}-2-voice"
        await line.engine.start_recording(call.id, name, longest_seconds=60, silence_seconds=60)
        await line.settle(call.id)
        told = [type(event) for event in line.events if getattr(event, "call_id", "") == call.id]
        assert told.index(RecordingEnded) < told.index(CallEnded)
        assert await line.engine.recording(name) is not None
        await line.engine.forget_recording(name)

    async def test_recording_somebody_who_is_gone_is_no_error(self, line):
        gone = uuid.uuid4().hex
        await line.engine.start_recording(gone, f"{gone}-2-voice", longest_seconds=2, silence_seconds=2)
        assert await line.engine.recording(f"{gone}-2-voice") is None

    async def test_two_are_connected_and_parted(self, line):
        first, second = line.call(ANSWERS), line.call(ANSWERS, call_id=f"{uuid.uuid4().hex}-t3")
        for call in (first, second):
            assert await line.engine.originate(call) is ACCEPTED
        for call in (first, second):
            await line.heard(call.id, CallAnswered)
        await line.engine.connect(first.id, second.id)
        await line.settle(second.id)
        for _ in range(2):
            await line.engine.part(second.id)
        # who is left is the application's again
        assert await line.engine.hang_up(first.id) is True
        await line.heard(first.id, CallEnded)

    async def test_nobody_is_connected_with_a_call_that_is_gone(self, line):
        call = line.call(ANSWERS)
        await line.engine.originate(call)
        await line.heard(call.id, CallAnswered)
        with pytest.raises(EngineUnavailableError):
            await line.engine.connect(call.id, uuid.uuid4().hex)
        await line.settle(call.id)

    @pytest.mark.parametrize("rate", [8000, 16_000])
    async def test_sound_goes_both_ways_until_the_call_ends(self, line, rate):
        call = line.call(SPEAKS)
        await line.engine.originate(call)
        await line.heard(call.id, CallAnswered)
        stream = await line.engine.open_media(call.id, f"{call.id}-m2", rate)
        await stream.send(bytes(rate // 10))
        assert len(await stream.receive()) == rate // 25, "20 ms of 16 bit"
        await stream.clear()
        await line.settle(call.id)
        await stream.close()
        async with asyncio.timeout(20):
            while await stream.receive() is not None:
                pass
        # it was nobody's call
        assert {event.call_id for event in line.events if isinstance(event, CallEnded)} == {call.id}

    async def test_no_sound_is_taken_over_of_a_call_that_is_gone(self, line):
        gone = uuid.uuid4().hex
        with pytest.raises(EngineUnavailableError):
            await line.engine.open_media(gone, f"{gone}-m2", 8000)
        assert not [event for event in line.events if isinstance(event, CallAnswered)]

    async def test_breaking_off_what_is_over_is_no_error(self, line):
        await line.engine.stop_playing("nothing-1")

    async def test_a_key_that_the_person_presses_is_told(self, line):
        call = line.call(PRESSES)
        await line.engine.originate(call)
        pressed = await line.heard(call.id, KeyPressed)
        assert pressed.key == "4"
        answered = await line.heard(call.id, CallAnswered)
        assert pressed.at > answered.at
        await line.settle(call.id)

    async def test_calls_are_listed_by_run(self, line):
        other = type(line)(line.engine, line.address)
        await line.engine.put_permit(other.permit())
        mine, others = line.call(RINGS), other.call(RINGS)
        for call in (mine, others):
            assert await line.engine.originate(call) is ACCEPTED
        assert [call.id for call in await line.engine.calls(line.run_id)] == [mine.id]
        assert {mine.id, others.id} <= {call.id for call in await line.engine.calls()}
        for call in (mine, others):
            await line.settle(call.id)
        await line.engine.fence(other.run_id, [(1, KEY)])

    async def test_what_became_of_a_call_is_on_record(self, line):
        assert line.engine.keeps_records
        answered, busy = line.call(ANSWERS), line.call(BUSY)
        for call in (answered, busy):
            await line.engine.originate(call)
        await line.heard(answered.id, CallAnswered)
        await line.settle(answered.id)
        await line.heard(busy.id, CallEnded)

        async def written() -> bool:
            records = [await line.engine.record(call.id) for call in (answered, busy)]
            return all(record is not None and record.ended_at is not None for record in records)

        await until(written)
        first, second = await line.engine.record(answered.id), await line.engine.record(busy.id)
        assert first.answered_at is not None
        assert second.answered_at is None
        assert second.cause == 17

    async def test_of_a_call_that_never_was_nothing_is_on_record(self, line):
        assert await line.engine.record(uuid.uuid4().hex) is None

    async def test_twenty_at_once(self, line):
        calls = [line.call(RINGS) for _ in range(20)]
        assert set(await asyncio.gather(*(line.engine.originate(call) for call in calls))) == {ACCEPTED}
        assert {call.id for call in await line.engine.calls(line.run_id)} == {call.id for call in calls}
        assert all(await asyncio.gather(*(line.engine.hang_up(call.id) for call in calls)))
        for call in calls:
            await line.heard(call.id, CallEnded)
        assert await line.engine.calls(line.run_id) == []


async def test_it_is_up_and_its_clock_is_near_ours(line):
    assert line.engine.up
    assert abs(line.engine.clock_offset_seconds) < 0.5


async def test_a_udp_trunk_may_always_be_dialed(line):
    assert await line.engine.trunk_up(line.trunk, line.address)

"""Telling machines from people, of every engine alike: the simulated one and a real Asterisk."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from outdial.core.machine import DetectionTimings, MachineVerdict
from outdial.core.recording import sample_name, seconds_of
from outdial.telephony.engine import (
    CallAnswered,
    CallClassified,
    CallEnded,
    CallState,
    CancelResult,
    GreetingEnded,
    PlaybackEnded,
    RecordingEnded,
)
from sounds import tone, wav
from telephony.test_contract import ACCEPTED, ANSWERS, HANGS_UP, SPEAKS
from values import KEY
from waiting import until

GREETS = "+15550100048"
TIMINGS = DetectionTimings()


class TestDetection:
    """Who has answered, and when a machine's greeting is over."""

    @pytest.fixture(autouse=True)
    async def _permit(self, line):
        await line.engine.put_permit(line.permit())

    async def answered(self, line, number: str):
        call = line.call(number)
        assert await line.engine.originate(call) is ACCEPTED
        return call, await line.heard(call.id, CallAnswered)

    @pytest.mark.parametrize(
        ("number", "verdict", "cause"),
        [
            (GREETS, MachineVerdict.HUMAN, "HUMAN"),
            (SPEAKS, MachineVerdict.MACHINE, "LONGGREETING"),
        ],
    )
    async def test_people_and_machines_are_told_apart_in_time(self, line, number, verdict, cause):
        call, answered = await self.answered(line, number)
        await line.engine.detect(call.id, TIMINGS)
        found = await line.heard(call.id, CallClassified)
        assert (found.verdict, found.cause.partition("-")[0]) == (verdict, cause)
        assert 0.5 < (found.at - answered.at).total_seconds() < TIMINGS.decision_seconds + 1.0
        assert len(line.of(call.id, CallAnswered)) == 1, "its return is no second answer"
        await line.settle(call.id)

    async def test_a_line_without_any_sound_is_nobody_s_machine_and_comes_back_in_time(self, line):
        """Asterisk, which hears no packet, has no second to count and only its own clock."""
        call, answered = await self.answered(line, ANSWERS)
        await line.engine.detect(call.id, TIMINGS)
        found = await line.heard(call.id, CallClassified)
        assert found.verdict in {MachineVerdict.NO_SPEECH, MachineVerdict.NOT_SURE}
        assert (found.at - answered.at).total_seconds() < TIMINGS.decision_seconds + 1.0
        await line.settle(call.id)

    async def test_what_cannot_be_decided_in_time_is_not_sure(self, line):
        call, _ = await self.answered(line, SPEAKS)
        await line.engine.detect(call.id, replace(TIMINGS, decision_seconds=1.0))
        found = await line.heard(call.id, CallClassified)
        assert (found.verdict, found.cause.partition("-")[0]) == (MachineVerdict.NOT_SURE, "TOOLONG")
        await line.settle(call.id)

    async def test_after_the_verdict_the_call_hears_what_is_played(self, line, tmp_path):
        tmp_path.chmod(0o755)
        sound = tmp_path / "hello.wav"
        sound.write_bytes(wav(tone(440, rate=8000, seconds=0.3), rate=8000))
        call, _ = await self.answered(line, GREETS)
        await line.engine.detect(call.id, TIMINGS)
        await line.heard(call.id, CallClassified)
        await line.engine.play(call.id, sound, f"{call.id}-1")
        assert not (await line.heard(call.id, PlaybackEnded)).failed
        await line.settle(call.id)

    async def test_meanwhile_it_is_listed_spared_by_a_cancel_and_can_be_hung_up(self, line):
        call, _ = await self.answered(line, ANSWERS)
        await line.engine.detect(call.id, TIMINGS)
        (found,) = await line.engine.calls(line.run_id)
        assert (found.id, found.state) == (call.id, CallState.ANSWERED)
        await line.engine.fence(line.run_id, [(1, KEY)])
        assert await line.engine.cancel(call.id) is CancelResult.ANSWERED
        assert await line.engine.hang_up(call.id) is True
        ended = await line.heard(call.id, CallEnded)
        assert (ended.sip_code, ended.cause in (None, 16)) == (None, True)
        assert line.of(call.id, CallClassified) == []
        assert await line.engine.calls(line.run_id) == []

    async def test_who_hangs_up_meanwhile_has_ended_and_is_not_classified(self, line):
        call, _ = await self.answered(line, HANGS_UP)
        await line.engine.detect(call.id, TIMINGS)
        await line.heard(call.id, CallEnded)
        assert line.of(call.id, CallClassified) == []

    async def test_a_greeting_is_over_after_its_beep(self, line):
        call, answered = await self.answered(line, SPEAKS)
        await line.engine.detect(call.id, TIMINGS)
        await line.heard(call.id, CallClassified)
        await line.engine.await_beep(call.id, silence_seconds=1.0, longest_seconds=20)
        ended = await line.heard(call.id, GreetingEnded)
        assert ended.in_time
        # four seconds of greeting, half a second of beep, one of silence
        assert 5.0 < (ended.at - answered.at).total_seconds() < 8.0
        await line.settle(call.id)

    async def test_a_greeting_that_goes_on_is_not_waited_for(self, line):
        call, answered = await self.answered(line, SPEAKS)
        await line.engine.await_beep(call.id, silence_seconds=2.0, longest_seconds=2.0)
        ended = await line.heard(call.id, GreetingEnded)
        assert not ended.in_time
        assert (ended.at - answered.at).total_seconds() < 4.0
        await line.settle(call.id)

    async def test_listening_to_somebody_who_is_gone_is_no_error(self, line):
        gone = uuid.uuid4().hex
        await line.engine.detect(gone, TIMINGS)
        await line.engine.await_beep(gone, silence_seconds=1.0, longest_seconds=2.0)
        assert line.of(gone, CallClassified) == []


class TestSamples:
    """Recording a call beside what else is done with it."""

    @pytest.fixture(autouse=True)
    async def _permit(self, line):
        await line.engine.put_permit(line.permit(seconds=120.0))

    async def answered(self, line, number: str):
        call = line.call(number)
        assert await line.engine.originate(call) is ACCEPTED
        return call, await line.heard(call.id, CallAnswered)

    async def recorded(self, line, name: str) -> bytes:
        audio = await line.engine.recording(name)
        await line.engine.forget_recording(name)
        assert audio is not None
        return audio

    async def test_it_is_recorded_while_it_is_listened_to_and_the_verdict_is_the_same(self, line):
        call, answered = await self.answered(line, SPEAKS)
        name = sample_name(call.id)
        await line.engine.sample(call.id, name, seconds=30)
        await line.engine.detect(call.id, TIMINGS)
        found = await line.heard(call.id, CallClassified)
        assert (found.verdict, found.cause.partition("-")[0]) == (MachineVerdict.MACHINE, "LONGGREETING")
        listened = (found.at - answered.at).total_seconds()
        assert listened < TIMINGS.decision_seconds + 1.0
        assert line.of(call.id, RecordingEnded) == [], "it goes on"
        (only,) = await line.engine.calls(line.run_id)
        assert only.id == call.id, "what hears it is no call"
        await line.settle(call.id)
        ended = await line.heard(call.id, RecordingEnded)
        assert ended.recording_id == name
        assert len(line.of(call.id, CallAnswered)) == 1
        # what was spoken until the verdict is in it
        assert seconds_of(await self.recorded(line, name)) > TIMINGS.speech_seconds

    async def test_it_ends_by_itself_and_the_call_goes_on(self, line):
        call, _ = await self.answered(line, SPEAKS)
        name = sample_name(call.id)
        await line.engine.sample(call.id, name, seconds=1)
        assert (await line.heard(call.id, RecordingEnded)).recording_id == name
        (found,) = await line.engine.calls(line.run_id)
        assert found.state is CallState.ANSWERED
        assert 0.5 < seconds_of(await self.recorded(line, name)) < 3.0
        await line.settle(call.id)

    async def test_beside_it_a_step_is_recorded_and_something_played(self, line, tmp_path):
        tmp_path.chmod(0o755)
        sound = tmp_path / "hello.wav"
        sound.write_bytes(wav(tone(440, rate=8000, seconds=0.3), rate=8000))
        call, _ = await self.answered(line, SPEAKS)
        sample, step = sample_name(call.id), f"{call.id}-2-voice"
        await line.engine.sample(call.id, sample, seconds=30)
        await line.engine.play(call.id, sound, f"{call.id}-1")
        assert not (await line.heard(call.id, PlaybackEnded)).failed
        await line.engine.start_recording(call.id, step, longest_seconds=1, silence_seconds=30)
        assert (await line.heard(call.id, RecordingEnded)).recording_id == step
        await line.settle(call.id)

        def both() -> bool:
            return [one.recording_id for one in line.of(call.id, RecordingEnded)] == [step, sample]

        await until(both)
        for name in (step, sample):
            assert seconds_of(await self.recorded(line, name)) > 0

    async def test_dropped_it_leaves_nothing_and_the_call_goes_on(self, line):
        call, _ = await self.answered(line, SPEAKS)
        name = sample_name(call.id)
        await line.engine.sample(call.id, name, seconds=30)
        for _ in range(2):
            await line.engine.drop_sample(call.id, name)
        (found,) = await line.engine.calls(line.run_id)
        assert found.state is CallState.ANSWERED
        await line.settle(call.id)
        assert await line.engine.recording(name) is None
        assert name not in await line.engine.recordings()

    async def test_of_a_call_that_is_gone_nothing_is_recorded(self, line):
        gone = uuid.uuid4().hex
        await line.engine.sample(gone, sample_name(gone), seconds=5)
        await line.engine.drop_sample(gone, sample_name(gone))
        assert await line.engine.recording(sample_name(gone)) is None

    async def test_who_is_hung_up_on_by_a_stop_is_recorded_to_that_instant(self, line):
        call, _ = await self.answered(line, SPEAKS)
        name = sample_name(call.id)
        await line.engine.sample(call.id, name, seconds=60)
        await line.engine.detect(call.id, TIMINGS)
        await line.engine.fence(line.run_id, [(1, KEY)])
        assert await line.engine.hang_up(call.id) is True
        await line.heard(call.id, CallEnded)
        await line.heard(call.id, RecordingEnded)
        assert await line.engine.calls(line.run_id) == []
        assert await line.engine.recording(name) is not None
        await line.engine.forget_recording(name)

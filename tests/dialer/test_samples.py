"""Which calls are recorded for a review and kept, on calls of a simulated engine."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from dialer.test_calls import Phone, phone  # noqa: F401 - a fixture
from dialer.test_detection import DISCONNECT, GREETS, HANGS_UP, LISTENS, MACHINE, placed
from flows import message
from outdial import clock
from outdial.core.errors import EngineUnavailableError
from outdial.core.machine import MachineDetection, MachineVerdict, Sample
from outdial.core.machine_review import ReviewShares
from outdial.core.model import Disposition
from outdial.core.recording import sample_name
from outdial.dialer import samples as module
from outdial.dialer.flow_player import PlayableFlow
from outdial.services import recordings
from outdial.store.attempts import AttemptNews
from outdial.telephony.engine import RecordingEnded
from outdial.telephony.simulated import SimulatedEngine
from sounds import tone, wav
from waiting import until

DETECT = MachineDetection.DETECT
MACHINES, PEOPLE, BOTH = ReviewShares(machines=50), ReviewShares(people=50), ReviewShares(machines=20, people=50)
UNLUCKY, LUCKY = 0.9, 0.1


@dataclass
class Desk:
    """A node's calls, whose flow knows of no machines."""

    phone: Phone
    flow: PlayableFlow
    folder: Path

    @property
    def engine(self) -> SimulatedEngine:
        return self.phone.engine

    def luck(self, value: float) -> None:
        """Have every call draw that."""
        self.phone.calls._samples._chance = lambda: value

    async def placed(self, number: str, review: ReviewShares, mode: MachineDetection = DETECT) -> str:
        return await placed(self.phone, number, self.flow, mode, review=review)

    async def called(self, number: str, review: ReviewShares, mode: MachineDetection = DETECT) -> AttemptNews:
        return await self.phone.ended(await self.placed(number, review, mode))

    def kept(self) -> list[str]:
        """Names of what is on disk."""
        return list(recordings.left(self.folder))

    async def settled(self) -> None:
        """Wait until nothing is recorded, fetched or dropped any more."""
        await until(lambda: not self.phone.calls._samples._open and not self.phone.calls._tasks)


@pytest.fixture
def desk(phone, tmp_path) -> Desk:  # noqa: F811 - the fixture
    path = tmp_path / "hello.wav"
    path.write_bytes(wav(tone(440, rate=8000, seconds=1.0), rate=8000))
    return Desk(phone, message(path, 1.0), tmp_path / recordings.FOLDER)


class TestWhatIsKept:
    @pytest.mark.parametrize(
        ("number", "review"),
        [(MACHINE, MACHINES), (GREETS, PEOPLE), (LISTENS, PEOPLE)],
        ids=["machine", "human", "no_speech"],
    )
    async def test_a_verdict_of_a_kind_that_is_kept(self, desk, number, review):
        desk.luck(LUCKY)
        news = await desk.called(number, review)
        assert news.detection.sample == Sample()
        await until(lambda: desk.kept() == [sample_name(news.id)])
        await desk.settled()
        assert await desk.engine.recordings() == []

    @pytest.mark.parametrize(("number", "review"), [(MACHINE, PEOPLE), (GREETS, MACHINES)], ids=["machine", "human"])
    async def test_one_of_a_kind_that_is_not_is_recorded_and_dropped(self, desk, number, review):
        began: list[str] = []
        sample = desk.engine.sample

        async def noted(call_id, recording_id, *, seconds):
            began.append(recording_id)
            await sample(call_id, recording_id, seconds=seconds)

        desk.engine.sample = noted
        desk.luck(LUCKY)
        news = await desk.called(number, review)
        assert news.detection.sample is None
        await desk.settled()
        assert began == [sample_name(news.id)]
        assert (desk.kept(), await desk.engine.recordings()) == ([], [])

    async def test_whoever_draws_too_high_is_not_recorded(self, desk):
        desk.engine.sample = None
        desk.luck(UNLUCKY)
        news = await desk.called(MACHINE, BOTH)
        assert (news.detection.verdict, news.detection.sample) == (MachineVerdict.MACHINE, None)
        await desk.settled()
        assert desk.kept() == []

    async def test_shares_may_differ(self, desk):
        desk.luck(0.3)
        machine, person = await desk.called(MACHINE, BOTH), await desk.called(GREETS, BOTH)
        assert (machine.detection.sample, person.detection.sample) == (None, Sample())
        await desk.settled()
        assert desk.kept() == [sample_name(person.id)]

    async def test_without_detection_there_is_no_verdict_and_no_recording(self, desk):
        desk.engine.sample = None
        desk.luck(0.0)
        news = await desk.called(GREETS, ReviewShares(100, 100), MachineDetection.NO)
        assert (news.detection, desk.kept()) == (None, [])


class TestHowLong:
    async def test_it_holds_what_was_heard_of_a_machine_that_is_hung_up_on_at_once(self, desk):
        desk.luck(LUCKY)
        news = await desk.called(MACHINE, MACHINES, DISCONNECT)
        assert news.disposition is Disposition.ANSWERED_MACHINE
        await until(lambda: len(desk.kept()) == 1)
        audio = recordings.unlisted(desk.folder, desk.kept()[0]).read_bytes()
        # at twenty times the speed
        assert len(audio) > 0.8 * news.detection.seconds * 20 * 16_000

    async def test_it_ends_in_the_middle_of_a_longer_call(self, desk):
        desk.luck(LUCKY)
        attempt_id = await desk.placed(GREETS, ReviewShares(people=50, seconds=1.0))
        name = sample_name(attempt_id)
        await until(lambda: attempt_id in desk.phone.calls and desk.phone.calls._samples._open.get(name) is not None)
        sample = desk.phone.calls._samples._open[name]
        await until(lambda: sample.over)
        assert attempt_id in desk.phone.calls, "nothing is known of who has answered yet"
        await desk.phone.ended(attempt_id)
        await desk.settled()
        assert desk.kept() == [name]


class TestWhatGoesWrong:
    async def test_who_hangs_up_before_the_verdict_leaves_nothing(self, desk):
        desk.luck(LUCKY)
        news = await desk.called(HANGS_UP, ReviewShares(100, 100))
        assert news.detection is None
        await desk.settled()
        assert (desk.kept(), await desk.engine.recordings()) == ([], [])

    async def test_an_engine_that_cannot_record_is_written_down_and_the_call_goes_on(self, desk):
        async def cannot(call_id, recording_id, *, seconds):
            raise EngineUnavailableError("no snoop here")

        desk.engine.sample = cannot
        desk.luck(LUCKY)
        news = await desk.called(GREETS, PEOPLE)
        assert (news.disposition, news.flow.finished) == (Disposition.ANSWERED_HUMAN, True)
        assert news.detection.sample == Sample("no snoop here")
        await desk.settled()
        assert desk.kept() == []

    async def test_a_fault_of_ours_keeps_nobody_waiting_either(self, desk):
        desk.engine.sample = None
        desk.luck(LUCKY)
        news = await desk.called(GREETS, PEOPLE)
        assert news.detection.verdict is MachineVerdict.HUMAN
        assert news.detection.sample.failure

    async def test_nobody_waits_long_for_a_recording_to_begin(self, desk, monkeypatch):
        monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.05)
        begun = asyncio.Event()

        async def never(call_id, recording_id, *, seconds):
            begun.set()
            await asyncio.Event().wait()

        desk.engine.sample = never
        desk.luck(LUCKY)
        news = await desk.called(GREETS, PEOPLE)
        assert begun.is_set()
        assert news.detection.sample == Sample("the engine did not begin to record within 0.05 s")
        await desk.settled()

    async def test_one_that_cannot_be_fetched_or_dropped_is_left_for_whoever_looks(self, desk, monkeypatch):
        async def cannot(*_):
            raise EngineUnavailableError("away")

        desk.luck(LUCKY)
        monkeypatch.setattr(desk.engine, "recording", cannot)
        monkeypatch.setattr(desk.engine, "drop_sample", cannot)
        kept, dropped = await desk.called(MACHINE, MACHINES), await desk.called(GREETS, MACHINES)
        await desk.settled()
        assert set(await desk.engine.recordings()) == {sample_name(news.id) for news in (kept, dropped)}
        assert desk.kept() == []

    @pytest.mark.parametrize("decided", [True, False], ids=["after the verdict", "before it"])
    async def test_one_whose_end_was_lost_is_left_for_whoever_looks(self, desk, decided):
        desk.luck(LUCKY)
        attempt_id = await desk.placed(GREETS, ReviewShares(people=50, seconds=60.0))
        name = sample_name(attempt_id)
        samples = desk.phone.calls._samples
        await until(lambda: name in samples._open and (samples._open[name].kept is True) is decided)
        desk.engine.disconnect()
        desk.engine._sampled(desk.engine._calls[attempt_id])
        desk.engine.reconnect()
        await until(lambda: desk.engine.up and (name not in samples._open or samples._open[name].left))
        await desk.phone.ended(attempt_id)
        await desk.settled()
        assert await desk.engine.recordings() == [name]
        assert desk.kept() == []

    async def test_the_end_of_one_that_nobody_here_began_changes_nothing(self, desk):
        desk.luck(UNLUCKY)
        attempt_id = await desk.placed(GREETS, BOTH)
        await until(lambda: desk.phone.calls._calls[attempt_id].player is not None)
        for whose in (attempt_id, uuid.uuid4().hex):
            desk.engine._tell(RecordingEnded(whose, sample_name(whose), clock.now()))
        assert (await desk.phone.ended(attempt_id)).disposition is Disposition.ANSWERED_HUMAN

"""Who has answered decides what is heard: on calls of a simulated engine, whose phones are people and machines."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dialer.test_calls import Phone, phone  # noqa: F401 - a fixture
from dialing import with_rules
from flows import message, steps
from outdial.core.errors import EngineUnavailableError
from outdial.core.machine import DetectionTimings, MachineDetection, MachineVerdict
from outdial.core.model import AttemptState, Disposition, DoneReason, OwnRules, RetryRule, RunContactState
from outdial.dialer import detection as module
from outdial.dialer import outcomes
from outdial.dialer.adoption import may_have_heard
from outdial.dialer.calls import Messages
from outdial.dialer.outcomes import Known
from outdial.store.attempts import AttemptNews
from outdial.telephony.engine import CallClassified, CallEnded, GreetingEnded, OutgoingCall
from sounds import tone, wav
from values import KEY
from waiting import until

LISTENS, GREETS, MACHINE, HANGS_UP = "+15550100001", "+15550100048", "+15550100060", "+15550100096"
DETECT, DISCONNECT, NO = MachineDetection.DETECT, MachineDetection.DISCONNECT, MachineDetection.NO


@pytest.fixture
def sounds(tmp_path):
    for name in ("hello", "drop"):
        (tmp_path / f"{name}.wav").write_bytes(wav(tone(440, rate=8000, seconds=1.0), rate=8000))
    return tmp_path


@pytest.fixture
def drops(sounds):
    """A flow that leaves machines a message of their own."""
    return steps(
        {
            "hello": {"play": "hello", "next": "bye"},
            "drop": {"play": "drop", "next": "left"},
            "bye": {"result": "told"},
            "left": {"result": "left"},
        },
        {f"{name}.wav": (sounds / f"{name}.wav", 1.0) for name in ("hello", "drop")},
        sounds={"hello": "hello.wav", "drop": "drop.wav"},
        machine_start="drop",
    )


@pytest.fixture
def tells(sounds):
    """A flow that knows of no machines."""
    return message(sounds / "hello.wav", 1.0)


@pytest.fixture
def played(phone, monkeypatch):  # noqa: F811 - the fixture
    """What was played, in order."""
    names: list[str] = []
    plays = phone.engine.play

    async def noted(call_id, audio, playback_id):
        names.append(audio.stem)
        await plays(call_id, audio, playback_id)

    monkeypatch.setattr(phone.engine, "play", noted)
    return names


async def placed(phone: Phone, number: str, flow, mode=DETECT, **own) -> str:  # noqa: F811
    attempt_id = uuid.uuid4().hex
    rules = with_rules(max_attempts=2, machine_detection=mode, own=OwnRules(**own))
    phone.calls.reserve(Known(attempt_id=attempt_id, number=1, rules=rules, by="n1"), Messages(flow), lambda: None)
    await phone.calls.originate(OutgoingCall(attempt_id, 1, 1, KEY, number, "+15550100999", 30))
    return attempt_id


async def called(phone: Phone, number: str, flow, mode=DETECT, **own) -> AttemptNews:  # noqa: F811
    return await phone.ended(await placed(phone, number, flow, mode, **own))


async def listened_to(phone: Phone, attempt_id: str) -> None:  # noqa: F811
    """Wait until the engine listens to who has answered."""
    await until(lambda: attempt_id in phone.engine._calls and phone.engine._calls[attempt_id].away)


class TestModes:
    @pytest.mark.parametrize("mode", [DETECT, DISCONNECT])
    async def test_a_person_hears_the_flow(self, phone, drops, played, mode):  # noqa: F811
        news = await called(phone, GREETS, drops, mode)
        assert (news.disposition, news.flow.path) == (Disposition.ANSWERED_HUMAN, ("hello", "bye"))
        assert played == ["hello"]
        found = news.detection
        assert (found.verdict, found.cause, found.timings) == (MachineVerdict.HUMAN, "HUMAN", DetectionTimings())
        # 1.4 s at twenty times the speed
        assert 0.05 < found.seconds < 1.0

    async def test_a_machine_hears_its_own_message_once_its_greeting_is_over(self, phone, drops, played):  # noqa: F811
        news = await called(phone, MACHINE, drops)
        assert (news.disposition, news.flow.path, news.reason) == (Disposition.ANSWERED_MACHINE, ("drop", "left"), "")
        assert played == ["drop"]
        assert news.detection.verdict is MachineVerdict.MACHINE
        assert (news.contact.state, news.contact.done_reason) == (RunContactState.DONE, DoneReason.REACHED)
        # greeting, beep, silence and message: 7.5 s
        assert (news.ended_at - news.answered_at).total_seconds() > 7.4 / 20

    async def test_a_flow_that_knows_of_no_machine_is_told_to_none(self, phone, tells, played):  # noqa: F811
        news = await called(phone, MACHINE, tells)
        assert (news.disposition, news.flow, news.reason) == (Disposition.ANSWERED_MACHINE, None, outcomes.HUNG_UP_ON)
        assert played == []
        assert (news.contact.state, news.contact.after_seconds) == (RunContactState.WAITING, 60)

    async def test_disconnect_hangs_up_on_machines_at_once(self, phone, drops, played):  # noqa: F811
        news = await called(
            phone, MACHINE, drops, DISCONNECT, retry_rules=(RetryRule(Disposition.ANSWERED_MACHINE, seconds=7200),)
        )
        assert (news.disposition, news.flow, played) == (Disposition.ANSWERED_MACHINE, None, [])
        assert news.contact.after_seconds == 7200
        assert (news.ended_at - news.answered_at).total_seconds() < 4.5 / 20 + 0.5

    async def test_where_nobody_asks_machines_hear_what_people_hear(self, phone, drops, played):  # noqa: F811
        news = await called(phone, MACHINE, drops, NO)
        assert (news.disposition, news.detection, played) == (Disposition.ANSWERED_HUMAN, None, ["hello"])

    @pytest.mark.parametrize(
        ("number", "timings", "verdict"),
        [
            (LISTENS, DetectionTimings(), MachineVerdict.NO_SPEECH),
            (MACHINE, DetectionTimings(decision_seconds=2.0), MachineVerdict.NOT_SURE),
        ],
    )
    async def test_whoever_is_no_certain_machine_is_a_person(
        self,
        phone,  # noqa: F811
        drops,
        played,
        number,
        timings,
        verdict,
    ):
        news = await called(phone, number, drops, DISCONNECT, detection=timings)
        assert (news.disposition, news.detection.verdict) == (Disposition.ANSWERED_HUMAN, verdict)
        assert (played, news.detection.timings) == (["hello"], timings)

    async def test_a_greeting_that_goes_on_is_talked_over(self, phone, drops, played):  # noqa: F811
        news = await called(phone, MACHINE, drops, detection=DetectionTimings(tone_seconds=1.0))
        assert (news.disposition, played) == (Disposition.ANSWERED_MACHINE, ["drop"])
        assert (news.ended_at - news.answered_at).total_seconds() < 6.5 / 20 + 0.5

    async def test_a_message_that_cannot_be_left_is_tried_again(self, phone, drops, sounds):  # noqa: F811
        (sounds / "drop.wav").unlink()
        news = await called(phone, MACHINE, drops)
        assert (news.disposition, news.reason) == (Disposition.ANSWERED_MACHINE, "the flow could not be played")
        assert news.contact.state is RunContactState.WAITING


class TestFaults:
    """Whatever goes wrong, it is a person's call, and it is written down what it was."""

    async def test_an_engine_that_cannot(self, phone, drops, played, monkeypatch):  # noqa: F811
        async def cannot(_call_id, _timings):
            raise EngineUnavailableError("Asterisk has not loaded app_amd.so")

        monkeypatch.setattr(phone.engine, "detect", cannot)
        news = await called(phone, MACHINE, drops)
        assert (news.disposition, played) == (Disposition.ANSWERED_HUMAN, ["hello"])
        assert (news.detection.verdict, news.detection.cause) == (
            MachineVerdict.FAILED,
            "Asterisk has not loaded app_amd.so",
        )

    async def test_a_verdict_that_never_comes(self, phone, drops, played, monkeypatch):  # noqa: F811
        async def says_nothing(_call_id, _timings):
            return

        monkeypatch.setattr(phone.engine, "detect", says_nothing)
        monkeypatch.setattr(module, "GRACE_SECONDS", -4.9)
        news = await called(phone, MACHINE, drops)
        assert (news.disposition, played) == (Disposition.ANSWERED_HUMAN, ["hello"])
        assert (news.detection.verdict, news.detection.cause) == (MachineVerdict.FAILED, "no verdict came in time")

    async def test_an_engine_that_takes_too_long_is_asked_no_further(self, phone, drops, played, monkeypatch):  # noqa: F811
        """What it was asked last would come in the middle of the flow."""
        given_up = []

        async def never(call_id, _timings):
            try:
                await asyncio.Event().wait()
            finally:
                given_up.append(call_id)

        monkeypatch.setattr(phone.engine, "detect", never)
        monkeypatch.setattr(module, "GRACE_SECONDS", -4.9)
        news = await called(phone, MACHINE, drops)
        assert (news.disposition, played, given_up) == (Disposition.ANSWERED_HUMAN, ["hello"], [news.id])
        assert news.detection.cause == "the engine did not begin in time"

    @pytest.mark.parametrize("fails", [True, False])
    async def test_a_beep_nobody_is_told_of(self, phone, drops, played, monkeypatch, fails):  # noqa: F811
        async def awaits(_call_id, **_limits):
            if fails:
                raise EngineUnavailableError("gone")

        monkeypatch.setattr(phone.engine, "await_beep", awaits)
        monkeypatch.setattr(module, "GRACE_SECONDS", -19.9 if not fails else 2.0)
        timings = DetectionTimings(decision_seconds=25.0)
        news = await called(phone, MACHINE, drops, detection=timings)
        assert (news.disposition, news.flow.path, played) == (Disposition.ANSWERED_MACHINE, ("drop", "left"), ["drop"])

    async def test_what_comes_late_changes_nothing(self, phone, drops, played):  # noqa: F811
        attempt_id = await placed(phone, GREETS, drops)
        await until(lambda: played == ["hello"])
        at = phone.book.last(attempt_id).answered_at
        phone.engine._tell(CallClassified(attempt_id, at, MachineVerdict.MACHINE, "late"))
        phone.engine._tell(GreetingEnded(attempt_id, at, in_time=True))
        news = await phone.ended(attempt_id)
        assert (news.disposition, news.detection.verdict) == (Disposition.ANSWERED_HUMAN, MachineVerdict.HUMAN)
        assert played == ["hello"]


class TestEnds:
    """A call that ends before it is known who has answered has one ending, and nobody has heard anything."""

    async def test_who_hangs_up_meanwhile(self, phone, drops, played):  # noqa: F811
        news = await called(phone, HANGS_UP, drops)
        assert (news.disposition, news.reason, news.detection) == (Disposition.ABANDONED, outcomes.UNDECIDED, None)
        assert (news.contact.done_reason, played) == (DoneReason.REACHED, [])

    async def test_who_is_hung_up_on_meanwhile_by_a_stop_or_a_node_that_leaves(self, phone, drops):  # noqa: F811
        attempt_id = await placed(phone, LISTENS, drops)
        await listened_to(phone, attempt_id)
        phone.calls.hang_up_unanswered("stop")
        assert attempt_id in phone.calls, "it is answered"
        phone.calls.hang_up_all()
        news = await phone.ended(attempt_id)
        assert (news.disposition, news.reason) == (Disposition.ABANDONED, outcomes.UNDECIDED)
        assert len([one for one in phone.book.news if one.id == attempt_id and one.disposition]) == 1

    async def test_a_machine_that_hangs_up_before_its_beep(self, phone, drops, played):  # noqa: F811
        attempt_id = await placed(phone, MACHINE, drops)
        await until(lambda: phone.book.last(attempt_id).detection is not None)
        await listened_to(phone, attempt_id)
        phone.engine._end(phone.engine._calls[attempt_id], 16, None)
        news = await phone.ended(attempt_id)
        assert (news.disposition, news.reason, played) == (Disposition.ANSWERED_MACHINE, outcomes.NO_MESSAGE, [])
        assert news.contact.state is RunContactState.WAITING

    async def test_nothing_is_done_for_a_call_that_is_over(self, phone, drops, played, monkeypatch):  # noqa: F811
        """Its end was told before the request to listen to it was made."""
        detects = []

        async def noted(call_id, _timings):
            detects.append(call_id)

        monkeypatch.setattr(phone.engine, "detect", noted)
        attempt_id = await placed(phone, LISTENS, drops)
        calls = phone.calls
        answers = calls._answered

        def ends_at_once(call, at):
            answers(call, at)
            calls._ended(call, CallEnded(attempt_id, at, 16, None))

        monkeypatch.setattr(calls, "_answered", ends_at_once)
        news = await phone.ended(attempt_id)
        assert (news.disposition, detects, played) == (Disposition.ABANDONED, [], [])


class TestTakenOver:
    """Calls of a node that is gone."""

    @pytest.fixture
    async def live(self, phone, drops):  # noqa: F811
        """A call that lives and of which no node knows."""
        attempt_id = await placed(phone, LISTENS, drops, NO)
        await until(lambda: phone.book.last(attempt_id).answered_at is not None)
        call = phone.calls._calls.pop(attempt_id)
        call.player.close()
        return call.known

    def taken_over(self, phone, known, flow, detection, mode=DETECT):  # noqa: F811
        rules = replace(known.rules, machine_detection=mode)
        phone.calls.adopt(may_have_heard(replace(known, rules=rules, detection=detection), flow), flow)
        return phone.ended(known.attempt_id)

    async def test_one_that_was_being_listened_to_has_heard_nothing(self, phone, live, tells):  # noqa: F811
        news = await self.taken_over(phone, live, tells, None)
        assert (news.disposition, news.reason) == (Disposition.ABANDONED, outcomes.UNDECIDED)

    async def test_a_person_hears_the_message_to_its_end(self, phone, live, tells):  # noqa: F811
        found = module.Detection(MachineVerdict.HUMAN, "HUMAN", 0.1, DetectionTimings())
        ended = asyncio.ensure_future(self.taken_over(phone, live, tells, found))
        await asyncio.sleep(0)
        assert live.attempt_id in phone.calls
        phone.calls.hang_up_all()
        assert (await ended).disposition is Disposition.ANSWERED_HUMAN

    @pytest.mark.parametrize(
        ("with_drop", "mode", "state"),
        [
            (True, DETECT, RunContactState.DONE),
            (False, DETECT, RunContactState.WAITING),
            (True, DISCONNECT, RunContactState.WAITING),
        ],
    )
    async def test_a_machine_is_not_called_twice_for_what_it_may_have_heard(
        self,
        phone,  # noqa: F811
        live,
        drops,
        tells,
        with_drop,
        mode,
        state,
    ):
        found = module.Detection(MachineVerdict.MACHINE, "LONGGREETING", 3.0, DetectionTimings())
        news = await self.taken_over(phone, live, drops if with_drop else tells, found, mode)
        assert (news.disposition, news.contact.state) == (Disposition.ANSWERED_MACHINE, state)

    @pytest.mark.parametrize(("with_drop", "state"), [(True, RunContactState.DONE), (False, RunContactState.WAITING)])
    def test_nor_where_its_call_was_over_before_anybody_took_it_over(self, drops, tells, with_drop, state):
        rules = with_rules(machine_detection=DETECT)
        found = module.Detection(MachineVerdict.MACHINE, "LONGGREETING", 3.0, DetectionTimings())
        at = datetime.now(UTC)
        known = Known("a", 1, rules, "n1", state=AttemptState.ANSWERED, dialed_at=at, answered_at=at, detection=found)
        told = may_have_heard(known, drops if with_drop else tells)
        news = outcomes.from_record(told, None, at=at, placed=True)
        assert (news.disposition, news.contact.state) == (Disposition.ANSWERED_MACHINE, state)
        # a flow that cannot be read may have had one
        assert may_have_heard(known, None).message_left

"""Flows on calls of a simulated engine whose people press keys."""

from __future__ import annotations

import asyncio
import sys
import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from dialer.test_calls import Noted
from dialing import with_rules
from engines import simulated
from flows import OptOutsAsked, kept_in, steps, unnoted
from outdial import clock
from outdial.core.errors import EngineUnavailableError
from outdial.core.flow import OptOutScope
from outdial.core.model import Disposition, DncSource
from outdial.dialer import flow_player as module
from outdial.dialer.calls import Calls, Messages
from outdial.dialer.flow_player import PlayableFlow
from outdial.dialer.outcomes import Known
from outdial.store.attempts import AttemptNews, FlowOutcome
from outdial.telephony.engine import OutgoingCall, Permit, TrunkAddress
from outdial.telephony.speech import Voice
from sounds import tone, wav
from values import KEY, TRUNK
from waiting import until

LISTENS, PRESSES_1, PRESSES_9, HANGS_UP = "+15550100001", "+15550100150", "+15550100950", "+15550100096"

SPEAK = "import sys, pathlib; sys.stdin.read(); sys.stdout.buffer.write(pathlib.Path(sys.argv[1]).read_bytes())"


class Phones:
    def __init__(self, engine, calls: Calls, book: Noted, opt_outs: OptOutsAsked, folder: Path) -> None:
        self.engine = engine
        self.calls = calls
        self.book = book
        self.opt_outs = opt_outs
        self.folder = folder

    def sound(self, seconds: float) -> tuple[Path, float]:
        path = self.folder / f"{seconds}.wav"
        path.write_bytes(wav(tone(440, rate=8000, seconds=seconds), rate=8000))
        return path, seconds

    def menu(self) -> PlayableFlow:
        return steps(
            {
                "ask": {
                    "gather": {"play": "long", "timeout_seconds": 2, "tries": 2},
                    "choices": {"1": "yes", "9": "leave"},
                    "no_input": "bye",
                },
                "yes": {"result": "confirmed", "next": "bye"},
                "leave": {"opt_out": "campaign", "next": "bye"},
                "bye": {"play": "short"},
            },
            {"long.wav": self.sound(30.0), "short.wav": self.sound(0.4)},
            sounds={"long": "long.wav", "short": "short.wav"},
        )

    async def call(self, number: str, flow: PlayableFlow, **variables: str) -> AttemptNews:
        attempt_id = uuid.uuid4().hex
        known = Known(attempt_id=attempt_id, number=1, rules=with_rules(max_attempts=2), by="n1")
        self.calls.reserve(known, Messages(flow), lambda: None)
        self.calls.inform(attempt_id, variables)
        await self.calls.originate(OutgoingCall(attempt_id, 1, 1, KEY, number, "+15550100999", 30))
        await until(lambda: attempt_id not in self.calls)
        return self.book.last(attempt_id)


@pytest.fixture
async def phones(tmp_path):
    (tmp_path / "said.wav").write_bytes(wav(tone(440, rate=8000, seconds=0.4), rate=8000))
    (tmp_path / "speak.py").write_text(SPEAK)
    voice = Voice(f"{sys.executable} {tmp_path}/speak.py {tmp_path}/said.wav", tmp_path / "audio")
    async with simulated(speed=20.0, timeout_seconds=0.1) as engine:
        await engine.put_permit(
            Permit(1, 1, KEY, TRUNK, TrunkAddress("127.0.0.1", 5060), clock.now() + timedelta(minutes=5))
        )
        book, opt_outs = Noted(), OptOutsAsked()
        calls = Calls(
            engine,
            book,
            voice,
            opt_outs,
            ttl_seconds=0.2,
            recordings=kept_in(tmp_path, engine),
            transfer_notes=unnoted,
            private_hosts=["127.0.0.1"],
        )
        task = asyncio.create_task(calls.run())
        await until(lambda: calls.up_since is not None)
        yield Phones(engine, calls, book, opt_outs, tmp_path)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await calls.close()


async def test_a_key_leads_where_it_should(phones):
    news = await phones.call(PRESSES_1, phones.menu())
    assert news.disposition is Disposition.ANSWERED_HUMAN
    assert news.flow == FlowOutcome("cf-1", "confirmed", opted_out=False, path=("ask", "yes", "bye"), finished=True)
    # thirty seconds of question at twenty times the speed were not waited for
    assert (news.ended_at - news.answered_at).total_seconds() < 1.0


async def test_who_wants_no_more_calls_is_told_to_whoever_keeps_the_lists(phones):
    news = await phones.call(PRESSES_9, phones.menu())
    assert news.flow.opted_out
    assert phones.opt_outs.asked == [(news.id, OptOutScope.CAMPAIGN, DncSource.KEY)]


async def test_who_presses_nothing_is_asked_again_and_then_let_go(phones, monkeypatch):
    played = []
    plays = phones.engine.play

    async def noted(call_id, audio, playback_id) -> None:
        played.append(audio.name)
        await plays(call_id, phones.sound(0.4)[0], playback_id)

    monkeypatch.setattr(phones.engine, "play", noted)
    news = await phones.call(LISTENS, phones.menu())
    assert played == ["30.0.wav", "30.0.wav", "0.4.wav"]
    assert news.flow.path == ("ask", "bye")


async def test_who_hangs_up_first_has_not_heard_the_flow_to_its_end(phones):
    news = await phones.call(HANGS_UP, phones.menu())
    assert news.flow == FlowOutcome("cf-1", None, opted_out=False, path=("ask",), finished=False)


async def test_a_text_is_spoken_with_what_is_known_of_the_contact(phones, monkeypatch):
    said = []
    says = phones.calls._voice.say

    async def noted(text, language):
        said.append((text, language))
        return await says(text, language)

    monkeypatch.setattr(phones.calls._voice, "say", noted)
    flow = steps({"hello": {"say": "Hello {first_name|there}, {amount|nothing} is due."}})
    news = await phones.call(LISTENS, flow, first_name="Ada", language="es")
    assert said == [("Hello Ada, nothing is due.", "es")]
    assert (news.disposition, news.flow.finished) == (Disposition.ANSWERED_HUMAN, True)


async def test_without_a_voice_the_other_branch_is_heard(phones, monkeypatch):
    monkeypatch.setattr(phones.calls, "_voice", Voice("", phones.folder))
    flow = steps(
        {"hello": {"say": "Hello.", "failed": "tone"}, "tone": {"play": "tone"}},
        {"tone.wav": phones.sound(0.4)},
        sounds={"tone": "tone.wav"},
    )
    assert (await phones.call(LISTENS, flow)).flow.path == ("hello", "tone")


async def test_without_a_voice_and_another_branch_the_call_was_abandoned(phones, monkeypatch):
    monkeypatch.setattr(phones.calls, "_voice", Voice("", phones.folder))
    news = await phones.call(LISTENS, steps({"hello": {"say": "Hello."}}))
    assert news.disposition is Disposition.ABANDONED
    assert "There is no voice" in news.reason


async def test_a_playback_that_cannot_be_broken_off_does_not_stop_the_flow(phones, monkeypatch):
    async def fails(_playback_id) -> None:
        raise EngineUnavailableError("no answer")

    monkeypatch.setattr(phones.engine, "stop_playing", fails)
    assert (await phones.call(PRESSES_1, phones.menu())).flow.result == "confirmed"


async def test_a_call_does_not_last_for_ever(phones, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_CALL_SECONDS", 0.3)
    round_ = {"ask": {"gather": {"play": "long", "timeout_seconds": 60}, "choices": {"1": "ask"}, "no_input": "ask"}}
    flow = steps(round_, {"long.wav": phones.sound(30.0)}, sounds={"long": "long.wav"})
    news = await phones.call(LISTENS, flow)
    assert (news.disposition, news.flow.finished) == (Disposition.ANSWERED_HUMAN, False)


async def test_what_nobody_foresaw_keeps_nobody_on_the_line(phones, monkeypatch):
    async def fails(_text, _language) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(phones.calls._voice, "say", fails)
    news = await phones.call(LISTENS, steps({"hello": {"say": "Hello."}}))
    assert news.disposition is Disposition.ABANDONED

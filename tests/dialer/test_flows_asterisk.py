"""Flows over real Asterisk, SIP and RTP: keys are pressed by the phone, and what is heard is heard at its end.

Each sound is a tone of its own, and the voice is a program that speaks tones, one a language.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import wave
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from dialer.test_run import fetch, is_over, start
from outdial.core.model import DncSource, DoneReason
from outdial.services import recordings
from sounds import tone, wav
from support.asterisk import module_asterisk as asterisk  # noqa: F401 - a fixture
from support.espeak import espeak  # noqa: F401 - a fixture
from support.line import Line, line_to
from support.rtp import RATE, amplitude
from waiting import until

PERSON, OTHER = "+15550100001", "+15550100002"
HELLO, HOLA, ASK, YES, NO, NONE = 500, 600, 700, 800, 900, 1000
SAYS_EN, SAYS_ES, PERSON_SAYS = 1100, 1200, 1300
TONES = (HELLO, HOLA, ASK, YES, NO, NONE, SAYS_EN, SAYS_ES)
QUESTION_SECONDS = 20.0
"""Nobody hears a question of this length to its end who presses a key."""

SPEAK = """
import pathlib, sys
folder = pathlib.Path(sys.argv[1])
with (folder / "said.txt").open("a") as said:
    said.write(f"{sys.argv[2]} {sys.stdin.read()}\\n")
sys.stdout.buffer.write((folder / f"{sys.argv[2]}.wav").read_bytes())
"""

pytestmark = pytest.mark.timeout(240)

Opens = Callable[..., AbstractAsyncContextManager[Line]]


def sound(frequency: float, seconds: float = 0.6) -> bytes:
    return wav(tone(frequency, rate=RATE, seconds=seconds), rate=RATE)


def voice(folder: Path) -> str:
    """The command of a voice whose tone tells the language; what it was to say is in ``said.txt``."""
    (folder / "en.wav").write_bytes(sound(SAYS_EN))
    (folder / "es.wav").write_bytes(sound(SAYS_ES))
    (folder / "speak.py").write_text(SPEAK)
    return f"{sys.executable} {folder}/speak.py {folder} {{language}}"


@pytest.fixture
def opens(database, secret_box, asterisk, tmp_path) -> Opens:  # noqa: F811
    """Open a line to some numbers; its voice is the tones unless another is named."""

    @contextlib.asynccontextmanager
    async def opened(*numbers: str, speech: str | None = None) -> AsyncIterator[Line]:
        async with line_to(
            numbers or (PERSON,),
            database=database,
            secret_box=secret_box,
            asterisk=asterisk,
            folder=tmp_path,
            speech_command=voice(tmp_path) if speech is None else speech,
        ) as line:
            yield line

    return opened


def asking(*, seconds: float = QUESTION_SECONDS, start: str = "ask", **more: Any) -> tuple[dict[str, Any], dict]:
    """A flow that asks for a key, twice if need be, says by a tone which one it took, and notes it; and its sounds."""
    frequencies = {"yes": YES, "no": NO, "none": NONE}
    document = {
        "start": start,
        "sounds": {name: f"{name}.wav" for name in ("ask", *frequencies)},
        "steps": {
            "ask": {
                "gather": {"play": "ask", "timeout_seconds": 1, "tries": 2},
                "choices": {"1": "yes"},
                "no_input": "none",
                "invalid": "no",
            },
            **{name: {"play": name, "next": f"{name}_noted"} for name in frequencies},
            **{f"{name}_noted": {"result": name} for name in frequencies},
        },
        **more,
    }
    sounds = {f"{name}.wav": sound(frequency) for name, frequency in frequencies.items()}
    return document, sounds | {"ask.wav": sound(ASK, seconds)}


async def ended(line: Line, number: str = PERSON) -> int:
    """When the phone was told that the call is over: Unix nanoseconds."""
    (call,) = line.peer.of_number(number)
    await line.peer.until(lambda: call.bye_at is not None, 30)
    assert call.bye_at is not None
    return call.bye_at


async def test_all_in_one_call(opens, tmp_path):
    """A sound, a key over the next one, another language, its sound and its voice, a result, and the end."""
    document = {
        "start": "hello",
        "language": "en",
        "sounds": {"hello": {"en": "hello.wav", "es": "hola.wav"}, "ask": {"en": "ask.wav", "es": "ask.wav"}},
        "steps": {
            "hello": {"play": "hello", "next": "ask"},
            "ask": {"gather": {"play": "ask"}, "choices": {"1": "english", "2": "spanish"}},
            "english": {"result": "English", "next": "bye"},
            "spanish": {"language": "es", "next": "again"},
            "again": {"play": "hello", "next": "thanks"},
            "thanks": {"say": "Gracias {first_name}", "next": "noted"},
            "noted": {"result": "Spanish", "next": "bye"},
            "bye": {"hang_up": True},
        },
    }
    sounds = {"hello.wav": sound(HELLO), "hola.wav": sound(HOLA), "ask.wav": sound(ASK, QUESTION_SECONDS)}
    async with opens() as line:
        await line.flow(document, sounds)
        async with line.stage.database.connection() as connection:
            await connection.execute("UPDATE contacts SET attributes = jsonb_build_object('first_name', 'Ada')")
        run = await start(line.stage)
        await line.phones.hears_well(ASK)
        await line.phones.press("2")
        bye_at = await ended(line)
        await until(lambda: is_over(line.stage, run), seconds=60)
        outcome = await line.outcome()
        (attempt,) = await fetch(line.stage, "SELECT id, disposition FROM attempts")
        line.phones.listen()
    assert line.phones.melody(TONES) == [HELLO, ASK, HOLA, SAYS_ES]
    assert line.phones.seconds_of(ASK) < QUESTION_SECONDS / 2, "the key broke it off"
    assert (tmp_path / "said.txt").read_text() == "es Gracias Ada\n"
    assert (outcome["attempt_id"], outcome["result"]) == (attempt["id"], "Spanish")
    assert list(outcome["path"]) == ["hello", "ask", "spanish", "again", "thanks", "noted", "bye"]
    assert outcome["finished"]
    assert attempt["disposition"] == "answered_human"
    assert 0 < line.phones.heard_at < bye_at


async def test_a_key_that_hangs_up_ends_the_sound_with_the_call(opens):
    document, sounds = asking()
    document["steps"]["yes_noted"]["next"] = "bye"
    document["steps"]["ask"]["choices"]["0"] = "bye"
    document["steps"]["bye"] = {"hang_up": True}
    async with opens() as line:
        await line.flow(document, sounds)
        run = await start(line.stage)
        await line.phones.hears_well(ASK)
        await line.phones.press("0")
        bye_at = await ended(line)
        await until(lambda: is_over(line.stage, run), seconds=60)
        line.phones.listen()
        assert list((await line.outcome())["path"]) == ["ask", "bye"]
    assert line.phones.melody(TONES) == [ASK]
    assert line.phones.seconds_of(ASK) < QUESTION_SECONDS / 2
    assert line.phones.heard_at < bye_at


class TestKeys:
    async def test_all_there_are_make_one_answer(self, opens, tmp_path):
        """The hash key ends it; what was keyed can be said."""
        document = {
            "start": "ask",
            "sounds": {"ask": "ask.wav"},
            "steps": {
                "ask": {
                    "gather": {"play": "ask", "digits": 20, "between_seconds": 10, "save": "order"},
                    "next": "tell",
                },
                "tell": {"say": "Order {order}"},
            },
        }
        async with opens() as line:
            await line.flow(document, {"ask.wav": sound(ASK, QUESTION_SECONDS)})
            await start(line.stage)
            await line.phones.hears_well(ASK)
            await line.phones.press("0123456789*ABCD#")
            assert (await line.outcome())["finished"]
            line.phones.listen()
        assert (tmp_path / "said.txt").read_text() == "en Order 0123456789*ABCD\n"
        assert line.phones.melody(TONES) == [ASK, SAYS_EN]

    async def test_who_presses_none_is_asked_again(self, opens):
        document, sounds = asking(seconds=1.0)
        async with opens() as line:
            await line.flow(document, sounds)
            await start(line.stage)
            outcome = await line.outcome()
            line.phones.listen()
        assert (outcome["result"], list(outcome["path"])) == ("none", ["ask", "none", "none_noted"])
        assert line.phones.melody(TONES) == [ASK, NONE]
        assert 1.5 < line.phones.seconds_of(ASK) < 2.5, "a question of one second, twice"

    @pytest.mark.parametrize(
        ("keys", "heard", "result"), [("5", [ASK], None), ("55", [ASK, NO], "no"), ("51", [ASK, YES], "yes")]
    )
    async def test_a_wrong_one_asks_again_and_leads_to_its_branch(self, opens, keys, heard, result):
        document, sounds = asking()
        async with opens() as line:
            await line.flow(document, sounds)
            await start(line.stage)
            await line.phones.hears_well(ASK)
            await line.phones.press(keys)
            if result is None:
                # the second question goes on: nobody was sent anywhere
                so_far = len(line.phones.heard)
                await until(lambda: len(line.phones.heard) > so_far + 2 * RATE)
                assert line.peer.of_number(PERSON)[0].bye_at is None
            else:
                outcome = await line.outcome()
                assert (outcome["result"], outcome["path"][:2]) == (result, ["ask", result])
            line.phones.listen()
        assert line.phones.melody(TONES) == heard

    async def test_one_that_opts_out_keeps_later_runs_from_calling(self, opens):
        document, sounds = asking()
        document["steps"]["ask"]["choices"]["9"] = "leave"
        document["steps"]["leave"] = {"opt_out": "account", "next": "yes"}
        async with opens(PERSON, OTHER) as line:
            await line.flow(document, sounds)
            run = await start(line.stage)
            await line.peer.until(lambda: sum(bool(one.answered_at) for one in line.peer.calls.values()) == 2, 60)
            for number, key in ((PERSON, "9"), (OTHER, "1")):
                await line.phones.hears_well(ASK, number)
                await line.phones.press(key, number)
            await until(lambda: is_over(line.stage, run), seconds=60)
            entries = await fetch(line.stage, "SELECT phone, source, added_by FROM dnc_entries")
            (attempt,) = await fetch(line.stage, "SELECT id FROM attempts WHERE phone = $1", PERSON)
            again = await start(line.stage)
            await line.peer.until(lambda: sum(bool(one.answered_at) for one in line.peer.of_number(OTHER)) == 2, 60)
            await line.phones.hears_well(ASK, OTHER)
            await line.phones.press("1", OTHER)
            await until(lambda: is_over(line.stage, again), seconds=60)
            done = await fetch(line.stage, "SELECT done_reason FROM run_contacts WHERE run_id = $1", again.id)
        assert [tuple(entry) for entry in entries] == [(PERSON, DncSource.KEY, f"attempt {attempt['id']}")]
        assert len(line.peer.of_number(PERSON)) == 1, "no INVITE of the second run"
        assert {row["done_reason"] for row in done} == {DoneReason.REACHED, DoneReason.DNC}
        assert line.phones.melody(TONES, PERSON) == [ASK, YES]


RECORD: dict[str, Any] = {
    "start": "voice",
    "sounds": {"ask": "ask.wav", "yes": "yes.wav", "no": "no.wav"},
    "steps": {
        "voice": {
            "record": {"play": "ask", "agree": "3", "timeout_seconds": 1, "longest_seconds": 20, "silence_seconds": 30},
            "next": "yes",
            "refused": "no",
        },
        "yes": {"play": "yes"},
        "no": {"play": "no"},
    },
}


class TestRecording:
    async def flow(self, line: Line, *, seconds: float = QUESTION_SECONDS) -> None:
        await line.flow(RECORD, {"ask.wav": sound(ASK, seconds), "yes.wav": sound(YES), "no.wav": sound(NO)})
        await start(line.stage)

    async def test_who_agrees_by_a_key_is_recorded_until_another(self, opens, tmp_path):
        async with opens() as line:
            await self.flow(line)
            await line.phones.hears_well(ASK)
            await line.phones.press("3")
            await until(lambda: is_recording(line))
            await line.phones.say(PERSON_SAYS, 2.0)
            await line.phones.press("#")
            talking = asyncio.create_task(line.phones.say(PERSON_SAYS, 15.0))
            row = await line.one("SELECT * FROM recordings")
            outcome = await line.outcome()
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)
            line.phones.listen()
        assert (row["attempt_id"], row["step"]) == (outcome["attempt_id"], "voice")
        assert list(outcome["path"]) == ["voice", "yes"]
        assert line.phones.melody(TONES) == [ASK, YES]
        with wave.open(str(tmp_path / recordings.FOLDER / row["file"])) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
            samples = array("h", file.readframes(file.getnframes()))
        assert 1.0 < len(samples) / RATE < 10.0, "what was said after the key is not in it"
        assert amplitude(samples[RATE // 2 : RATE], PERSON_SAYS) > 5000
        assert amplitude(samples, ASK) < 300, "the person alone"

    @pytest.mark.parametrize("key", ["1", "#", ""], ids=["another key", "hash", "no key"])
    async def test_who_does_not_is_not_recorded(self, opens, tmp_path, key):
        async with opens() as line:
            await self.flow(line, seconds=QUESTION_SECONDS if key else 1.0)
            await line.phones.hears_well(ASK)
            await line.phones.press(key)
            await line.phones.say(PERSON_SAYS, 2.0)
            outcome = await line.outcome()
            line.phones.listen()
            assert await line.engine.recordings() == []
            assert await fetch(line.stage, "SELECT FROM recordings") == []
        assert list(outcome["path"]) == ["voice", "no"]
        assert line.phones.melody(TONES) == [ASK, NO]
        assert list((tmp_path / recordings.FOLDER).rglob("*.wav")) == []


async def is_recording(line: Line) -> bool:
    """Whether the engine records the one call."""
    (attempt,) = await fetch(line.stage, "SELECT id FROM attempts")
    answer = await line.engine._request("GET", f"recordings/live/{attempt['id']}-2-voice")
    return answer.status == 200


async def test_the_usual_voice_is_heard(opens, espeak, tmp_path):  # noqa: F811
    """All of what it spoke, and as loud."""
    async with opens(speech=espeak) as line:
        await line.flow({"start": "text", "steps": {"text": {"say": "Hello"}}}, {})
        await start(line.stage)
        assert (await line.outcome())["finished"]
        await ended(line)
        line.phones.listen()
    (path,) = tmp_path.rglob("say-*.wav")
    with wave.open(str(path)) as file:
        spoken = array("h", file.readframes(file.getnframes()))
    assert len(line.phones.heard) == pytest.approx(len(spoken), rel=0.1)
    assert loudness(line.phones.heard) == pytest.approx(loudness(spoken), rel=0.1)
    assert loudness(spoken) > 500


def loudness(samples: array[int]) -> float:
    """The root of the mean square."""
    return math.sqrt(sum(sample * sample for sample in samples) / len(samples))


class TestNoVoice:
    """Where nothing can speak, the step's other branch is taken; without one the call ends."""

    speech = pytest.mark.parametrize(
        "speech", ["", "/nowhere/speak", "sh -c 'exit 3'"], ids=["none", "missing", "failing"]
    )

    def say(self, **more: str) -> dict[str, Any]:
        return {
            "start": "text",
            "sounds": {"no": "no.wav"},
            "steps": {"text": {"say": "Hello", "next": "no", **more}, "no": {"play": "no"}},
        }

    @speech
    async def test_the_other_branch_is_heard(self, opens, speech):
        document = self.say(failed="sorry")
        document["sounds"]["none"] = "none.wav"
        document["steps"]["sorry"] = {"play": "none"}
        async with opens(speech=speech) as line:
            await line.flow(document, {"no.wav": sound(NO), "none.wav": sound(NONE)})
            await start(line.stage)
            outcome = await line.outcome()
            line.phones.listen()
            (attempt,) = await fetch(line.stage, "SELECT disposition FROM attempts")
        assert list(outcome["path"]) == ["text", "sorry"]
        assert line.phones.melody(TONES) == [NONE]
        assert attempt["disposition"] == "answered_human"

    @speech
    async def test_without_one_the_call_ends_unheard_and_was_abandoned(self, opens, speech):
        async with opens(speech=speech) as line:
            await line.flow(self.say(), {"no.wav": sound(NO)})
            run = await start(line.stage)
            await until(lambda: is_over(line.stage, run), seconds=60)
            await ended(line)
            line.phones.listen()
            (attempt,) = await fetch(line.stage, "SELECT disposition, change_reason FROM attempts")
        assert attempt["disposition"] == "abandoned"
        assert "the text could not be spoken" in attempt["change_reason"]
        assert not line.phones.heard

    async def test_who_has_heard_something_before_was_reached(self, opens):
        document = self.say()
        document["start"] = "no"
        document["steps"]["text"] = {"say": "Hello"}
        document["steps"]["no"]["next"] = "text"
        async with opens(speech="") as line:
            await line.flow(document, {"no.wav": sound(NO)})
            await start(line.stage)
            outcome = await line.outcome()
            await ended(line)
            line.phones.listen()
            (attempt,) = await fetch(line.stage, "SELECT disposition FROM attempts")
        assert list(outcome["path"]) == ["no", "text"]
        assert attempt["disposition"] == "answered_human"
        assert line.phones.melody(TONES) == [NO]

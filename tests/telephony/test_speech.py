"""Speech by a program of somebody else's: the one that is here is a script that writes tones, so that it can fail."""

from __future__ import annotations

import asyncio
import os
import sys
import wave
from array import array
from pathlib import Path

import pytest

from outdial.core.errors import SpeechUnavailableError
from outdial.telephony import speech
from outdial.telephony.speech import Voice
from sounds import tone, wav
from support.espeak import espeak  # noqa: F401 - a fixture

SCRIPT = """
import pathlib, sys, time
text = sys.stdin.read()
with open(sys.argv[2], "a") as log:
    log.write(f"{sys.argv[1]} {text}\\n")
if text == "fail":
    sys.exit(3)
if text == "hang":
    time.sleep(600)
if text == "noise":
    sys.stdout.write("no sound")
    sys.exit()
sys.stdout.buffer.write(pathlib.Path(sys.argv[3]).read_bytes())
"""


class Speaker:
    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        (folder / "speak.py").write_text(SCRIPT)
        (folder / "tone.wav").write_bytes(wav(tone(440, rate=22050, seconds=0.5), rate=22050))
        self.voice = Voice(
            f"{sys.executable} {folder}/speak.py {{language}} {self.log} {folder}/tone.wav", folder / "audio"
        )

    def said(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def speaker(tmp_path) -> Speaker:
    return Speaker(tmp_path)


async def test_a_text_becomes_a_file_an_engine_plays(speaker):
    spoken = await speaker.voice.say("Hello Ada; $(rm -rf /)", "en")
    assert speaker.said() == ["en Hello Ada; $(rm -rf /)"]
    assert spoken.seconds == pytest.approx(0.5, abs=0.01)
    with wave.open(str(spoken.path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
    assert spoken.path.stat().st_mode & 0o777 == 0o644


async def test_the_usual_program_speaks(espeak, tmp_path):  # noqa: F811
    spoken = await Voice(espeak, tmp_path / "audio").say("Hello", "en")
    with wave.open(str(spoken.path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        samples = array("h", file.readframes(file.getnframes()))
    assert len(samples) == round(spoken.seconds * 8000)
    assert 0.2 < spoken.seconds < 3.0
    assert max(samples) > 3000, "it is not silence"
    other = await Voice(espeak, tmp_path / "audio").say("Hello", "es")
    assert other.path.read_bytes() != spoken.path.read_bytes(), "the language is heard"


async def test_the_usual_program_is_told_a_language_it_does_not_speak(espeak, tmp_path):  # noqa: F811
    with pytest.raises(SpeechUnavailableError, match=r"espeak-ng (ended with code|wrote no WAV)"):
        await Voice(espeak, tmp_path / "audio").say("Hello", "xx")


async def test_what_was_said_is_not_said_again(speaker):
    first = await speaker.voice.say("Hello", "en")
    assert await speaker.voice.say("Hello", "en") == first
    assert await speaker.voice.say("Hello", "es") != first
    assert speaker.said() == ["en Hello", "es Hello"]


async def test_what_was_said_and_is_gone_is_said_again(speaker):
    first = await speaker.voice.say("Hello", "en")
    first.path.unlink()
    assert await speaker.voice.say("Hello", "en") == first
    assert first.path.exists()


@pytest.mark.parametrize(
    ("text", "sentence"), [("fail", "ended with code 3"), ("noise", "wrote no WAV that can be played")]
)
async def test_a_program_that_fails_is_told(speaker, text, sentence):
    with pytest.raises(SpeechUnavailableError, match=sentence):
        await speaker.voice.say(text, "en")
    assert (await speaker.voice.say("Hello", "en")).path.exists(), "the next text is spoken"


async def test_a_program_that_hangs_is_ended(speaker, monkeypatch):
    monkeypatch.setattr(speech, "SAY_SECONDS", 0.5)
    with pytest.raises(SpeechUnavailableError, match="did not speak within"):
        await speaker.voice.say("hang", "en")


async def test_what_it_has_started_ends_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(speech, "SAY_SECONDS", 1.0)
    voice = Voice(f"sh -c 'echo $$ > {tmp_path}/pid; sleep 600 | cat'", tmp_path)
    for _ in range(3):
        with pytest.raises(SpeechUnavailableError, match="did not speak within"):
            await voice.say("Hello", "en")
    group = int((tmp_path / "pid").read_text())
    async with asyncio.timeout(20):
        while _lives(group):  # noqa: ASYNC110 - other processes end
            await asyncio.sleep(0.02)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


async def test_those_who_want_the_same_text_wait_for_one(speaker):
    spoken = await asyncio.gather(*(speaker.voice.say("Goodbye", "en") for _ in range(20)))
    assert len(set(spoken)) == 1
    assert len(speaker.said()) <= speech.MOST_AT_ONCE


async def test_the_turn_of_a_text_is_part_of_its_time(speaker, monkeypatch):
    monkeypatch.setattr(speech, "SAY_SECONDS", 1.0)
    hanging = [asyncio.create_task(speaker.voice.say("hang", "en")) for _ in range(speech.MOST_AT_ONCE)]
    hanging.append(asyncio.create_task(speaker.voice.say("hang", "es")))
    ended = await asyncio.gather(*hanging, return_exceptions=True)
    assert [type(one) for one in ended] == [SpeechUnavailableError] * 3


async def test_what_nobody_has_used_for_a_day_is_removed(speaker, monkeypatch):
    old = (await speaker.voice.say("Hello Ada", "en")).path
    os.utime(old, (1, 1))
    other = old.with_name("flow.wav")
    other.write_bytes(b"")
    os.utime(other, (1, 1))
    monkeypatch.setattr(speech, "SWEEP_SECONDS", 0.0)
    new = (await speaker.voice.say("Hello Bob", "en")).path
    assert (old.exists(), other.exists(), new.exists()) == (False, True, True)


async def test_a_caller_that_is_torn_away_leaves_no_program_behind(speaker):
    saying = asyncio.create_task(speaker.voice.say("hang", "en"))
    async with asyncio.timeout(20):
        while not speaker.log.exists() or not speaker.said():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.02)
    saying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saying
    assert (await speaker.voice.say("Hello", "en")).path.exists(), "its turn is free again"


async def test_a_program_that_is_not_there(tmp_path):
    with pytest.raises(SpeechUnavailableError, match="/nowhere/speak cannot be run"):
        await Voice("/nowhere/speak", tmp_path).say("Hello", "en")


async def test_no_program_at_all(tmp_path):
    with pytest.raises(SpeechUnavailableError, match="OUTDIAL_SPEECH_COMMAND"):
        await Voice("", tmp_path).say("Hello", "en")


async def test_too_much_is_not_taken(speaker, monkeypatch):
    monkeypatch.setattr(speech, "LARGEST_SPEECH", 1000)
    with pytest.raises(SpeechUnavailableError, match="larger than"):
        await speaker.voice.say("Hello", "en")

"""Greetings that espeak-ng speaks, for the bench of answering machines: each with its own voice, speed and pitch."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import wave
from array import array
from io import BytesIO

from outdial.core.audio import message_from_wav
from outdial.telephony.obtain import CACHE

PEOPLE = (
    "Hello?",
    "Yes?",
    "Hello, who is there?",
    "Miller.",
    "Anna Miller speaking.",
    "Hi, this is Tom.",
    "Good morning, Miller and Sons.",
    "City library, good afternoon, how can I help you?",
)
MACHINES = (
    "Hello, you have reached Anna Miller. I cannot take your call right now. Please leave a message after the tone.",
    "Hi, this is Tom. Leave a message and I will call you back.",
    "The person you are calling is not available. Please leave a message after the beep.",
    "Welcome to the voice mail of four one five, five five five, zero one zero zero. Please record your message.",
    "You have reached the offices of Miller and Sons. We are open Monday to Friday, from nine to five. Goodbye.",
)
VOICES = ("en-us", "en-gb", "en-gb-scotland", "en-us+f2", "en-gb+f4", "en-us+m3")


def program() -> str | None:
    """Where espeak-ng is: the machine's own, or that of ``make install``; None: nowhere."""
    return shutil.which(
        "espeak-ng", path=os.pathsep.join([os.environ.get("PATH", os.defpath), str(CACHE / "espeak-ng")])
    )


def spoken(chance: random.Random, *, is_machine: bool) -> array:
    """Return a greeting as 8 kHz samples."""
    found = program()
    assert found is not None
    words = (
        *(found, "-v", chance.choice(VOICES), "-s", str(chance.randint(130, 190)), "-p", str(chance.randint(30, 70))),
        *("--stdout", chance.choice(MACHINES if is_machine else PEOPLE)),
    )
    said = subprocess.run(words, check=True, capture_output=True).stdout  # noqa: S603 - words of this file
    with wave.open(BytesIO(message_from_wav(said).wav)) as sound:
        return array("h", sound.readframes(sound.getnframes()))

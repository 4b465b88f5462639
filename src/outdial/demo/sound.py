"""The demo's message: a small chime, made here so that no sound file has to be shipped."""

from __future__ import annotations

import io
import math
import wave
from array import array
from typing import Final

RATE: Final = 8000
"""Samples per second; what telephony carries."""

NOTES: Final = ((0.0, 523.25), (0.3, 659.25), (0.6, 783.99), (0.9, 1046.5))
"""When each note begins, in seconds, and its pitch, in hertz: C, E, G, C."""

SECONDS: Final = 2.5
LOUDNESS: Final = 0.25
_HALF_LIFE_SECONDS: Final = 0.35
_ATTACK_SECONDS: Final = 0.01
"""A note that begins at full strength clicks."""


def chime() -> bytes:
    """Return a WAV, 8 kHz 16-bit mono."""
    samples = array("h", (_sample(index / RATE) for index in range(int(SECONDS * RATE))))
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(samples.itemsize)
        wav.setframerate(RATE)
        wav.writeframes(samples.tobytes())
    return file.getvalue()


def _sample(at: float) -> int:
    strength = sum(_note(at - begin, pitch) for begin, pitch in NOTES if at >= begin)
    fade = min(1.0, (SECONDS - at) / _HALF_LIFE_SECONDS)
    return int(32767 * LOUDNESS * fade * strength)


def _note(age: float, pitch: float) -> float:
    envelope = min(1.0, age / _ATTACK_SECONDS) * 0.5 ** (age / _HALF_LIFE_SECONDS)
    wave_form = math.sin(2 * math.pi * pitch * age) + 0.3 * math.sin(4 * math.pi * pitch * age)
    return float(envelope * wave_form / 1.3)

"""WAV files for tests, right and wrong ones."""

from __future__ import annotations

import math
import struct
from array import array


def tone(frequency: float, *, rate: int, seconds: float, amplitude: float = 8000) -> array:
    """A sine as 16-bit samples."""
    count = round(rate * seconds)
    return array("h", (round(amplitude * math.sin(2 * math.pi * frequency * n / rate)) for n in range(count)))


def wav(samples: array | bytes, *, rate: int, channels: int = 1, bits: int = 16, kind: int = 1) -> bytes:
    """A WAV file with this header, whether or not it makes sense."""
    sound = samples if isinstance(samples, bytes) else samples.tobytes()
    frame = channels * bits // 8
    header = struct.pack("<HHIIHH", kind, channels, rate, rate * frame, frame, bits)
    return (
        struct.pack("<4sI4s4sI", b"RIFF", 36 + len(sound), b"WAVE", b"fmt ", 16)
        + header
        + struct.pack("<4sI", b"data", len(sound))
        + sound
    )

"""Recorded messages: any plain WAV file in, what telephony plays out (8 kHz, 16 bit, mono).

Resampling is a windowed-sinc low-pass computed at the output's instants only; each of the few distances an output
instant can have from the nearest input sample has its own filter, made once.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Final

from outdial.core.errors import InvalidInputError

RATE: Final = 8000
"""Samples per second of a narrowband call (G.711)."""

LOWEST_RATE: Final = 8000
HIGHEST_RATE: Final = 48_000
RATE_STEP: Final = 25
"""Rates are multiples of it, as all in use are (11,025 is the oddest); a resampling then needs at most 320 filters."""

LONGEST_SECONDS: Final = 600
"""Longest message; it also bounds the work of one conversion."""

CUTOFF_HZ: Final = 3600
"""Half-power point of the low-pass: voice up to 3.2 kHz passes untouched, what would fold below 3.4 kHz is gone."""

HALF_WIDTH: Final = 16
"""Reach of the filter to each side, in output samples; with a Hamming window the transition is 0.8 kHz wide."""

HOW_TO_CONVERT: Final = "convert it with: ffmpeg -i message -ar 8000 -ac 1 -sample_fmt s16 message.wav"

_PCM: Final = 1
_EXTENSIBLE: Final = 0xFFFE
_FORMAT_BYTES: Final = 16
_EXTENSIBLE_BYTES: Final = 40
_UNKNOWN_SIZE: Final = 0x7FFF_0000
"""Programs that write to a pipe put sizes this large or larger, since they cannot come back to fill them in."""

_OTHER_ENDIAN: Final = sys.byteorder == "big"


@dataclass(frozen=True, slots=True)
class Message:
    """A message ready to be played."""

    wav: bytes
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class _Format:
    channels: int
    rate: int
    bits: int

    @property
    def frame(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * self.bits // 8


def message_from_wav(data: bytes) -> Message:
    """Return the sound of a PCM WAV file (8 or 16 bit, mono or stereo, 8–48 kHz) as telephony plays it.

    Takes about four seconds per minute of sound at 48 kHz. Raises InvalidInputError.
    """
    sound_format, sound = _read(data)
    count = len(sound) // sound_format.frame
    if not count:
        raise InvalidInputError(["The WAV file has no sound in it."])
    if count > LONGEST_SECONDS * sound_format.rate:
        raise InvalidInputError([f"The message is longer than {LONGEST_SECONDS // 60} minutes."])
    # an incomplete last sample is dropped
    samples = _mono(sound_format, sound[: count * sound_format.frame])
    if sound_format.rate != RATE:
        samples = _resampled(samples, sound_format.rate)
    return Message(wav=_written(samples), duration_seconds=len(samples) / RATE)


def _read(data: bytes) -> tuple[_Format, memoryview]:
    """Return the format and the bytes of the sound."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise InvalidInputError([f"The file is not a WAV file; {HOW_TO_CONVERT}."])
    view, place, sound_format = memoryview(data), 12, None
    while place + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, place)
        body = view[place + 8 : place + 8 + size]
        if kind == b"fmt ":
            sound_format = _format(bytes(body))
        elif kind == b"data":
            if sound_format is None:
                break
            if len(body) < size < _UNKNOWN_SIZE:
                raise InvalidInputError(["The WAV file is cut off: it ends before its sound does. Copy it again."])
            return sound_format, body
        # chunks begin at even places
        place += 8 + size + size % 2
    raise InvalidInputError([f"The WAV file is damaged: it has no format or no sound; {HOW_TO_CONVERT}."])


def _format(body: bytes) -> _Format:
    if len(body) < _FORMAT_BYTES:
        raise InvalidInputError([f"The WAV file's header is damaged; {HOW_TO_CONVERT}."])
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if kind == _EXTENSIBLE and len(body) >= _EXTENSIBLE_BYTES:
        # the true kind is the start of the sub-format's GUID
        (kind,) = struct.unpack_from("<H", body, 24)
    problems = []
    if kind != _PCM or bits not in {8, 16}:
        problems.append(f"The WAV file is not plain PCM of 8 or 16 bits; {HOW_TO_CONVERT}.")
    if channels not in {1, 2}:
        problems.append(f"The WAV file has {channels} channels; it must be mono or stereo; {HOW_TO_CONVERT}.")
    if not LOWEST_RATE <= rate <= HIGHEST_RATE or rate % RATE_STEP:
        problems.append(
            f"The WAV file has {rate} samples per second; the usual rates from {LOWEST_RATE} to {HIGHEST_RATE} can be "
            f"read; {HOW_TO_CONVERT}."
        )
    if problems:
        raise InvalidInputError(problems)
    return _Format(channels=channels, rate=rate, bits=bits)


def _mono(sound_format: _Format, sound: memoryview) -> array[int]:
    """Return the samples as 16 bit, both channels mixed."""
    if sound_format.bits == 8:  # noqa: PLR2004 - bits
        samples = array("h", ((value - 128) << 8 for value in sound))
    else:
        samples = array("h")
        samples.frombytes(sound)
        if _OTHER_ENDIAN:
            samples.byteswap()
    if sound_format.channels == 1:
        return samples
    return array("h", ((left + right) >> 1 for left, right in zip(samples[::2], samples[1::2], strict=True)))


def _resampled(samples: array[int], rate: int) -> array[int]:
    common = math.gcd(RATE, rate)
    up, down = RATE // common, rate // common
    reach = math.ceil(HALF_WIDTH * rate / RATE)
    # silence before and after, so that every filter finds its samples
    padded = array("h", bytes(2 * reach)) + samples + array("h", bytes(2 * (reach + 1)))
    width = 2 * reach
    filters = [_filter(rate, phase / up) for phase in range(up)]
    count = -(-len(samples) * up // down)
    out = array("h", bytes(2 * count))
    for index in range(count):
        start, phase = divmod(index * down, up)
        # padded[start + reach] is the input sample at or just before the output's instant: the middle one
        near = padded[start + 1 : start + 1 + width]
        value = round(sum(map(mul, filters[phase], near)))
        out[index] = max(-32768, min(32767, value))
    return out


def _filter(rate: int, offset: float) -> Sequence[float]:
    """Return the weights of the input samples around an instant that is ``offset`` samples after the middle one."""
    reach = math.ceil(HALF_WIDTH * rate / RATE)
    weights = [_weight(place - offset, rate, reach) for place in range(1 - reach, reach + 1)]
    # the sum decides the loudness of a steady tone
    total = sum(weights)
    return tuple(weight / total for weight in weights)


def _weight(distance: float, rate: int, reach: int) -> float:
    angle = 2 * math.pi * CUTOFF_HZ * distance / rate
    sinc = math.sin(angle) / angle if angle else 1.0
    return sinc * (0.54 + 0.46 * math.cos(math.pi * distance / reach))


def _written(samples: array[int]) -> bytes:
    if _OTHER_ENDIAN:
        samples.byteswap()
    sound = samples.tobytes()
    sound_format = struct.pack("<HHIIHH", _PCM, 1, RATE, RATE * 2, 2, 16)
    return b"".join(
        (
            struct.pack("<4sI4s4sI", b"RIFF", 36 + len(sound), b"WAVE", b"fmt ", len(sound_format)),
            sound_format,
            struct.pack("<4sI", b"data", len(sound)),
            sound,
        )
    )

"""Messages: what files are read, that sound stays what it was, and that nothing folds down into it."""

from __future__ import annotations

import cmath
import io
import math
import struct
import wave
from array import array
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.core.audio import message_from_wav
from outdial.core.errors import InvalidInputError
from sounds import tone, wav


def samples_of(data: bytes) -> array:
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (8000, 2, 1)
        samples = array("h")
        samples.frombytes(file.readframes(file.getnframes()))
        return samples


def level(samples: array, frequency: float) -> float:
    """Amplitude of one frequency in the middle half, by its Fourier coefficient."""
    middle = samples[len(samples) // 4 : 3 * len(samples) // 4]
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / len(middle)) for n in range(len(middle))]
    turns = (cmath.exp(2j * math.pi * frequency * n / 8000) for n in range(len(middle)))
    return 2 * abs(sum(map(math.prod, zip(window, middle, turns, strict=True)))) / sum(window)


def test_what_is_right_already_stays_as_it_is():
    samples = tone(440, rate=8000, seconds=0.1)
    message = message_from_wav(wav(samples, rate=8000))
    assert samples_of(message.wav) == samples
    assert message.duration_seconds == 0.1


@pytest.mark.parametrize("rate", [11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 8025, 47_975])
def test_a_tone_keeps_pitch_loudness_and_length_at_every_rate(rate):
    message = message_from_wav(wav(tone(1000, rate=rate, seconds=0.25, amplitude=10_000), rate=rate))
    samples = samples_of(message.wav)
    assert message.duration_seconds == pytest.approx(0.25, abs=2 / 8000)
    assert level(samples, 1000) == pytest.approx(10_000, rel=0.01)
    assert level(samples, 1500) < 20


@pytest.mark.parametrize("frequency", [300, 3200])
def test_the_voice_band_passes(frequency):
    message = message_from_wav(wav(tone(frequency, rate=44_100, seconds=0.25, amplitude=10_000), rate=44_100))
    assert level(samples_of(message.wav), frequency) == pytest.approx(10_000, rel=0.05)


@pytest.mark.parametrize("frequency", [4600, 6000, 10_000, 20_000])
def test_what_a_call_cannot_carry_does_not_fold_into_it(frequency):
    message = message_from_wav(wav(tone(frequency, rate=44_100, seconds=0.25, amplitude=30_000), rate=44_100))
    middle = samples_of(message.wav)[200:-200]
    assert max(map(abs, middle)) < 30_000 * 0.01


def test_the_loudest_sound_is_clipped_not_wrapped():
    square = array("h", ([32767] * 8 + [-32768] * 8) * 200)
    samples = samples_of(message_from_wav(wav(square, rate=16_000)).wav)
    peaks = samples[100:-100]
    assert max(peaks) == 32767
    assert min(peaks) == -32768
    assert all(abs(here - there) < 50_000 for here, there in pairwise(peaks))


def test_stereo_is_mixed():
    left, right = tone(500, rate=8000, seconds=0.1), tone(900, rate=8000, seconds=0.1)
    both = array("h", [value for pair in zip(left, right, strict=True) for value in pair])
    mixed = samples_of(message_from_wav(wav(both, rate=8000, channels=2)).wav)
    assert list(mixed) == [(one + other) >> 1 for one, other in zip(left, right, strict=True)]


def test_eight_bits():
    mixed = samples_of(message_from_wav(wav(bytes([128, 255, 0]), rate=8000, bits=8)).wav)
    assert list(mixed) == [0, 32512, -32768]


def test_extensible_headers_other_chunks_and_unknown_sizes():
    samples = tone(440, rate=8000, seconds=0.05)
    guid = struct.pack("<H", 1) + b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
    body = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 8000, 16_000, 2, 16, 22, 16, 4) + guid
    data = (
        b"RIFF\xff\xff\xff\xffWAVE"
        + struct.pack("<4sI", b"LIST", 3)
        + b"abc\x00"
        + struct.pack("<4sI", b"fmt ", len(body))
        + body
        + struct.pack("<4sI", b"data", 0xFFFFFFFF)
        + samples.tobytes()
        + b"x"
    )
    assert samples_of(message_from_wav(data).wav) == samples


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not a WAV file"),
        (b"ID3\x03mp3mp3mp3", "not a WAV file"),
        (b"RIFF\x00\x00\x00\x00WAVE", "no format or no sound"),
        (b"RIFF\x00\x00\x00\x00WAVEdata\x02\x00\x00\x00xx", "no format or no sound"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt \x02\x00\x00\x00xx", "header is damaged"),
        (wav(b"", rate=8000), "no sound in it"),
        (wav(b"\x00" * 100, rate=8000)[:-10], "cut off"),
        (wav(b"\x00" * 96, rate=8000, bits=24), "8 or 16 bits; convert it with"),
        (wav(b"\x00" * 96, rate=8000, kind=7, bits=8), "8 or 16 bits; convert it with"),
        (wav(b"\x00" * 96, rate=8000, channels=6), "6 channels"),
        (wav(b"\x00" * 96, rate=4000), "4000 samples per second"),
        (wav(b"\x00" * 96, rate=8001), "8001 samples per second"),
        (wav(b"\x00" * 96, rate=96_000), "96000 samples per second"),
        (wav(b"\x00" * (601 * 8000), rate=8000, bits=8), "longer than 10 minutes"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(data, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        message_from_wav(data)


def test_everything_wrong_is_told_at_once():
    with pytest.raises(InvalidInputError) as refused:
        message_from_wav(wav(b"\x00" * 96, rate=96_000, bits=24, channels=4))
    assert len(refused.value.problems) == 3


@given(st.binary(max_size=60))
def test_no_file_breaks_the_reader(tail):
    try:
        message = message_from_wav(b"RIFF\x00\x00\x00\x00WAVE" + tail)
    except InvalidInputError:
        return
    assert message.duration_seconds > 0

"""The chime: what telephony carries, and nothing that hurts the ear."""

from __future__ import annotations

import io
import wave
from array import array
from itertools import pairwise

from outdial.demo import sound


def samples() -> tuple[wave.Wave_read, array]:
    with wave.open(io.BytesIO(sound.chime())) as file:
        return file, array("h", file.readframes(file.getnframes()))


def test_it_is_eight_kilohertz_sixteen_bit_mono():
    file, values = samples()
    assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (8000, 2, 1)
    assert len(values) == sound.SECONDS * 8000


def test_it_neither_clips_nor_clicks():
    _, values = samples()
    assert 3000 < max(values) < 30_000
    assert -30_000 < min(values) < -3000
    assert abs(values[0]) < 50
    assert abs(values[-1]) < 50
    steps = [abs(after - before) for before, after in pairwise(values)]
    assert max(steps) < 12_000, "no jump louder than the notes themselves"


def test_each_note_is_heard_when_it_begins():
    _, values = samples()
    for begin, _pitch in sound.NOTES:
        at = int(begin * sound.RATE)
        assert max(map(abs, values[at : at + 800])) > 2000


def test_it_is_the_same_each_time():
    assert sound.chime() == sound.chime()

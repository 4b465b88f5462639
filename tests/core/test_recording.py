"""How recordings are named, and how long they are."""

from __future__ import annotations

import pytest

from outdial.core.recording import NoRecordingError, id_of, name_of, parse_name, seconds_of
from sounds import tone, wav

ATTEMPT = "0123456789abcdef0123456789abcdef"


def test_a_name_tells_its_call_and_its_step():
    name = name_of(ATTEMPT, 12, "leave-message")
    assert name == f"{ATTEMPT}-12-leave-message"
    assert parse_name(name) == (ATTEMPT, "leave-message")


@pytest.mark.parametrize(
    "name", ["", "message", ATTEMPT, f"{ATTEMPT}-x-a", f"{ATTEMPT}-1-", f"{ATTEMPT}-1-../a", f"x{ATTEMPT}-1-a"]
)
def test_what_is_not_ours_is_nobodys(name):
    assert parse_name(name) is None


def test_who_finds_it_twice_calls_it_the_same():
    assert id_of(name_of(ATTEMPT, 1, "a")) == id_of(name_of(ATTEMPT, 1, "a")) != id_of(name_of(ATTEMPT, 2, "a"))


def test_how_long_one_is():
    assert seconds_of(wav(tone(440, rate=8000, seconds=1.25), rate=8000)) == 1.25


@pytest.mark.parametrize("audio", [b"", b"RIFF", wav(b"", rate=8000), b"x" * 100], ids=["none", "cut", "empty", "else"])
def test_without_a_sound_nothing_was_recorded(audio):
    with pytest.raises(NoRecordingError):
        seconds_of(audio)

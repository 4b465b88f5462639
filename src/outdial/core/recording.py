"""Recordings of what people said on a call: how they are named, and how long one is."""

from __future__ import annotations

import io
import re
import wave
from typing import Final
from uuid import UUID, uuid5

_NAMESPACE: Final = UUID("8f1c7a52-93f5-5f0e-8e0a-5c1d2f0b7a33")
_NAME: Final = re.compile(r"([0-9a-f]{32})-([0-9]{1,6})-([A-Za-z_][A-Za-z0-9_-]{0,47}|0-answer)")

SAMPLE_STEP: Final = "0-answer"
"""Stands where else the step of a flow does: the first seconds of a call, while it is found out who has answered. No
step begins with a digit."""


class NoRecordingError(ValueError):
    """There is no sound in it, whatever the engine said; the text says why."""


def name_of(attempt_id: str, turn: int, step: str) -> str:
    """Return what a recording is called at its engine, and its file until it is listed: by it whoever finds it knows
    which call it belongs to."""
    return f"{attempt_id}-{turn}-{step}"


def sample_name(attempt_id: str) -> str:
    """Return what the recording of a call's first seconds is called."""
    return name_of(attempt_id, 0, SAMPLE_STEP)


def is_sample(name: str) -> bool:
    """Whether a recording of that name is one of a call's first seconds."""
    parsed = parse_name(name)
    return parsed is not None and parsed[1] == SAMPLE_STEP


def parse_name(name: str) -> tuple[str, str] | None:
    """Return the attempt and the step of a recording's name, None when it is no name of ours."""
    found = _NAME.fullmatch(name)
    return None if found is None else (found[1], found[3])


def id_of(name: str) -> str:
    """Return the wire id of the recording of that name: whoever finds it twice calls it the same."""
    return f"rc-{uuid5(_NAMESPACE, name)}"


def seconds_of(audio: bytes) -> float:
    """Return how long a WAV is. Raises NoRecordingError for one without a sound, and for what is no WAV."""
    try:
        with wave.open(io.BytesIO(audio)) as file:
            seconds: float = file.getnframes() / file.getframerate()
    except (wave.Error, EOFError, ZeroDivisionError) as error:
        raise NoRecordingError(f"what was recorded is no WAV ({error})") from None
    if not seconds:
        raise NoRecordingError("nothing was recorded: no sound came")
    return seconds

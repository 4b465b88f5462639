"""What outdial's own surface answers about answering machines."""

from __future__ import annotations

from dataclasses import asdict

import msgspec

from outdial.core.machine import Detection, DetectionTimings


class TimingsView(msgspec.Struct, frozen=True, rename="camel"):
    """By what an answering machine is told from a person."""

    decision_seconds: float
    no_speech_seconds: float
    speech_seconds: float
    pause_seconds: float
    words: int
    silence_level: int
    greeting_seconds: float
    tone_seconds: float


class DetectionView(msgspec.Struct, frozen=True, rename="camel"):
    """Who had answered, where that was to be found out."""

    verdict: str
    """`human`, `machine`; or one that is treated as a person: `no_speech`, `not_sure`, `failed`."""
    cause: str
    """In the words of the engine's detector; of `failed`, a sentence."""
    seconds: float
    """From the answer to the verdict."""
    timings: TimingsView
    """Those it was found by."""


def timings_view(timings: DetectionTimings) -> TimingsView:
    """Return their view."""
    return TimingsView(**asdict(timings))


def detection_view(detection: Detection | None) -> DetectionView | None:
    """Return its view, where there is one."""
    if detection is None:
        return None
    return DetectionView(detection.verdict, detection.cause, detection.seconds, timings_view(detection.timings))

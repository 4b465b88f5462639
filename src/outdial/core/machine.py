"""Answering machines: what an engine's detector goes by, what it may find, and what follows from that.

A person who is taken for a machine is hung up on or hears a message made for a tape; a machine that is taken for a
person costs a call. So whatever is not certainly a machine is a person's call, and the usual timings rather wait for
more speech than a person greets with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class MachineDetection(StrEnum):
    """What to do about answering machines."""

    NO = "no"
    """Nothing: whoever answers hears the flow at once."""
    DETECT = "detect"
    """A machine hears the flow from where it says that machines' calls begin, after its beep; where it says nothing of
    machines, they are hung up on."""
    DISCONNECT = "disconnect"
    """Machines are hung up on."""


class MachineVerdict(StrEnum):
    """Who has answered a call, as far as the engine's detector could tell."""

    HUMAN = "human"
    """Spoke briefly, then waited."""
    MACHINE = "machine"
    """Spoke on and on."""
    NO_SPEECH = "no_speech"
    """Said nothing; treated as a person."""
    NOT_SURE = "not_sure"
    """Neither, until the time for a decision was over; treated as a person."""
    FAILED = "failed"
    """The engine could not detect, or nothing came of it in time; treated as a person."""


@dataclass(frozen=True, slots=True)
class DetectionTimings:
    """By what an answering machine is told from a person.

    The names of the vendor's timers stand beside those that mean the same. Two of the usual ones are shorter than its
    own: whoever has answered hears nothing meanwhile.
    """

    decision_seconds: float = 5.0
    """At most so long after the answer: then it is a person's call. Vendor: Decision, 15."""
    no_speech_seconds: float = 2.5
    """Nothing is said for so long: a person's call. Vendor: No speech, 5."""
    speech_seconds: float = 2.5
    """So much speech without a pause is a machine's."""
    pause_seconds: float = 0.8
    """So much silence after speech is a person who waits."""
    words: int = 12
    """More than so many words without a pause are a machine's; a detector counts about one a syllable."""
    silence_level: int = 256
    """Sound below it is silence; mean amplitude of 16-bit samples."""
    greeting_seconds: float = 2.0
    """So much silence after a machine's greeting and beep: it records. Vendor: Greeting completion, 2."""
    tone_seconds: float = 20.0
    """A greeting that goes on for so long after the verdict is not waited for any longer. Vendor: Tone, 20."""


USUAL_TIMINGS: Final = DetectionTimings()


@dataclass(frozen=True, slots=True)
class Sample:
    """A verdict that is kept for somebody to review (``core.machine_review``)."""

    failure: str = ""
    """Why nothing of the call was recorded; empty: it was to be, from the begin of the detection on."""


@dataclass(frozen=True, slots=True)
class Detection:
    """What was found out about who has answered a call."""

    verdict: MachineVerdict
    cause: str
    """Of the engine's detector, in its own words, such as ``LONGGREETING-3020-3000``; of ``failed``, a sentence."""
    seconds: float
    """From the answer to the verdict."""
    timings: DetectionTimings
    """Those it was found by."""
    sample: Sample | None = None
    """None: it is not kept for review."""


class AfterVerdict(StrEnum):
    """What is done with a call once it is known who has answered."""

    PLAY = "play"
    """Its flow begins."""
    AWAIT_BEEP = "await_beep"
    """The greeting is listened to until it is over; then the flow begins where machines' calls do."""
    HANG_UP = "hang_up"


def after_verdict(mode: MachineDetection, verdict: MachineVerdict, *, has_machine_start: bool) -> AfterVerdict:
    """Return what follows. ``has_machine_start``: the flow says where an answering machine's call begins."""
    if verdict is not MachineVerdict.MACHINE or mode is MachineDetection.NO:
        return AfterVerdict.PLAY
    if mode is MachineDetection.DISCONNECT or not has_machine_start:
        return AfterVerdict.HANG_UP
    return AfterVerdict.AWAIT_BEEP


_AMD: Final = {"HUMAN": MachineVerdict.HUMAN, "MACHINE": MachineVerdict.MACHINE, "NOTSURE": MachineVerdict.NOT_SURE}
_SILENT: Final = "INITIALSILENCE"


def verdict_of_amd(status: str, cause: str) -> MachineVerdict:
    """Return the verdict that Asterisk's AMD() gives as AMDSTATUS and AMDCAUSE.

    It calls whoever says nothing a machine; here that is somebody who has not spoken yet.
    """
    if cause.startswith(_SILENT):
        return MachineVerdict.NO_SPEECH
    return _AMD.get(status, MachineVerdict.FAILED)


# How often the detector is wrong

Z_95: Final = 1.959964
"""Standard normal quantile of a two-sided interval of 95 %."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share, estimated from a sample, and the interval in which it lies with 95 % confidence, unless told."""

    value: float
    low: float
    high: float


def wilson(hits: int, of: int, *, z: float = Z_95) -> Share | None:
    """Return the share of which ``hits`` of ``of`` are a sample, with its score interval (E. B. Wilson, 1927); None of
    an empty sample. ``z``: quantile of another confidence.

    That interval keeps its promise for small samples and shares near 0, where that of the normal approximation says
    that nothing is ever wrong.
    """
    if not 0 <= hits <= of:
        raise ValueError(f"{hits} of {of}")
    if not of:
        return None
    share, z2 = hits / of, z**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = z * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of)) / (1 + z2 / of)
    return Share(share, max(0.0, middle - half) if hits else 0.0, min(1.0, middle + half) if hits < of else 1.0)

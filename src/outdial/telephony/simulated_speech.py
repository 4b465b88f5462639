"""What a simulated phone says first, and what a detector makes of it."""

from __future__ import annotations

from dataclasses import dataclass

from outdial.core.machine import DetectionTimings, MachineVerdict
from outdial.telephony import loopback


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict, and how long after the detector began it comes."""

    seconds: float
    verdict: MachineVerdict
    cause: str


def speech_seconds(phone: loopback.Phone) -> float:
    """Return for how long the phone speaks, or beeps, once it has answered."""
    match phone:
        case loopback.Phone.MACHINE:
            return loopback.GREETING_SECONDS + loopback.BEEP_SECONDS
        case loopback.Phone.GREETS:
            return loopback.HELLO_SECONDS
        case _:
            return 0.0


def found(phone: loopback.Phone, timings: DetectionTimings) -> Finding:
    """Return what a detector finds that begins with the answer."""
    spoken = speech_seconds(phone)
    if not spoken:
        finding = Finding(timings.no_speech_seconds, MachineVerdict.NO_SPEECH, "INITIALSILENCE")
    elif spoken >= timings.speech_seconds:
        finding = Finding(timings.speech_seconds, MachineVerdict.MACHINE, "LONGGREETING")
    else:
        finding = Finding(spoken + timings.pause_seconds, MachineVerdict.HUMAN, "HUMAN")
    if finding.seconds < timings.decision_seconds:
        return finding
    return Finding(timings.decision_seconds, MachineVerdict.NOT_SURE, "TOOLONG")

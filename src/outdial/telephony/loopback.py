"""The loopback carrier's table: the called number's last two digits choose what the phone does.

One table serves the managed Asterisk's dialplan, the simulated engine, the demo and docs/reference/loopback-carrier.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Phone(StrEnum):
    """What a loopback phone does with a call."""

    LISTENS = "listens"
    GREETS = "greets"
    PRESSES = "presses"
    MACHINE = "machine"
    BUSY = "busy"
    RINGS = "rings"
    REJECTS = "rejects"
    NOT_FOUND = "not_found"
    HANGS_UP = "hangs_up"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: numbers whose last two digits are ``first``–``last``, both included."""

    first: int
    last: int
    phone: Phone
    sentence: str
    sip_code: int | None = None
    """Final SIP status of a call that is not answered."""
    cause: int | None = None
    """Q.850 cause Asterisk gives that status."""


RULES: Final = (
    Rule(0, 47, Phone.LISTENS, "rings, answers, listens until the caller hangs up"),
    Rule(48, 49, Phone.GREETS, "rings, answers, says hello, listens"),
    Rule(50, 59, Phone.PRESSES, "rings, answers, presses the key of its third digit from the right after 2 s, listens"),
    Rule(60, 69, Phone.MACHINE, "rings, answers like an answering machine: speaks for 4 s, beeps, records"),
    Rule(70, 79, Phone.BUSY, "is busy", 486, 17),
    Rule(80, 89, Phone.RINGS, "rings until the caller gives up"),
    Rule(90, 92, Phone.REJECTS, "rings, then rejects the call", 603, 21),
    Rule(93, 95, Phone.NOT_FOUND, "does not exist", 404, 1),
    Rule(96, 99, Phone.HANGS_UP, "rings, answers, hangs up after 1 s"),
)

HANG_UP_SECONDS: Final = 1.0
"""How long a phone of the row ``hangs_up`` listens."""

PRESS_SECONDS: Final = 2.0
"""How long a phone of the row ``presses`` listens before it does."""

GREETING_SECONDS: Final = 4.0
"""How long the answering machine speaks before it beeps."""

BEEP_SECONDS: Final = 0.5

HELLO_SECONDS: Final = 0.6
"""How long a phone of the row ``greets`` speaks."""

LISTENING_SECONDS: Final = 10.0
"""For how long it can be heard to say nothing after that; the others send no sound at all."""


def rule_of(number: str) -> Rule:
    """Return the row for a number; one that does not end in two digits listens."""
    digits = number[-2:]
    if not (digits.isascii() and digits.isdigit()):
        return RULES[0]
    return next(rule for rule in RULES if rule.first <= int(digits) <= rule.last)


def key_of(number: str) -> str:
    """Return the key that a phone of the row ``presses`` presses."""
    key = number[-3:-2]
    return key if key.isascii() and key.isdigit() else "0"


def ring_seconds(number: str) -> float:
    """Return how long the phone rings before it does anything: 1.0–2.8 s by the third digit from the right."""
    digit = number[-3:-2]
    return 1.0 + 0.2 * (int(digit) if digit.isascii() and digit.isdigit() else 0)

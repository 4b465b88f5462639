"""Call-backs: when somebody may be promised a call at an instant of their choice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

FARTHEST: Final = timedelta(days=366)
"""How far ahead a call-back may be asked for: what lies farther is a slip of the pen."""


class CallbackRefusal(StrEnum):
    """Why a call-back cannot be promised."""

    TIME_IN_PAST = "time_in_past"
    """The one reason the vendor documents."""
    TIME_TOO_FAR = "time_too_far"
    CONTACT_NOT_FOUND = "contact_not_found"
    """The id names no contact of this run."""
    DNC = "dnc"
    """The number is on a do-not-call list."""


@dataclass(frozen=True, slots=True)
class CallbackContact:
    """What is known about the contact that asks."""

    contact_id: int
    on_dnc: bool


def callback_refusal(contact: CallbackContact | None, *, at: datetime, now: datetime) -> CallbackRefusal | None:
    """Return why a contact (None: there is no such one in the run) cannot be promised a call at that instant; None when
    it can.

    How often the contact has been called and what came of it are no reasons: whoever asks to be called wants to be.
    Calling hours are none either: they are looked at when the instant has come, and the call waits for them.
    """
    if contact is None:
        return CallbackRefusal.CONTACT_NOT_FOUND
    if at <= now:
        return CallbackRefusal.TIME_IN_PAST
    if at - now > FARTHEST:
        return CallbackRefusal.TIME_TOO_FAR
    if contact.on_dnc:
        return CallbackRefusal.DNC
    return None

"""The numbers of a contact: which of them is dialed next.

They stand in a ring, in the order in which they came with the contact. One of them is dialed next, and stays so until a
retry rule turns to another (``core.retry``), or one may not be dialed at all: it is on a do-not-call list, or the run
knows that nobody has it. Where a list means the person, none of them is dialed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from outdial.core.model import OPT_OUTS, DncSource

MOST_NUMBERS: Final = 5
"""Of one contact, its first among them."""

OF_PERSON: Final = OPT_OUTS | {DncSource.ERASURE}
"""Sources of entries by which a person is meant, and not a telephone: whoever has the number is called at none of
theirs."""


@dataclass(frozen=True, slots=True)
class Number:
    """One number of a contact that has several, as it stands now."""

    phone: str
    on_account_dnc: bool = False
    on_campaign_dnc: bool = False
    is_invalid: bool = False
    """An attempt of the run has ended ``invalid_number`` there."""
    is_of_person: bool = False
    """It is on a list by an entry that means the person (:data:`OF_PERSON`)."""

    @property
    def is_listed(self) -> bool:
        """Whether a do-not-call list of the run has it."""
        return self.on_account_dnc or self.on_campaign_dnc


def after(phones: Sequence[str], phone: str, invalid: Collection[str] = ()) -> str | None:
    """Return the number that comes after one in the ring, passing over those that nobody has; None when there is no
    other. ``outdial_phone_after`` says the same in the database."""
    others = (one for one in _ring(phones, phone)[1:] if one not in invalid)
    return next(others, None)


def dialed(numbers: Sequence[Number], phone: str) -> Number:
    """Return the number that is dialed where ``phone`` is the one that comes next: itself, unless it may not be dialed
    and another of the ring after it may. Where none may, or no number of the person, it is one that the gate denies.
    Raises ValueError when it is none of them."""
    of = {one.phone: one for one in numbers}
    ring = [of[one] for one in _ring([one.phone for one in numbers], phone)]
    meant = (one for one in ring if one.is_of_person)
    free = (one for one in ring if not (one.is_listed or one.is_invalid))
    listed = (one for one in ring if one.is_listed)
    return next(chain(meant, free, listed), ring[0])


def _ring(phones: Sequence[str], phone: str) -> list[str]:
    """Return the numbers from one on, the first after the last."""
    place = list(phones).index(phone)
    return [*phones[place:], *phones[:place]]

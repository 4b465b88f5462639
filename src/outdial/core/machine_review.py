"""Verdicts about who has answered that are kept for somebody to review, and what reviews say of the detector.

A bench tells how the detector fares with made-up greetings; only a person who listens to real calls can tell how many
people it takes for machines there. So a share of calls has its first seconds recorded, and somebody says who it was.

Who has answered is not known when the recording must begin, and machines may be few: so each call draws once, is
listened to if either share would keep it, and is kept only if the share of its own verdict does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from outdial.core.machine import Z_95, MachineVerdict, Share, wilson

LONGEST_SECONDS: Final = 60.0
"""Of the recording of one call."""

Z_JOINT: Final = 2.241403
"""Standard normal quantile of a two-sided interval of 97.5 %: two that hold at once do so with 95 %, at least."""


class Actual(StrEnum):
    """Who had really answered, as somebody has heard."""

    PERSON = "person"
    MACHINE = "machine"
    UNCLEAR = "unclear"
    """It cannot be told."""


@dataclass(frozen=True, slots=True)
class ReviewShares:
    """Which share of a campaign's verdicts is kept for review, in percent, by chance."""

    machines: float = 0.0
    """Of the calls that are taken for machines'."""
    people: float = 0.0
    """Of those that are treated as people's."""
    seconds: float = 10.0
    """So much of a call is recorded, from the begin of the detection on; less where it ends before."""

    def of(self, verdict: MachineVerdict) -> float:
        """Return the share of that verdict."""
        return self.machines if verdict is MachineVerdict.MACHINE else self.people


NO_REVIEW: Final = ReviewShares()


def is_recorded(shares: ReviewShares, drawn: float) -> bool:
    """Whether a call is recorded until its verdict is known; ``drawn``: its luck, from 0 to 1, never 1."""
    return drawn * 100 < max(shares.machines, shares.people)


def is_kept(shares: ReviewShares, verdict: MachineVerdict, drawn: float) -> bool:
    """Whether a call with that verdict is kept for review; only what :func:`is_recorded` ever is."""
    return drawn * 100 < shares.of(verdict)


# What reviews say


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What is known of the calls with one verdict."""

    verdict: MachineVerdict
    found: int
    """So many had it."""
    kept: int
    """So many of them were kept for review."""
    unrecorded: int
    """Kept without a sound: recording failed, or nothing of it is there any more."""
    person: int
    machine: int
    unclear: int

    @property
    def waiting(self) -> int:
        """Kept, and not reviewed yet."""
        return self.kept - self.person - self.machine - self.unclear


@dataclass(frozen=True, slots=True)
class ReviewTable:
    """What was found, against what it really was."""

    rows: tuple[Reviewed, ...]
    """One of each verdict."""
    machines_wrong: Share | None
    """Of the calls that were taken for machines': people. None: none was reviewed."""
    people_wrong: Share | None
    """Of those treated as people's: machines."""
    people_taken: Share | None
    """Of all people who answered: taken for machines."""
    machines_taken: Share | None
    """Of all machines that answered: treated as people."""


@dataclass(frozen=True, slots=True)
class _Stratum:
    """The calls with one kind of verdict: how many, and what reviews of some say. What was unclear says nothing."""

    found: int
    wrong: int
    of: int

    def share(self, z: float = Z_95) -> Share | None:
        return wilson(self.wrong, self.of, z=z)


def review_table(rows: Mapping[MachineVerdict, Reviewed]) -> ReviewTable:
    """Return what the reviews say; ``rows`` may lack verdicts that nobody had.

    The shares of all people and of all machines weigh the two kinds of verdict by how many there were, since they may
    be kept by different shares. Their intervals hold with 95 % at least: at either end both kinds are as far off as
    intervals of 97.5 % let them be.
    """
    whole = tuple(rows.get(verdict, Reviewed(verdict, 0, 0, 0, 0, 0, 0)) for verdict in MachineVerdict)
    machines = [row for row in whole if row.verdict is MachineVerdict.MACHINE]
    people = [row for row in whole if row.verdict is not MachineVerdict.MACHINE]
    taken = _Stratum(
        sum(row.found for row in machines),
        sum(row.person for row in machines),
        sum(row.person + row.machine for row in machines),
    )
    treated = _Stratum(
        sum(row.found for row in people),
        sum(row.machine for row in people),
        sum(row.person + row.machine for row in people),
    )
    return ReviewTable(whole, taken.share(), treated.share(), _missed(taken, treated), _missed(treated, taken))


def _missed(wrong: _Stratum, right: _Stratum) -> Share | None:
    """Return the share that stands in ``wrong`` of all that are what ``right`` says."""
    missed, beside = wrong.share(Z_JOINT), right.share(Z_JOINT)
    if (missed is None and wrong.found) or (beside is None and right.found):
        return None
    none = Share(0.0, 0.0, 0.0)
    missed, beside = missed or none, beside or none

    def share(in_wrong: float, not_right: float) -> float | None:
        among = wrong.found * in_wrong
        all_of_them = among + right.found * (1.0 - not_right)
        return among / all_of_them if all_of_them else None

    value = share(missed.value, beside.value)
    low, high = share(missed.low, beside.low), share(missed.high, beside.high)
    if value is None:
        return None
    return Share(value, value if low is None else low, value if high is None else high)

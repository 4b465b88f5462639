"""How often one number may be called, in rolling windows over all campaigns of an account.

A limit says: no further call while so many attempts, conversations or abandoned calls of the number lie within so many
seconds. It may count by *matter*, an attribute of the contact (a debt, a subject): then what is known to have been
about another matter does not count. Where the matter of either call is not known, it counts.

Attempts count from when they were dialed, conversations and abandoned calls from when they ended. Attempts of which
nothing was sent do not count; those whose outcome nobody knows do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from outdial.core.model import Disposition

LARGEST_COUNT: Final = 100
SHORTEST_WINDOW_SECONDS: Final = 60
LONGEST_WINDOW_SECONDS: Final = 366 * 24 * 3600
LONGEST_MATTER: Final = 100
"""Characters of an attribute's name."""

_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR


class Counted(StrEnum):
    """What a limit counts."""

    ATTEMPTS = "attempts"
    CONVERSATIONS = "conversations"
    """Calls a person answered and heard."""
    ABANDONED = "abandoned"
    """Calls that were answered and heard nothing."""


COUNTED_DISPOSITIONS: Final[Mapping[Counted, frozenset[Disposition]]] = MappingProxyType(
    {
        Counted.ATTEMPTS: frozenset(Disposition),
        # of what nobody knows it must be supposed
        Counted.CONVERSATIONS: frozenset({Disposition.ANSWERED_HUMAN, Disposition.UNKNOWN}),
        Counted.ABANDONED: frozenset({Disposition.ABANDONED, Disposition.UNKNOWN}),
    }
)
"""How the attempts ended that count; ``outdial_beyond_limits`` says the same in the database."""


@dataclass(frozen=True, slots=True)
class LimitRule:
    """What a limit says."""

    count: int
    """From so many on nothing is dialed; 1 or more."""
    window_seconds: int
    counts: Counted
    matter: str | None = None
    """Name of the contact's attribute that says what a call is about; None: all calls count."""


@dataclass(frozen=True, slots=True)
class AttemptLimit:
    """A limit of an account, or of one application or campaign of it. Whoever it holds, it counts the calls of the
    whole account."""

    id: str
    account_id: str
    iid: str | None
    """The application whose calls it holds back; None: all of the account's."""
    campaign_id: str | None
    """The campaign whose calls it holds back; None: all of those."""
    rule: LimitRule
    preset: str | None
    """What it was made from."""
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class PastAttempt:
    """An attempt to the number that has ended and of which something may have left."""

    at: datetime
    """When it was dialed; when it was reserved, where nobody knows."""
    ended_at: datetime
    disposition: Disposition
    matters: Mapping[str, str] = field(default_factory=dict)
    """What it was about, by the names of the attributes that limits named then."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a number stands with a limit."""

    counted: int
    free_at: datetime | None
    """When it may be called again; None: now."""


def standing(rule: LimitRule, past: Sequence[PastAttempt], matters: Mapping[str, str], now: datetime) -> Standing:
    """Return how a number with that past stands at ``now``, for a call about those matters."""
    window = timedelta(seconds=rule.window_seconds)
    instants = sorted(
        at for one in past if _counts(rule, one, matters) and (at := instant_of(rule, one)) + window > now
    )
    if len(instants) < rule.count:
        return Standing(len(instants), None)
    # when this one leaves the window one less than the limit's count is left in it
    return Standing(len(instants), instants[-rule.count] + window)


def instant_of(rule: LimitRule, one: PastAttempt) -> datetime:
    """Return when an attempt counts."""
    return one.at if rule.counts is Counted.ATTEMPTS else one.ended_at


def looked_at(rules: Iterable[LimitRule], newest_first: Iterable[PastAttempt]) -> list[PastAttempt]:
    """Return of a number's past, in its order, what can decide how the number stands: of each rule and each matter it
    names the latest attempts, as many as its count."""
    left = [(rule, Counter[str | None]()) for rule in rules]
    kept = []
    for one in newest_first:
        needed = False
        for rule, seen in left:
            if one.disposition not in COUNTED_DISPOSITIONS[rule.counts]:
                continue
            matter = None if rule.matter is None else one.matters.get(rule.matter)
            if seen[matter] < rule.count:
                seen[matter] += 1
                needed = True
        if needed:
            kept.append(one)
    return kept


def _counts(rule: LimitRule, one: PastAttempt, matters: Mapping[str, str]) -> bool:
    if one.disposition not in COUNTED_DISPOSITIONS[rule.counts]:
        return False
    if rule.matter is None:
        return True
    theirs, ours = one.matters.get(rule.matter), matters.get(rule.matter)
    return theirs is None or ours is None or theirs == ours


@dataclass(frozen=True, slots=True)
class Preset:
    """Limits that a rule-maker's text asks for, with where it stands. No legal advice: read the text."""

    name: str
    source: str
    summary: str
    rules: tuple[LimitRule, ...]
    by_matter: bool
    """Whether the text counts by debt or subject, so that a matter may be named."""


PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                "us-regulation-f",
                "12 CFR 1006.14(b)(2) (CFPB, Regulation F)",
                "At most 7 calls about a debt in 7 consecutive days, and none within 7 days after a conversation about "
                "it.",
                (
                    LimitRule(7, 7 * _DAY, Counted.ATTEMPTS),
                    LimitRule(1, 7 * _DAY, Counted.CONVERSATIONS),
                ),
                by_matter=True,
            ),
            Preset(
                "us-florida",
                "Florida Statutes 501.616(6)(b)",
                "At most 3 sales calls about the same subject in 24 hours, from whatever number.",
                (LimitRule(3, _DAY, Counted.ATTEMPTS),),
                by_matter=True,
            ),
            Preset(
                "gb-ofcom-abandoned",
                "Ofcom, Persistent misuse: a statement of policy (2016)",
                "No call without an agent within 72 hours after an abandoned one.",
                (LimitRule(1, 72 * _HOUR, Counted.ABANDONED),),
                by_matter=False,
            ),
        )
    }
)
"""By name."""


def window_text(seconds: int) -> str:
    """Return a window in the largest unit that divides it, e.g. ``7 days``."""
    for name, length in (("day", _DAY), ("hour", _HOUR), ("minute", 60)):
        if seconds % length == 0 and seconds // length > 1:
            return f"{seconds // length} {name}s"
    return f"{seconds} seconds"

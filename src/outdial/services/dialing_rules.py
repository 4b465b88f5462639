"""Dialing rules of a campaign that the vendor's wire has no words for: retries by how an attempt ended, the breaker,
by what answering machines are told from people, and which share of those verdicts is kept for review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from outdial.core.errors import ConflictError, NotFoundError
from outdial.core.machine import DetectionTimings
from outdial.core.machine_review import LONGEST_SECONDS, ReviewShares
from outdial.core.model import LIVE_RUN_STATES, Breaker, Campaign, OwnRules, RetryRule
from outdial.core.retry import ELSEWHERE_DISPOSITIONS, FINAL_DISPOSITIONS
from outdial.services.campaigns import get_campaign
from outdial.services.fields import range_problems, require
from outdial.store import campaigns as store
from outdial.store import runs as runs_store
from outdial.store.database import Connection, Database

__all__ = ["OwnRules"]

MOST_RETRIES: Final = 100
LONGEST_RETRY_SECONDS: Final = 30 * 24 * 3600
FEWEST_ATTEMPTS: Final = 5
"""Of a breaker: a share of fewer says nothing."""
MOST_ATTEMPTS: Final = 500
SMALLEST_SHARE: Final = 0.05

TIMING_BOUNDS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "decision_seconds": (1, 30),
        "no_speech_seconds": (0.5, 20),
        "speech_seconds": (0.5, 20),
        "pause_seconds": (0.2, 5),
        "words": (2, 100),
        "silence_level": (16, 8000),
        "greeting_seconds": (0.5, 10),
        "tone_seconds": (1, 120),
    }
)
"""Field of ``DetectionTimings`` → the least and the most."""

SHORTEST_SAMPLE_SECONDS: Final = 1.0
"""Of what is recorded for a review."""


async def show_rules(database: Database, *, iid: str, campaign_id: str) -> OwnRules:
    """Return the campaign's rules. Raises NotFoundError."""
    return (await get_campaign(database, iid, campaign_id)).rules.own


async def set_rules(database: Database, rules: OwnRules, *, iid: str, campaign_id: str, actor: str) -> OwnRules:
    """Give the campaign these rules from its next run on, and return them.

    Raises InvalidInputError, NotFoundError, ConflictError while a run is live.
    """
    problems = [*_retry_problems(rules.retry_rules), *_breaker_problems(rules.breaker)]
    require([*problems, *timing_problems(rules.detection), *_review_problems(rules.review)])
    async with database.transaction() as connection:
        campaign = await _locked(connection, iid, campaign_id)
        await store.set_rules(connection, campaign.id, replace(campaign.rules, own=rules), actor=actor)
    return rules


async def _locked(connection: Connection, iid: str, campaign_id: str) -> Campaign:
    """Lock the campaign, as a start does."""
    campaign = await store.by_id(connection, iid, campaign_id, lock=True)
    if campaign is None:
        raise NotFoundError(f"There is no campaign with the id {campaign_id}.")
    run = await runs_store.latest_run(connection, campaign_id)
    if run is not None and run.state in LIVE_RUN_STATES:
        raise ConflictError(
            f"The campaign {campaign.name!r} cannot be changed while its run is {run.state}; stop it first."
        )
    return campaign


def _retry_problems(rules: Sequence[RetryRule]) -> list[str]:
    problems = []
    for place, rule in enumerate(rules):
        name = f"retryRules[{place}]"
        if rule.disposition in ELSEWHERE_DISPOSITIONS:
            if not rule.other_number:
                problems.append(
                    f"`{name}` is for {rule.disposition}, after which the same number is never tried again; with "
                    f"`{name}.otherNumber` another number of the contact is."
                )
        elif rule.disposition in FINAL_DISPOSITIONS:
            problems.append(f"`{name}` is for {rule.disposition}, after which nobody is ever tried again.")
        if rule.disposition in {other.disposition for other in rules[:place]}:
            problems.append(f"`{name}` is the second one for {rule.disposition}.")
        if rule.most is not None:
            problems += range_problems(f"{name}.most", rule.most, least=0, most=MOST_RETRIES)
        if rule.seconds is not None:
            problems += range_problems(f"{name}.seconds", rule.seconds, least=0, most=LONGEST_RETRY_SECONDS)
    return problems


def timing_problems(timings: DetectionTimings) -> list[str]:
    """Return what is wrong with them."""
    problems = [
        problem
        for name, (least, most) in TIMING_BOUNDS.items()
        for problem in range_problems(f"detection.{_wire(name)}", getattr(timings, name), least=least, most=most)
    ]
    if not problems:
        # else nobody would ever be found to be that
        problems += [
            f"`detection.{_wire(name)}` is {getattr(timings, name):g}; it must be less than "
            f"`detection.decisionSeconds`, which is {timings.decision_seconds:g}."
            for name in ("no_speech_seconds", "speech_seconds", "pause_seconds")
            if getattr(timings, name) >= timings.decision_seconds
        ]
    return problems


def _review_problems(review: ReviewShares) -> list[str]:
    return [
        *range_problems("review.machines", review.machines, least=0, most=100),
        *range_problems("review.people", review.people, least=0, most=100),
        *range_problems("review.seconds", review.seconds, least=SHORTEST_SAMPLE_SECONDS, most=LONGEST_SECONDS),
    ]


def _wire(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.title() for other in others)


def _breaker_problems(breaker: Breaker | None) -> list[str]:
    if breaker is None:
        return []
    return [
        *range_problems("breaker.attempts", breaker.attempts, least=FEWEST_ATTEMPTS, most=MOST_ATTEMPTS),
        *range_problems("breaker.share", breaker.share, least=SMALLEST_SHARE, most=1),
    ]

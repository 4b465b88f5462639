"""What outdial's own surface answers about answering machines."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

import msgspec

from outdial.core.machine import Detection, DetectionTimings, Share
from outdial.services.machine_reviews import KeptVerdict, PeriodReviews


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
    kept_for_review: bool


def timings_view(timings: DetectionTimings) -> TimingsView:
    """Return their view."""
    return TimingsView(**asdict(timings))


def detection_view(detection: Detection | None) -> DetectionView | None:
    """Return its view, where there is one."""
    if detection is None:
        return None
    return DetectionView(
        detection.verdict,
        detection.cause,
        detection.seconds,
        timings_view(detection.timings),
        kept_for_review=detection.sample is not None,
    )


class KeptVerdictView(msgspec.Struct, frozen=True, rename="camel"):
    """A verdict about who has answered that is kept for review."""

    attempt_id: str
    campaign_id: str
    instance_id: str
    answered_at: datetime
    machine_detection: DetectionView
    recording_id: str | None
    """Of the call's first seconds; null: there is none, or not any more, or not yet."""
    unrecorded_because: str
    """Empty: it was recorded, or was to be."""
    actual: str | None
    """Who had really answered: `person`, `machine` or `unclear`; null: it waits for its review."""
    reviewed_by: str | None
    reviewed_at: datetime | None


class ShareView(msgspec.Struct, frozen=True):
    """A share, from 0 to 1, and the interval in which it lies with 95 % confidence."""

    value: float
    low: float
    high: float


class ReviewedView(msgspec.Struct, frozen=True):
    """The calls with one verdict."""

    verdict: str
    found: int
    """So many had it."""
    kept: int
    """So many of them for review."""
    unrecorded: int
    """Kept without a recording."""
    waiting: int
    """Not reviewed yet."""
    person: int
    machine: int
    unclear: int


class ReviewTableView(msgspec.Struct, frozen=True, rename="camel"):
    """What was found, against what it really was. Shares are null where too little was reviewed; what was unclear says
    nothing in them."""

    campaign_id: str | None
    begin: datetime
    end: datetime
    verdicts: list[ReviewedView]
    machines_wrong: ShareView | None
    """Of the calls that were taken for machines': people."""
    people_wrong: ShareView | None
    """Of those treated as people's: machines."""
    people_taken: ShareView | None
    """Of all people who answered: taken for machines."""
    machines_taken: ShareView | None
    """Of all machines that answered: treated as people."""


def kept_verdict_view(kept: KeptVerdict) -> KeptVerdictView:
    """Return its view."""
    shown, sample = detection_view(kept.detection), kept.detection.sample
    assert shown is not None  # noqa: S101 - there is one of what is kept
    assert sample is not None  # noqa: S101 - it is what is kept
    return KeptVerdictView(
        attempt_id=kept.attempt_id,
        campaign_id=kept.campaign_id,
        instance_id=kept.run_instance_id,
        answered_at=kept.answered_at,
        machine_detection=shown,
        recording_id=kept.recording_id,
        unrecorded_because=sample.failure,
        actual=kept.actual,
        reviewed_by=kept.reviewed_by,
        reviewed_at=kept.reviewed_at,
    )


def review_table_view(found: PeriodReviews) -> ReviewTableView:
    """Return its view."""
    table = found.table
    return ReviewTableView(
        campaign_id=found.campaign_id,
        begin=found.begin,
        end=found.end,
        verdicts=[ReviewedView(**asdict(row), waiting=row.waiting) for row in table.rows],
        machines_wrong=_share(table.machines_wrong),
        people_wrong=_share(table.people_wrong),
        people_taken=_share(table.people_taken),
        machines_taken=_share(table.machines_taken),
    )


def _share(share: Share | None) -> ShareView | None:
    return None if share is None else ShareView(**asdict(share))

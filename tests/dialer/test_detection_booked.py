"""Who has answered, as it is booked: once, some time after the answer, and told with the attempt's end."""

from __future__ import annotations

import uuid
from dataclasses import asdict, replace
from datetime import UTC, datetime

import pytest

from dialer.test_node import register
from dialer.test_run import start
from dialing import phones, set_stage
from outdial.core.machine import Detection, DetectionTimings, MachineVerdict, Sample
from outdial.core.model import AttemptState, Disposition, DoneReason, RunContactState
from outdial.services import exports
from outdial.store import attempts, metrics, reserve
from outdial.store.attempts import AttemptNews, ContactNews
from outdial.store.reserve import Reservation

FOUND = Detection(MachineVerdict.MACHINE, "LONGGREETING-3020-3000", 3.21, DetectionTimings(decision_seconds=6.0))
DIALING = ContactNews(RunContactState.DIALING)


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(3))


@pytest.fixture
async def run(stage):
    return await start(stage)


@pytest.fixture
async def answered(stage, run, secret_box) -> AttemptNews:
    """An attempt that was answered a moment ago."""
    await register(stage.database, secret_box, "e1", "n1")
    attempt_id = uuid.uuid4().hex
    async with stage.database.connection() as connection:
        (first, *_) = await reserve.candidates(connection, run, 1)
        await reserve.reserve(
            connection, run, "n1", Reservation((), (), [(first.contact_id, attempt_id)], (), 10, 10, None)
        )
    now = datetime.now(UTC)
    news = AttemptNews(
        attempt_id, AttemptState.ANSWERED, "n1", dialed_at=now, ringing_at=now, answered_at=now, contact=DIALING
    )
    await book(stage, news)
    return news


async def book(stage, news: AttemptNews) -> bool:
    async with stage.database.connection() as connection:
        return bool(await attempts.book(connection, [news]))


async def found(stage, run) -> Detection | None:
    async with stage.database.connection() as connection:
        (attempt,) = await attempts.page(connection, run, after=None, limit=10)
    return attempt.detection


def ended(news: AttemptNews, detection: Detection | None) -> AttemptNews:
    return replace(
        news,
        state=AttemptState.ENDED,
        disposition=Disposition.ANSWERED_MACHINE,
        ended_at=datetime.now(UTC),
        detection=detection,
        contact=ContactNews(RunContactState.DONE, done_reason=DoneReason.REACHED),
    )


def document(found: Detection) -> dict:
    """As history has it: what there is none of is left out."""
    return {name: value for name, value in asdict(found).items() if value is not None}


async def test_that_it_is_kept_for_review_is_told_with_it(stage, run, answered):
    kept = replace(FOUND, sample=Sample("no snoop here"))
    await book(stage, replace(answered, detection=kept))
    assert await found(stage, run) == kept
    await book(stage, ended(answered, kept))
    (*_, (_, detail)) = await told(stage)
    assert detail == document(kept)
    assert detail["sample"] == {"failure": "no snoop here"}


async def told(stage) -> list[tuple[str, dict | None]]:
    async with stage.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT to_state, detail -> 'detection' AS found FROM history WHERE action = 'attempt' ORDER BY id"
        )
    return [(row["to_state"], row["found"]) for row in rows]


async def test_a_verdict_is_written_once_and_moves_no_state(stage, run, answered):
    assert await found(stage, run) is None
    assert await book(stage, replace(answered, detection=FOUND))
    assert await found(stage, run) == FOUND
    other = Detection(MachineVerdict.HUMAN, "HUMAN-800-800", 1.0, DetectionTimings())
    assert not await book(stage, replace(answered, detection=other)), "the first one counts"
    assert await found(stage, run) == FOUND
    assert await book(stage, ended(answered, FOUND))
    assert await told(stage) == [("reserved", None), ("answered", None), ("ended", document(FOUND))]


async def test_a_verdict_that_comes_with_the_end_is_written_too(stage, run, answered):
    assert await book(stage, ended(answered, FOUND))
    assert await found(stage, run) == FOUND
    assert not await book(stage, replace(answered, detection=FOUND)), "nothing after an end"


async def test_news_without_one_changes_nothing(stage, run, answered):
    assert not await book(stage, answered)
    assert await book(stage, ended(answered, None))
    assert await found(stage, run) is None


async def test_it_is_counted_and_exported(stage, run, answered):
    await book(stage, ended(answered, FOUND))
    async with stage.database.connection() as connection:
        assert (await metrics.live(connection)).verdicts == {"machine": 1}
        await connection.execute("UPDATE attempts SET answered_at = answered_at - interval '6 minutes'")
        assert (await metrics.live(connection)).verdicts == {}
    lines = b"".join([part async for part in exports.attempts_csv(stage.database, run)]).decode().splitlines()
    assert lines[0].endswith(",verdict,verdictCause,verdictSeconds")
    assert lines[1].endswith(",machine,LONGGREETING-3020-3000,3.21")

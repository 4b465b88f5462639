"""The book: newest news wins, nothing is lost while the database is away."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
import pytest

from dialing import phones, set_stage
from outdial.core.errors import DatabaseUnavailableError
from outdial.core.model import AttemptState, Disposition, DoneReason, EngineKind, RunContactState
from outdial.dialer import book as module
from outdial.dialer.book import Book
from outdial.services import runs
from outdial.store import attempts, engines, nodes, reserve
from outdial.store.attempts import AttemptNews, ContactNews
from outdial.store.nodes import NodeRow
from outdial.store.reserve import Reservation

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture
async def reserved(database, secret_box) -> list[str]:
    """Ten reserved attempts."""
    stage = await set_stage(database, secret_box, phones(10))
    run = (await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")).run
    async with database.connection() as connection:
        await engines.put(
            connection,
            secret_box,
            engine_id="e1",
            kind=EngineKind.SIMULATED,
            url=None,
            username=None,
            password=None,
        )
        await nodes.register(connection, NodeRow("n1", "n1", "h", 1, "app", "e1"), ttl_seconds=60)
        people = await reserve.candidates(connection, run, 10)
        wanted = [(one.contact_id, uuid.uuid4().hex) for one in people]
        await reserve.reserve(connection, run, "n1", Reservation((), (), wanted, (), 10, 10, None))
    return [attempt_id for _, attempt_id in wanted]


@contextlib.asynccontextmanager
async def keeping(database):
    book = Book(database)
    task = asyncio.create_task(book.run())
    try:
        yield book, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def dialing(attempt_id: str, state: AttemptState = AttemptState.DIALING) -> AttemptNews:
    return AttemptNews(id=attempt_id, state=state, by="n1", dialed_at=NOW, contact=ContactNews(RunContactState.DIALING))


def ended(attempt_id: str) -> AttemptNews:
    return AttemptNews(
        id=attempt_id,
        state=AttemptState.ENDED,
        by="n1",
        disposition=Disposition.BUSY,
        dialed_at=NOW,
        ended_at=NOW,
        contact=ContactNews(RunContactState.DONE, done_reason=DoneReason.ATTEMPTS_USED),
    )


async def states(database) -> dict[str, int]:
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT state, count(*) FROM attempts GROUP BY 1")
    return {row["state"]: row["count"] for row in rows}


async def test_what_was_put_is_written_once_flushed(database, reserved):
    async with keeping(database) as (book, _):
        for attempt_id in reserved:
            book.put(dialing(attempt_id))
        await book.flush()
        assert await states(database) == {"dialing": 10}


async def test_flushing_nothing_returns_at_once(database):
    async with keeping(database) as (book, _):
        await asyncio.wait_for(book.flush(), 1)


async def test_flushing_waits_for_what_is_known_and_not_for_all_that_comes(database, reserved, monkeypatch):
    """A node that drops one run has news of others all the time."""
    book_news, busy = module.store.book, asyncio.Event()

    async def and_more_comes(connection, news):
        await book_news(connection, news)
        if not busy.is_set():
            book.put(replace(dialing(reserved[1]), reason=uuid.uuid4().hex))

    monkeypatch.setattr(module.store, "book", and_more_comes)
    async with keeping(database) as (book, _):
        book.put(ended(reserved[0]))
        await asyncio.wait_for(book.flush(), 5)
        assert (await states(database))["ended"] == 1
        busy.set()
        await book.flush()
        assert len(book) == 0


async def test_flushing_waits_for_the_news_that_came_while_older_was_written(database, reserved, monkeypatch):
    """The lot that is under way holds what was known before."""
    book_news, begun, goes_on = module.store.book, asyncio.Event(), asyncio.Event()

    async def held(connection, news):
        begun.set()
        await goes_on.wait()
        await book_news(connection, news)

    monkeypatch.setattr(module.store, "book", held)
    async with keeping(database) as (book, _):
        book.put(dialing(reserved[0]))
        await begun.wait()
        book.put(ended(reserved[0]))
        flush = asyncio.create_task(book.flush())
        await asyncio.sleep(0)
        goes_on.set()
        await flush
        assert await states(database) == {"ended": 1, "reserved": 9}


async def test_the_newest_news_of_an_attempt_says_all(database, reserved):
    async with keeping(database) as (book, _):
        book.put(dialing(reserved[0]))
        book.put(dialing(reserved[0], AttemptState.RINGING))
        book.put(ended(reserved[0]))
        await book.flush()
        assert await states(database) == {"ended": 1, "reserved": 9}
        async with database.connection() as connection:
            steps = await connection.fetch(
                "SELECT to_state FROM history WHERE attempt_id = $1 ORDER BY id", reserved[0]
            )
        # what came before it was written is not written any more
        assert [row["to_state"] for row in steps] == ["reserved", "ended"]


async def test_an_end_is_not_replaced_by_another_before_it_is_written(database, reserved):
    """A second look at a dead node's attempts finds this one still open in the database, and its call gone."""
    async with keeping(database) as (book, _):
        book.put(ended(reserved[0]))
        book.put(replace(ended(reserved[0]), state=AttemptState.UNKNOWN, disposition=Disposition.UNKNOWN))
        book.put(dialing(reserved[0]))
        await book.flush()
        assert await states(database) == {"ended": 1, "reserved": 9}
        # and neither once it is
        book.put(replace(ended(reserved[0]), state=AttemptState.UNKNOWN, disposition=Disposition.UNKNOWN))
        await book.flush()
        assert await states(database) == {"ended": 1, "reserved": 9}


async def test_more_than_a_lot_is_written_in_several(database, reserved, monkeypatch):
    monkeypatch.setattr(module, "LOT", 3)
    sizes = []
    write = attempts.book

    async def counting(connection, news):
        news = list(news)
        sizes.append(len(news))
        return await write(connection, news)

    monkeypatch.setattr(attempts, "book", counting)
    async with keeping(database) as (book, _):
        for attempt_id in reserved:
            book.put(ended(attempt_id))
        await book.flush()
    assert sizes == [3, 3, 3, 1]
    assert await states(database) == {"ended": 10}


async def test_news_that_comes_while_writing_is_not_forgotten(database, reserved, monkeypatch):
    write = attempts.book
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection, news):
        began.set()
        await go_on.wait()
        return await write(connection, news)

    monkeypatch.setattr(attempts, "book", slow)
    async with keeping(database) as (book, _):
        book.put(dialing(reserved[0]))
        await began.wait()
        book.put(ended(reserved[0]))
        book.put(dialing(reserved[1]))
        go_on.set()
        await book.flush()
    assert await states(database) == {"ended": 1, "dialing": 1, "reserved": 8}


async def test_nothing_is_lost_while_the_database_is_away(database, reserved, monkeypatch):
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    write = attempts.book
    failures = iter(range(5))

    async def failing(connection, news):
        if next(failures, None) is not None:
            raise DatabaseUnavailableError("away")
        return await write(connection, news)

    monkeypatch.setattr(attempts, "book", failing)
    async with keeping(database) as (book, task):
        for attempt_id in reserved:
            book.put(ended(attempt_id))
        await book.flush()
        assert not task.done()
    assert await states(database) == {"ended": 10}


async def test_what_can_never_be_written_ends_the_book_instead_of_being_dropped(database, reserved):
    async with keeping(database) as (book, task):
        # an end without a disposition: the table refuses it
        book.put(AttemptNews(id=reserved[0], state=AttemptState.ENDED, by="n1", ended_at=NOW))
        await asyncio.wait([task], timeout=10)
        with pytest.raises(asyncpg.CheckViolationError):
            task.result()

"""The sliding window, under a clock of the test's own."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from outdial.store import request_counts
from outdial.store.database import Database

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def admit(database: Database, seconds: float, *, limit: int, account: str = "a") -> int:
    async with database.connection() as connection:
        return await request_counts.admit(connection, account, limit=limit, at=START + timedelta(seconds=seconds))


async def test_a_full_window_refuses_and_says_when_the_oldest_leaves_it(database):
    assert await admit(database, 0, limit=2) == 0
    assert await admit(database, 20.5, limit=2) == 0
    assert await admit(database, 20.5, limit=2) == 41
    assert await admit(database, 60.9, limit=2) == 1
    assert await admit(database, 61, limit=2) == 0
    assert await admit(database, 61, limit=2) == 20


async def test_refused_requests_do_not_count(database):
    assert await admit(database, 0, limit=1) == 0
    for second in range(1, 60, 7):
        assert await admit(database, second, limit=1) > 0
    assert await admit(database, 61, limit=1) == 0


async def test_accounts_do_not_share_a_window(database):
    assert await admit(database, 0, limit=1) == 0
    assert await admit(database, 0, limit=1, account="b") == 0


async def test_a_long_silence_empties_the_window(database):
    for _ in range(5):
        assert await admit(database, 0, limit=5) == 0
    for _ in range(5):
        assert await admit(database, 100_000, limit=5) == 0
    assert await admit(database, 100_000, limit=5) == 61


async def test_a_clock_that_steps_back_opens_nothing(database):
    for _ in range(3):
        assert await admit(database, 500, limit=3) == 0
    assert await admit(database, 0, limit=3) > 0
    assert await admit(database, 501, limit=3) == 60


async def test_many_processes_at_once_count_together(database, dsn):
    others = [await Database.open(dsn, pool_size=5) for _ in range(2)]
    answers = await asyncio.gather(*(admit(pool, 7, limit=50) for pool in [database, *others] for _ in range(40)))
    assert sorted(answers)[:50] == [0] * 50
    assert all(answer > 0 for answer in sorted(answers)[50:])
    for pool in others:
        await pool.close()


async def test_the_row_is_free_again_at_once(database):
    """Whoever counted and then froze keeps nobody waiting: the lock ends with the statement."""
    async with database.connection() as first:
        assert await request_counts.admit(first, "a", limit=9) == 0
        async with database.connection() as second:
            await second.execute("SET lock_timeout = '1ms'")
            assert await request_counts.admit(second, "a", limit=9) == 0
            await second.execute("RESET lock_timeout")


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 5), st.lists(st.floats(0, 30), max_size=40))
def test_no_sixty_seconds_ever_hold_more_than_the_limit(limit, pauses):
    """A model of the function, which the next test holds against the function itself."""
    counted, _ = _play(limit, pauses)
    for first in counted:
        assert sum(first <= at < first + 60 for at in counted) <= limit


def _play(limit: int, pauses: list[float]) -> tuple[list[float], list[int]]:
    now, counted, answers = 0.0, [], []
    for pause in pauses:
        now += pause
        inside = [at for at in counted if int(at) >= int(now) - 60]
        if len(inside) >= limit:
            answers.append(1)
        else:
            counted.append(now)
            answers.append(0)
    return counted, answers


async def test_the_function_admits_what_the_model_admits(database):
    pauses = [(7 * step * step % 23) + step % 4 * 0.25 for step in range(150)]
    for limit in (1, 2, 5, 9):
        now, answers = 0.0, []
        for pause in pauses:
            now += pause
            wait = await admit(database, now, limit=limit, account=f"model {limit}")
            assert 0 <= wait <= 61
            answers.append(int(wait > 0))
        assert answers == _play(limit, pauses)[1]

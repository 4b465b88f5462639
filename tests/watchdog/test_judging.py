"""INVITEs are judged by what the database says, also when it says it late."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.test_watch import SEEN
from outdial.core.watch import Breach
from outdial.store.database import Database
from outdial.watchdog import judging
from outdial.watchdog.alarms import Alarms
from outdial.watchdog.counts import Counts
from outdial.watchdog.judging import Judge
from support.door import Door
from waiting import until

RUNLESS = replace(SEEN, permission=None)


@pytest.fixture
async def door(dsn):
    inner = await Database.open(dsn, pool_size=4, application_name="node")
    found = Door(inner, dsn)
    yield found
    await inner.close()


@contextlib.asynccontextmanager
async def beside(*works):
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
        for task in tasks:
            assert not task.done(), task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def metric(counts: Counts, line: str) -> float:
    lines = counts.text().decode().splitlines()
    return sum(float(each.rpartition(" ")[2]) for each in lines if each.startswith(f"outdial_watchdog_{line}"))


async def test_while_the_database_is_away_they_wait_and_are_judged_afterwards(door):
    counts, found = Counts(), []
    judge = Judge(door, counts, tolerance=timedelta(), on_breach=lambda *said: found.append(said))
    async with beside(judge.run()):
        await door.slam()
        sent = [replace(RUNLESS, call_id=f"c{place}", sent_at=datetime.now(UTC)) for place in range(5)]
        for seen in sent:
            judge.take(seen)
        await until(lambda: judge.problem is not None)
        assert metric(counts, "waiting") == 5
        assert metric(counts, "database_up") == 0
        assert found == []
        door.shut = False
        await judge.until_idle()
    assert [seen for seen, _, _ in found] == sent
    assert judge.problem is None
    assert (metric(counts, "waiting"), metric(counts, "database_up")) == (0, 1)


async def test_those_that_no_longer_fit_are_counted(door, monkeypatch):
    monkeypatch.setattr(judging, "MOST_WAITING", 3)
    counts = Counts()
    judge = Judge(door, counts, tolerance=timedelta(), on_breach=lambda *_: None)
    for place in range(5):
        judge.take(replace(RUNLESS, call_id=f"c{place}"))
    assert judge.waiting == 3
    assert metric(counts, 'invites_total{outcome="lost"}') == 2


async def test_an_alarm_that_cannot_be_kept_waits_for_the_database(door, secret_box):
    counts, told = Counts(), []
    alarms = Alarms(door, secret_box, counts, webhook=None, on_alarm=told.append)
    judge = Judge(door, counts, tolerance=timedelta(), on_breach=alarms.raise_alarm)
    async with beside(judge.run()):
        judge.take(RUNLESS)
        await judge.until_idle()
        await door.slam()
        async with beside(alarms.run()):
            door.shut = False
            await alarms.until_idle()
    (alarm,) = told
    assert (alarm.breaches, alarm.call_id) == ((Breach.NO_PERMIT,), RUNLESS.call_id)
    assert metric(counts, 'alarms_total{breach="no_permit"}') == 1
    await alarms.close()


async def test_what_is_raised_again_after_a_new_start_is_one_alarm(door, secret_box):
    for expected in (1, 0):
        told: list = []
        alarms = Alarms(door, secret_box, Counts(), webhook=None, on_alarm=told.append)
        judge = Judge(door, Counts(), tolerance=timedelta(), on_breach=alarms.raise_alarm)
        async with beside(judge.run(), alarms.run()):
            judge.take(RUNLESS)
            await judge.until_idle()
            await alarms.until_idle()
        assert len(told) == expected
        await alarms.close()

"""Several dialer nodes on one database, each with an engine of its own: they share the work and every promise."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter

import pytest

from dialing import add_campaign, dialing, phones, set_stage, with_rules
from engines import TTL_SECONDS, simulated
from outdial.core.model import RunContactState, RunState
from outdial.services import access, runs
from outdial.services.engines import Engines
from outdial.services.stop import stop
from waiting import until


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=TTL_SECONDS)
    yield opened
    await opened.close()


@contextlib.asynccontextmanager
async def nodes(stage, folder, engines, count, *, speed=20.0):
    """That many nodes, each with its engine; all reachable from this process."""
    async with contextlib.AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(simulated(f"sim-{place}", speed=speed)) for place in range(count)]
        for engine in opened:
            await stack.enter_async_context(dialing(stage, engine, folder, engines=engines))
        yield opened


async def start(stage, campaign_id=None):
    return (
        await runs.start(
            stage.database,
            stage.secrets,
            iid=stage.owner.iid,
            campaign_id=campaign_id or stage.campaign_id,
            actor="test",
        )
    ).run


def sent(opened) -> list:
    return sorted((call for engine in opened for call in engine.sent), key=lambda call: call.at)


async def is_over(stage, run) -> bool:
    return (await runs.progress(stage.database, run.id)).run.state is RunState.COMPLETED


async def fetch(stage, statement, *arguments):
    async with stage.database.connection() as connection:
        return await connection.fetch(statement, *arguments)


async def test_they_share_the_contacts_and_nobody_is_called_by_two(database, secret_box, engines, tmp_path):
    stage = await set_stage(database, secret_box, phones(150), rules=with_rules(max_attempts=1))
    async with nodes(stage, tmp_path, engines, 3) as opened:
        run = await start(stage)
        await until(lambda: is_over(stage, run), seconds=40)
        assert Counter(call.number for call in sent(opened)) == Counter(phones(150))
        assert len([engine for engine in opened if engine.sent]) >= 2


async def test_together_they_keep_the_trunks_rate_and_channels(database, secret_box, engines, tmp_path):
    stage = await set_stage(
        database,
        secret_box,
        phones(60),
        rules=with_rules(max_attempts=1),
        calls_per_second=40.0,
        max_channels=4,
    )
    most = 0
    async with nodes(stage, tmp_path, engines, 3) as opened:
        run = await start(stage)
        while not await is_over(stage, run):
            rows = await fetch(
                stage, "SELECT count(*) AS n FROM attempts WHERE state IN ('reserved','dialing','ringing','answered')"
            )
            most = max(most, rows[0]["n"])
        times = [call.at for call in sent(opened)]
    assert 2 <= most <= 4
    assert (times[-1] - times[0]).total_seconds() >= (60 - 1) / 40 - 0.05


async def test_two_runs_on_one_trunk_share_its_channels(database, secret_box, engines, tmp_path):
    stage = await set_stage(
        database, secret_box, phones(40), rules=with_rules(max_attempts=1), max_channels=3, calls_per_second=100.0
    )
    other = await add_campaign(
        database,
        stage.owner,
        phones(40, area=556),
        list_name="others",
        name="Others",
        rules=with_rules(max_attempts=1),
    )
    most = 0
    async with nodes(stage, tmp_path, engines, 2):
        both = [await start(stage), await start(stage, other)]
        while not all([await is_over(stage, run) for run in both]):
            rows = await fetch(
                stage, "SELECT count(*) AS n FROM attempts WHERE state IN ('reserved','dialing','ringing','answered')"
            )
            most = max(most, rows[0]["n"])
    assert most == 3


async def test_an_application_has_a_ceiling_over_all_its_runs(database, secret_box, engines, tmp_path):
    stage = await set_stage(database, secret_box, phones(40), rules=with_rules(max_attempts=1), max_channels=20)
    async with database.connection() as connection:
        await connection.execute("UPDATE applications SET max_concurrent_calls = 2")
    assert (await access.get_application(database, stage.owner.iid)).max_concurrent_calls == 2
    most = 0
    async with nodes(stage, tmp_path, engines, 2):
        run = await start(stage)
        while not await is_over(stage, run):
            rows = await fetch(
                stage, "SELECT count(*) AS n FROM attempts WHERE state IN ('reserved','dialing','ringing','answered')"
            )
            most = max(most, rows[0]["n"])
    assert most == 2


async def test_a_stop_reaches_every_node_and_engine(database, secret_box, engines, tmp_path):
    stage = await set_stage(database, secret_box, phones(300), max_channels=60)
    async with nodes(stage, tmp_path, engines, 3) as opened:
        run = await start(stage)
        await until(lambda: all(len(engine.sent) > 5 for engine in opened))
        report = (
            await stop(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
        ).report
        count = len(sent(opened))
        assert {one.engine_id for one in report.engines} == {"sim-0", "sim-1", "sim-2"}
        # on a busy machine one may be later than it is waited for
        assert {str(one.outcome) for one in report.nodes} <= {"acknowledged", "not_answering"}
        await asyncio.sleep(TTL_SECONDS)
        assert len(sent(opened)) == count
        for engine in opened:
            assert list(await engine.permits()) == []
        progress = await runs.progress(database, run.id)
        assert sum(progress.contacts.values()) == 300


async def test_many_starts_pauses_resumes_and_stops_lose_nobody(database, secret_box, engines, tmp_path):
    dice = random.Random(20261125)
    stage = await set_stage(database, secret_box, phones(120), rules=with_rules(max_attempts=1), max_channels=30)
    names = {"iid": stage.owner.iid, "campaign_id": stage.campaign_id, "actor": "test"}
    async with nodes(stage, tmp_path, engines, 2) as opened:
        for _ in range(6):
            run = await start(stage)
            begun = len(sent(opened))
            await until(lambda begun=begun: len(sent(opened)) > begun)
            for _ in range(dice.randrange(3)):
                await runs.pause(database, engines, **names)
                quiet = len(sent(opened))
                await asyncio.sleep(dice.random() * 0.2)
                assert len(sent(opened)) == quiet
                await runs.resume(database, **names)
            await stop(database, engines, **names)
            quiet = len(sent(opened))
            await asyncio.sleep(0.1)
            assert len(sent(opened)) == quiet
            progress = await runs.progress(database, run.id)
            assert sum(progress.contacts.values()) == 120

        async def all_ended() -> bool:
            return not await fetch(stage, "SELECT FROM attempts WHERE state NOT IN ('ended', 'unknown')")

        await until(all_ended)
        rows = await fetch(
            stage,
            "SELECT a.id FROM attempts a JOIN attempts b ON a.phone = b.phone AND a.id < b.id "
            "AND tstzrange(a.reserved_at, a.ended_at) && tstzrange(b.reserved_at, b.ended_at)",
        )
        assert rows == []
        unknown = await fetch(stage, "SELECT FROM attempts WHERE state = 'unknown'")
        assert unknown == []


async def test_a_node_that_joins_late_takes_its_share(database, secret_box, engines, tmp_path):
    stage = await set_stage(database, secret_box, phones(200), rules=with_rules(max_attempts=1), calls_per_second=60.0)
    async with simulated("sim-first") as first, simulated("sim-late") as late:
        async with dialing(stage, first, tmp_path, engines=engines):
            run = await start(stage)
            await until(lambda: len(first.sent) > 20)
            async with dialing(stage, late, tmp_path, engines=engines):
                await until(lambda: bool(late.sent))
                await until(lambda: is_over(stage, run), seconds=40)
        assert Counter(call.number for call in sent([first, late])) == Counter(phones(200))


async def test_a_node_that_leaves_in_order_gives_its_contacts_to_the_others(database, secret_box, engines, tmp_path):
    stage = await set_stage(database, secret_box, phones(120), rules=with_rules(max_attempts=2, retry_seconds=0))
    async with simulated("sim-stays") as stays, simulated("sim-leaves") as leaves:
        async with dialing(stage, stays, tmp_path, engines=engines):
            async with dialing(stage, leaves, tmp_path, engines=engines):
                run = await start(stage)
                await until(lambda: len(leaves.sent) > 5)
            await until(lambda: is_over(stage, run), seconds=40)
            progress = await runs.progress(database, run.id)
        assert progress.contacts == {RunContactState.DONE: 120}
        assert await fetch(stage, "SELECT FROM attempts WHERE state = 'unknown'") == []

"""Whole runs over the simulated engine: what is dialed, how often, how it ends, and that nobody is lost."""

from __future__ import annotations

from collections import Counter

import pytest

from dialing import dialing, phones, set_stage, with_rules
from outdial.core.errors import ConflictError
from outdial.core.model import DoneReason, RunContactState, RunState
from outdial.services import runs
from outdial.services.engines import Engines
from outdial.services.stop import stop
from outdial.telephony.simulated import SimulatedEngine
from waiting import until


@pytest.fixture
async def engine():
    simulated = SimulatedEngine(engine_id="sim-one", seed=1, speed=20.0)
    await simulated.start()
    yield simulated
    await simulated.close()


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=1.0)
    yield opened
    await opened.close()


async def start(stage):
    return (
        await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
    ).run


async def test_a_run_dials_everybody_and_completes(database, secret_box, engine, engines, tmp_path):
    stage = await set_stage(database, secret_box, phones(60), rules=with_rules(max_attempts=1))
    async with dialing(stage, engine, tmp_path, engines=engines):
        run = await start(stage)

        async def over():
            return (await runs.progress(database, run.id)).run.state is RunState.COMPLETED

        await until(over)
        progress = await runs.progress(database, run.id)
    assert progress.contacts == {RunContactState.DONE: 60}
    assert progress.placed == 60
    assert Counter(call.number for call in engine.sent) == Counter(phones(60))


async def test_a_stop_ends_it_and_nothing_is_sent_afterwards(database, secret_box, engine, engines, tmp_path):
    stage = await set_stage(database, secret_box, phones(500), max_channels=40)
    async with dialing(stage, engine, tmp_path, engines=engines):
        run = await start(stage)
        await until(lambda: len(engine.sent) > 50)
        stopped = await stop(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="supervisor")
        sent = len(engine.sent)
        assert stopped.run.state is RunState.STOPPED
        progress = await runs.progress(database, run.id)
        assert sum(progress.contacts.values()) == 500
        assert progress.done.get(DoneReason.STOPPED, 0) == stopped.report.cancelled_count
        again = await stop(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="other")
        assert again.report == stopped.report
    assert len(engine.sent) == sent
    print(stopped.report.latency_seconds, stopped.report)
    with pytest.raises(ConflictError):
        await runs.resume(database, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")

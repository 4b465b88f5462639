"""What people see while calls are placed: every look is of one instant, and every sum is whole."""

from __future__ import annotations

import pytest

from dialing import dialing, phones, set_stage, with_rules
from engines import TTL_SECONDS, simulated
from outdial import clock
from outdial.core.errors import PauseNotProvenError
from outdial.core.model import AttemptState, Disposition, EngineKind, RunContactState, RunState
from outdial.services import runs
from outdial.services.engines import Engines
from outdial.services.stop import stop
from outdial.store import engines as engines_store
from outdial.store import nodes
from outdial.store import runs as runs_store
from outdial.store.nodes import NodeRow
from waiting import until

STATES = RunContactState
BUSY_OR_NOT = [number for last in ("10", "70", "93") for number in phones(30, last=last, area=500 + int(last))]


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=TTL_SECONDS)
    yield opened
    await opened.close()


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(
        database, secret_box, BUSY_OR_NOT, rules=with_rules(max_attempts=2, retry_seconds=1), calls_per_second=100.0
    )


async def start(stage):
    return (
        await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
    ).run


async def test_every_look_is_whole(stage, engines, tmp_path):
    looks = []
    async with simulated(speed=20.0) as engine, dialing(stage, engine, tmp_path, engines=engines):
        run = await start(stage)

        async def completed() -> bool:
            looks.append(await runs.progress(stage.database, run.id))
            return looks[-1].run.state is RunState.COMPLETED

        await until(completed, seconds=40)
    assert len(looks) > 10
    for look in looks:
        assert sum(look.contacts.values()) == 90
        assert sum(look.done.values()) == look.contacts.get(STATES.DONE, 0)
        claimed = look.contacts.get(STATES.CLAIMED, 0) + look.contacts.get(STATES.DIALING, 0)
        # an attempt and its contact are written by one statement
        assert sum(look.live.values()) == claimed
        assert look.live.get(AttemptState.RESERVED, 0) == look.contacts.get(STATES.CLAIMED, 0)
        assert look.answered <= look.placed
    assert [look.placed for look in looks] == sorted(look.placed for look in looks)
    final = looks[-1]
    assert final.dispositions == {
        Disposition.ANSWERED_HUMAN: 30,
        Disposition.BUSY: 60,
        Disposition.INVALID_NUMBER: 30,
    }
    assert (final.placed, final.answered, final.live) == (120, 30, {})


async def test_a_page_shows_each_contacts_last_call(stage, engines, tmp_path):
    async with simulated(speed=20.0) as engine, dialing(stage, engine, tmp_path, engines=engines):
        run = await start(stage)

        async def completed() -> bool:
            return (await runs.progress(stage.database, run.id)).run.state is RunState.COMPLETED

        await until(completed, seconds=40)
    page = await runs.run_contacts(stage.database, iid=stage.owner.iid, campaign_id=stage.campaign_id, page=1, limit=90)
    by_ending = {"10": ("answered_human", 1), "70": ("busy", 2), "93": ("invalid_number", 1)}
    for contact in page.results:
        assert (contact.last_disposition, contact.attempts_count) == by_ending[contact.phone[-2:]]
        assert len(contact.last_attempt_id) == 32
        assert contact.state is STATES.DONE


async def test_calls_of_earlier_runs_are_counted_at_the_next_start(stage, engines, tmp_path):
    async with simulated(speed=20.0) as engine, dialing(stage, engine, tmp_path, engines=engines):
        run = await start(stage)

        async def some() -> bool:
            return (await runs.progress(stage.database, run.id)).answered > 5

        await until(some)
        await stop(stage.database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")

        async def all_ended() -> bool:
            return not (await runs.progress(stage.database, run.id)).live

        await until(all_ended)
        answered = (await runs.progress(stage.database, run.id)).answered
        started = await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
        assert started.calls_completed == answered > 5


async def test_a_pause_is_not_proven_at_an_engine_nobody_reaches_and_the_run_is_paused_all_the_same(
    stage, engines, database, secret_box
):
    run = await start(stage)
    async with database.connection() as connection:
        await engines_store.put(
            connection,
            secret_box,
            engine_id="gone",
            kind=EngineKind.ASTERISK,
            url="http://127.0.0.1:9",
            username="u",
            password="p",
        )
        await nodes.register(connection, NodeRow("n", "n", "h", 1, "app", "gone"), ttl_seconds=TTL_SECONDS)
        await nodes.serve(connection, run_id=run.id, node_id="n", epoch=1)
        await nodes.making(
            connection,
            run_id=run.id,
            node_id="n",
            engine_id="gone",
            epoch=1,
            key="a" * 32,
            address=("127.0.0.1", 5060),
            seconds=TTL_SECONDS,
        )
    began = clock.boottime()
    with pytest.raises(PauseNotProvenError, match=r"gone: .* does not answer"):
        await runs.pause(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
    assert clock.boottime() - began >= TTL_SECONDS
    async with database.connection() as connection:
        paused = await runs_store.by_id(connection, run.id)
    assert (paused.state, paused.epoch) == (RunState.PAUSED, 2)

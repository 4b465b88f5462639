"""Two processes that stop one run at once: one report, and nothing that either has cancelled is missing in it."""

from __future__ import annotations

import uuid

from dialing import phones, set_stage
from outdial import clock
from outdial.core.campaign import RunAction
from outdial.core.model import AttemptState, EngineKind, RunContactState
from outdial.services import runs
from outdial.services import stop as stops
from outdial.services.barrier import NodeOutcome, Silence, Wishes
from outdial.store import attempts, engines, nodes, reserve
from outdial.store import runs as runs_store
from outdial.store.attempts import AttemptNews, ContactNews
from outdial.store.nodes import NodeRow
from outdial.store.reserve import Reservation

NOBODY = {outcome: [] for outcome in NodeOutcome}


async def commit(database, run, *cancelled: str):
    silence = Silence("e1", silent=True, fenced_at=clock.now(), cancelled=frozenset(cancelled))
    return await stops._commit_stopped(
        database,
        run,
        [silence],
        NOBODY,
        dict.fromkeys(cancelled, silence.fenced_at),
        actor="supervisor",
        wishes=Wishes(),
        ttl_seconds=5.0,
    )


async def test_what_the_slower_one_cancelled_is_counted(database, secret_box):
    """The faster one found these calls gone, before anybody had booked them."""
    stage = await set_stage(database, secret_box, phones(5))
    run = (await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")).run
    ringing = [uuid.uuid4().hex for _ in range(3)]
    async with database.connection() as connection:
        await engines.put(
            connection, secret_box, engine_id="e1", kind=EngineKind.SIMULATED, url=None, username=None, password=None
        )
        await nodes.register(connection, NodeRow("n1", "n1", "h", 1, "app", "e1"), ttl_seconds=60)
        people = await reserve.candidates(connection, run, 3)
        wanted = [(one.contact_id, attempt_id) for one, attempt_id in zip(people, ringing, strict=True)]
        await reserve.reserve(connection, run, "n1", Reservation((), (), wanted, (), 10, 10, None))
        await attempts.book(
            connection,
            [
                AttemptNews(
                    attempt_id,
                    AttemptState.RINGING,
                    by="n1",
                    dialed_at=clock.now(),
                    ringing_at=clock.now(),
                    contact=ContactNews(RunContactState.DIALING),
                )
                for attempt_id in ringing
            ],
        )
    async with database.transaction() as connection:
        await runs_store.lock_run(connection, run.id)
        run = await runs.move_locked(connection, run, RunAction.STOP, "supervisor")
    faster = await commit(database, run)
    assert faster.report.cancelled_count == 0
    slower = await commit(database, run, *ringing)
    assert slower.report.cancelled_count == 3
    assert slower.report.stopped_at == faster.report.stopped_at
    assert await stops.report_of(database, run.id) == slower.report
    # whoever has cancelled nothing changes nothing
    assert (await commit(database, run)).report == slower.report

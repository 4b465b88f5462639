"""A run that is backed up while it dials, goes on, is lost, and is restored: who was called by then is called no more,
everybody else once, and all that is said of it holds."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass

import pytest

from dialing import Stage, add_campaign, dialing, phones, set_stage, with_rules
from engines import TTL_SECONDS, simulated
from outdial.core.ids import stasis_app
from outdial.core.model import DoneReason, RunContactState, RunState
from outdial.services import history_export, runs, signed_reports
from outdial.services.engines import Engines
from outdial.services.stop import stop
from outdial.services.verification import verify
from outdial.store import runs as runs_store
from outdial.store.database import Database
from support.asterisk import connected_engine
from support.asterisk import module_asterisk as asterisk  # noqa: F401 - a fixture
from support.backups import backed_up, box, restored, settings_of
from waiting import until

pytestmark = pytest.mark.timeout(240)

COUNT = 90
RULES = with_rules(max_attempts=1)


@dataclass
class Restored:
    """The installation after the restore."""

    database: Database
    stage: Stage

    async def fetch(self, statement, *arguments):
        async with self.database.connection() as connection:
            return await connection.fetch(statement, *arguments)


@contextlib.asynccontextmanager
async def another(stage: Stage, dsn: str):
    database = await Database.open(dsn, pool_size=10)
    try:
        yield Restored(database, Stage(**{**vars(stage), "database": database}))
    finally:
        await database.close()


async def state_of(database, run_id) -> RunState:
    async with database.connection() as connection:
        return (await runs_store.by_id(connection, run_id)).state


async def placed(database, run_id) -> int:
    return (await runs.progress(database, run_id)).placed


async def start(stage, campaign_id=None):
    owner, campaign_id = stage.owner, campaign_id or stage.campaign_id
    return (await runs.start(stage.database, box(), iid=owner.iid, campaign_id=campaign_id, actor="test")).run


async def press_stop(stage, engines, campaign_id):
    return await stop(stage.database, engines, iid=stage.owner.iid, campaign_id=campaign_id, actor="anna")


async def test_it_goes_on_where_the_backup_left_it(database, dsn, empty_dsn, tmp_path):
    stage = await set_stage(database, box(), phones(COUNT), rules=RULES, calls_per_second=40.0)
    stopped_campaign = await add_campaign(
        database, stage.owner, phones(10, area=556), list_name="before", name="Before", rules=RULES
    )
    engines = Engines(database, box(), ttl_seconds=TTL_SECONDS)
    async with simulated("sim-one") as first, dialing(stage, first, tmp_path / "old", engines=engines):
        # one that was stopped, with its signed report, before anything
        before = await start(stage, stopped_campaign)
        await press_stop(stage, engines, stopped_campaign)
        report_before = await signed_reports.signed_report(database, box(), await _run(database, before.id))
        run = await start(stage)
        first.sent.clear()
        await until(lambda: len(first.sent) > 15)
        backup = await backed_up(database, dsn, tmp_path / "old", tmp_path / "monday.outdial")
        assert backup.manifest.live_runs == 1
        # it goes on, as nobody who restores will know
        await until(lambda: _completed(database, run.id), seconds=90)
    await engines.close()
    assert Counter(call.number for call in first.sent) == Counter(phones(COUNT))

    done = await restored(settings_of(tmp_path / "new", empty_dsn), backup.path)
    async with another(stage, empty_dsn) as new:
        over = {row["phone"] for row in await new.fetch("SELECT phone FROM attempts WHERE run_id = $1", run.id)}
        (left,) = done.safe.runs
        assert 15 <= len(over) < COUNT
        assert (left.was_active, left.open_contacts) == (True, COUNT - len(over))
        engines = Engines(new.database, box(), ttl_seconds=TTL_SECONDS)
        async with simulated("sim-two") as second, dialing(new.stage, second, tmp_path / "new", engines=engines):
            # a node that serves it and could dial; it renews its lease and places nothing

            async def renewed() -> bool:
                rows = await new.fetch(
                    "SELECT lease_renewed_at > started_at AS again FROM nodes WHERE ended_at IS NULL"
                )
                return bool(rows) and rows[0]["again"]

            await until(renewed)
            assert second.sent == []
            assert await state_of(new.database, run.id) is RunState.PAUSED
            await runs.resume(new.database, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="anna")
            await until(lambda: len(second.sent) > 5)
            report = (await press_stop(new.stage, engines, stage.campaign_id)).report
            sent = [call.number for call in second.sent]
        await engines.close()

        # nobody whose attempt had ended, or was live, is called again, and nobody twice
        assert over.isdisjoint(sent)
        assert max(Counter(sent).values()) == 1
        progress = await runs.progress(new.database, run.id)
        assert sum(progress.contacts.values()) == COUNT
        assert progress.done.get(DoneReason.UNKNOWN, 0) >= done.safe.unknown_attempts
        assert progress.contacts[RunContactState.PENDING] == report.never_reached_count == COUNT - len(over) - len(sent)
        twice = await new.fetch("SELECT phone FROM attempts WHERE run_id = $1 GROUP BY 1 HAVING count(*) > 1", run.id)
        assert twice == []
        assert await new.fetch("SELECT id FROM attempts WHERE disposition IS NULL") == []
        # one ending of each attempt in the history too
        endings = await new.fetch(
            """
            SELECT attempt_id, count(*) FROM history
             WHERE action = 'attempt' AND to_state IN ('ended', 'unknown') GROUP BY 1 HAVING count(*) > 1
            """
        )
        assert endings == []

        # the chain goes on, and reports of before and after hold
        chain = await history_export.verify(new.database, stage.owner.account_id)
        assert chain.rows > backup.manifest.rows["history"]
        kept = await signed_reports.signed_report(new.database, box(), await _run(new.database, before.id))
        assert kept == report_before
        assert verify(kept).valid
        fresh = await signed_reports.signed_report(new.database, box(), await _run(new.database, run.id))
        verdict = verify(fresh)
        assert verdict.valid, verdict.findings


async def test_at_an_asterisk_that_knows_the_permits_of_before(database, dsn, empty_dsn, tmp_path, asterisk):  # noqa: F811
    """The node of before was killed: its permits and its calls are at the engine which the restored one uses too."""
    stage = await set_stage(
        database,
        box(),
        phones(40),
        rules=RULES,
        port=asterisk.loopback_trunk_address.port,
        calls_per_second=10.0,
        seconds=0.5,
    )
    old_id, new_id = "a" * 32, "b" * 32
    async with connected_engine(asterisk, stasis_app(old_id)) as first:
        engines = Engines(database, box(), ttl_seconds=TTL_SECONDS)
        node = dialing(stage, first, tmp_path / "old", engines=engines, address=asterisk.address, node_id=old_id)
        async with node as life:
            run = await start(stage)

            async def some() -> bool:
                return await placed(database, run.id) >= 5

            await until(some, seconds=60)
            backup = await backed_up(database, dsn, tmp_path / "old", tmp_path / "monday.outdial")
            stale = set(await first.permits())
            assert stale
            life.cancel()
        await engines.close()

    await restored(settings_of(tmp_path / "new", empty_dsn), backup.path)
    async with another(stage, empty_dsn) as new, connected_engine(asterisk, stasis_app(new_id)) as second:
        over = {row["phone"] for row in await new.fetch("SELECT phone FROM attempts")}
        engines = Engines(new.database, box(), ttl_seconds=TTL_SECONDS)
        async with dialing(
            new.stage, second, tmp_path / "new", engines=engines, address=asterisk.address, node_id=new_id
        ):

            async def reaped() -> bool:
                return stale.isdisjoint(await second.permits())

            await until(reaped, seconds=60)
            assert {row["phone"] for row in await new.fetch("SELECT phone FROM attempts")} == over
            await runs.resume(new.database, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="anna")
            await until(lambda: _completed(new.database, run.id), seconds=120)
        await engines.close()
        rows = await new.fetch("SELECT phone, epoch, permit, disposition FROM attempts")
        assert Counter(row["phone"] for row in rows) == Counter(phones(40))
        # whatever was placed since went through permits of an epoch beyond all of before
        assert {row["epoch"] > 1_000_000 for row in rows if row["phone"] not in over} == {True}
        assert all(row["disposition"] for row in rows)


async def _run(database, run_id):
    async with database.connection() as connection:
        return await runs_store.by_id(connection, run_id)


async def _completed(database, run_id) -> bool:
    return await state_of(database, run_id) is RunState.COMPLETED

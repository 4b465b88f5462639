"""Whose turn it is: a webhook's runs take turns, opt-outs wait for none of them, and nothing waits for tidying up."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from dialing import phones, set_stage
from outdial.core.model import DncSource
from outdial.services import dnc, sealing, webhook_keeper
from outdial.services.webhook_keeper import WebhookCounts
from outdial.services.webhook_post import WebhookPost
from outdial.store import webhook_deliveries
from waiting import until
from webhooks import PRIVATE, attempts, begun, hook, keeping, move, receiving, told

LEASE = timedelta(seconds=30)


@pytest.fixture
async def stage(database, secret_box):
    made = await set_stage(database, secret_box, phones(1))
    await sealing.seal_all(database)
    return made


@pytest.fixture
async def receiver():
    async with receiving() as one:
        yield one


async def store(stage, made, count: int, state: str, *, settled: timedelta) -> None:
    """Store messages that were settled so long ago."""
    async with stage.database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO webhook_deliveries (webhook_id, lane, history_id, event, state, settled_at)
            SELECT $1, 1, n, 'run.started', $3, clock_timestamp() - $4::interval FROM generate_series(1, $2) n
            """,
            made.webhook.id,
            count,
            state,
            settled,
        )
        await connection.execute("ANALYZE webhook_deliveries")


class TestTurns:
    async def test_runs_that_never_run_out_make_room_for_the_others(self, stage, receiver, monkeypatch):
        monkeypatch.setattr(webhook_keeper, "LANES", 2)
        monkeypatch.setattr(webhook_keeper, "BATCH", 2)
        await hook(stage, receiver, events=["attempt.ended", "run.stopped"])
        busy = [await begun(stage, f"run {number}") for number in range(2)]
        ids = [await attempts(stage.database, run_id, range(run_id * 100, run_id * 100 + 12)) for run_id in busy]
        last = await begun(stage, "last")
        async with stage.database.connection() as connection:
            await move(connection, last, "stopped")
        async with keeping(stage) as (keeper, _):
            await told(keeper)
            # one batch of each of the others comes first, and what was under way
            assert "run.stopped" in receiver.events[:10]

            async def all_told() -> bool:
                await told(keeper)
                return len(receiver.got) >= 25

            await until(all_told, seconds=60)
        assert len(receiver.got) == 25
        got = [one.data.get("id") for one in receiver.got]
        for of_run in ids:
            assert [one for one in got if one in of_run] == of_run

    async def test_an_opt_out_waits_for_no_run(self, stage, receiver, monkeypatch):
        monkeypatch.setattr(webhook_keeper, "LANES", 1)
        await hook(stage, receiver, events=["run.started", "opt_out.listed"])
        receiver.hold.clear()
        async with keeping(stage, answer_seconds=100.0) as (keeper, _):
            for name in ("one", "two"):
                await begun(stage, name)
            await keeper.look()
            await until(lambda: receiver.events == ["run.started"])
            await dnc.add_numbers(
                stage.database,
                account_id=stage.owner.account_id,
                phones=["+15550100001"],
                source=DncSource.KEY,
                actor="attempt 1",
            )
            await keeper.look()
            await until(lambda: receiver.events == ["run.started", "opt_out.listed"])
            # it has not taken the place of a run, nor a run its place
            await keeper.look()
            receiver.hold.set()
            await keeper.until_idle()
        assert receiver.events == ["run.started", "opt_out.listed"]

    async def test_a_lane_is_kept_while_no_other_is_due_and_by_whoever_has_its_lease(self, stage, receiver):
        made = await hook(stage, receiver)
        async with stage.database.transaction() as connection:
            await connection.execute(
                "INSERT INTO webhook_lanes (webhook_id, lane) SELECT $1, n FROM generate_series(0, 2) n",
                made.webhook.id,
            )
        async with stage.database.transaction() as connection:
            lanes = await webhook_deliveries.claim(connection, {}, most=1, lease=LEASE)
            assert [lane.lane for lane in sorted(lanes, key=lambda lane: lane.lane)] == [0, 1]
            (first,) = (lane for lane in lanes if lane.lane == 1)
            second = await webhook_deliveries.make_room(connection, first, lease=LEASE)
            assert second is not None
            assert second.lane == 2
            # given back
            assert not await webhook_deliveries.renew(connection, first, lease=LEASE)
            assert await webhook_deliveries.make_room(connection, first, lease=LEASE) is None
            await webhook_deliveries.claim(connection, {}, most=2, lease=LEASE)
            assert await webhook_deliveries.make_room(connection, second, lease=LEASE) is None
            assert await webhook_deliveries.renew(connection, second, lease=LEASE)


class TestTidy:
    async def test_only_what_is_over_is_read(self, stage, receiver):
        made = await hook(stage, receiver)
        await store(stage, made, 3000, "delivered", settled=timedelta(0))
        await store(stage, made, 3000, "dead", settled=timedelta(days=2))
        await store(stage, made, 5, "delivered", settled=timedelta(days=2))
        async with stage.database.transaction() as connection:
            gone = await webhook_deliveries.tidy(
                connection, delivered=timedelta(days=1), dead=timedelta(days=30), limit=5000
            )
            read = await connection.fetchval(
                "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'webhook_deliveries'"
            )
        assert gone == 5
        assert read < 100

    async def test_what_another_deletes_is_left_to_it(self, stage, receiver, dsn):
        made = await hook(stage, receiver)
        await store(stage, made, 3, "delivered", settled=timedelta(days=2))
        day = timedelta(days=1)
        another = await asyncpg.connect(dsn)
        try:
            await another.execute("BEGIN")
            await another.execute("DELETE FROM webhook_deliveries WHERE id = (SELECT min(id) FROM webhook_deliveries)")
            async with asyncio.timeout(20), stage.database.transaction() as connection:
                assert await webhook_deliveries.tidy(connection, delivered=day, dead=day, limit=10) == 2
        finally:
            await another.close()

    async def test_what_happens_is_told_meanwhile(self, stage, receiver, monkeypatch):
        await hook(stage, receiver, events=["run.started"])
        tidying, over = asyncio.Event(), asyncio.Event()

        async def much(*_: object, **__: object) -> int:
            tidying.set()
            await over.wait()
            return 0

        monkeypatch.setattr(webhook_deliveries, "tidy", much)
        keeping_on = asyncio.create_task(
            webhook_keeper.keep(stage.database, stage.secrets, WebhookPost(PRIVATE), WebhookCounts())
        )
        try:
            await tidying.wait()
            await begun(stage)
            await until(lambda: receiver.events == ["run.started"])
        finally:
            keeping_on.cancel()
            await asyncio.gather(keeping_on, return_exceptions=True)


async def test_no_more_dead_messages_are_counted_than_matter(stage, receiver, monkeypatch):
    made = await hook(stage, receiver)
    await store(stage, made, 3, "dead", settled=timedelta(0))
    async with stage.database.connection() as connection:
        assert (await webhook_deliveries.troubles(connection))[0] == 3
        monkeypatch.setattr(webhook_deliveries, "DEAD_COUNTED", 2)
        assert (await webhook_deliveries.troubles(connection))[0] == 2

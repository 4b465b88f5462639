"""Webhooks are told everything that is committed, once it is and in order, whatever a receiver does."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import asyncpg
import pytest
from aiohttp import web

from dialing import phones, set_stage
from outdial.core.breaker import ACTOR as BREAKER
from outdial.core.model import DncSource
from outdial.core.webhook import RETRIED_FOR, DeliveryState
from outdial.services import access, dnc, sealing, webhook_keeper, webhooks
from outdial.services.webhook_keeper import WebhookKeeper
from outdial.store import webhook_deliveries
from waiting import until
from webhooks import (
    attempts,
    begun,
    due,
    end,
    hook,
    insert_run,
    keeping,
    move,
    of,
    receiving,
    told,
    try_somebody,
)


@pytest.fixture
async def stage(database, secret_box):
    made = await set_stage(database, secret_box, phones(1))
    # the first round of a cluster waits for everybody who writes
    await sealing.seal_all(database)
    return made


@pytest.fixture
async def receiver():
    async with receiving() as one:
        yield one


@pytest.fixture
async def another():
    async with receiving() as one:
        yield one


@pytest.fixture
async def kept(stage):
    async with keeping(stage) as (keeper, counts):
        keeper.counts = counts
        yield keeper


class TestWhatIsTold:
    async def test_the_life_of_a_run_in_order_and_signed(self, stage, receiver, kept):
        made = await hook(stage, receiver)
        run_id = await begun(stage)
        async with stage.database.connection() as connection:
            await move(connection, run_id, "paused", actor="anna", reason="lunch")
            await move(connection, run_id, "active")
        (attempt_id,) = await attempts(stage.database, run_id, range(1, 2))
        async with stage.database.connection() as connection:
            await move(connection, run_id, "stopping")
            await move(connection, run_id, "stopped")
        await told(kept)
        assert receiver.events == [
            "run.started", "run.paused", "run.resumed", "attempt.ended", "run.stopped",
        ]  # fmt: skip
        assert all(one.signed_by(made.secret) for one in receiver.got)
        paused, ended = receiver.got[1], receiver.got[3]
        assert (paused.data["actor"], paused.data["reason"], paused.data["before"]) == ("anna", "lunch", "active")
        assert (ended.data["id"], ended.data["disposition"], ended.data["phoneNumber"]) == (
            attempt_id,
            "busy",
            "+15551000001",
        )
        assert {one.data["instanceId"] for one in receiver.got} == {paused.data["instanceId"]}
        assert [one.state for one in await of(stage, made)] == [DeliveryState.DELIVERED] * 5
        # a lane is there as long as something waits
        async with stage.database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM webhook_lanes") == 0
        assert (kept.counts.delivered, kept.counts.failed) == (5, 0)

    async def test_the_breaker_tells_twice(self, stage, receiver, kept):
        await hook(stage, receiver)
        run_id = await begun(stage)
        async with stage.database.connection() as connection:
            await move(connection, run_id, "paused", actor=BREAKER, reason="40 of 40 calls failed")
            await move(connection, run_id, "completed")
        await told(kept)
        assert receiver.events == ["run.started", "run.paused", "breaker.tripped", "run.completed"]
        assert receiver.got[2].data["reason"] == "40 of 40 calls failed"
        assert len({one.id for one in receiver.got}) == 4

    async def test_only_the_events_it_wants_and_only_what_comes_after_it_was_made(self, stage, receiver, kept):
        run_id = await begun(stage)
        await attempts(stage.database, run_id, range(1, 3))
        await told(kept)
        # there is no webhook, so it has left this to whoever seals
        assert await sealing.seal_all(stage.database) > 0
        await hook(stage, receiver, events=["run.stopped", "attempt.ended"])
        (third,) = await attempts(stage.database, run_id, range(3, 4))
        async with stage.database.connection() as connection:
            await move(connection, run_id, "paused")
            await move(connection, run_id, "stopped")
        await told(kept)
        assert receiver.events == ["attempt.ended", "run.stopped"]
        assert receiver.got[0].data["id"] == third

    async def test_an_opt_out_and_who_is_told_of_it(self, stage, receiver, another, kept):
        sales = await access.create_application(stage.database, stage.secrets, account="Acme", name="Sales")
        await hook(stage, receiver)
        await hook(stage, another, iid=sales.iid)
        where = {"account_id": stage.owner.account_id, "source": DncSource.KEY, "actor": "attempt 1"}
        await dnc.add_numbers(stage.database, phones=["+15550100001"], reason="asked", **where)
        await dnc.add_numbers(stage.database, phones=["+15550100002"], iid=stage.owner.iid, list_name="Never", **where)
        # by an operator: nobody has opted out
        await dnc.add_numbers(stage.database, account_id=stage.owner.account_id, phones=["+15550100003"], actor="anna")
        await told(kept)
        assert [one.data["phoneNumber"] for one in receiver.got] == ["+15550100001", "+15550100002"]
        assert receiver.got[0].data | {"dncListId": ""} == {
            "phoneNumber": "+15550100001", "dncListId": "", "source": "key", "actor": "attempt 1", "reason": "asked",
        }  # fmt: skip
        # the list is the account's, so everybody's; a named one is its application's
        assert [one.data["phoneNumber"] for one in another.got] == ["+15550100001"]

    async def test_other_applications_and_accounts_are_not_told(self, stage, receiver, another, kept, secret_box):
        other = await set_stage(stage.database, secret_box, phones(1), account="Other")
        await hook(stage, receiver, iid=None)
        await hook(other, another)
        await begun(stage)
        sales = await access.create_application(stage.database, stage.secrets, account="Acme", name="Sales")
        async with stage.database.connection() as connection:
            await insert_run(connection, sales, trunk_id=stage.trunk.id, name="Sales")
        await told(kept)
        # of the whole account: both of its applications
        assert {one.data["iid"] for one in receiver.got} == {stage.owner.iid, sales.iid}
        assert another.got == []


class TestTransactions:
    async def test_one_that_commits_late_is_told_late_and_not_lost(self, stage, receiver, kept, dsn):
        """The first writes its row, with the lower number, and commits after the second has been told of."""
        await hook(stage, receiver, events=["attempt.ended"])
        run_id = await begun(stage)
        async with stage.database.connection() as connection:
            early, late = [await try_somebody(connection, run_id, contact) for contact in (1, 2)]
        first, second = [await asyncpg.connect(dsn) for _ in range(2)]
        try:
            await first.execute("BEGIN")
            await end(first, late)
            await second.execute("BEGIN")
            await end(second, early)
            await told(kept)
            assert receiver.got == []
            await second.execute("COMMIT")
            await told(kept)
            assert [one.data["id"] for one in receiver.got] == [early]
            await told(kept)
            await first.execute("COMMIT")
        finally:
            await first.close()
            await second.close()
        await told(kept)
        assert [one.data["id"] for one in receiver.got] == [early, late]
        numbers = [int(one.id.rpartition("_")[2]) for one in receiver.got]
        # what a cursor by number would have passed over
        assert numbers == sorted(numbers, reverse=True)

    async def test_what_was_rolled_back_is_not_told(self, stage, receiver, kept, dsn):
        await hook(stage, receiver)
        run_id = await begun(stage)
        rolled = await asyncpg.connect(dsn)
        try:
            await rolled.execute("BEGIN")
            await move(rolled, run_id, "paused")
            await told(kept)
            await rolled.execute("ROLLBACK")
        finally:
            await rolled.close()
        await told(kept)
        assert receiver.events == ["run.started"]

    @pytest.mark.timeout(120)
    async def test_writers_and_two_keepers_at_once_tell_each_thing_once_and_in_order(self, stage, receiver, kept):
        await hook(stage, receiver, events=["attempt.ended"])
        runs = [await begun(stage, f"run {number}") for number in range(3)]
        made: dict[int, list[str]] = {}
        done = asyncio.Event()

        async def write(run_id: int) -> None:
            made[run_id] = await attempts(stage.database, run_id, range(run_id * 1000, run_id * 1000 + 60))

        async def look(keeper: WebhookKeeper) -> None:
            while not done.is_set():
                await told(keeper)

        async with keeping(stage) as (second, _), asyncio.TaskGroup() as group:
            for keeper in (kept, second):
                group.create_task(look(keeper))
            async with asyncio.TaskGroup() as writers:
                for run_id in runs:
                    writers.create_task(write(run_id))
            await until(lambda: len(receiver.got) >= 180, seconds=100)
            done.set()
        got = [one.data["id"] for one in receiver.got]
        assert len(got) == 180
        for ids in made.values():
            assert [one for one in got if one in set(ids)] == ids


class TestReceivers:
    @pytest.mark.parametrize("status", [400, 404, 500, 301, 307])
    async def test_a_refusal_is_tried_again_and_those_behind_it_wait(self, stage, receiver, kept, status):
        made = await hook(stage, receiver, events=["run.started", "run.paused"])
        receiver.answer = lambda _got: web.Response(status=status, headers={"Location": f"{receiver.url}/elsewhere"})
        run_id = await begun(stage)
        async with stage.database.connection() as connection:
            await move(connection, run_id, "paused")
        await told(kept)
        await told(kept)
        # a pause is waited for, and a redirect never followed
        assert receiver.events == ["run.started"]
        paused, started = await of(stage, made, DeliveryState.WAITING)
        assert (started.tries, started.status, started.problem.startswith(f"HTTP status {status}")) == (1, status, True)
        assert (paused.tries, paused.problem) == (0, "")
        receiver.answer = lambda _got: web.Response(status=200)
        await due(stage)
        await told(kept)
        assert receiver.events == ["run.started", "run.started", "run.paused"]
        assert receiver.got[0].id == receiver.got[1].id
        assert receiver.got[0].body == receiver.got[1].body
        assert await of(stage, made, DeliveryState.WAITING) == []

    async def test_one_that_cuts_the_connection(self, stage, receiver, kept):
        made = await hook(stage, receiver, events=["run.started"])
        receiver.answer = lambda _got: None
        await begun(stage)
        await told(kept)
        (waiting,) = await of(stage, made)
        assert (waiting.state, waiting.status) == (DeliveryState.WAITING, None)
        assert waiting.problem

    async def test_one_that_hangs_holds_nobody_else_up(self, stage, receiver, another):
        slow = await hook(stage, receiver, events=["run.started"])
        await hook(stage, another, events=["run.started"])
        receiver.hold.clear()
        async with keeping(stage, answer_seconds=5.0) as (keeper, counts):
            for number in range(webhook_keeper.LANES + 2):
                await begun(stage, f"run {number}")
            await keeper.look()
            # a look that takes long finds places free again
            await until(lambda: len(another.got) >= webhook_keeper.LANES)
            # its own lanes are taken; nobody has waited for it
            assert counts.failed == 0
            await until(lambda: len(receiver.got) == webhook_keeper.LANES)

            async def all_told() -> bool:
                # places are free again once it is written down what came of them
                await keeper.look()
                return len(another.got) == webhook_keeper.LANES + 2

            await until(all_told)
            assert len(receiver.got) == webhook_keeper.LANES
            await keeper.until_idle()
        hanging = [one for one in await of(stage, slow) if one.tries]
        assert {one.problem for one in hanging} == {"no answer within 5 seconds"}
        assert len(hanging) == webhook_keeper.LANES

    async def test_a_body_without_end_is_not_read(self, stage, receiver, kept):
        sent = 0

        async def endless(request: web.Request) -> web.StreamResponse:
            nonlocal sent
            response = web.StreamResponse()
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):
                while True:
                    await response.write(b"x" * 65536)
                    sent += 65536
            return response

        made = await hook(stage, receiver, events=["run.started"])
        receiver.answer = lambda _got: endless
        await begun(stage)
        await told(kept)
        (delivery,) = await of(stage, made)
        assert delivery.state is DeliveryState.DELIVERED
        # what the sockets hold, and no more
        assert sent < 50_000_000

    async def test_retry_after_is_heeded(self, stage, receiver, kept):
        await hook(stage, receiver, events=["run.started"])
        receiver.answer = lambda _got: web.Response(status=429, headers={"Retry-After": "3000"})
        await begun(stage)
        await told(kept)
        async with stage.database.connection() as connection:
            seconds = await connection.fetchval(
                "SELECT extract(epoch FROM next_try_at - clock_timestamp())::float FROM webhook_lanes"
            )
        assert 2900 < seconds <= 3000

    async def test_one_that_is_gone_is_switched_off_and_told_everything_when_it_is_back(self, stage, receiver, kept):
        made = await hook(stage, receiver, events=["run.started", "run.paused"])
        receiver.answer = lambda _got: web.Response(status=410)
        run_id = await begun(stage)
        await told(kept)
        where = {"account_id": stage.owner.account_id, "iid": None}
        off = await webhooks.get_webhook(stage.database, made.webhook.id, **where)
        assert (off.enabled, off.disabled_reason) == (False, "the receiver answered 410 Gone")
        async with stage.database.connection() as connection:
            await move(connection, run_id, "paused")
        await due(stage)
        await told(kept)
        assert receiver.events == ["run.started"]
        receiver.answer = lambda _got: web.Response()
        await webhooks.change_webhook(stage.database, made.webhook.id, enabled=True, actor="anna", **where)
        await told(kept)
        assert receiver.events == ["run.started", "run.started", "run.paused"]

    async def test_a_change_does_not_deadlock_with_one_that_is_gone(self, stage, receiver, kept, dsn):
        """Whoever changes a webhook locks it, and then its lanes."""
        made = await hook(stage, receiver, events=["run.started"])
        receiver.answer = lambda _got: web.Response(status=410)
        receiver.hold.clear()
        await begun(stage)
        await kept.look()
        await until(lambda: len(receiver.got) == 1)
        changing = await asyncpg.connect(dsn)
        try:
            await changing.execute("BEGIN")
            await changing.execute("SELECT FROM webhooks FOR NO KEY UPDATE")
            receiver.hold.set()

            async def waits() -> bool:
                return await changing.fetchval(
                    "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
                    " WHERE NOT l.granted AND a.datname = current_database()"
                )

            await until(waits)
            await changing.execute("UPDATE webhook_lanes SET next_try_at = clock_timestamp()")
            await changing.execute("COMMIT")
        finally:
            await changing.close()
        await kept.until_idle()
        where = {"account_id": stage.owner.account_id, "iid": None}
        assert not (await webhooks.get_webhook(stage.database, made.webhook.id, **where)).enabled

    async def test_an_address_that_is_gone_does_not_switch_off_the_next_one(self, stage, receiver, another, kept):
        made = await hook(stage, receiver, events=["run.started"])
        receiver.answer = lambda _got: web.Response(status=410)
        receiver.hold.clear()
        await begun(stage)
        await kept.look()
        await until(lambda: len(receiver.got) == 1)
        where = {"account_id": stage.owner.account_id, "iid": None}
        await webhooks.change_webhook(stage.database, made.webhook.id, url=another.url, actor="anna", **where)
        receiver.hold.set()
        await kept.until_idle()
        assert (await webhooks.get_webhook(stage.database, made.webhook.id, **where)).enabled
        await due(stage)
        await told(kept)
        assert another.events == ["run.started"]

    async def test_gone_means_nothing_from_whoever_has_lost_the_lane(self, stage, receiver, kept):
        made = await hook(stage, receiver, events=["run.started"])
        receiver.answer = lambda _got: web.Response(status=410)
        receiver.hold.clear()
        await begun(stage)
        await kept.look()
        await until(lambda: len(receiver.got) == 1)
        async with stage.database.connection() as connection:
            await connection.execute("UPDATE webhook_lanes SET lease = 'of another'")
        receiver.hold.set()
        await kept.until_idle()
        where = {"account_id": stage.owner.account_id, "iid": None}
        assert (await webhooks.get_webhook(stage.database, made.webhook.id, **where)).enabled
        (waiting,) = await of(stage, made)
        assert (waiting.state, waiting.tries) == (DeliveryState.WAITING, 0)

    async def test_private_addresses_are_not_asked(self, stage, receiver):
        made = await hook(stage, receiver, events=["run.started"])
        await begun(stage)
        async with keeping(stage, hosts=()) as (keeper, _):
            await told(keeper)
        (waiting,) = await of(stage, made)
        assert "OUTDIAL_WEBHOOK_PRIVATE_HOSTS" in waiting.problem
        assert receiver.got == []


class TestDead:
    async def test_given_up_after_a_day_shown_and_sent_again_when_asked_for(self, stage, receiver, kept):
        made = await hook(stage, receiver)
        receiver.answer = lambda _got: web.Response(status=500)
        run_id = await begun(stage)
        async with stage.database.connection() as connection:
            await move(connection, run_id, "paused")
        await told(kept)
        async with stage.database.connection() as connection:
            await connection.execute(
                "UPDATE webhook_deliveries SET waiting_since = waiting_since - $1::interval"
                " WHERE event = 'run.started'",
                RETRIED_FOR,
            )
        await due(stage)
        await told(kept)
        # the next in the lane has its turn at once
        assert receiver.events == ["run.started", "run.started", "run.paused"]
        (dead,) = await of(stage, made, DeliveryState.DEAD)
        assert (dead.event, dead.tries, dead.status, dead.problem) == ("run.started", 2, 500, "HTTP status 500")
        assert kept.counts.dead == 1
        receiver.answer = lambda _got: web.Response()
        where = {"account_id": stage.owner.account_id, "iid": None, "actor": "anna"}
        assert await webhooks.replay_dead(stage.database, made.webhook.id, **where) == 1
        await told(kept)
        # before what came after it
        assert receiver.events[3:] == ["run.started", "run.paused"]
        assert receiver.got[3].id == receiver.got[0].id
        assert await webhooks.replay_dead(stage.database, made.webhook.id, **where) == 0
        assert await webhooks.replay_one(stage.database, made.webhook.id, dead.id, **where) == 1
        assert await webhooks.replay_one(stage.database, made.webhook.id, dead.id, **where) == 0
        await told(kept)
        assert receiver.events[5:] == ["run.started"]

    async def test_what_nobody_has_tried_for_a_day_is_given_up_too(self, stage, receiver, kept):
        made = await hook(stage, receiver, events=["run.started"])
        await begun(stage)
        await sealing.seal_all(stage.database)
        async with stage.database.transaction() as connection:
            assert await webhook_deliveries.spread(connection, made.webhook.id, most_waiting=10) > 0
            older = timedelta(0)
            assert await webhook_deliveries.expire(connection, older_than=older, limit=10) == [made.webhook.id]
            assert await webhook_deliveries.expire(connection, older_than=older, limit=10) == []
        await told(kept)
        (dead,) = await of(stage, made)
        assert (dead.state, dead.problem) == (DeliveryState.DEAD, "those before it were not taken")
        assert receiver.got == []

    async def test_what_waits_for_one_that_is_off_is_kept_and_has_a_day_again_when_it_is_on(
        self, stage, receiver, kept
    ):
        made = await hook(stage, receiver, events=["run.started"])
        receiver.answer = lambda _got: web.Response(status=500)
        await begun(stage)
        await told(kept)
        where = {"account_id": stage.owner.account_id, "iid": None, "actor": "anna"}
        await webhooks.change_webhook(stage.database, made.webhook.id, enabled=False, **where)
        async with stage.database.connection() as connection:
            await connection.execute(
                "UPDATE webhook_deliveries SET waiting_since = waiting_since - 3 * $1::interval", RETRIED_FOR
            )
        await kept.tidy()
        (before,) = await of(stage, made)
        assert before.state is DeliveryState.WAITING
        await webhooks.change_webhook(stage.database, made.webhook.id, enabled=True, **where)
        (on,) = await of(stage, made)
        assert on.waiting_since - before.waiting_since > 3 * RETRIED_FOR
        await kept.tidy()
        await told(kept)
        (again,) = await of(stage, made)
        assert (again.state, again.tries) == (DeliveryState.WAITING, 2)
        # one that was on already is not given time by a change
        await webhooks.change_webhook(stage.database, made.webhook.id, enabled=True, **where)
        receiver.answer = lambda _got: web.Response()
        await told(kept)
        (taken,) = await of(stage, made)
        assert (taken.state, taken.waiting_since) == (DeliveryState.DELIVERED, on.waiting_since)

    async def test_no_more_than_so_many_wait_and_the_rest_stays_in_the_history(
        self, stage, receiver, kept, monkeypatch
    ):
        made = await hook(stage, receiver, events=["run.started"])
        monkeypatch.setattr(webhook_keeper, "MOST_WAITING", 1)
        receiver.answer = lambda _got: web.Response(status=500)
        await begun(stage, "one")
        await told(kept)
        await begun(stage, "two")
        await told(kept)
        assert len(await of(stage, made)) == 1
        receiver.answer = lambda _got: web.Response()
        await due(stage)
        await told(kept)
        await told(kept)
        assert [one.state for one in await of(stage, made)] == [DeliveryState.DELIVERED] * 2

    async def test_what_is_over_is_deleted_and_everything_of_a_webhook_that_is_removed(self, stage, receiver, kept):
        made = await hook(stage, receiver, events=["run.started"])
        await begun(stage, "one")
        await told(kept)
        receiver.answer = lambda _got: web.Response(status=500)
        await begun(stage, "two")
        await told(kept)
        long, now = timedelta(days=1), timedelta(0)
        async with stage.database.transaction() as connection:
            assert await webhook_deliveries.tidy(connection, delivered=long, dead=long, limit=10) == 0
            assert await webhook_deliveries.tidy(connection, delivered=now, dead=long, limit=10) == 1
        assert [one.state for one in await of(stage, made)] == [DeliveryState.WAITING]
        await webhooks.remove_webhook(
            stage.database, made.webhook.id, account_id=stage.owner.account_id, iid=None, actor="anna"
        )
        await due(stage)
        await told(kept)
        async with stage.database.transaction() as connection:
            await webhook_deliveries.tidy(connection, delivered=long, dead=long, limit=10)
            assert await connection.fetchval("SELECT count(*) FROM webhook_deliveries") == 0
            assert await connection.fetchval("SELECT count(*) FROM webhook_lanes") == 0
        assert len(receiver.got) == 2


async def test_both_secrets_sign_while_they_overlap(stage, receiver, kept):
    made = await hook(stage, receiver, events=["run.started"])
    where = {"account_id": stage.owner.account_id, "iid": None, "actor": "anna"}
    rotated = await webhooks.rotate_secret(stage.database, stage.secrets, made.webhook.id, overlap_seconds=600, **where)
    await begun(stage, "one")
    await told(kept)
    await webhooks.rotate_secret(stage.database, stage.secrets, made.webhook.id, overlap_seconds=0, **where)
    await begun(stage, "two")
    await told(kept)
    first, second = receiver.got
    assert first.signed_by(made.secret)
    assert first.signed_by(rotated.secret)
    assert not second.signed_by(rotated.secret)
    async with stage.database.connection() as connection:
        kept_secrets = await connection.fetchrow("SELECT secret_encrypted, previous_secret_encrypted FROM webhooks")
    assert rotated.secret.encode() not in kept_secrets["secret_encrypted"]
    assert kept_secrets["previous_secret_encrypted"] is None


async def test_a_keeper_that_is_asked_to_end_writes_down_what_was_delivered_and_gives_its_lanes_back(stage, receiver):
    made = await hook(stage, receiver, events=["attempt.ended"])
    run_id = await begun(stage)
    ids = await attempts(stage.database, run_id, range(1, 4))

    def answer(_got):
        if len(receiver.got) == 2:
            receiver.hold.clear()
        return web.Response()

    receiver.answer = answer
    async with keeping(stage) as (keeper, _):
        await keeper.look()
        await until(lambda: len(receiver.got) == 3)
    assert [one.state for one in await of(stage, made)] == ["waiting", "delivered", "delivered"]
    receiver.hold.set()
    async with keeping(stage) as (keeper, _):
        await told(keeper)
    assert [one.data["id"] for one in receiver.got] == [*ids, ids[2]]

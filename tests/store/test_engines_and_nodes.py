"""Where engines are reached, what nodes say of themselves, and which engines a stop must ask."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from dialing import phones, set_stage
from outdial.core.model import EngineKind, RunState
from outdial.services import runs
from outdial.store import engines, nodes, stops
from outdial.store import runs as runs_store
from outdial.store.nodes import NodeRow


@pytest.fixture
async def run(database, secret_box):
    stage = await set_stage(database, secret_box, phones(6))
    return (
        await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
    ).run


async def put(database, secret_box, engine_id="e1", **more):
    values = {"kind": EngineKind.ASTERISK, "url": "http://127.0.0.1:1", "username": "u", "password": "first", **more}
    async with database.connection() as connection:
        await engines.put(connection, secret_box, engine_id=engine_id, **values)


async def register(database, node_id="n1", engine_id="e1", *, ttl_seconds=60.0):
    async with database.connection() as connection:
        await nodes.register(
            connection,
            NodeRow(node_id, f"name {node_id}", "h", 7, f"app-{node_id}", engine_id),
            ttl_seconds=ttl_seconds,
        )


async def one(database, engine_id="e1"):
    async with database.connection() as connection:
        (found,) = await engines.by_ids(connection, [engine_id])
    return found


class TestEngines:
    async def test_passwords_are_encrypted_and_shown_nowhere(self, database, secret_box):
        await put(database, secret_box, password="open sesame")
        found = await one(database)
        assert found.password(secret_box) == "open sesame"
        assert b"open sesame" not in found.password_encrypted
        assert "password" not in repr(found)

    async def test_one_that_moved_is_reached_at_its_new_address(self, database, secret_box):
        await put(database, secret_box)
        await put(database, secret_box, url="http://127.0.0.1:2", password="second")
        found = await one(database)
        assert (found.url, found.password(secret_box)) == ("http://127.0.0.1:2", "second")

    async def test_one_without_a_password_has_an_empty_one(self, database, secret_box):
        await put(database, secret_box, kind=EngineKind.SIMULATED, url=None, username=None, password=None)
        assert (await one(database)).password(secret_box) == ""

    async def test_retiring_keeps_who_said_it_first(self, database, secret_box):
        await put(database, secret_box)
        async with database.connection() as connection:
            first = await engines.retire(connection, "e1", actor="anna")
            second = await engines.retire(connection, "e1", actor="ben")
            assert await engines.retire(connection, "nothing", actor="anna") is None
        assert (first.retired_by, second.retired_by) == ("anna", "anna")
        assert first.retired_at == second.retired_at

    async def test_one_that_is_used_again_is_in_service_again(self, database, secret_box):
        await put(database, secret_box)
        async with database.connection() as connection:
            await engines.retire(connection, "e1", actor="anna")
        await put(database, secret_box)
        assert (await one(database)).retired_at is None

    async def test_who_uses_it_is_who_holds_a_lease(self, database, secret_box):
        await put(database, secret_box)
        await register(database, "n1")
        await register(database, "n2", ttl_seconds=-1)
        await register(database, "n3")
        async with database.connection() as connection:
            await nodes.end(connection, "n3")
        assert (await one(database)).node_names == ("name n1",)

    async def test_when_it_was_heard_of_and_how_its_clock_goes(self, database, secret_box):
        await put(database, secret_box)
        before = (await one(database)).seen_at
        async with database.connection() as connection:
            await engines.seen(connection, "e1", clock_offset_seconds=-0.125)
        after = await one(database)
        assert after.seen_at > before
        assert after.clock_offset_seconds == -0.125


class TestServing:
    @pytest.fixture(autouse=True)
    async def _there(self, database, secret_box):
        await put(database, secret_box)
        await register(database, "n1")

    async def serve(self, database, run, node_id="n1", engine_id="e1", epoch=1, seconds=60.0) -> str:
        """Note that the node serves the run, and puts a permit; return its key."""
        key = uuid.uuid4().hex
        async with database.transaction() as connection:
            await nodes.serve(connection, run_id=run.id, node_id=node_id, epoch=epoch)
            assert await nodes.making(
                connection,
                run_id=run.id,
                node_id=node_id,
                engine_id=engine_id,
                epoch=epoch,
                key=key,
                address=("127.0.0.1", 5060),
                seconds=seconds,
            )
        return key

    async def serving(self, database, run):
        async with database.connection() as connection:
            return await nodes.serving(connection, run.id)

    async def test_every_permit_is_noted(self, database, run):
        keys = {(epoch, await self.serve(database, run, epoch=epoch)) for epoch in (1, 3, 3, 1)}
        async with database.connection() as connection:
            found = await nodes.permits_of_run(connection, run.id)
        assert list(found) == ["e1"]
        assert set(found["e1"]) == keys
        (found,) = await self.serving(database, run)
        assert (found.epoch, found.dropped_epoch, found.lease_live, found.ended) == (3, 0, True, False)

    async def test_what_a_node_put_before_is_fenced_until_it_has_certainly_run_out(self, database, run):
        first = await self.serve(database, run)
        second = await self.serve(database, run)
        other = await self._of_another_node(database, run)

        async def known() -> set[str]:
            async with database.connection() as connection:
                return {key for _, key in (await nodes.permits_of_run(connection, run.id))["e1"]}

        async def wanted() -> set[str]:
            async with database.connection() as connection:
                return {key for _, _, key in await nodes.permits_of_engine(connection, "e1")}

        assert await known() == {first, second, other}
        assert await wanted() == {second, other}
        async with database.connection() as connection:
            await connection.execute("UPDATE run_engines SET superseded_at = superseded_at - interval '1 hour'")
        third = await self.serve(database, run)
        assert await known() == {second, third, other}
        assert await wanted() == {third, other}
        async with database.transaction() as connection:
            await runs_store.move_run(
                connection, run.id, before=RunState.ACTIVE, epoch=1, after=RunState.PAUSED, actor="x", reason=""
            )
        assert await wanted() == set()

    async def _of_another_node(self, database, run) -> str:
        await register(database, "n9")
        return await self.serve(database, run, "n9")

    async def test_a_note_is_cleared_by_its_own_permit_in_time_or_runs_out(self, database, run):
        async def making() -> bool:
            async with database.connection() as connection:
                (found,) = await nodes.serving(connection, run.id)
                assert found.making == (await nodes.still_making(connection, ["n1"]) == {"n1"})
            return found.making

        async def made(key: str) -> bool:
            async with database.connection() as connection:
                return await nodes.made(connection, run_id=run.id, node_id="n1", key=key)

        first = await self.serve(database, run)
        second = await self.serve(database, run)
        assert await making()
        # of one that was given up and replaced nothing is said
        assert not await made(first)
        assert await making()
        assert await made(second)
        assert not await making()
        late = await self.serve(database, run, seconds=-1.0)
        assert not await making()
        # whoever stopped the run did not wait for it: it must not be used
        assert not await made(late)
        async with database.connection() as connection:
            await nodes.end(connection, "n1")
            assert not await nodes.making(
                connection,
                run_id=run.id,
                node_id="n1",
                engine_id="e1",
                epoch=1,
                key="b" * 32,
                address=("127.0.0.1", 5060),
                seconds=60,
            )

    async def test_what_was_dropped_is_never_taken_back(self, database, run):
        await self.serve(database, run, epoch=3)
        async with database.connection() as connection:
            for epoch in (2, 1):
                await nodes.dropped(connection, run_id=run.id, node_id="n1", epoch=epoch)
        (found,) = await self.serving(database, run)
        assert found.dropped_epoch == 2

    async def test_a_lease_that_ran_out_and_a_life_that_ended_are_told_apart(self, database, run):
        await register(database, "n2", ttl_seconds=-1)
        await register(database, "n3")
        for node_id in ("n1", "n2", "n3"):
            await self.serve(database, run, node_id)
        async with database.connection() as connection:
            await nodes.end(connection, "n3")
        found = {node.node_id: (node.lease_live, node.ended) for node in await self.serving(database, run)}
        assert found == {"n1": (True, False), "n2": (False, False), "n3": (False, True)}

    async def test_an_engine_is_forgotten_only_when_nobody_uses_it(self, database, run):
        key = await self.serve(database, run)
        async with database.transaction() as connection:
            assert await nodes.is_unused(connection, "e1") is False
            await nodes.forget_engine(connection, run.id, "e1", [key])
            assert await nodes.permits_of_run(connection, run.id) == {"e1": [(1, key)]}
            await nodes.end(connection, "n1")
            assert await nodes.is_unused(connection, "e1") is True
            assert await nodes.runs_of_engine(connection, "e1") == {run.id: [(1, key)]}
            await nodes.forget_engine(connection, run.id, "e1", [key])
            assert await nodes.permits_of_run(connection, run.id) == {}

    async def test_what_another_has_left_meanwhile_is_not_forgotten_with_it(self, database, run):
        """It has begun and ended while this one looked at what was its own."""
        key = await self.serve(database, run)
        async with database.connection() as connection:
            await nodes.end(connection, "n1")
        await register(database, "n2")
        others = await self.serve(database, run, "n2")
        async with database.transaction() as connection:
            await nodes.end(connection, "n2")
            await nodes.forget_engine(connection, run.id, "e1", [key])
            assert await nodes.permits_of_run(connection, run.id) == {"e1": [(1, others)]}

    async def test_a_node_that_begins_meanwhile_is_not_forgotten(self, database, run):
        key = await self.serve(database, run)
        async with database.connection() as connection:
            await nodes.end(connection, "n1")
        joined = asyncio.Event()

        async def join() -> None:
            await register(database, "n2")
            async with database.transaction() as connection:
                await runs_store.share_run(connection, run.id)
                await nodes.serve(connection, run_id=run.id, node_id="n2", epoch=1)
                await nodes.making(
                    connection,
                    run_id=run.id,
                    node_id="n2",
                    engine_id="e1",
                    epoch=1,
                    key="a" * 32,
                    address=("127.0.0.1", 5060),
                    seconds=60,
                )
                joined.set()
                await asyncio.sleep(0.05)

        async def forget() -> None:
            await joined.wait()
            async with database.transaction() as connection:
                await nodes.forget_engine(connection, run.id, "e1", [key, "a" * 32])

        await asyncio.gather(join(), forget())
        async with database.connection() as connection:
            assert (1, "a" * 32) in (await nodes.permits_of_run(connection, run.id))["e1"]

    async def test_runs_that_are_over_need_no_engine(self, database, run):
        await self.serve(database, run)
        async with database.transaction() as connection:
            await runs_store.move_run(
                connection, run.id, before=RunState.ACTIVE, epoch=1, after=RunState.COMPLETED, actor="x", reason=""
            )
            assert await nodes.runs_of_engine(connection, "e1") == {}

    async def test_a_node_that_has_ended_renews_nothing(self, database):
        async with database.connection() as connection:
            assert await nodes.renew(connection, "n1", ttl_seconds=1, engine_up=True) is True
            await nodes.end(connection, "n1")
            assert await nodes.renew(connection, "n1", ttl_seconds=1, engine_up=True) is False
            assert await nodes.renew(connection, "unknown", ttl_seconds=1, engine_up=True) is False


class TestMoves:
    async def move(self, database, run, before, epoch, after):
        async with database.transaction() as connection:
            return await runs_store.move_run(
                connection, run.id, before=before, epoch=epoch, after=after, actor="x", reason="why"
            )

    async def test_only_from_the_state_and_epoch_one_knows(self, database, run):
        assert await self.move(database, run, RunState.PAUSED, 1, RunState.ACTIVE) is None
        assert await self.move(database, run, RunState.ACTIVE, 2, RunState.PAUSED) is None
        assert (await self.move(database, run, RunState.ACTIVE, 1, RunState.PAUSED)).epoch == 2

    async def test_of_many_one_wins(self, database, run):
        wishes = [RunState.PAUSED, RunState.STOPPING, RunState.COMPLETED] * 3
        found = await asyncio.gather(*(self.move(database, run, RunState.ACTIVE, 1, after) for after in wishes))
        assert len([one for one in found if one is not None]) == 1

    @pytest.mark.parametrize(
        ("after", "epoch", "ended"),
        [(RunState.PAUSED, 2, False), (RunState.STOPPING, 2, False), (RunState.COMPLETED, 1, True)],
    )
    async def test_epoch_and_instants(self, database, run, after, epoch, ended):
        moved = await self.move(database, run, RunState.ACTIVE, 1, after)
        assert moved.epoch == epoch
        assert (moved.ended_at is not None) is ended
        assert moved.updated_at > run.updated_at

    async def test_a_campaign_has_one_live_run_whatever_anybody_writes(self, database, run):
        with pytest.raises(asyncpg.UniqueViolationError):
            async with database.transaction() as connection:
                await connection.execute(
                    "INSERT INTO runs (instance_id, campaign_id, account_id, iid, state, rules, trunk_id, "
                    "dnc_list_ids, changed_by) "
                    "SELECT 'cid-x', campaign_id, account_id, iid, 'active', rules, trunk_id, '{}', 'x' "
                    "FROM runs"
                )


class TestDroppingRetries:
    @pytest.fixture
    async def waiting(self, database, run):
        """Six contacts wait: three after an attempt, three for their hours."""
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE run_contacts SET state = 'waiting', not_before = $2, attempts_count = contact_id % 2 "
                "WHERE run_id = $1",
                run.id,
                datetime.now(UTC) + timedelta(hours=1),
            )
        return run

    async def drop(self, database, run, limit):
        async with database.connection() as connection:
            return await stops.drop_retries(connection, run.id, limit=limit, actor="x")

    async def test_nothing_of_a_run_that_goes_on(self, database, waiting):
        assert await self.drop(database, waiting, 10) == 0

    async def test_lot_by_lot_to_the_end(self, database, waiting):
        async with database.transaction() as connection:
            await runs_store.move_run(
                connection, waiting.id, before=RunState.ACTIVE, epoch=1, after=RunState.STOPPING, actor="x", reason=""
            )
        assert [await self.drop(database, waiting, 4) for _ in range(3)] == [4, 2, 0]
        async with database.connection() as connection:
            rows = await connection.fetch(
                "SELECT state, done_reason, count(*) FROM run_contacts GROUP BY 1, 2 ORDER BY 1"
            )
        assert [tuple(row) for row in rows] == [("done", "retry_cancelled", 3), ("pending", None, 3)]

    async def test_two_who_drop_at_once_share_the_work(self, database, waiting):
        async with database.transaction() as connection:
            await runs_store.move_run(
                connection, waiting.id, before=RunState.ACTIVE, epoch=1, after=RunState.STOPPING, actor="x", reason=""
            )
        found = await asyncio.gather(*(self.drop(database, waiting, 6) for _ in range(3)))
        assert sum(found) == 6

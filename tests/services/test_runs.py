"""Starting, pausing and resuming runs; loading their contacts; what people see of them. Real PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from dialing import CALLER_ID, add_campaign, phones, set_stage, with_rules
from outdial.core.errors import (
    BadReferenceError,
    ConflictError,
    IllegalMoveError,
    InUseError,
    NotBuiltError,
    NotFoundError,
    NothingToDialError,
)
from outdial.core.model import DialingOrder, RunContactState, RunState
from outdial.services import contact_lists, dnc, runs, trunks
from outdial.services.access import create_application
from outdial.services.contact_lists import ContactDraft
from outdial.services.engines import Engines
from outdial.services.stop import stop
from outdial.store import campaigns as campaigns_store
from outdial.store import run_contacts as contacts_store
from outdial.store import runs as runs_store
from waiting import until


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(30))


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=0.5)
    yield opened
    await opened.close()


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


async def order(database, run_id) -> list[str]:
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT phone FROM run_contacts WHERE run_id = $1 ORDER BY sort_key", run_id)
    return [row["phone"] for row in rows]


class TestStart:
    async def test_it_is_active_at_its_first_epoch_with_everybody_pending(self, stage, database):
        run = await start(stage)
        assert (run.state, run.epoch, run.loaded) == (RunState.ACTIVE, 1, True)
        progress = await runs.progress(database, run.id)
        assert progress.contacts == {RunContactState.PENDING: 30}
        assert progress.placed == 0

    async def test_a_second_one_is_refused_and_says_why(self, stage):
        await start(stage)
        with pytest.raises(ConflictError, match="active"):
            await start(stage)

    async def test_of_two_at_once_one_wins(self, stage, database):
        results = await asyncio.gather(*(start(stage) for _ in range(5)), return_exceptions=True)
        assert len([one for one in results if not isinstance(one, Exception)]) == 1
        assert {type(one) for one in results if isinstance(one, Exception)} == {ConflictError}
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM runs") == 1

    async def test_one_that_waits_for_an_update_dials_what_was_updated_and_nobody_else(self, stage, database):
        """Rules and contact lists are of one definition: the people of the old list may be those who said no."""
        new = await add_campaign(
            database, stage.owner, phones(3, area=777), list_name="consented", name="Other", rules=with_rules()
        )
        async with database.transaction() as updating:
            await campaigns_store.by_id(updating, stage.owner.iid, stage.campaign_id, lock=True)
            await updating.execute(
                "UPDATE campaigns SET rules = jsonb_set(rules, '{retry_seconds}', '77') WHERE id = $1",
                stage.campaign_id,
            )
            await updating.execute("DELETE FROM campaign_lists WHERE campaign_id = $1", stage.campaign_id)
            await updating.execute(
                "INSERT INTO campaign_lists SELECT $1, list_id, position FROM campaign_lists WHERE campaign_id = $2",
                stage.campaign_id,
                new,
            )
            starting = asyncio.create_task(start(stage))

            async def waiting() -> bool:
                async with database.connection() as connection:
                    return await connection.fetchval(
                        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
                        "AND wait_event_type = 'Lock')"
                    )

            await until(waiting)
        run = await starting
        assert run.rules.retry_seconds == 77
        assert await order(database, run.id) == phones(3, area=777)

    async def test_a_list_serves_one_live_run(self, stage, database, engines):
        other = await add_campaign(database, stage.owner, phones(1, area=556), list_name="others", name="Autumn")
        async with database.connection() as connection:
            await connection.execute(
                "INSERT INTO campaign_lists (campaign_id, list_id, position) "
                "SELECT $1, id, 1 FROM contact_lists WHERE name = 'people'",
                other,
            )
        await start(stage)
        with pytest.raises(InUseError, match=r"people.*Spring"):
            await start(stage, other)
        await stop(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
        assert (await start(stage, other)).state is RunState.ACTIVE

    async def test_two_campaigns_that_want_one_list_at_once(self, stage, database):
        other = await add_campaign(database, stage.owner, phones(1, area=556), list_name="others", name="Autumn")
        async with database.connection() as connection:
            await connection.execute(
                "INSERT INTO campaign_lists (campaign_id, list_id, position) "
                "SELECT $1, id, 1 FROM contact_lists WHERE name = 'people'",
                other,
            )
        results = await asyncio.gather(start(stage), start(stage, other), return_exceptions=True)
        assert sorted(type(one).__name__ for one in results) == ["InUseError", "Run"]

    async def test_without_a_trunk_for_its_caller_id(self, stage, database):
        await trunks.remove_trunk(database, stage.owner.iid, "line")
        with pytest.raises(BadReferenceError, match=rf"\{CALLER_ID}.*outdial trunk add"):
            await start(stage)

    async def test_with_an_empty_list(self, stage, database):
        empty = await add_campaign(database, stage.owner, [], list_name="nobody", name="Empty")
        with pytest.raises(NothingToDialError, match=r"nobody.*empty"):
            await start(stage, empty)
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM run_lists") == 0

    async def test_with_everybody_on_a_do_not_call_list(self, stage, database):
        await dnc.add_numbers(database, account_id=stage.owner.account_id, phones=phones(30), actor="test")
        with pytest.raises(NothingToDialError, match=r"30.*do-not-call"):
            await start(stage)

    async def test_without_a_flow_nobody_is_called_to_hear_nothing(self, stage, database):
        async with database.connection() as connection:
            await connection.execute("UPDATE campaigns SET flow_id = NULL")
        with pytest.raises(BadReferenceError, match="outdial flow add"):
            await start(stage)

    async def test_the_do_not_call_lists_of_its_start_are_kept(self, stage, database):
        await dnc.add_numbers(
            database,
            account_id=stage.owner.account_id,
            iid=stage.owner.iid,
            list_name="Never",
            phones=["+15550009999"],
            actor="test",
        )
        careful = await add_campaign(
            database, stage.owner, phones(2, area=557), list_name="few", name="Careful", dnc_list_name="Never"
        )
        run = await start(stage, careful)
        async with database.connection() as connection:
            names = await connection.fetch(
                "SELECT name FROM dnc_lists WHERE id = ANY (SELECT unnest(dnc_list_ids) FROM runs WHERE id = $1)",
                run.id,
            )
        assert {row["name"] for row in names} == {"Account", "Never"}

    @pytest.mark.parametrize("state", [RunState.PAUSED, RunState.STOPPING])
    async def test_it_is_refused_while_the_last_run_is_not_over(self, stage, database, state):
        run = await start(stage)
        async with database.transaction() as connection:
            await runs_store.move_run(
                connection, run.id, before=RunState.ACTIVE, epoch=1, after=state, actor="test", reason=""
            )
        with pytest.raises(ConflictError, match=str(state)):
            await start(stage)

    async def test_a_mode_that_is_not_built(self, stage, database):
        async with database.connection() as connection:
            await connection.execute("UPDATE campaigns SET mode = 'progressive'")
        with pytest.raises(NotBuiltError, match="progressive"):
            await start(stage)

    async def test_another_tenants_campaign_is_not_there(self, stage, database, secret_box):
        sister = await create_application(database, secret_box, account="Acme", name="sister")
        other = await create_application(database, secret_box, account="Other", name="one")
        for iid in (sister.iid, other.iid):
            for work in (
                runs.start(database, secret_box, iid=iid, campaign_id=stage.campaign_id, actor="test"),
                runs.resume(database, iid=iid, campaign_id=stage.campaign_id, actor="test"),
                runs.run_contacts(database, iid=iid, campaign_id=stage.campaign_id, page=1, limit=10),
            ):
                with pytest.raises(NotFoundError):
                    await work

    async def test_a_new_run_begins_from_the_beginning(self, stage, database, engines):
        first = await start(stage)
        await stop(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
        second = await start(stage)
        assert second.id > first.id
        assert second.instance_id != first.instance_id
        assert (await runs.progress(database, second.id)).contacts == {RunContactState.PENDING: 30}


class TestLoading:
    @pytest.mark.parametrize("first_lot", [7, 20_000])
    @pytest.mark.parametrize("way", DialingOrder)
    async def test_the_order_is_kept_whatever_the_lots(self, database, secret_box, monkeypatch, first_lot, way):
        monkeypatch.setattr(runs, "FIRST_LOT", first_lot)
        monkeypatch.setattr(runs, "LOT", 7)
        numbers = phones(30)
        stage = await set_stage(database, secret_box, numbers, rules=with_rules(order=way))
        run = await start(stage)
        while await runs.load_more(database, run):
            pass
        assert await order(database, run.id) == (numbers if way is DialingOrder.FIFO else numbers[::-1])
        async with database.connection() as connection:
            assert (await runs_store.by_id(connection, run.id)).loaded

    async def test_priority_comes_before_the_order(self, stage, database):
        urgent = ["+15559990001", "+15559990002"]
        await contact_lists.add_contacts(
            database,
            stage.owner.iid,
            "people",
            [ContactDraft(phone=urgent[0], priority=5), ContactDraft(phone=urgent[1], priority=32767)],
            default_region=None,
        )
        run = await start(stage)
        assert await order(database, run.id) == [urgent[1], urgent[0], *phones(30)]

    async def test_a_number_in_two_lists_is_one_contact(self, stage, database):
        both = await add_campaign(database, stage.owner, phones(40), list_name="more", name="Both")
        async with database.connection() as connection:
            await connection.execute(
                "INSERT INTO campaign_lists (campaign_id, list_id, position) "
                "SELECT $1, id, 1 FROM contact_lists WHERE name = 'people'",
                both,
            )
        run = await start(stage, both)
        assert sorted(await order(database, run.id)) == sorted(phones(40))

    async def test_two_nodes_that_load_at_once_lose_and_double_nobody(self, stage, database, monkeypatch):
        monkeypatch.setattr(runs, "FIRST_LOT", 3)
        monkeypatch.setattr(runs, "LOT", 3)
        run = await start(stage)

        async def load() -> None:
            while await runs.load_more(database, run):
                pass

        await asyncio.gather(*(load() for _ in range(4)))
        assert await order(database, run.id) == phones(30)

    async def test_nothing_is_loaded_into_a_run_that_was_stopped(self, stage, database, engines, monkeypatch):
        monkeypatch.setattr(runs, "FIRST_LOT", 3)
        run = await start(stage)
        await stop(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
        assert await runs.load_more(database, run) is False
        assert len(await order(database, run.id)) < 30

    async def test_a_run_whose_first_contacts_may_not_be_called_starts_all_the_same(self, stage, database, monkeypatch):
        monkeypatch.setattr(runs, "FIRST_LOT", 5)
        await dnc.add_numbers(database, account_id=stage.owner.account_id, phones=phones(20), actor="test")
        run = await start(stage)
        assert run.state is RunState.ACTIVE

    async def test_the_sort_key_fits_its_column(self):
        largest = 32767 * contacts_store.PRIORITY_STEP + 10 * contacts_store.POSITION_STEP + (1 << 40)
        assert largest < 1 << 63
        assert contacts_store.PRIORITY_STEP > 10 * contacts_store.POSITION_STEP + (1 << 43)


class TestPauseAndResume:
    async def test_each_raises_the_epoch(self, stage, database, engines):
        await start(stage)
        names = {"iid": stage.owner.iid, "campaign_id": stage.campaign_id, "actor": "test"}
        paused = await runs.pause(database, engines, **names)
        assert (paused.state, paused.epoch) == (RunState.PAUSED, 2)
        again = await runs.pause(database, engines, **names)
        assert (again.state, again.epoch) == (RunState.PAUSED, 2)
        resumed = await runs.resume(database, **names)
        assert (resumed.state, resumed.epoch) == (RunState.ACTIVE, 3)
        with pytest.raises(IllegalMoveError):
            await runs.resume(database, **names)

    async def test_what_never_ran_cannot_be_paused(self, stage, database, engines):
        names = {"iid": stage.owner.iid, "campaign_id": stage.campaign_id, "actor": "test"}
        with pytest.raises(ConflictError, match="never been started"):
            await runs.pause(database, engines, **names)
        with pytest.raises(ConflictError, match="never been started"):
            await stop(database, engines, **names)

    async def test_every_change_is_in_the_history_with_who_and_why(self, stage, database, engines):
        run = await start(stage)
        names = {"iid": stage.owner.iid, "campaign_id": stage.campaign_id}
        await runs.pause(database, engines, actor="anna", **names)
        await runs.resume(database, actor="ben", **names)
        await stop(database, engines, actor="cleo", **names)
        async with database.connection() as connection:
            rows = await connection.fetch(
                "SELECT from_state, to_state, actor, reason FROM history WHERE run_id = $1 AND action = 'run' "
                "ORDER BY id",
                run.id,
            )
        assert [tuple(row) for row in rows] == [
            (None, "active", "test", "start"),
            ("active", "paused", "anna", "pause"),
            ("paused", "active", "ben", "resume"),
            ("active", "stopping", "cleo", "stop"),
            ("stopping", "stopped", "cleo", "confirm_stopped"),
        ]


class TestPages:
    async def test_they_cover_everybody_once(self, stage, database):
        await start(stage)
        seen = []
        for page in (1, 2, 3, 4):
            found = await runs.run_contacts(
                database, iid=stage.owner.iid, campaign_id=stage.campaign_id, page=page, limit=10
            )
            assert found.total == 30
            seen += [contact.phone for contact in found.results]
        assert seen == phones(30)

    async def test_a_campaign_that_never_ran_has_none(self, stage, database):
        found = await runs.run_contacts(database, iid=stage.owner.iid, campaign_id=stage.campaign_id, page=1, limit=10)
        assert (found.results, found.total) == ((), 0)


async def test_a_run_keeps_the_rules_it_was_started_with(stage, database):
    run = await start(stage)
    async with database.connection() as connection:
        await connection.execute("UPDATE campaigns SET rules = $1", replace(run.rules, max_attempts=99))
        assert (await runs_store.by_id(connection, run.id)).rules == run.rules

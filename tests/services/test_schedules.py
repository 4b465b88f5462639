"""Schedules against a real database: occurrences happen once, are missed, refused, and lose against a stop or win."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, timedelta

import pytest

from dialing import add_campaign, phones, set_stage, with_rules
from outdial import clock
from outdial.core.campaign import Standing, standing
from outdial.core.errors import BadReferenceError, ConflictError, InvalidInputError, NotBuiltError, NotFoundError
from outdial.core.model import DialingMode, RunState
from outdial.core.schedule import LATEST, Outcome, Recurrence
from outdial.services import access, campaigns, runs, schedules
from outdial.services.campaigns import CampaignDraft, CampaignSearch
from outdial.services.engines import Engines
from outdial.services.stop import StoppedRun, StoppedSchedule, resume_stops, stop
from outdial.store import campaigns as campaigns_store
from outdial.store import runs as runs_store
from outdial.store import schedules as store
from scheduling import TTL, daily, enable, fall_due, happened, history, look, press_stop, whole
from waiting import until

pytestmark = pytest.mark.usefixtures("ready_engines")

_FROM_THEN_ON = "UPDATE schedules SET definition = jsonb_set(definition, '{start}', to_jsonb($1::text))"


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(20))


@pytest.fixture
async def ready_engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=TTL)
    yield opened
    await opened.close()


class TestEnabling:
    async def test_it_stands_scheduled_for_its_next_occurrence(self, stage):
        campaign = await enable(stage)
        assert standing(campaign) is Standing.SCHEDULED
        assert campaign.schedule.next_at == daily().start.replace(tzinfo=UTC)
        assert campaign.schedule.schedule.zone == campaign.rules.calling_hours.zone

    async def test_its_times_are_of_the_campaigns_own_zone(self, stage):
        hours = replace(with_rules().calling_hours, zone="Asia/Tokyo")
        tokyo = await add_campaign(
            stage.database, stage.owner, phones(1), rules=with_rules(calling_hours=hours), list_name="t", name="Tokyo"
        )
        campaign = await enable(stage, campaign_id=tokyo)
        assert campaign.schedule.next_at == campaign.schedule.schedule.start.replace(tzinfo=UTC) - timedelta(hours=9)

    async def test_another_takes_its_place(self, stage):
        await enable(stage)
        weekly = await enable(stage, daily(recurrence=Recurrence.WEEKLY, weekdays=(0, 3)))
        assert weekly.schedule.schedule.recurrence is Recurrence.WEEKLY
        assert weekly.schedule.schedule.weekdays == (0, 3)
        assert weekly.schedule.version == 2

    async def test_what_cannot_happen_is_refused_and_changes_nothing(self, stage):
        past = clock.now().replace(tzinfo=None) - timedelta(days=9)
        with pytest.raises(InvalidInputError, match="later than now"):
            await enable(stage, daily(start=past, end=past + timedelta(days=1)))
        assert (await whole(stage)).schedule is None

    async def test_what_could_never_be_started_is_refused(self, stage):
        draft = CampaignDraft(
            name="Agents",
            description="",
            list_names=(stage.list_name,),
            dnc_list_name=None,
            priority=1,
            mode=DialingMode.PREVIEW,
            rules=with_rules(),
            flow_name=None,
            queue_name="q",
            max_skips=1,
            api_version=2,
        )
        made = await campaigns.create_campaign(
            stage.database, iid=stage.owner.iid, account_id=stage.owner.account_id, draft=draft, actor="test"
        )
        with pytest.raises(NotBuiltError):
            await enable(stage, campaign_id=made.id)
        flowless = await campaigns.create_campaign(
            stage.database,
            iid=stage.owner.iid,
            account_id=stage.owner.account_id,
            draft=replace(draft, name="Mute", mode=DialingMode.AGENTLESS),
            actor="test",
        )
        with pytest.raises(BadReferenceError, match="no flow"):
            await enable(stage, campaign_id=flowless.id)

    async def test_another_tenants_campaign_is_not_there(self, stage, secret_box):
        other = await access.create_application(stage.database, secret_box, account="Other", name="one")
        for act in (
            schedules.enable(
                stage.database, iid=other.iid, campaign_id=stage.campaign_id, plan=daily(), actor="theirs"
            ),
            schedules.disable(stage.database, iid=other.iid, campaign_id=stage.campaign_id, actor="theirs"),
            schedules.show(stage.database, iid=other.iid, campaign_id=stage.campaign_id),
        ):
            with pytest.raises(NotFoundError):
                await act

    async def test_by_name(self, stage):
        database, iid = stage.database, stage.owner.iid
        assert await schedules.require_named(database, iid, "Spring") == stage.campaign_id
        with pytest.raises(NotFoundError, match="'spring'"):
            await schedules.require_named(database, iid, "spring")
        twin = await add_campaign(database, stage.owner, phones(1), list_name="more")
        with pytest.raises(ConflictError) as caught:
            await schedules.require_named(database, iid, "Spring")
        assert stage.campaign_id in caught.value.message
        assert twin in caught.value.message
        assert await schedules.require_named(database, iid, "Spring", twin) == twin
        with pytest.raises(NotFoundError):
            await schedules.require_named(database, iid, "Spring", "cd-other")

    async def test_disabling_lets_a_live_run_go_on(self, stage):
        await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
        await enable(stage)
        for _ in range(2):
            campaign = await schedules.disable(
                stage.database, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
            )
            assert standing(campaign) is Standing.ACTIVE
            assert not campaign.schedule.enabled
        assert await history(stage.database, "schedule") == [("enabled", "enable"), ("disabled", "disable")]


class TestOccurrences:
    async def test_one_that_is_due_begins_a_run_and_sets_the_next(self, stage):
        planned = (await enable(stage)).schedule
        due_at = await fall_due(stage)
        await look(stage)
        campaign = await whole(stage)
        assert standing(campaign) is Standing.ACTIVE
        assert campaign.schedule.next_at == planned.next_at
        (occurrence,) = await happened(stage)
        assert (occurrence.outcome, occurrence.due_at) == (Outcome.STARTED, due_at)
        assert occurrence.instance_id == campaign.run.instance_id
        assert ("started", "") in await history(stage.database, "occurrence")

    async def test_nothing_happens_before(self, stage):
        await enable(stage)
        await look(stage)
        assert (await whole(stage)).run is None
        assert await happened(stage) == ()

    async def test_however_many_look_it_happens_once(self, stage):
        await enable(stage)
        await fall_due(stage)
        await asyncio.gather(*(look(stage) for _ in range(6)))
        async with stage.database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM runs") == 1
        assert [one.outcome for one in await happened(stage)] == [Outcome.STARTED]

    async def test_one_that_nobody_could_start_in_time_is_missed_not_run(self, stage):
        await enable(stage)
        await fall_due(stage, ago=LATEST.total_seconds() + 5)
        await look(stage)
        campaign = await whole(stage)
        assert campaign.run is None
        assert standing(campaign) is Standing.SCHEDULED
        (occurrence,) = await happened(stage)
        assert occurrence.outcome is Outcome.MISSED
        assert "No outdial was running" in occurrence.reason

    async def test_days_without_a_server_are_missed_one_by_one(self, stage):
        start = clock.now().replace(tzinfo=None, microsecond=0) - timedelta(days=3, hours=1)
        await enable(stage, daily(start=start))
        async with stage.database.connection() as connection:
            await connection.execute("UPDATE schedules SET next_at = $1", start.replace(tzinfo=UTC))
        for _ in range(5):
            await look(stage)
        assert [one.outcome for one in await happened(stage)] == [Outcome.MISSED] * 4
        assert (await whole(stage)).schedule.next_at == start.replace(tzinfo=UTC) + timedelta(days=4)

    async def test_a_refusal_is_written_down_and_leaves_nothing_behind(self, stage):
        await enable(stage)
        await runs.start(
            stage.database,
            stage.secrets,
            iid=stage.owner.iid,
            # the same list, dialed by another campaign
            campaign_id=await self._twin(stage),
            actor="test",
        )
        await fall_due(stage)
        await look(stage)
        (occurrence,) = await happened(stage)
        assert occurrence.outcome is Outcome.REFUSED
        assert "being dialed by the campaign Twin" in occurrence.reason
        campaign = await whole(stage)
        assert campaign.run is None
        assert standing(campaign) is Standing.SCHEDULED

    async def _twin(self, stage) -> str:
        draft = CampaignDraft(
            name="Twin",
            description="",
            list_names=(stage.list_name,),
            dnc_list_name=None,
            priority=1,
            mode=DialingMode.AGENTLESS,
            rules=with_rules(),
            flow_name="hello",
            queue_name=None,
            max_skips=None,
            api_version=2,
        )
        made = await campaigns.create_campaign(
            stage.database, iid=stage.owner.iid, account_id=stage.owner.account_id, draft=draft, actor="test"
        )
        return made.id

    async def test_while_a_run_is_live_the_next_is_refused(self, stage):
        await enable(stage)
        for _ in range(2):
            await fall_due(stage)
            await look(stage)
        assert [one.outcome for one in await happened(stage)] == [Outcome.REFUSED, Outcome.STARTED]

    async def test_a_manual_start_waits_for_the_schedule_to_be_off(self, stage):
        await enable(stage)
        with pytest.raises(ConflictError, match="is scheduled"):
            await runs.start(
                stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
            )

    async def test_a_scheduled_campaign_is_not_deleted(self, stage):
        await enable(stage)
        with pytest.raises(ConflictError, match="scheduled"):
            await campaigns.delete_campaign(
                stage.database, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
            )

    async def test_keep_does_all_this_by_itself(self, stage):
        await enable(stage)
        await fall_due(stage)
        keeping = asyncio.create_task(schedules.keep(stage.database, stage.secrets, ttl_seconds=TTL))
        try:
            await until(lambda: self._running(stage))
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _running(self, stage) -> bool:
        return (await whole(stage)).run is not None


class TestWhatGoesWrong:
    async def test_a_deleted_campaigns_schedule_is_switched_off(self, stage):
        await enable(stage)
        async with stage.database.connection() as connection:
            # its last occurrence has been: nothing is upcoming, so it may be deleted
            await connection.execute("UPDATE schedules SET next_at = NULL")
        await campaigns.delete_campaign(
            stage.database, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
        async with stage.database.connection() as connection:
            assert await connection.fetchval("SELECT enabled FROM schedules") is False
            # and one that slipped through is no longer looked at
            await connection.execute("UPDATE schedules SET enabled = true, ends_at = clock_timestamp()")
            assert await store.ended(connection) == []
            assert await store.due(connection) == []

    async def test_one_that_fails_keeps_no_other_from_being_started(self, stage, monkeypatch):
        other = await add_campaign(stage.database, stage.owner, phones(3, area=556), list_name="o", name="Other")
        await enable(stage)
        await enable(stage, campaign_id=other)
        await fall_due(stage)
        async with stage.database.connection() as connection:
            await connection.execute("UPDATE schedules SET next_at = clock_timestamp() WHERE campaign_id = $1", other)
        take = store.take

        async def failing(connection, campaign_id, seen, *, next_at):
            if campaign_id == stage.campaign_id:
                raise RuntimeError("nobody thought of this")
            return await take(connection, campaign_id, seen, next_at=next_at)

        monkeypatch.setattr(store, "take", failing)
        await look(stage)
        assert (await whole(stage)).run is None
        assert (await campaigns.get_campaign(stage.database, stage.owner.iid, other)).run is not None

    async def test_an_instant_that_has_been_is_passed_over(self, stage):
        """Enabled again within the moment in which it had just been started, by a clock that was behind."""
        await enable(stage)
        due_at = await fall_due(stage)
        await look(stage)
        first = (await whole(stage)).run
        async with stage.database.connection() as connection:
            await connection.execute("UPDATE schedules SET next_at = $1", due_at)
        await look(stage)
        assert [one.due_at for one in await happened(stage)] == [due_at]
        campaign = await whole(stage)
        assert campaign.run.id == first.id
        assert campaign.schedule.next_at > due_at


class TestStop:
    async def test_it_switches_the_schedule_off_with_the_run(self, stage, ready_engines):
        await enable(stage)
        await fall_due(stage)
        await look(stage)
        stopped = await press_stop(stage, ready_engines)
        assert isinstance(stopped, StoppedRun)
        campaign = await whole(stage)
        assert standing(campaign) is Standing.STOPPED
        assert not campaign.schedule.enabled
        await fall_due(stage)
        await look(stage)
        assert (await whole(stage)).run.id == stopped.run.id
        assert await press_stop(stage, ready_engines) == stopped

    async def test_it_keeps_the_schedule_when_asked_to(self, stage, ready_engines):
        await enable(stage)
        await fall_due(stage)
        await look(stage)
        first = await press_stop(stage, ready_engines, keep_schedule=True)
        assert standing(await whole(stage)) is Standing.SCHEDULED
        await fall_due(stage)
        await look(stage)
        campaign = await whole(stage)
        assert standing(campaign) is Standing.ACTIVE
        assert campaign.run.id > first.run.id

    async def test_with_nothing_running_it_switches_the_schedule_off(self, stage, ready_engines):
        await enable(stage)
        stopped = await press_stop(stage, ready_engines)
        assert isinstance(stopped, StoppedSchedule)
        assert stopped.run is None
        assert standing(await whole(stage)) is Standing.STOPPED
        assert await press_stop(stage, ready_engines) == stopped
        assert await history(stage.database, "schedule") == [("enabled", "enable"), ("disabled", "stop")]

    async def test_with_an_earlier_run_over_it_answers_for_the_schedule(self, stage, ready_engines):
        await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
        earlier = await press_stop(stage, ready_engines)
        await enable(stage)
        stopped = await press_stop(stage, ready_engines)
        assert isinstance(stopped, StoppedSchedule)
        assert stopped.run.id == earlier.run.id
        assert stopped.stopped_at > earlier.report.stopped_at
        assert await press_stop(stage, ready_engines) == stopped

    async def test_after_a_start_the_stop_before_is_forgotten(self, stage, ready_engines):
        await enable(stage)
        await press_stop(stage, ready_engines)
        started = await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
        assert standing(await whole(stage)) is Standing.ACTIVE
        stopped = await press_stop(stage, ready_engines)
        assert isinstance(stopped, StoppedRun)
        assert stopped.run.id == started.run.id

    async def test_without_run_and_schedule_there_is_nothing_to_stop(self, stage, ready_engines):
        with pytest.raises(ConflictError, match="never been started"):
            await press_stop(stage, ready_engines)
        await enable(stage)
        with pytest.raises(ConflictError, match="never been started"):
            await press_stop(stage, ready_engines, keep_schedule=True)
        assert (await whole(stage)).schedule.enabled

    async def test_an_occurrence_under_way_is_stopped_with_its_run(self, stage, ready_engines):
        """The stop comes while the occurrence's transaction is open: it waits, and then sees the run."""
        seen = (await enable(stage)).schedule
        seen = replace(seen, next_at=await fall_due(stage))
        async with stage.database.transaction() as connection:
            campaign = await store_campaign(connection, stage)
            assert await store.take(connection, campaign.id, seen, next_at=None) is not None
            pressed = asyncio.create_task(press_stop(stage, ready_engines))
            await waits_for_lock(stage.database)
            started = await runs.begin(connection, stage.secrets, campaign, actor="schedule")
        stopped = await pressed
        assert isinstance(stopped, StoppedRun)
        assert stopped.run.id == started.run.id
        assert stopped.run.state is RunState.STOPPED

    async def test_a_stop_that_was_faster_lets_no_occurrence_through(self, stage):
        """The occurrence has seen the schedule as due; the stop commits first: nothing begins."""
        seen = replace((await enable(stage)).schedule, next_at=await fall_due(stage))
        async with stage.database.transaction() as stopping:
            await store.switch_off(stopping, stage.campaign_id, actor="test", reason="stop")
            looking = asyncio.create_task(look(stage))
            await waits_for_lock(stage.database)
        await looking
        assert (await whole(stage)).run is None
        assert await happened(stage) == ()
        async with stage.database.transaction() as connection:
            assert await store.take(connection, stage.campaign_id, seen, next_at=None) is None

    async def test_a_run_that_completes_under_the_stop_does_not_save_the_schedule(self, stage, ready_engines):
        """Pressed while the last call ends: whoever pressed stop is not told no, and nobody is called tomorrow."""
        await enable(stage)
        await fall_due(stage)
        await look(stage)
        run = (await whole(stage)).run
        async with stage.database.transaction() as completing:
            await runs_store.lock_run(completing, run.id)
            pressed = asyncio.create_task(press_stop(stage, ready_engines))
            await waits_for_lock(stage.database)
            await runs_store.move_run(
                completing,
                run.id,
                before=RunState.ACTIVE,
                epoch=run.epoch,
                after=RunState.COMPLETED,
                actor="test",
                reason="complete",
            )
        stopped = await pressed
        assert isinstance(stopped, StoppedSchedule)
        assert stopped.run.state is RunState.COMPLETED
        assert not (await whole(stage)).schedule.enabled
        assert standing(await whole(stage)) is Standing.STOPPED

    async def test_a_frozen_occurrence_holds_a_stop_up_no_longer_than_a_permit_lives(self, stage, ready_engines):
        seen = replace((await enable(stage)).schedule, next_at=await fall_due(stage))
        began = clock.boottime()
        async with stage.database.connection() as frozen:
            await frozen.execute("BEGIN")
            await runs_store.limit_idle(frozen, TTL)
            assert await store.take(frozen, stage.campaign_id, seen, next_at=None) is not None
            stopped = await press_stop(stage, ready_engines)
        assert isinstance(stopped, StoppedSchedule)
        assert clock.boottime() - began < TTL + 5
        assert (await whole(stage)).run is None


async def store_campaign(connection, stage):
    campaign = await campaigns_store.by_id(connection, stage.owner.iid, stage.campaign_id, lock=True)
    assert campaign is not None
    return campaign


async def waits_for_lock(database) -> None:
    """Until some statement on this database waits for another transaction."""

    async def waiting() -> bool:
        async with database.connection() as connection:
            return await connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
                "AND wait_event_type = 'Lock')"
            )

    await until(waiting)


class TestEnd:
    async def _come_to_its_end(self, stage) -> None:
        async with stage.database.connection() as connection:
            await connection.execute("UPDATE schedules SET next_at = NULL, ends_at = clock_timestamp()")

    async def test_the_last_occurrence_leaves_nothing_upcoming(self, stage):
        plan = daily(recurrence=Recurrence.ONCE)
        await enable(stage, plan)
        async with stage.database.connection() as connection:
            # its one occurrence is the one that is due
            await connection.execute(_FROM_THEN_ON, (plan.start - timedelta(days=2)).isoformat())
        await fall_due(stage)
        await look(stage)
        campaign = await whole(stage)
        assert standing(campaign) is Standing.ACTIVE
        assert campaign.schedule.next_at is None

    async def test_a_run_that_the_schedule_began_is_stopped(self, stage, ready_engines):
        await enable(stage)
        await fall_due(stage)
        await look(stage)
        await self._come_to_its_end(stage)
        await asyncio.gather(look(stage), look(stage))
        campaign = await whole(stage)
        assert campaign.run.state is RunState.STOPPING
        assert not campaign.schedule.enabled
        resuming = asyncio.create_task(resume_stops(stage.database, ready_engines))
        try:
            await until(lambda: self._stopped(stage))
        finally:
            resuming.cancel()
            await asyncio.gather(resuming, return_exceptions=True)
        stopped = await press_stop(stage, ready_engines)
        assert stopped.report.requested_by == "schedule"

    async def _stopped(self, stage) -> bool:
        return (await whole(stage)).run.state is RunState.STOPPED

    async def test_a_run_that_somebody_started_goes_on(self, stage):
        await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
        await enable(stage)
        await self._come_to_its_end(stage)
        await look(stage)
        campaign = await whole(stage)
        assert campaign.run.state is RunState.ACTIVE
        assert not campaign.schedule.enabled


class TestListing:
    async def test_the_filter_finds_what_is_shown(self, stage, ready_engines):
        """The listing's SQL and ``core.campaign.standing`` say the same of every campaign."""
        made = {}
        for name in ("ready", "scheduled", "stopped", "active", "over"):
            made[name] = await add_campaign(stage.database, stage.owner, phones(1), list_name=name, name=name)
        for name in ("scheduled", "stopped", "over"):
            await enable(stage, campaign_id=made[name])
        await stop(stage.database, ready_engines, iid=stage.owner.iid, campaign_id=made["stopped"], actor="test")
        await schedules.disable(stage.database, iid=stage.owner.iid, campaign_id=made["over"], actor="test")
        for name in ("active", "over"):
            await runs.start(stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=made[name], actor="test")
        async with stage.database.connection() as connection:
            await connection.execute(
                "UPDATE runs SET state = 'completed', ended_at = clock_timestamp() WHERE campaign_id = $1",
                made["over"],
            )
        found = set()
        for one in Standing:
            page = await campaigns.search_campaigns(
                stage.database, stage.owner.iid, CampaignSearch(standings=frozenset({one}))
            )
            assert {standing(campaign) for campaign in page.items} <= {one}
            found |= {(campaign.name, one) for campaign in page.items}
        assert found == {
            ("Spring", Standing.READY),
            ("ready", Standing.READY),
            ("scheduled", Standing.SCHEDULED),
            ("stopped", Standing.STOPPED),
            ("active", Standing.ACTIVE),
            ("over", Standing.COMPLETED),
        }

"""Schedules and their occurrences at chosen moments, for tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from outdial import clock
from outdial.core.schedule import Recurrence
from outdial.services import campaigns, schedules
from outdial.services.schedules import SchedulePlan
from outdial.services.stop import StoppedRun, StoppedSchedule, stop

TTL = 0.5


def daily(**changed) -> SchedulePlan:
    start = clock.now().replace(tzinfo=None, microsecond=0) + timedelta(days=1)
    plan = SchedulePlan(start, start + timedelta(days=30), Recurrence.DAILY, 1, ())
    return replace(plan, **changed)


async def enable(stage, plan=None, campaign_id=None):
    return await schedules.enable(
        stage.database,
        iid=stage.owner.iid,
        campaign_id=campaign_id or stage.campaign_id,
        plan=plan or daily(),
        actor="test",
    )


async def press_stop(stage, engines, **options) -> StoppedRun | StoppedSchedule:
    return await stop(
        stage.database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test", **options
    )


async def fall_due(stage, *, ago: float = 0.0) -> datetime:
    """Let the next occurrence be due, as if it had been planned for that long ago."""
    async with stage.database.connection() as connection:
        return await connection.fetchval(
            "UPDATE schedules SET next_at = clock_timestamp() - $2::interval WHERE campaign_id = $1 RETURNING next_at",
            stage.campaign_id,
            timedelta(seconds=ago),
        )


async def look(stage) -> None:
    """What ``keep`` does once a second."""
    keeper = schedules._Keeper(stage.database, stage.secrets, TTL)
    await keeper.look()


async def whole(stage):
    return await campaigns.get_campaign(stage.database, stage.owner.iid, stage.campaign_id)


async def happened(stage):
    return (await schedules.show(stage.database, iid=stage.owner.iid, campaign_id=stage.campaign_id)).occurrences


async def history(database, action: str) -> list[tuple[str, str]]:
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT to_state, reason FROM history WHERE action = $1 ORDER BY id", action)
    return [(row["to_state"], row["reason"]) for row in rows]

"""Runs that pause by themselves when calling hours close for the day (``core.closing``)."""

from __future__ import annotations

from typing import Final

import structlog

from outdial import rule_data
from outdial.core.campaign import RunAction
from outdial.core.closing import pauses
from outdial.core.model import AtClosing, Run, RunState
from outdial.core.whereabouts import whereabouts
from outdial.services import runs as runs_service
from outdial.store import run_contacts as run_contacts_store
from outdial.store import runs as runs_store
from outdial.store.database import Connection, Database

LOOKED_AT: Final = 200
"""People who come due next that are asked about: whether hours are closed for them, or they wait for a retry."""

REASON: Final = "calling_hours_closed"
"""Of the pause, in the run and its history."""

_log = structlog.get_logger()


async def pause_at_closing(database: Database, run: Run, *, node_id: str, ttl_seconds: float) -> bool:
    """Pause a run that lets calling hours do so and nobody of which can be called before the next opening; False when
    it goes on. A call that rings or is connected goes on."""
    if run.rules.calling_hours.at_closing is not AtClosing.PAUSE:
        return False
    async with database.connection() as connection:
        if not await _closed(connection, await runs_store.by_id(connection, run.id)):
            return False
    async with database.transaction() as connection:
        await runs_store.limit_idle(connection, ttl_seconds)
        await runs_store.lock_run(connection, run.id)
        # again, with the lock: a call-back may have come in, somebody may have paused or stopped it
        present = await runs_store.by_id(connection, run.id)
        if present.epoch != run.epoch or not await _closed(connection, present):
            return False
        await runs_service.move_locked(connection, present, RunAction.PAUSE, node_id, reason=REASON)
    _log.info("run_paused_at_closing", run_id=run.id)
    return True


async def _closed(connection: Connection, run: Run) -> bool:
    if run.state is not RunState.ACTIVE or not run.loaded:
        return False
    now, soonest = await run_contacts_store.soonest(connection, run.id, limit=LOOKED_AT)
    if not soonest:
        return False
    timetable = rule_data.timetable(run.rules.calling_hours, now)
    people = [
        whereabouts(
            timetable.pack,
            phone=one.phone,
            contact_zone=one.contact_zone,
            contact_state=one.contact_state,
            number_zones=one.number_zones,
            campaign_zone=timetable.hours.zone,
        )
        for one in soonest
    ]
    return pauses(timetable, people, since=run.updated_at, at=now)

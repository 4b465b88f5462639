"""An account with runs of long ago."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from dialing import phones, set_stage
from outdial.services import old_attempts, retention, runs
from outdial.store import runs as runs_store

NUMBERS = phones(4)
DAY = timedelta(days=1)


class Past:
    """An account with runs of long ago."""

    def __init__(self, stage) -> None:
        self.stage = stage
        self.database = stage.database
        self.account_id = stage.owner.account_id

    async def begin(self):
        """Start the campaign; nobody dials."""
        stage = self.stage
        started = await runs.start(
            self.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="anna"
        )
        return started.run

    async def over(self, run, *, days: float) -> None:
        await self.do(
            "UPDATE runs SET state = 'completed', ended_at = now() - $2::interval WHERE id = $1", run.id, days * DAY
        )
        await self.do("DELETE FROM run_lists WHERE run_id = $1", run.id)

    async def call(self, run, phone: str, *, days: float, disposition: str = "busy", matters=None) -> str:
        """Write down a call that ended so long ago; return its id."""
        attempt_id = uuid.uuid4().hex
        await self.do(
            """
            INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                  engine_id, node_id, epoch, number, state, disposition, reserved_at, dialed_at,
                                  answered_at, ended_at, matters, changed_by)
            SELECT $1, r.id, r.campaign_id, r.account_id, rc.contact_id, $3, '+1', 't', 'e', 'n', 1,
                   rc.attempts_count + 1, 'ended', $4,
                   now() - $5::interval, now() - $5::interval,
                   CASE WHEN $4 = 'answered_human' THEN now() - $5::interval END, now() - $5::interval, $6, 'test'
              FROM runs r JOIN run_contacts rc ON rc.run_id = r.id AND rc.phone = $3 WHERE r.id = $2
            """,
            attempt_id,
            run.id,
            phone,
            disposition,
            days * DAY,
            matters,
        )
        await self.do(
            "UPDATE run_contacts SET attempts_count = attempts_count + 1 WHERE run_id = $1 AND phone = $2",
            run.id,
            phone,
        )
        return attempt_id

    async def run_of(self):
        """Return the last run as it is now."""
        async with self.database.connection() as connection:
            return await runs_store.latest_run(connection, self.stage.campaign_id)

    async def do(self, statement: str, *arguments) -> list:
        async with self.database.connection() as connection:
            return await connection.fetch(statement, *arguments)

    async def where(self) -> dict[str, str]:
        """Return in which table each attempt is."""
        rows = await self.do(
            "SELECT id, 'near' AS place FROM attempts UNION ALL SELECT id, tableoid::regclass::text FROM old_attempts"
        )
        return {row["id"]: row["place"] for row in rows}

    async def keep(self, days: int | None, **others):
        wanted = {"recordings_days": None, "attributes_days": None} | others
        return await retention.set_days(
            self.database, account_id=self.account_id, attempts_days=days, actor="dora", **wanted
        )

    async def look(self) -> old_attempts.Looked:
        return await old_attempts.look(self.database)

    async def clock_is(self, **steady) -> None:
        """Let the database's clock have gone on so long without a leap, seen last so long ago."""
        await self.do(
            "UPDATE attempt_moves SET steady_since = now() - $1::interval, seen_at = now() - $2::interval",
            steady.get("steady", 2 * DAY),
            steady.get("seen", timedelta(0)),
        )


async def set_past(database, secret_box) -> Past:
    """Return an account whose database's clock has gone on steadily."""
    found = Past(await set_stage(database, secret_box, NUMBERS))
    await found.clock_is(steady=2 * DAY)
    return found


def month_of(days: float) -> str:
    return (datetime.now(UTC) - days * DAY).strftime("old_attempts_%Y_%m")


def month_ended(age: float, *, days: int) -> bool:
    """Whether the month in which something was so many days ago has been over for ``days``."""
    now = datetime.now(UTC)
    then = now - age * DAY
    end = (then.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + 32 * DAY).replace(day=1)
    return end <= now - days * DAY

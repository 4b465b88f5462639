"""Schedules, the referee between an occurrence and a stop, and what became of each occurrence.

Locks are taken in one order: the campaign's row, the schedule's row, the run. A stop takes the latter two only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg
import msgspec

from outdial.core.model import CampaignSchedule
from outdial.core.schedule import Outcome, Schedule
from outdial.store.database import Connection


@dataclass(frozen=True, slots=True)
class Due:
    """A schedule of which something is due: an occurrence, or its end."""

    campaign_id: str
    iid: str
    schedule: CampaignSchedule


@dataclass(frozen=True, slots=True)
class Occurrence:
    """What became of one occurrence."""

    due_at: datetime
    outcome: Outcome
    instance_id: str | None
    """The run it began."""
    reason: str
    at: datetime


_DUE: Final = """
SELECT s.*, c.iid FROM schedules s JOIN campaigns c ON c.id = s.campaign_id
 WHERE s.enabled AND c.deleted_at IS NULL AND
"""


def _schedule(row: asyncpg.Record) -> CampaignSchedule:
    return CampaignSchedule(
        schedule=msgspec.convert(row["definition"], Schedule),
        enabled=row["enabled"],
        version=row["version"],
        next_at=row["next_at"],
        ends_at=row["ends_at"],
        stopped_at=row["stopped_at"],
        updated_at=row["updated_at"],
    )


async def of_campaigns(connection: Connection, campaign_ids: Sequence[str]) -> dict[str, CampaignSchedule]:
    """Return the schedule of each campaign that ever had one, by its campaign's id."""
    rows = await connection.fetch("SELECT * FROM schedules WHERE campaign_id = ANY ($1::text[])", list(campaign_ids))
    return {row["campaign_id"]: _schedule(row) for row in rows}


async def enable(
    connection: Connection,
    campaign_id: str,
    *,
    account_id: str,
    schedule: Schedule,
    next_at: datetime,
    ends_at: datetime,
    actor: str,
) -> None:
    """Give a campaign that is locked a schedule, or another one in its place."""
    await connection.execute(
        """
        INSERT INTO schedules (campaign_id, account_id, definition, enabled, next_at, ends_at, changed_by,
                               change_reason)
        VALUES ($1, $2, $3, true, $4, $5, $6, 'enable')
            ON CONFLICT (campaign_id) DO UPDATE
           SET definition = $3, enabled = true, version = schedules.version + 1, next_at = $4, ends_at = $5,
               stopped_at = NULL, updated_at = clock_timestamp(), changed_by = $6, change_reason = 'enable'
        """,
        campaign_id,
        account_id,
        schedule,
        next_at,
        ends_at,
        actor,
    )


async def switch_off(connection: Connection, campaign_id: str, *, actor: str, reason: str) -> bool:
    """Switch a campaign's schedule off; False when it was not on.

    Waits for an occurrence that is being started: read the campaign's run in a later statement. With the reason
    ``stop`` the instant is kept, when something was still to come.
    """
    return (
        await connection.fetchval(
            """
            UPDATE schedules
               SET enabled = false, version = version + 1, next_at = NULL,
                   stopped_at = CASE WHEN $3 = 'stop' AND next_at IS NOT NULL THEN clock_timestamp() END,
                   updated_at = clock_timestamp(), changed_by = $2, change_reason = $3
             WHERE campaign_id = $1 AND enabled
            RETURNING true
            """,
            campaign_id,
            actor,
            reason,
        )
        is not None
    )


async def stopped_at(connection: Connection, campaign_id: str) -> datetime | None:
    """Return when a stop switched the campaign's schedule off, as long as nothing has been started since."""
    at: datetime | None = await connection.fetchval(
        "SELECT stopped_at FROM schedules WHERE campaign_id = $1", campaign_id
    )
    return at


async def forget_stop(connection: Connection, campaign_id: str) -> None:
    """Note that a campaign runs again: a stop of its schedule is no longer the last that happened to it."""
    await connection.execute(
        "UPDATE schedules SET stopped_at = NULL WHERE campaign_id = $1 AND stopped_at IS NOT NULL", campaign_id
    )


async def due(connection: Connection) -> list[Due]:
    """Return the schedules of which an occurrence is due, longest due first."""
    return _due(await connection.fetch(f"{_DUE} s.next_at <= clock_timestamp() ORDER BY s.next_at"))


async def ended(connection: Connection) -> list[Due]:
    """Return the schedules whose end has come, and of which no occurrence is left to be looked at."""
    return _due(await connection.fetch(f"{_DUE} s.ends_at <= clock_timestamp() AND s.next_at IS NULL"))


def _due(rows: Sequence[asyncpg.Record]) -> list[Due]:
    return [Due(row["campaign_id"], row["iid"], _schedule(row)) for row in rows]


async def take(
    connection: Connection, campaign_id: str, seen: CampaignSchedule, *, next_at: datetime | None
) -> datetime | None:
    """Take the occurrence that is due and set the next one; return the database's clock, by which it is due or late.

    None when the schedule is no longer as it was seen.
    """
    at: datetime | None = await connection.fetchval(
        """
        UPDATE schedules
           SET version = version + 1, next_at = $4, updated_at = clock_timestamp(), changed_by = 'schedule',
               change_reason = 'occurrence'
         WHERE campaign_id = $1 AND enabled AND version = $2 AND next_at = $3
        RETURNING clock_timestamp()
        """,
        campaign_id,
        seen.version,
        seen.next_at,
        next_at,
    )
    return at


async def happened(connection: Connection, campaign_id: str, due_at: datetime) -> bool:
    """Whether it is written down already what became of an occurrence."""
    answer: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM schedule_occurrences WHERE campaign_id = $1 AND due_at = $2)", campaign_id, due_at
    )
    return answer


async def record(
    connection: Connection, campaign_id: str, due_at: datetime, outcome: Outcome, *, run_id: int | None, reason: str
) -> None:
    """Write down what became of an occurrence."""
    await connection.execute(
        """
        INSERT INTO schedule_occurrences (campaign_id, due_at, outcome, run_id, reason) VALUES ($1, $2, $3, $4, $5)
        """,
        campaign_id,
        due_at,
        outcome,
        run_id,
        reason,
    )


async def occurrences(connection: Connection, campaign_id: str, *, limit: int) -> list[Occurrence]:
    """Return what became of a campaign's occurrences, latest first."""
    rows = await connection.fetch(
        """
        SELECT o.due_at, o.outcome, r.instance_id, o.reason, o.at
          FROM schedule_occurrences o LEFT JOIN runs r ON r.id = o.run_id
         WHERE o.campaign_id = $1 ORDER BY o.due_at DESC LIMIT $2
        """,
        campaign_id,
        limit,
    )
    return [
        Occurrence(row["due_at"], Outcome(row["outcome"]), row["instance_id"], row["reason"], row["at"]) for row in rows
    ]


async def began(connection: Connection, run_id: int) -> bool:
    """Whether the run was begun by a schedule."""
    answer: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM schedule_occurrences WHERE run_id = $1)", run_id
    )
    return answer

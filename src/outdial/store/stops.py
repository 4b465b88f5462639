"""What a stop writes besides the run's state: its options, its report, retries that will not happen."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from outdial.core.model import Run
from outdial.store.database import Connection
from outdial.store.runs import run_of


@dataclass(frozen=True, slots=True)
class StopCounts:
    """Folds over a run's rows at the instant its stop is committed."""

    requested_at: datetime
    now: datetime
    cancelled_count: int
    """Attempts cancelled since the stop was asked for."""
    retries_cancelled_count: int
    """Contacts whose next try will not happen."""
    never_reached_count: int
    """Contacts that were never attempted."""


async def remember_options(connection: Connection, run_id: int, options: Any) -> None:
    """Store what the person who pressed stop wanted, for whoever has to finish the stop."""
    await connection.execute("UPDATE runs SET stop_options = $2 WHERE id = $1", run_id, options)


async def read_options(connection: Connection, run_id: int) -> Any:
    """Return what was stored, None when nothing was."""
    return await connection.fetchval("SELECT stop_options FROM runs WHERE id = $1", run_id)


@dataclass(frozen=True, slots=True)
class ToProve:
    """What a stop that is committed sets out with."""

    options: Any
    """As stored when it was asked for; None when nothing was."""
    has_waiting: bool
    """Whether a contact waits: for a retry, a call-back or its calling hours."""


async def to_prove(connection: Connection, run_id: int) -> ToProve:
    """Return what is to be done for a run that is stopping.

    From then on no contact of it begins to wait: reservations and call-backs need a run that is active or paused, under
    its lock, and what is booked looks at the run's state (``outdial_book``).
    """
    row = await connection.fetchrow(
        """
        SELECT stop_options AS options,
               -- by the index of those who wait: for EXISTS the planner may read the table until it finds one, and
               -- no engine is fenced before this answers. Whoever waits has a `not_before`
               (SELECT min(c.not_before) FROM run_contacts c WHERE c.run_id = r.id AND c.state = 'waiting')
                   IS NOT NULL AS has_waiting
          FROM runs r WHERE r.id = $1
        """,
        run_id,
    )
    assert row is not None  # noqa: S101 - runs are never deleted
    return ToProve(row["options"], row["has_waiting"])


async def options_of(connection: Connection, run_ids: Collection[int]) -> dict[int, Any]:
    """Return what was stored of those runs that are stopping or stopped, by run."""
    rows = await connection.fetch(
        "SELECT id, coalesce(stop_options, '{}') AS options FROM runs"
        " WHERE id = ANY ($1::bigint[]) AND state IN ('stopping', 'stopped')",
        list(run_ids),
    )
    return {row["id"]: row["options"] for row in rows}


@dataclass(frozen=True, slots=True)
class Settled:
    """A campaign of which nothing is left to be stopped."""

    run: Run
    """Its latest run, which is stopped."""
    report: Any
    """Of that run's stop, as stored."""
    schedule_stopped_at: datetime | None
    """When a stop switched its schedule off, as long as nothing has been started since."""


async def settled(connection: Connection, iid: str, campaign_id: str) -> Settled | None:
    """Return what a campaign's last stop left; None when anything of it runs, is being stopped, has completed or is
    scheduled, or when the application has no such campaign.

    One statement, so all of it is true at one instant.
    """
    row = await connection.fetchrow(
        """
        SELECT r.*, s.stopped_at AS schedule_stopped_at
          FROM campaigns c
         CROSS JOIN LATERAL (SELECT * FROM runs WHERE campaign_id = c.id ORDER BY id DESC LIMIT 1) r
          LEFT JOIN schedules s ON s.campaign_id = c.id
         WHERE c.deleted_at IS NULL AND c.iid = $1 AND c.id = $2 AND r.state = 'stopped' AND s.enabled IS NOT TRUE
        """,
        iid,
        campaign_id,
    )
    return None if row is None else Settled(run_of(row), row["stop_report"], row["schedule_stopped_at"])


async def read_report(connection: Connection, run_id: int) -> Any:
    """Return the stored report of a stopped run."""
    return await connection.fetchval("SELECT stop_report FROM runs WHERE id = $1", run_id)


async def stopping_runs(connection: Connection, *, older_than: timedelta) -> list[tuple[Run, str]]:
    """Return the runs whose stop was committed so long ago and is not finished, each with who asked; those that a
    schedule's end asked for at once, since nobody waits for them."""
    rows = await connection.fetch(
        "SELECT * FROM runs WHERE state = 'stopping'"
        " AND (changed_by = 'schedule' OR stopping_at < clock_timestamp() - $1::interval) ORDER BY stopping_at",
        older_than,
    )
    return [(run_of(row), row["changed_by"]) for row in rows]


async def stopped_with_retries(connection: Connection) -> list[int]:
    """Return runs stopped within a day that still have contacts waiting for a retry which will not happen."""
    rows = await connection.fetch(
        """
        SELECT r.id FROM runs r
         WHERE r.state = 'stopped' AND r.ended_at > clock_timestamp() - interval '1 day'
           AND EXISTS (SELECT FROM run_contacts rc WHERE rc.run_id = r.id AND rc.state = 'waiting')
        """
    )
    return [row["id"] for row in rows]


async def drop_retries(connection: Connection, run_id: int, *, limit: int, actor: str) -> int:
    """End the wait of up to ``limit`` contacts of a run that is stopping or stopped; return how many there were.

    Those that were attempted are done (``retry_cancelled``); those that waited for their calling hours are pending
    again: they were never reached.
    """
    rows = await connection.fetch(
        """
        WITH lot AS (
            SELECT rc.ctid AS place, rc.attempts_count FROM run_contacts rc JOIN runs r ON r.id = rc.run_id
             WHERE rc.run_id = $1 AND rc.state = 'waiting' AND r.state IN ('stopping', 'stopped')
             LIMIT $2 FOR UPDATE OF rc SKIP LOCKED)
        UPDATE run_contacts rc
           SET state = CASE WHEN lot.attempts_count > 0 THEN 'done' ELSE 'pending' END, not_before = NULL,
               callback_at = NULL,
               done_reason = CASE WHEN lot.attempts_count > 0 THEN 'retry_cancelled' END,
               updated_at = clock_timestamp(), changed_by = $3
          -- where it was found and locked: see outdial_reserve about statistics
          FROM lot WHERE rc.ctid = lot.place
        RETURNING 1
        """,
        run_id,
        limit,
        actor,
    )
    return len(rows)


async def counts(connection: Connection, run_id: int) -> StopCounts:
    """Fold."""
    row = await connection.fetchrow(
        """
        SELECT r.stopping_at AS requested_at, clock_timestamp() AS now,
               -- by the order in which it was written: attempts' own instants are of the nodes' and engines' clocks
               (SELECT count(*) FROM history h JOIN attempts a ON a.id = h.attempt_id
                 WHERE h.run_id = r.id AND h.action = 'attempt' AND h.to_state = 'ended'
                   AND a.disposition = 'cancelled' AND a.dialed_at IS NOT NULL
                   AND h.id > (SELECT max(s.id) FROM history s
                                WHERE s.run_id = r.id AND s.action = 'run' AND s.to_state = 'stopping'))
                   AS cancelled_count,
               (SELECT count(*) FROM run_contacts c WHERE c.run_id = r.id
                   AND ((c.state = 'waiting' AND c.attempts_count > 0)
                        OR (c.state = 'done' AND c.done_reason = 'retry_cancelled'))) AS retries_cancelled_count,
               (SELECT count(*) FROM run_contacts c WHERE c.run_id = r.id AND c.attempts_count = 0
                   AND c.state IN ('pending', 'waiting')) AS never_reached_count
          FROM runs r WHERE r.id = $1
        """,
        run_id,
    )
    assert row is not None  # noqa: S101 - the caller holds the run's lock
    return StopCounts(**row)


async def release_lists(connection: Connection, run_id: int) -> None:
    """Let other campaigns use the run's contact lists."""
    await connection.execute("DELETE FROM run_lists WHERE run_id = $1", run_id)


async def store_report(connection: Connection, run_id: int, report: Any) -> None:
    """Keep the report with the run."""
    await connection.execute("UPDATE runs SET stop_report = $2 WHERE id = $1", run_id, report)


async def store_reports(connection: Connection, reports: Mapping[int, Any]) -> None:
    """Keep reports with their runs."""
    if reports:
        await connection.executemany("UPDATE runs SET stop_report = $2 WHERE id = $1", list(reports.items()))


async def is_signed(connection: Connection, run_id: int) -> bool:
    """Whether the report of the run's stop is signed; the caller holds the run's lock, as does whoever signs."""
    signed: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM signed_reports WHERE run_id = $1)", run_id)
    return signed


async def add_late_facts(connection: Connection, run_id: int, facts: dict[str, int], *, actor: str) -> None:
    """Tell in the history what became known of a stop whose report is signed already; the same is told once."""
    await connection.execute(
        """
        INSERT INTO history (account_id, campaign_id, run_id, action, from_state, to_state, actor, reason, detail)
        SELECT r.account_id, r.campaign_id, r.id, 'stop_report', 'signed', 'addendum', $3,
               'known after the report was signed', $2
          FROM runs r WHERE r.id = $1
           AND NOT EXISTS (SELECT FROM history h WHERE h.run_id = r.id AND h.action = 'stop_report' AND h.detail = $2)
        """,
        run_id,
        facts,
        actor,
    )

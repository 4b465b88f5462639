"""Signed reports of stops: what they are made of, and the reports themselves, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from outdial.core.history import HistoryRow, Seal
from outdial.core.model import Attempt
from outdial.store.attempts import attempt_of
from outdial.store.database import Connection
from outdial.store.seals import row_of


@dataclass(frozen=True, slots=True)
class CallAtStop:
    """An attempt that had not ended when the stop was committed."""

    attempt: Attempt
    """As it is now."""
    permit: str | None
    reason: str
    phase: str | None
    """Its state at the commit, as far as it was booked; None: it was reserved after it."""


@dataclass(frozen=True, slots=True)
class ContactCounts:
    """How far the contacts of a run have come; each is in one of the four."""

    total: int
    never_reached: int
    retries_cancelled: int
    in_calls: int
    done: int


@dataclass(frozen=True, slots=True)
class LastOriginate:
    """The latest call of a run that an engine was asked for."""

    attempt_id: str
    at: datetime


async def read(connection: Connection, run_id: int) -> bytes | None:
    """Return the report of a run; None when it is not signed yet."""
    document: bytes | None = await connection.fetchval("SELECT document FROM signed_reports WHERE run_id = $1", run_id)
    return document


async def insert(
    connection: Connection, run_id: int, *, key_id: str, head: Seal, document: bytes, signed_at: datetime
) -> bool:
    """Keep a report; False when there is one already."""
    kept = await connection.fetchval(
        """
        INSERT INTO signed_reports (run_id, key_id, head_number, head_sha256, document, signed_at)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING true
        """,
        run_id,
        key_id,
        head.number,
        head.sha256,
        document,
        signed_at,
    )
    return kept is not None


async def unsigned(connection: Connection, *, within: timedelta, limit: int) -> list[int]:
    """Return runs that were stopped lately and have no signed report yet, those that stopped first, first."""
    rows = await connection.fetch(
        """
        SELECT id FROM runs r
         WHERE state = 'stopped' AND ended_at > clock_timestamp() - $1::interval
           AND NOT EXISTS (SELECT FROM signed_reports s WHERE s.run_id = r.id)
         ORDER BY ended_at LIMIT $2
        """,
        within,
        limit,
    )
    return [row["id"] for row in rows]


async def stop_of(connection: Connection, run_id: int) -> tuple[Any, Any, datetime, bool]:
    """Return the options and the report of a run's stop, the instant of its commit, and whether all its lists had been
    read."""
    row = await connection.fetchrow(
        "SELECT stop_options, stop_report, stopping_at, loaded_at IS NOT NULL AS loaded FROM runs WHERE id = $1", run_id
    )
    assert row is not None  # noqa: S101 - runs are never deleted
    return row["stop_options"], row["stop_report"], row["stopping_at"], row["loaded"]


async def rows_since_stop(connection: Connection, run_id: int) -> list[HistoryRow]:
    """Return what happened to a run as a whole and to its attempts from the commit of its stop on, the commit first.

    Ids tell the order here: stops, reservations and bookings of one run take turns by its lock.
    """
    records = await connection.fetch(
        """
        SELECT * FROM history
         WHERE run_id = $1 AND action IN ('run', 'attempt')
           AND id >= (SELECT max(id) FROM history WHERE run_id = $1 AND action = 'run' AND to_state = 'stopping')
         ORDER BY id
        """,
        run_id,
    )
    return [row_of(record) for record in records]


async def calls_at_stop(connection: Connection, run_id: int, since: Sequence[HistoryRow]) -> list[CallAtStop]:
    """Return the attempts that moved since the stop was committed or live on, in the order they were reserved."""
    phases: dict[str, str | None] = {}
    for row in since:
        if row.attempt_id is not None:
            # the first move after the commit begins where the attempt stood
            phases.setdefault(row.attempt_id, row.before)
    records = await connection.fetch(
        """
        SELECT * FROM attempts
         WHERE run_id = $1 AND (id = ANY ($2::text[]) OR state IN ('reserved', 'dialing', 'ringing', 'answered'))
         ORDER BY reserved_at, id
        """,
        run_id,
        list(phases),
    )
    return [
        CallAtStop(
            attempt=attempt_of(record),
            permit=record["permit"],
            reason=record["change_reason"],
            phase=phases.get(record["id"], record["state"]),
        )
        for record in records
    ]


async def last_originate(connection: Connection, run_id: int) -> LastOriginate | None:
    """Return the latest call of the run that was placed, by the clock of its node, a transfer of an attempt by when it
    was written down for that; None when none was."""
    row = await connection.fetchrow(
        """
        SELECT id, dialed_at
          FROM (SELECT id, dialed_at FROM attempts WHERE run_id = $1 AND dialed_at IS NOT NULL
                 UNION ALL SELECT attempt_id, reserved_at FROM transfers WHERE run_id = $1) AS placed
         ORDER BY dialed_at DESC, id LIMIT 1
        """,
        run_id,
    )
    return None if row is None else LastOriginate(row["id"], row["dialed_at"])


async def contact_counts(connection: Connection, run_id: int) -> ContactCounts:
    """Fold."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS total,
               count(*) FILTER (WHERE attempts_count = 0 AND state IN ('pending', 'waiting')) AS never_reached,
               count(*) FILTER (WHERE (attempts_count > 0 AND state IN ('pending', 'waiting'))
                                   OR (state = 'done' AND done_reason = 'retry_cancelled')) AS retries_cancelled,
               count(*) FILTER (WHERE state IN ('claimed', 'dialing')) AS in_calls,
               count(*) FILTER (WHERE state = 'done' AND done_reason <> 'retry_cancelled') AS done
          FROM run_contacts WHERE run_id = $1
        """,
        run_id,
    )
    assert row is not None  # noqa: S101 - counts always answer
    return ContactCounts(**row)


async def age(connection: Connection, run_id: int) -> timedelta:
    """Return how long ago a stopped run was stopped, by the database's clock."""
    found: timedelta = await connection.fetchval("SELECT clock_timestamp() - ended_at FROM runs WHERE id = $1", run_id)
    return found

"""Signed reports of stops: what they are made of, and the reports themselves, byte for byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from outdial.core.history import HistoryRow, Seal
from outdial.core.model import Attempt, Run
from outdial.store.attempts import attempt_of
from outdial.store.database import Connection
from outdial.store.runs import run_of
from outdial.store.seals import row_of


@dataclass(frozen=True, slots=True)
class StoredStop:
    """A stopped run and what it keeps of its stop."""

    run: Run
    options: Any
    report: Any
    requested_at: datetime
    """When the stop was committed."""
    age: timedelta
    """How long ago it ended, by the database's clock."""


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


@dataclass(frozen=True, slots=True)
class NewReport:
    """A report that was signed a moment ago."""

    run_id: int
    head: Seal
    """The last seal it quotes."""
    document: bytes
    signed_at: datetime


async def read(connection: Connection, run_id: int) -> bytes | None:
    """Return the report of a run; None when it is not signed yet."""
    document: bytes | None = await connection.fetchval("SELECT document FROM signed_reports WHERE run_id = $1", run_id)
    return document


async def insert(connection: Connection, key_id: str, made: Sequence[NewReport]) -> frozenset[int]:
    """Keep reports that a key has signed, of runs that have none; return whose were kept."""
    kept = await connection.fetch(
        """
        INSERT INTO signed_reports (run_id, key_id, head_number, head_sha256, document, signed_at)
        SELECT made.run_id, $1, made.head_number, made.head_sha256, made.document, made.signed_at
          FROM unnest($2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[], $6::timestamptz[])
               AS made (run_id, head_number, head_sha256, document, signed_at)
            ON CONFLICT DO NOTHING
        RETURNING run_id
        """,
        key_id,
        [one.run_id for one in made],
        [one.head.number for one in made],
        [one.head.sha256 for one in made],
        [one.document for one in made],
        [one.signed_at for one in made],
    )
    return frozenset(row["run_id"] for row in kept)


async def standing(connection: Connection, run_ids: Sequence[int]) -> dict[int, Any]:
    """Return the stored reports of those runs that have no signed one yet, by run; the caller holds their locks."""
    rows = await connection.fetch(
        """
        SELECT id, stop_report FROM runs r
         WHERE id = ANY ($1::bigint[]) AND NOT EXISTS (SELECT FROM signed_reports s WHERE s.run_id = r.id)
        """,
        run_ids,
    )
    return {row["id"]: row["stop_report"] for row in rows}


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


async def stops(connection: Connection, run_ids: Sequence[int]) -> list[StoredStop]:
    """Return stopped runs and what they keep of their stops, in the order asked for."""
    rows = await connection.fetch(
        "SELECT *, clock_timestamp() - ended_at AS age FROM runs WHERE id = ANY ($1::bigint[])"
        " ORDER BY array_position($1::bigint[], id)",
        run_ids,
    )
    return [
        StoredStop(
            run=run_of(row),
            options=row["stop_options"],
            report=row["stop_report"],
            requested_at=row["stopping_at"],
            age=row["age"],
        )
        for row in rows
    ]


async def rows_since_stop(connection: Connection, run_ids: Sequence[int]) -> dict[int, list[HistoryRow]]:
    """Return what happened to each run as a whole and to its attempts from the commit of its stop on, the commit first.

    Ids tell the order here: stops, reservations and bookings of one run take turns by its lock.
    """
    records = await connection.fetch(
        """
        SELECT h.* FROM unnest($1::bigint[]) AS asked (run_id)
         CROSS JOIN LATERAL (
               SELECT * FROM history
                WHERE run_id = asked.run_id AND action IN ('run', 'attempt')
                  AND id >= (SELECT max(id) FROM history
                              WHERE run_id = asked.run_id AND action = 'run' AND to_state = 'stopping')) AS h
         ORDER BY h.id
        """,
        run_ids,
    )
    found: dict[int, list[HistoryRow]] = {}
    for record in records:
        found.setdefault(record["run_id"], []).append(row_of(record))
    return found


async def calls_at_stop(
    connection: Connection, since: Mapping[int, Sequence[HistoryRow]]
) -> dict[int, list[CallAtStop]]:
    """Return the attempts of each run that moved since its stop was committed or live on, in the order they were
    reserved; ``since`` is what :func:`rows_since_stop` returned."""
    phases: dict[str, str | None] = {}
    for rows in since.values():
        for row in rows:
            if row.attempt_id is not None:
                # the first move after the commit begins where the attempt stood
                phases.setdefault(row.attempt_id, row.before)
    records = await connection.fetch(
        """
        SELECT * FROM all_attempts
         WHERE run_id = ANY ($1::bigint[])
           AND (id = ANY ($2::text[]) OR state IN ('reserved', 'dialing', 'ringing', 'answered'))
         ORDER BY reserved_at, id
        """,
        list(since),
        list(phases),
    )
    found: dict[int, list[CallAtStop]] = {}
    for record in records:
        call = CallAtStop(
            attempt=attempt_of(record),
            permit=record["permit"],
            reason=record["change_reason"],
            phase=phases.get(record["id"], record["state"]),
        )
        found.setdefault(record["run_id"], []).append(call)
    return found


async def last_originates(connection: Connection, run_ids: Sequence[int]) -> dict[int, LastOriginate]:
    """Return the latest call of each run that was placed, by the clock of its node, a transfer of an attempt by when it
    was written down for that; nothing for a run of which none was."""
    rows = await connection.fetch(
        """
        SELECT asked.run_id, last.id, last.dialed_at FROM unnest($1::bigint[]) AS asked (run_id)
         CROSS JOIN LATERAL (
               SELECT id, dialed_at
                 FROM (SELECT id, dialed_at FROM all_attempts WHERE run_id = asked.run_id AND dialed_at IS NOT NULL
                        UNION ALL
                       SELECT attempt_id, reserved_at FROM transfers WHERE run_id = asked.run_id) AS placed
                ORDER BY dialed_at DESC, id LIMIT 1) AS last
        """,
        run_ids,
    )
    return {row["run_id"]: LastOriginate(row["id"], row["dialed_at"]) for row in rows}


async def contact_counts(connection: Connection, run_ids: Sequence[int]) -> dict[int, ContactCounts]:
    """Fold, run by run."""
    rows = await connection.fetch(
        """
        SELECT asked.run_id, counted.* FROM unnest($1::bigint[]) AS asked (run_id)
         CROSS JOIN LATERAL (
               SELECT count(*) AS total,
                      count(*) FILTER (WHERE attempts_count = 0 AND state IN ('pending', 'waiting')) AS never_reached,
                      count(*) FILTER (WHERE (attempts_count > 0 AND state IN ('pending', 'waiting'))
                                          OR (state = 'done' AND done_reason = 'retry_cancelled'))
                            AS retries_cancelled,
                      count(*) FILTER (WHERE state IN ('claimed', 'dialing')) AS in_calls,
                      count(*) FILTER (WHERE state = 'done' AND done_reason <> 'retry_cancelled') AS done
                 FROM run_contacts WHERE run_id = asked.run_id) AS counted
        """,
        run_ids,
    )
    return {
        row["run_id"]: ContactCounts(
            total=row["total"],
            never_reached=row["never_reached"],
            retries_cancelled=row["retries_cancelled"],
            in_calls=row["in_calls"],
            done=row["done"],
        )
        for row in rows
    }

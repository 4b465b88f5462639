"""Run contacts: read from the run's lists in lots, listed for people, folded into counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from outdial.core.model import (
    AttemptState,
    DialingOrder,
    Disposition,
    DoneReason,
    Run,
    RunContactState,
)
from outdial.core.phone import zones_of
from outdial.store.database import Connection

PRIORITY_STEP: Final = 1 << 47
"""What one step of a contact's priority (0–32767) is worth in ``sort_key``: more than any position."""

POSITION_STEP: Final = 1 << 43
"""What one list's place in the campaign (1–10) is worth: more than any contact id for a long time."""


@dataclass(frozen=True, slots=True)
class RunContactRow:
    """One contact's progress in a run."""

    contact_id: int
    phone: str
    unique_id: str | None
    state: RunContactState
    done_reason: DoneReason | None
    last_disposition: Disposition | None
    attempts_count: int
    last_attempt_id: str | None


@dataclass(frozen=True, slots=True)
class RunContactExport:
    """One contact's progress, and everything that came with the contact."""

    contact: RunContactRow
    attributes: dict[str, Any]
    phones: tuple[str, ...]
    """All of its numbers, where it has several; the contact's own is the one that is dialed next, or was last."""


@dataclass(frozen=True, slots=True)
class NextDue:
    """A run contact that comes due later, with what says where its person may be."""

    phone: str
    contact_zone: str | None
    contact_state: str | None
    number_zones: tuple[str, ...]


def _run_contact(row: asyncpg.Record) -> RunContactRow:
    return RunContactRow(
        contact_id=row["contact_id"],
        phone=row["phone"],
        unique_id=row["unique_id"],
        state=RunContactState(row["state"]),
        done_reason=None if row["done_reason"] is None else DoneReason(row["done_reason"]),
        last_disposition=None if row["last_disposition"] is None else Disposition(row["last_disposition"]),
        attempts_count=row["attempts_count"],
        last_attempt_id=row["last_attempt_id"],
    )


@dataclass(frozen=True, slots=True)
class Counts:
    """Folds over one run's rows, all of one instant."""

    contacts: dict[RunContactState, int]
    done: dict[DoneReason, int]
    dispositions: dict[Disposition, int]
    """Of attempts that have ended, without those of which nothing was sent."""
    live: dict[AttemptState, int]
    placed: int
    """Attempts that were handed to an engine."""
    answered: int


async def load_lot(connection: Connection, run: Run, *, limit: int) -> bool:
    """Read up to ``limit`` more contacts of the run's lists; return whether more may be left.

    The list's row holds how far it is read and is locked meanwhile, so two who load take turns, and a crash between
    two lots loses and doubles nobody. First in, first out reads from the oldest contact on, the other from the newest.
    """
    lifo = run.rules.order is DialingOrder.LIFO
    entry = await connection.fetchrow(
        f"""
        SELECT list_id, position, load_cursor FROM run_lists WHERE run_id = $1 AND NOT loaded
         ORDER BY position {"DESC" if lifo else ""} LIMIT 1 FOR UPDATE
        """,  # noqa: S608 - one of two words
        run.id,
    )
    if entry is None:
        return False
    compare, order = ("<", "DESC") if lifo else (">", "ASC")
    # the sort key: higher priority first, then the order's own sense of list position and contact id
    place = f"c.priority::bigint * -{PRIORITY_STEP} {'-' if lifo else '+'} ($3::bigint * {POSITION_STEP} + c.id)"
    row = await connection.fetchrow(
        f"""
        WITH lot AS (
            SELECT c.id, c.phone, l.allow_duplicates, {place} AS sort_key,
                   CASE WHEN c.other_phones IS NOT NULL THEN c.phone || c.other_phones END AS phones
              FROM contacts c JOIN contact_lists l ON l.id = c.list_id
             WHERE c.list_id = $2 AND ($4::bigint IS NULL OR c.id {compare} $4)
             ORDER BY c.id {order} LIMIT $5
        ), made AS (
            INSERT INTO run_contacts (run_id, contact_id, phone, phones, dedupe_key, sort_key)
            SELECT $1, id, phone, phones, CASE WHEN allow_duplicates THEN 'contact:' || id ELSE phone END, sort_key
              FROM lot ORDER BY sort_key
                ON CONFLICT DO NOTHING
        )
        SELECT count(*) AS count, {"min" if lifo else "max"}(id) AS reached FROM lot
        """,  # noqa: S608 - constants of this module
        run.id,
        entry["list_id"],
        entry["position"],
        entry["load_cursor"],
        limit,
    )
    assert row is not None  # noqa: S101 - an aggregate
    await connection.execute(
        "UPDATE run_lists SET load_cursor = coalesce($2, load_cursor), loaded = $3 WHERE list_id = $1",
        entry["list_id"],
        row["reached"],
        row["count"] < limit,
    )
    return True


async def soonest(connection: Connection, run_id: int, *, limit: int) -> tuple[datetime, list[NextDue]]:
    """Return the database's instant, and the contacts of a run that come due next, soonest first; none of them while
    any is due already or is being called."""
    rows = await connection.fetch(
        """
        SELECT clock_timestamp() AS now, n.phone, c.time_zone, c.attributes ->> 'state' AS contact_state
          FROM (SELECT contact_id, phone, not_before FROM run_contacts
                 WHERE run_id = $1 AND state = 'waiting'
                   AND NOT EXISTS (SELECT FROM run_contacts WHERE run_id = $1 AND state = 'pending')
                   AND NOT EXISTS (SELECT FROM run_contacts WHERE run_id = $1 AND state IN ('claimed', 'dialing'))
                   AND NOT EXISTS (SELECT FROM run_contacts WHERE run_id = $1 AND state = 'waiting'
                                      AND not_before <= clock_timestamp())
                 ORDER BY not_before LIMIT $2) n
          LEFT JOIN contacts c ON c.id = n.contact_id
         ORDER BY n.not_before
        """,
        run_id,
        limit,
    )
    found = [
        NextDue(
            phone=row["phone"],
            contact_zone=row["time_zone"],
            contact_state=row["contact_state"],
            number_zones=zones_of(row["phone"]),
        )
        for row in rows
    ]
    now: datetime = rows[0]["now"] if rows else await connection.fetchval("SELECT clock_timestamp()")
    return now, found


async def all_done(connection: Connection, run_id: int) -> bool:
    """Whether every list is loaded and no contact of the run is anything but done."""
    answer: bool = await connection.fetchval(
        """
        SELECT r.loaded_at IS NOT NULL
               AND NOT EXISTS (SELECT FROM run_contacts c WHERE c.run_id = $1 AND c.state = 'pending')
               AND NOT EXISTS (SELECT FROM run_contacts c WHERE c.run_id = $1 AND c.state = 'waiting')
               AND NOT EXISTS (SELECT FROM run_contacts c WHERE c.run_id = $1 AND c.state IN ('claimed', 'dialing'))
          FROM runs r WHERE r.id = $1
        """,
        run_id,
    )
    return answer


async def dialable(connection: Connection, run: Run) -> tuple[int, int]:
    """Return how many contacts the run has so far, and how many of them are on none of its do-not-call lists.

    Counts no further than it must: one dialable contact is enough, so the second is 0 or 1 then.
    """
    row = await connection.fetchrow(
        """
        SELECT (SELECT count(*) FROM run_contacts WHERE run_id = $1) AS total,
               EXISTS (SELECT FROM run_contacts c JOIN runs r ON r.id = c.run_id
                        WHERE c.run_id = $1
                          AND NOT CASE WHEN c.phones IS NULL THEN
                                      EXISTS (SELECT FROM dnc_entries e
                                               WHERE e.dnc_list_id = ANY (r.dnc_list_ids) AND e.phone = c.phone
                                                 AND (e.expires_at IS NULL OR e.expires_at > clock_timestamp()))
                                  ELSE outdial_uncallable(r.dnc_list_ids, c.phones, clock_timestamp()) END)::integer
                   AS allowed
        """,
        run.id,
    )
    assert row is not None  # noqa: S101 - no FROM
    return row["total"], row["allowed"]


_LAST_ATTEMPT: Final = """coalesce(
    (SELECT a.id FROM attempts a
      WHERE a.run_id = rc.run_id AND a.contact_id = rc.contact_id AND a.number >= rc.attempts_count
      ORDER BY a.reserved_at DESC LIMIT 1),
    -- asked once: of most runs none is old
    CASE WHEN EXISTS (SELECT FROM moved_attempts m WHERE m.run_id = $1) THEN
        (SELECT a.id FROM old_attempts a
          WHERE a.run_id = rc.run_id AND a.contact_id = rc.contact_id AND a.number >= rc.attempts_count
          ORDER BY a.reserved_at DESC LIMIT 1) END)"""
"""Id of the last attempt of a contact ``rc`` of run $1, NULL where it is kept no more, though an earlier one may be.
One that did not count has a higher number than are counted; where that one is the last and is kept no more, it is the
last that counted, since nothing says that there was another."""


async def page(connection: Connection, run_id: int, *, offset: int, limit: int) -> tuple[list[RunContactRow], int]:
    """Return some contacts of a run in dialing order, and how many it has."""
    rows = await connection.fetch(
        f"""
        SELECT rc.contact_id, rc.phone, c.unique_id, rc.state, rc.done_reason, rc.last_disposition, rc.attempts_count,
               {_LAST_ATTEMPT} AS last_attempt_id
          FROM (SELECT * FROM run_contacts WHERE run_id = $1 ORDER BY sort_key OFFSET $2 LIMIT $3) rc
          LEFT JOIN contacts c ON c.id = rc.contact_id
         ORDER BY rc.sort_key
        """,  # noqa: S608 - a constant
        run_id,
        offset,
        limit,
    )
    total: int = await connection.fetchval("SELECT count(*) FROM run_contacts WHERE run_id = $1", run_id)
    return [_run_contact(row) for row in rows], total


async def lot(
    connection: Connection, run_id: int, *, after: int, limit: int, never_reached: bool = False
) -> list[RunContactExport]:
    """Return some contacts of a run by their id, from the first after ``after`` on; only those that were never
    attempted, where that is asked for."""
    rows = await connection.fetch(
        f"""
        SELECT rc.contact_id, rc.phone, c.unique_id, rc.state, rc.done_reason, rc.last_disposition, rc.attempts_count,
               {_LAST_ATTEMPT} AS last_attempt_id, coalesce(c.attributes, '{{}}') AS attributes,
               coalesce(rc.phones, '{{}}') AS phones
          FROM run_contacts rc LEFT JOIN contacts c ON c.id = rc.contact_id
         WHERE rc.run_id = $1 AND rc.contact_id > $2
           AND (NOT $4 OR (rc.attempts_count = 0 AND rc.state IN ('pending', 'waiting')))
         ORDER BY rc.contact_id LIMIT $3
        """,  # noqa: S608 - a constant
        run_id,
        after,
        limit,
        never_reached,
    )
    return [RunContactExport(_run_contact(row), row["attributes"], tuple(row["phones"])) for row in rows]


async def counts(connection: Connection, run_id: int) -> Counts:
    """Fold a run's contacts and attempts. In a transaction of its own snapshot (repeatable read) they agree."""
    contacts = await connection.fetch(
        "SELECT state, done_reason, count(*) FROM run_contacts WHERE run_id = $1 GROUP BY state, done_reason", run_id
    )
    attempts = await connection.fetch(
        """
        SELECT state, disposition, count(*) AS count, count(dialed_at) AS placed, count(answered_at) AS answered
          FROM attempts WHERE run_id = $1 GROUP BY state, disposition
         UNION ALL
        SELECT state, disposition, count, placed, answered FROM moved_attempts WHERE run_id = $1
        """,
        run_id,
    )
    by_state: dict[RunContactState, int] = {}
    done: dict[DoneReason, int] = {}
    for row in contacts:
        state = RunContactState(row["state"])
        by_state[state] = by_state.get(state, 0) + row["count"]
        if row["done_reason"] is not None:
            done[DoneReason(row["done_reason"])] = row["count"]
    dispositions: dict[Disposition, int] = {}
    live: dict[AttemptState, int] = {}
    for row in attempts:
        if row["disposition"] is None:
            live[AttemptState(row["state"])] = row["count"]
        elif row["placed"]:
            disposition = Disposition(row["disposition"])
            dispositions[disposition] = dispositions.get(disposition, 0) + row["placed"]
    return Counts(
        contacts=by_state,
        done=done,
        dispositions=dispositions,
        live=live,
        placed=sum(row["placed"] for row in attempts),
        answered=sum(row["answered"] for row in attempts),
    )

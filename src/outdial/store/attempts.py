"""Attempts: booking what became of them, and finding those that still live."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

import asyncpg
import msgspec

from outdial.core.machine import Detection
from outdial.core.model import Attempt, AttemptState, Disposition, DoneReason, Run, RunContactState
from outdial.core.pre_call import PreCallAnswer
from outdial.store.database import Connection


@dataclass(frozen=True, slots=True)
class ContactNews:
    """What becomes of the attempt's contact."""

    state: RunContactState
    after_seconds: float | None = None
    """Waiting: the least time from now to the next try, by the database's clock."""
    done_reason: DoneReason | None = None
    uncounted: bool = False
    """Nothing was ever sent: the attempt does not count as one."""
    other: bool = False
    """Waiting: for a call at another of its numbers, where it has one; with ``done_reason``, it is done for that reason
    where it has none."""


@dataclass(frozen=True, slots=True)
class FlowOutcome:
    """What came of the flow of an answered call."""

    flow_id: str
    result: str | None
    """In the flow's own words; None when no step said one."""
    opted_out: bool
    path: tuple[str, ...]
    """Steps in the order in which they were taken."""
    finished: bool
    """False: the call ended before its flow did."""


@dataclass(frozen=True, slots=True)
class AttemptNews:
    """All that is known about one attempt by now; later news says more, never less."""

    id: str
    state: AttemptState
    by: str
    """Node id, or the actor of a stop."""
    disposition: Disposition | None = None
    cause: int | None = None
    sip_code: int | None = None
    dialed_at: datetime | None = None
    ringing_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    reason: str = ""
    pre_call: PreCallAnswer | None = None
    permit: str | None = None
    """Name of the permit it was dialed by (``core.ids.permit_name``)."""
    contact: ContactNews | None = None
    flow: FlowOutcome | None = None
    """Of an answered call that has ended."""
    detection: Detection | None = None
    """Who had answered, where that was to be found out; known some time after the answer."""


def attempt_of(row: asyncpg.Record) -> Attempt:
    """Read one row of ``attempts``."""
    return Attempt(
        id=row["id"],
        run_id=row["run_id"],
        campaign_id=row["campaign_id"],
        account_id=row["account_id"],
        contact_id=row["contact_id"],
        phone=row["phone"],
        caller_id=row["caller_id"],
        trunk_id=row["trunk_id"],
        engine_id=row["engine_id"],
        node_id=row["node_id"],
        epoch=row["epoch"],
        number=row["number"],
        state=AttemptState(row["state"]),
        disposition=None if row["disposition"] is None else Disposition(row["disposition"]),
        cause=row["cause"],
        sip_code=row["sip_code"],
        reserved_at=row["reserved_at"],
        dialed_at=row["dialed_at"],
        ringing_at=row["ringing_at"],
        answered_at=row["answered_at"],
        ended_at=row["ended_at"],
        detection=None if row["detection"] is None else msgspec.convert(row["detection"], Detection),
    )


async def book(connection: Connection, news: Iterable[AttemptNews]) -> frozenset[str]:
    """Write the news, in one transaction; return the ids of attempts it moved. Each attempt at most once in it.

    Attempts only move forward and end once. What would be tried again is done when its run is stopping or stopped.
    """
    # sorted, so that two who book the same attempts wait for each other instead of deadlocking
    documents: list[Any] = sorted(news, key=lambda one: one.id)
    if not documents:
        return frozenset()
    flows = any(one.flow is not None for one in documents)
    rows = await connection.fetch(_BOOK_FLOWS if flows else "SELECT outdial_book($1) AS id", documents)
    return frozenset(row["id"] for row in rows)


_BOOK_FLOWS: Final = """
WITH booked AS MATERIALIZED (SELECT outdial_book($1) AS id),
     heard AS (
        INSERT INTO flow_outcomes (attempt_id, flow_id, result, opted_out, path, finished)
        SELECT n.id, f.flow_id, f.result, f.opted_out, f.path, f.finished
          FROM jsonb_to_recordset($1) AS n (id text, flow jsonb)
          JOIN booked USING (id)
         CROSS JOIN LATERAL jsonb_to_record(n.flow)
               AS f (flow_id text, result text, opted_out boolean, path text[], finished boolean)
         WHERE n.flow IS NOT NULL AND n.flow <> 'null')
SELECT id FROM booked
"""
"""An attempt ends once, and so does its flow: only what was moved is written."""


Place: TypeAlias = tuple[datetime, str]
"""Where an attempt stands among those of its run: when it was reserved, and its id."""


def place(attempt: Attempt) -> Place:
    """Return where an attempt that was read from the database stands."""
    assert attempt.reserved_at is not None  # noqa: S101 - not null there
    return attempt.reserved_at, attempt.id


async def place_of(connection: Connection, run: Run, attempt_id: str) -> Place | None:
    """Return where an attempt of a run stands; None when the run has none of that id, or none any more."""
    row = await connection.fetchrow(
        "SELECT reserved_at, id FROM all_attempts WHERE run_id = $1 AND id = $2", run.id, attempt_id
    )
    return None if row is None else (row["reserved_at"], row["id"])


async def page(connection: Connection, run: Run, *, after: Place | None, limit: int) -> list[Attempt]:
    """Return some attempts of a run in the order they were reserved, from the first after ``after`` on."""
    rows = await connection.fetch(
        _PAGE if run.ended_at is None else _PAGE_OF_ALL,
        run.id,
        *(after or (None, None)),
        limit,
    )
    return [attempt_of(row) for row in rows]


_PAGE: Final = """
SELECT * FROM attempts
 WHERE run_id = $1 AND ($2::timestamptz IS NULL OR (reserved_at, id) > ($2, $3::text))
 ORDER BY reserved_at, id LIMIT $4
"""

_PAGE_OF_ALL: Final = f"""
SELECT * FROM (({_PAGE}) UNION ALL ({_PAGE.replace("attempts", "old_attempts")})) t
 ORDER BY reserved_at, id LIMIT $4
"""  # noqa: S608 - a constant of this module
"""Of a run that may be over. Each of the two walks its index to the end of the page."""


async def latest_endings(connection: Connection, run_id: int, epoch: int, limit: int) -> list[Disposition]:
    """Return how the last attempts of a run at one epoch ended of which something was sent, latest first; of those
    whose outcome is unknown only those whose connection broke."""
    rows = await connection.fetch(
        """
        SELECT disposition FROM attempts
         WHERE run_id = $1 AND epoch = $2 AND ended_at IS NOT NULL
           -- the run's last move began the epoch: without this, all of the attempts before would be read
           AND reserved_at >= (SELECT updated_at FROM runs WHERE id = $1)
           -- in the order in which they were made: an index has it, and calls that fail end as they begin
           AND (dialed_at IS NOT NULL OR disposition <> 'cancelled')
           -- of the unknown only those whose connection broke say something of the trunk
           AND (disposition <> 'unknown' OR cause IS NOT NULL)
         ORDER BY reserved_at DESC LIMIT $3
        """,
        run_id,
        epoch,
        limit,
    )
    return [Disposition(row["disposition"]) for row in rows]


async def reserved_of_node(connection: Connection, node_id: str, *, older_than: timedelta) -> list[Attempt]:
    """Return the attempts that were reserved for a node so long ago and of which nothing has been booked."""
    rows = await connection.fetch(
        """
        SELECT * FROM attempts
         WHERE node_id = $1 AND reserved_at < clock_timestamp() - $2::interval
           -- spelled out in full so that the index of live attempts serves
           AND state IN ('reserved', 'dialing', 'ringing', 'answered') AND state = 'reserved'
        """,
        node_id,
        older_than,
    )
    return [attempt_of(row) for row in rows]


async def live_of_nodes_adopted_by(
    connection: Connection, node_id: str, limit: int, known: Collection[str] = ()
) -> list[Attempt]:
    """Return attempts that have not ended although the life of their node has, and which this node must settle, but for
    those it knows: of each engine the oldest, so that one which cannot be asked keeps no other's waiting."""
    rows = await connection.fetch(
        """
        SELECT * FROM (
            SELECT a.*, row_number() OVER (PARTITION BY a.engine_id ORDER BY a.reserved_at) AS place
              FROM attempts a JOIN nodes n ON n.id = a.node_id
             WHERE a.state IN ('reserved', 'dialing', 'ringing', 'answered') AND n.adopted_by = $1
               AND NOT EXISTS (SELECT FROM unnest($3::text[]) AS known (id) WHERE known.id = a.id)) left_behind
         WHERE place <= $2 ORDER BY reserved_at
        """,
        node_id,
        limit,
        list(known),
    )
    return [attempt_of(row) for row in rows]


async def answered_of(connection: Connection, run_id: int) -> dict[str, str]:
    """Return the run's attempts that are booked as answered, each with its engine."""
    rows = await connection.fetch(
        """
        SELECT id, engine_id FROM attempts WHERE run_id = $1
           -- spelled out in full so that the index of live attempts serves
           AND state IN ('reserved', 'dialing', 'ringing', 'answered') AND state = 'answered'
        """,
        run_id,
    )
    return {row["id"]: row["engine_id"] for row in rows}


async def live_by_node(connection: Connection, run_id: int) -> dict[str, dict[str, AttemptState]]:
    """Return the run's attempts that have not ended, each with its state, by the node that has them, as booked."""
    rows = await connection.fetch(
        """
        SELECT node_id, id, state FROM attempts
         WHERE run_id = $1 AND state IN ('reserved', 'dialing', 'ringing', 'answered')
        """,
        run_id,
    )
    found: dict[str, dict[str, AttemptState]] = {}
    for row in rows:
        found.setdefault(row["node_id"], {})[row["id"]] = AttemptState(row["state"])
    return found


async def live_of(connection: Connection, ids: Iterable[str]) -> dict[str, AttemptState]:
    """Return those of the attempts that have not ended, each with its state, by what is booked."""
    rows = await connection.fetch(
        """
        SELECT id, state FROM attempts
         WHERE id = ANY ($1::text[]) AND state IN ('reserved', 'dialing', 'ringing', 'answered')
        """,
        list(ids),
    )
    return {row["id"]: AttemptState(row["state"]) for row in rows}


async def left_by_nodes(connection: Connection, run_id: int, epoch: int, ids: Sequence[str]) -> list[str]:
    """Return those of the run's attempts that are not booked as answered or over and are with a node that has not
    dropped the run at ``epoch``, held until the transaction ends; what somebody else is booking just now is not.

    Whoever books them after that must have the run's lock, shared, before this.
    """
    rows = await connection.fetch(
        """
        SELECT a.id FROM attempts a
          JOIN run_nodes rn ON rn.run_id = a.run_id AND rn.node_id = a.node_id
         WHERE a.id = ANY ($3::text[]) AND a.run_id = $1 AND rn.dropped_epoch < $2
           -- spelled out in full so that the index of live attempts serves
           AND a.state IN ('reserved', 'dialing', 'ringing', 'answered') AND a.state <> 'answered'
           FOR NO KEY UPDATE OF a SKIP LOCKED
        """,
        run_id,
        epoch,
        list(ids),
    )
    return [row["id"] for row in rows]

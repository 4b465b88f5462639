"""Verdicts that are kept for review, what reviews say, and how many there are of each kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg
import msgspec

from outdial.core.machine import Detection, MachineVerdict
from outdial.core.machine_review import Actual, Reviewed
from outdial.core.recording import SAMPLE_STEP
from outdial.store import old_attempts
from outdial.store.database import Connection

COUNTED_DAYS: Final = 30
"""How far back reviews are counted for those who watch them."""

WAITING: Final = "waiting"


@dataclass(frozen=True, slots=True)
class KeptVerdict:
    """One verdict that is kept for review."""

    attempt_id: str
    campaign_id: str
    run_instance_id: str
    account_id: str
    answered_at: datetime
    detection: Detection
    recording_id: str | None
    """None: there is no recording, or none any more."""
    actual: Actual | None
    """None: it waits for its review."""
    reviewed_by: str | None
    reviewed_at: datetime | None


_KEPT: Final = """
SELECT a.id, a.campaign_id, r.instance_id, a.account_id, a.answered_at, a.detection, c.id AS recording_id,
       m.actual, m.reviewed_by, m.reviewed_at
  FROM all_attempts a
  JOIN runs r ON r.id = a.run_id
  LEFT JOIN recordings c
         ON c.attempt_id = a.id AND c.step = $1 AND c.removed_at IS NULL AND c.erasure_id IS NULL
  LEFT JOIN machine_reviews m ON m.attempt_id = a.id
"""


async def page(
    connection: Connection,
    campaign_ids: Sequence[str],
    *,
    reviewed: bool | None,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[KeptVerdict]:
    """Return some verdicts of campaigns that are kept for review, those that were answered latest first, from the one
    behind ``after`` on; ``reviewed``: those only that have been reviewed, or have not."""
    rows = await connection.fetch(
        _KEPT
        + """
         WHERE a.campaign_id = ANY ($2::text[]) AND a.detection ->> 'sample' IS NOT NULL
           AND ($3::boolean IS NULL OR (m.attempt_id IS NOT NULL) = $3)
           AND ($4::timestamptz IS NULL OR (a.answered_at, a.id) < ($4, $5::text))
         ORDER BY a.answered_at DESC, a.id DESC LIMIT $6
        """,
        SAMPLE_STEP,
        list(campaign_ids),
        reviewed,
        *(after or (None, None)),
        limit,
    )
    return [_kept(row) for row in rows]


async def one(connection: Connection, iid: str, attempt_id: str, *, lock: bool = False) -> KeptVerdict | None:
    """Return one of the application's verdicts that is kept for review, None when there is none; ``lock``: until the
    transaction ends nobody else reviews it."""
    if lock and not await old_attempts.lock(connection, attempt_id):
        return None
    row = await connection.fetchrow(
        _KEPT + " WHERE a.id = $2 AND r.iid = $3 AND a.detection ->> 'sample' IS NOT NULL",
        SAMPLE_STEP,
        attempt_id,
        iid,
    )
    return None if row is None else _kept(row)


async def enter(connection: Connection, attempt_id: str, actual: Actual, *, actor: str) -> datetime:
    """Write down who had really answered, whatever was said of it before; return when that was."""
    at: datetime = await connection.fetchval(
        """
        INSERT INTO machine_reviews (attempt_id, actual, reviewed_by) VALUES ($1, $2, $3)
            ON CONFLICT (attempt_id)
            DO UPDATE SET actual = excluded.actual, reviewed_by = excluded.reviewed_by, reviewed_at = clock_timestamp()
        RETURNING reviewed_at
        """,
        attempt_id,
        actual,
        actor,
    )
    return at


async def campaign_ids(connection: Connection, iid: str) -> list[str]:
    """Return the ids of all campaigns that an application has, or has had."""
    rows = await connection.fetch("SELECT id FROM campaigns WHERE iid = $1 ORDER BY id", iid)
    return [row["id"] for row in rows]


async def counts(
    connection: Connection, campaign_ids: Sequence[str], *, begin: datetime, end: datetime
) -> dict[MachineVerdict, Reviewed]:
    """Count the verdicts of calls of campaigns that were answered from ``begin`` to before ``end``, by what became of
    them in reviews."""
    rows = await connection.fetch(
        """
        SELECT a.detection ->> 'verdict' AS verdict, count(*) AS found,
               count(*) FILTER (WHERE a.detection ->> 'sample' IS NOT NULL) AS kept,
               count(*) FILTER (WHERE a.detection ->> 'sample' IS NOT NULL AND NOT EXISTS (
                   SELECT FROM recordings c WHERE c.attempt_id = a.id AND c.step = $1
                      AND c.removed_at IS NULL AND c.erasure_id IS NULL)) AS unrecorded,
               count(*) FILTER (WHERE m.actual = 'person') AS person,
               count(*) FILTER (WHERE m.actual = 'machine') AS machine,
               count(*) FILTER (WHERE m.actual = 'unclear') AS unclear
          FROM all_attempts a LEFT JOIN machine_reviews m ON m.attempt_id = a.id
         WHERE a.detection IS NOT NULL AND a.answered_at >= $3 AND a.answered_at < $4
           AND a.campaign_id = ANY ($2::text[])
         GROUP BY 1
        """,
        SAMPLE_STEP,
        list(campaign_ids),
        begin,
        end,
    )
    return {
        verdict: Reviewed(**{**row, "verdict": verdict}) for row in rows for verdict in [MachineVerdict(row["verdict"])]
    }


async def outcomes(connection: Connection) -> dict[tuple[str, str], int]:
    """Count the verdicts kept for review of calls that were answered in the last ``COUNTED_DAYS``, of all accounts, by
    the verdict and who it really was, ``WAITING`` where nobody has said so."""
    rows = await connection.fetch(
        """
        SELECT a.detection ->> 'verdict' AS verdict, coalesce(m.actual, $2) AS actual, count(*) AS count
          FROM attempts a LEFT JOIN machine_reviews m ON m.attempt_id = a.id
         WHERE a.detection ->> 'sample' IS NOT NULL AND a.answered_at > clock_timestamp() - make_interval(days => $1)
         GROUP BY 1, 2
        """,
        COUNTED_DAYS,
        WAITING,
    )
    return {(row["verdict"], row["actual"]): row["count"] for row in rows}


async def sampled(connection: Connection, attempt_ids: Sequence[str]) -> frozenset[str]:
    """Return those of the attempts whose verdict is kept for review."""
    rows = await connection.fetch(
        "SELECT id FROM all_attempts WHERE id = ANY ($1) AND detection ->> 'sample' IS NOT NULL", list(attempt_ids)
    )
    return frozenset(row["id"] for row in rows)


def _kept(row: asyncpg.Record) -> KeptVerdict:
    return KeptVerdict(
        attempt_id=row["id"],
        campaign_id=row["campaign_id"],
        run_instance_id=row["instance_id"],
        account_id=row["account_id"],
        answered_at=row["answered_at"],
        detection=msgspec.convert(row["detection"], Detection),
        recording_id=row["recording_id"],
        actual=None if row["actual"] is None else Actual(row["actual"]),
        reviewed_by=row["reviewed_by"],
        reviewed_at=row["reviewed_at"],
    )

"""Recordings: which there are, of which attempt, and where their files are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from outdial.store.database import Connection


@dataclass(frozen=True, slots=True)
class Recording:
    """What a person said in one step of a flow."""

    id: str
    attempt_id: str
    step: str
    duration_seconds: float
    size_bytes: int
    sha256: str
    host: str
    """Name of the machine that has the file."""
    file: str
    """Where, below its folder of recordings."""
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose call an attempt was."""

    account_id: str
    campaign_id: str
    run_instance_id: str
    erased: bool = False
    """The person who was called was erased since."""


async def whose(connection: Connection, attempt_id: str) -> Whose | None:
    """Return whose call an attempt was; None when there is no such attempt."""
    row = await connection.fetchrow(
        """
        SELECT a.account_id, a.campaign_id, r.instance_id, a.phone = '' AS erased
          FROM all_attempts a JOIN runs r ON r.id = a.run_id WHERE a.id = $1
        """,
        attempt_id,
    )
    return None if row is None else Whose(*row)


async def insert(connection: Connection, recording: Recording) -> bool:
    """Write it down, at the present instant; False when it is already, or the person was erased."""
    values = (
        recording.id,
        recording.attempt_id,
        recording.step,
        recording.duration_seconds,
        recording.size_bytes,
        recording.sha256,
        recording.host,
        recording.file,
    )
    # in this order: an attempt that is moved meanwhile is seen by the second
    inserted = await connection.fetchval(_INSERT.format(attempts="attempts"), *values)
    return bool(inserted or await connection.fetchval(_INSERT.format(attempts="old_attempts"), *values))


_INSERT: Final = """
INSERT INTO recordings (id, attempt_id, step, duration_seconds, size_bytes, sha256, host, file)
-- of somebody who is being erased it is not known before that is over
SELECT $1, a.id, $3, $4, $5, $6, $7, $8
  FROM (SELECT id FROM {attempts} WHERE id = $2 AND phone <> '' FOR SHARE) a
    ON CONFLICT (id) DO NOTHING RETURNING true
"""


async def is_removed(connection: Connection, recording_id: str) -> bool:
    """Whether a recording that was written down has been removed; waits for who is removing it, and keeps others from
    it until the transaction ends."""
    return bool(
        await connection.fetchval("SELECT removed_at IS NOT NULL FROM recordings WHERE id = $1 FOR SHARE", recording_id)
    )


async def has_attempt(connection: Connection, iid: str, attempt_id: str) -> bool:
    """Whether an attempt is one of the application's."""
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM all_attempts a JOIN runs r ON r.id = a.run_id WHERE a.id = $1 AND r.iid = $2)",
            attempt_id,
            iid,
        )
    )


async def of_attempt(connection: Connection, attempt_id: str) -> list[Recording]:
    """Return what there is of an attempt, in the order in which it was recorded."""
    rows = await connection.fetch(
        """
        SELECT * FROM recordings WHERE attempt_id = $1 AND removed_at IS NULL AND erasure_id IS NULL
         ORDER BY recorded_at, id
        """,
        attempt_id,
    )
    return [_recording(row) for row in rows]


async def by_id(connection: Connection, iid: str, recording_id: str, *, lock: bool = False) -> Recording | None:
    """Return one of the application's; None when there is none, or none any more."""
    row = await connection.fetchrow(
        _ONE_LOCKED if lock else _ONE,
        recording_id,
        iid,
    )
    return None if row is None else _recording(row)


_ONE: Final = """
SELECT c.* FROM recordings c JOIN all_attempts a ON a.id = c.attempt_id JOIN runs r ON r.id = a.run_id
 WHERE c.id = $1 AND r.iid = $2 AND c.removed_at IS NULL AND c.erasure_id IS NULL
"""
_ONE_LOCKED: Final = _ONE + " FOR UPDATE OF c"


async def mark_removed(connection: Connection, recording_id: str) -> None:
    """Note that the file is gone."""
    await connection.execute("UPDATE recordings SET removed_at = clock_timestamp() WHERE id = $1", recording_id)


async def to_erase(connection: Connection, *, limit: int) -> list[Recording]:
    """Return some recordings of persons who were erased, whose files are still to go, of every machine."""
    rows = await connection.fetch(
        "SELECT * FROM recordings WHERE erasure_id IS NOT NULL AND removed_at IS NULL ORDER BY id LIMIT $1", limit
    )
    return [_recording(row) for row in rows]


async def erased_attempts(connection: Connection, attempt_ids: Sequence[str]) -> frozenset[str]:
    """Return those of the attempts whose person was erased."""
    if not attempt_ids:
        return frozenset()
    rows = await connection.fetch("SELECT id FROM all_attempts WHERE id = ANY ($1) AND phone = ''", list(attempt_ids))
    return frozenset(row["id"] for row in rows)


async def expired(
    connection: Connection, account_id: str, host: str, *, days: int, after: str, limit: int
) -> list[Recording]:
    """Return some recordings of an account on a machine that are older than so many days, by their ids, from the first
    after ``after`` on; none of a run that is live."""
    rows = await connection.fetch(
        """
        SELECT c.* FROM recordings c JOIN all_attempts a ON a.id = c.attempt_id JOIN runs r ON r.id = a.run_id
         WHERE a.account_id = $1 AND c.host = $2 AND c.removed_at IS NULL
           AND c.recorded_at < clock_timestamp() - make_interval(days => $3) AND c.id > $4
           AND r.state NOT IN ('active', 'paused', 'stopping')
         ORDER BY c.id LIMIT $5
        """,
        account_id,
        host,
        days,
        after,
        limit,
    )
    return [_recording(row) for row in rows]


async def over(connection: Connection, attempt_ids: Sequence[str], *, since: timedelta) -> frozenset[str]:
    """Return those of the attempts that ended that long ago."""
    rows = await connection.fetch(
        "SELECT id FROM all_attempts WHERE id = ANY ($1) AND ended_at < clock_timestamp() - $2::interval",
        list(attempt_ids),
        since,
    )
    return frozenset(row["id"] for row in rows)


def _recording(row: asyncpg.Record) -> Recording:
    return Recording(
        id=row["id"],
        attempt_id=row["attempt_id"],
        step=row["step"],
        duration_seconds=row["duration_seconds"],
        size_bytes=row["size_bytes"],
        sha256=row["sha256"],
        host=row["host"],
        file=row["file"],
        recorded_at=row["recorded_at"],
    )

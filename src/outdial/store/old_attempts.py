"""Attempts of runs that are long over: moved out of the way of dialing, and removed a month at a time.

``attempts`` holds what dialing decides on, ``old_attempts`` the rest, in a partition for each month; the view
``all_attempts`` is both, for whoever looks back. An attempt moves one way, once, when its call can change no more:
whoever has to change one all the same looks in ``attempts`` first and in ``old_attempts`` with a later statement.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import asyncpg

from outdial.store.database import Connection

NEAR: Final = timedelta(days=31)
"""``attempts`` holds every attempt that has ended within this; ``outdial_beyond_limits`` has the same."""

MOVES_AFTER: Final = NEAR + timedelta(days=1)
"""So long after its end, and that of its run. A day more: a reservation looks back from when its transaction began."""

DETACH_SECONDS: Final = 60
"""How long a partition waits for those who look back; what is left half done is finished with the next look."""

_LOCK: Final = 4476486
"""Of whoever moves and removes; held by a session, since a partition is not detached within a transaction."""

_PREFIX: Final = "old_attempts_"


@dataclass(frozen=True, slots=True)
class Month:
    """A partition."""

    table: str
    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Removed:
    """Attempts that were removed, and of how many runs."""

    attempts: int
    runs: int


async def be_alone(connection: Connection) -> bool:
    """Become the only one who moves and removes, as long as the connection lasts; False when there is one already."""
    return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK))


async def runs_to_move(
    connection: Connection, *, after: tuple[datetime, int] | None, limit: int
) -> list[tuple[datetime, int]]:
    """Return end and id of some runs that are long over and may have attempts to move, those that ended first, from
    the first after ``after`` on."""
    rows = await connection.fetch(
        """
        SELECT ended_at, id FROM runs
         WHERE attempts_moved_at IS NULL AND ended_at < clock_timestamp() - $1::interval
           AND ($2::timestamptz IS NULL OR (ended_at, id) > ($2, $3::bigint))
         ORDER BY ended_at, id LIMIT $4
        """,
        MOVES_AFTER,
        *(after or (None, None)),
        limit,
    )
    return [(row["ended_at"], row["id"]) for row in rows]


async def move(connection: Connection, run_id: int, *, limit: int) -> int:
    """Move some of a run's attempts that ended long ago, in one transaction; return how many. With the last of them it
    is noted that the run has none left."""
    async with connection.transaction():
        rows = await connection.fetch(
            """
            SELECT id, ended_at FROM attempts WHERE run_id = $1 AND ended_at < clock_timestamp() - $2::interval
             LIMIT $3 FOR UPDATE SKIP LOCKED
            """,
            run_id,
            MOVES_AFTER,
            limit,
        )
        for month in sorted({_month_of(row["ended_at"]) for row in rows}):
            await connection.execute("SELECT outdial_make_month($1)", month)
        await connection.execute(
            """
            WITH gone AS (DELETE FROM attempts WHERE id = ANY ($1::text[]) RETURNING *)
            INSERT INTO old_attempts SELECT * FROM gone
            """,
            [row["id"] for row in rows],
        )
        if len(rows) < limit:
            await connection.execute(
                """
                UPDATE runs SET attempts_moved_at = clock_timestamp()
                 WHERE id = $1 AND NOT EXISTS (SELECT FROM attempts WHERE run_id = $1)
                """,
                run_id,
            )
    return len(rows)


def _month_of(instant: datetime) -> date:
    return instant.astimezone(UTC).date().replace(day=1)


async def months(connection: Connection) -> list[Month]:
    """Return the partitions, oldest first."""
    rows = await connection.fetch(
        """
        SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'old_attempts'::regclass AND NOT i.inhdetachpending ORDER BY c.relname
        """
    )
    return [_month(row["name"]) for row in rows]


def _month(table: str) -> Month:
    year, month = (int(part) for part in table.removeprefix(_PREFIX).split("_"))
    begin = datetime(year, month, 1, tzinfo=UTC)
    return Month(table, begin, (begin + timedelta(days=32)).replace(day=1))


async def accounts(connection: Connection) -> list[tuple[str, int]]:
    """Return the accounts that do not keep attempts for ever, each with its days."""
    rows = await connection.fetch(
        """
        SELECT account_id, attempts_days FROM account_retention WHERE attempts_days IS NOT NULL ORDER BY account_id
        """
    )
    return [(row["account_id"], row["attempts_days"]) for row in rows]


async def remove(connection: Connection, account_id: str, month: Month, *, limit: int) -> Removed:
    """Remove some of an account's attempts of a month, with what was kept beside them, and count them for their runs;
    within the caller's transaction. One whose recording or whose message to a webhook is not settled stays."""
    row = await connection.fetchrow(
        """
        WITH lot AS (
            SELECT o.id, o.ended_at FROM old_attempts o
             WHERE o.account_id = $1 AND o.ended_at >= $2 AND o.ended_at < $3
               AND NOT EXISTS (SELECT FROM recordings c WHERE c.attempt_id = o.id AND c.removed_at IS NULL)
               AND NOT EXISTS (SELECT FROM webhook_deliveries d JOIN history h ON h.id = d.history_id
                                WHERE d.state <> 'delivered' AND h.attempt_id = o.id)
             LIMIT $4 FOR UPDATE OF o SKIP LOCKED
        ), gone AS (
            DELETE FROM old_attempts o USING lot
             WHERE o.id = lot.id AND o.ended_at = lot.ended_at AND o.ended_at >= $2 AND o.ended_at < $3
            RETURNING o.id, o.run_id, o.state, o.disposition, o.dialed_at, o.answered_at
        ), outcomes AS (
            DELETE FROM flow_outcomes t USING gone WHERE t.attempt_id = gone.id
        ), heard AS (
            DELETE FROM recordings t USING gone WHERE t.attempt_id = gone.id
        ), legs AS (
            DELETE FROM transfers t USING gone WHERE t.attempt_id = gone.id
        ), reviews AS (
            DELETE FROM machine_reviews t USING gone WHERE t.attempt_id = gone.id
        ), counted AS (
            INSERT INTO removed_attempts AS r (run_id, state, disposition, count, placed, answered)
            SELECT run_id, state, disposition, count(*), count(dialed_at), count(answered_at)
              FROM gone GROUP BY run_id, state, disposition ORDER BY run_id, state, disposition
                ON CONFLICT (run_id, state, disposition) DO UPDATE
                   SET count = r.count + excluded.count, placed = r.placed + excluded.placed,
                       answered = r.answered + excluded.answered)
        SELECT count(*) AS attempts, count(DISTINCT run_id) AS runs FROM gone
        """,
        account_id,
        month.begin,
        month.end,
        limit,
    )
    assert row is not None  # noqa: S101 - an aggregate has a row
    return Removed(**row)


async def tidy(connection: Connection, *, before: datetime) -> list[str]:
    """Do away with the partitions of months before an instant that have no attempts, without keeping anybody from
    looking back; return them. Whoever calls is alone (:func:`be_alone`), so nothing is moved there meanwhile; the
    connection is closed after."""
    await connection.execute(f"SET statement_timeout = '{DETACH_SECONDS}s'")
    rows = await connection.fetch(
        """
        SELECT c.relname AS name, i.inhrelid IS NOT NULL AS attached, coalesce(i.inhdetachpending, false) AS pending
          FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
           AND c.relname ~ '^old_attempts_[0-9]{4}_[0-9]{2}$'
         ORDER BY pending DESC, c.relname
        """
    )
    dropped: list[str] = []
    for row in rows:
        name: str = row["name"]
        if row["attached"] and not row["pending"]:
            filled = f"SELECT EXISTS (SELECT FROM {name})"  # noqa: S608 - a name of ours
            if _month(name).end > before or await connection.fetchval(filled):
                continue
        try:
            if row["attached"]:
                # pending: a look before was cut off while it waited
                how = "FINALIZE" if row["pending"] else "CONCURRENTLY"
                await connection.execute(f"ALTER TABLE old_attempts DETACH PARTITION {name} {how}")
            await connection.execute(f"DROP TABLE {name}")
        except asyncpg.QueryCanceledError:
            # somebody looks back for long; one at a time is detached, so the others wait too
            return dropped
        dropped.append(name)
    return dropped


async def lock(connection: Connection, attempt_id: str) -> bool:
    """Keep everybody else from changing or moving an attempt until commit; False when there is none."""
    for table in ("attempts", "old_attempts"):
        found = await connection.fetchval(
            f"SELECT true FROM {table} WHERE id = $1 FOR NO KEY UPDATE",  # noqa: S608 - two names
            attempt_id,
        )
        if found:
            return True
    return False

"""Attempts of runs that are long over: moved out of the way of dialing, and removed a month at a time.

``attempts`` holds what dialing decides on, ``old_attempts`` the rest, in a partition for each month; the view
``all_attempts`` is both, for whoever looks back. An attempt moves one way, once, when its call can change no more:
whoever has to change one all the same looks in ``attempts`` first and in ``old_attempts`` with a later statement.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final

import asyncpg

from outdial.core.errors import DatabaseRefusesError, DatabaseUnavailableError, OutdialError
from outdial.store.database import Connection

NEAR: Final = timedelta(days=31)
"""``attempts`` holds every attempt that has ended within this."""

MOVES_AFTER: Final = NEAR + timedelta(days=1)
"""So long after its end, and that of its run. A day more: a reservation looks back from when its transaction began."""

LEAP: Final = timedelta(days=7)
"""A clock that goes further between two looks, or back, may be wrong."""

STEADY_FOR: Final = timedelta(days=1)
"""How long a clock that has leapt must have gone on as it should before anything is moved or removed by it."""

BEHIND: Final = timedelta(days=1)
"""How far behind a webhook may be that is told of everything that happens."""

DROP_SECONDS: Final = 0.05
"""How long a partition without attempts waits for those who look back, and others for it."""

MOVE_SECONDS: Final = 0.2
"""How long whoever moves attempts waits for each lock: what it holds already others wait for."""

_LOCK: Final = 4476486
"""Of whoever moves, removes or drops, until commit; also in ``outdial_drop_month``."""

_PASSES: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError)
"""Somebody was in the way: the same again will do."""

_ROOM: Final = (asyncpg.OutOfMemoryError,)
"""The server is there, and has no room for as many locks as there are months."""

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


class Hold(StrEnum):
    """What became of the wish to be the only one who moves, removes or drops."""

    HELD = "held"
    TAKEN = "taken"
    """Somebody else is at it."""
    CLOCK = "clock"
    """The database's clock has not gone on for a day: what is moved or removed by a clock that is wrong does not come
    back."""


@contextlib.contextmanager
def troubles(found: MutableMapping[str, OutdialError]) -> Iterator[None]:
    """Note in ``found``, by its sentence, what a database that is there does not do: somebody's view on a month, or a
    right that was taken away, must neither end a process that dials nor hold up what else there is to do.

    Around whole transactions. Raises DatabaseUnavailableError where the database is away.
    """
    try:
        yield
    except (DatabaseUnavailableError, asyncpg.PostgresError) as error:
        trouble = _trouble(error)
        if trouble is None:
            raise
        found[trouble.message] = trouble


def _trouble(error: BaseException) -> OutdialError | None:
    """Return what an error means for who looks after old attempts; None: the database is away."""
    said = error.__cause__ if isinstance(error, DatabaseUnavailableError) else error
    # the first line only: what follows may be a row with its values
    why = str(said).partition("\n")[0]
    # without a name it is none of a table's: the month was empty, and somebody did away with it just now
    month_is_gone = isinstance(said, asyncpg.CheckViolationError) and said.constraint_name is None
    if isinstance(said, _PASSES) or month_is_gone:
        return DatabaseUnavailableError(f"Old attempts wait, since somebody is in the way: {why}.")
    if said is error or isinstance(said, _ROOM):
        return DatabaseRefusesError(f"The database refuses to move or remove old attempts: {why}.")
    return None


async def hold(connection: Connection) -> Hold:
    """Be the only one who moves, removes or drops until commit, where the database's clock has gone on for a day from
    one such question to the next."""
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
        return Hold.TAKEN
    steady: bool = await connection.fetchval(
        """
        UPDATE attempt_moves
           SET steady_since = CASE
                   WHEN clock_timestamp() BETWEEN seen_at - interval '1 minute' AND seen_at + $1::interval
                   THEN steady_since ELSE clock_timestamp() END,
               seen_at = clock_timestamp()
        RETURNING steady_since <= clock_timestamp() - $2::interval
        """,
        LEAP,
        STEADY_FOR,
    )
    return Hold.HELD if steady else Hold.CLOCK


async def trusted_from(connection: Connection) -> datetime:
    """Return from when on the database's clock is trusted, unless it leaps until then."""
    at: datetime = await connection.fetchval("SELECT steady_since + $1::interval FROM attempt_moves", STEADY_FOR)
    return at


_TO_MOVE: Final = """a.ended_at < clock_timestamp() - $1::interval
           -- whoever settles the leg looks in `attempts`
           AND NOT EXISTS (SELECT FROM transfers t WHERE t.attempt_id = a.id AND t.ended_at IS NULL)"""
"""Of an attempt ``a``; $1: ``MOVES_AFTER``."""


async def mark_moved(connection: Connection, *, limit: int) -> int:
    """Note of some runs that are long over that they have no attempts left to move; return of how many."""
    rows = await connection.fetch(
        """
        UPDATE runs SET attempts_moved_at = clock_timestamp()
         WHERE id = ANY (ARRAY(
               SELECT r.id FROM runs r
                WHERE r.attempts_moved_at IS NULL AND r.ended_at < clock_timestamp() - $1::interval
                  AND NOT EXISTS (SELECT FROM attempts a WHERE a.run_id = r.id) LIMIT $2))
        RETURNING 1
        """,
        MOVES_AFTER,
        limit,
    )
    return len(rows)


async def runs_to_move(connection: Connection, *, begin: float, limit: int) -> list[int]:
    """Return some runs that are long over and have attempts to move, by when they ended: from a place on among all that
    are not done with, ``begin`` of the way (0 to 1) from the first to the last, and then from the first."""
    some = f"""
        SELECT r.id FROM runs r
         WHERE r.attempts_moved_at IS NULL AND r.ended_at < clock_timestamp() - $1::interval
           AND EXISTS (SELECT FROM attempts a WHERE a.run_id = r.id AND {_TO_MOVE})
    """  # noqa: S608 - a constant
    rows = await connection.fetch(
        f"""
        WITH place AS MATERIALIZED (
            SELECT min(ended_at) + $3::double precision * (max(ended_at) - min(ended_at)) AS begin_at FROM runs
             WHERE attempts_moved_at IS NULL AND ended_at < clock_timestamp() - $1::interval)
        SELECT id FROM (
            ({some} AND r.ended_at >= (SELECT begin_at FROM place) ORDER BY r.ended_at LIMIT $2)
            UNION ALL
            ({some} AND r.ended_at < (SELECT begin_at FROM place) ORDER BY r.ended_at LIMIT $2)) found
         LIMIT $2
        """,  # noqa: S608 - a constant
        MOVES_AFTER,
        limit,
        begin,
    )
    return [row["id"] for row in rows]


async def make_months(connection: Connection, run_id: int, *, limit: int) -> list[date]:
    """Make the partitions of those of a run's attempts that move next, within a transaction which holds, and does
    nothing else: others wait for what it locks. Return of which months they are. A month that cannot be made stops all
    of these."""
    await _limit_wait(connection)
    rows = await connection.fetch(
        f"""
        SELECT DISTINCT date_trunc('month', ended_at AT TIME ZONE 'UTC')::date AS month
          FROM (SELECT a.ended_at FROM attempts a WHERE a.run_id = $2 AND {_TO_MOVE}
                 ORDER BY a.reserved_at LIMIT $3) lot
         ORDER BY month
        """,  # noqa: S608 - a constant
        MOVES_AFTER,
        run_id,
        limit,
    )
    found = [row["month"] for row in rows]
    for month in found:
        await connection.execute("SELECT outdial_make_month($1)", month)
    await _forget_empty(connection, found)
    return found


async def move(connection: Connection, run_id: int, months: Sequence[date], *, limit: int) -> int:
    """Move some of a run's attempts that ended long ago, in months that are there, the earlier first, within the
    caller's transaction, which holds; return how many."""
    await _limit_wait(connection)
    rows = await connection.fetch(
        f"""
        SELECT a.id, a.ended_at FROM attempts a
         WHERE a.run_id = $2 AND {_TO_MOVE}
           AND date_trunc('month', a.ended_at AT TIME ZONE 'UTC')::date = ANY ($4::date[])
         ORDER BY a.reserved_at LIMIT $3 FOR UPDATE OF a SKIP LOCKED
        """,  # noqa: S608 - a constant
        MOVES_AFTER,
        run_id,
        limit,
        list(months),
    )
    if not rows:
        return 0
    await _forget_empty(connection, months)
    await connection.execute(
        """
        WITH gone AS (
            DELETE FROM attempts WHERE id = ANY ($1::text[]) RETURNING *
        ), counted AS (
            INSERT INTO moved_attempts AS m (run_id, state, disposition, count, placed, answered)
            SELECT run_id, state, disposition, count(*), count(dialed_at), count(answered_at)
              FROM gone GROUP BY run_id, state, disposition ORDER BY state, disposition
                ON CONFLICT (run_id, state, disposition) DO UPDATE
                   SET count = m.count + excluded.count, placed = m.placed + excluded.placed,
                       answered = m.answered + excluded.answered)
        INSERT INTO old_attempts SELECT * FROM gone
        """,
        [row["id"] for row in rows],
    )
    await connection.execute(
        "UPDATE attempt_moves SET moved_until = greatest(moved_until, $1)", max(row["ended_at"] for row in rows)
    )
    return len(rows)


async def _limit_wait(connection: Connection) -> None:
    await connection.execute(f"SET LOCAL lock_timeout = '{round(MOVE_SECONDS * 1000)}ms'")


async def _forget_empty(connection: Connection, months: Sequence[date]) -> None:
    """What was seen of months that are to be filled holds no more."""
    await connection.execute(
        "DELETE FROM empty_months WHERE name = ANY ($1)", [f"{_PREFIX}{month:%Y_%m}" for month in months]
    )


async def months(connection: Connection) -> list[Month]:
    """Return the partitions, oldest first."""
    rows = await connection.fetch(
        """
        SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'old_attempts'::regclass AND NOT i.inhdetachpending
           AND c.relname ~ '^old_attempts_[12][0-9]{3}_(0[1-9]|1[0-2])$'
         ORDER BY c.relname
        """
    )
    return [_month(row["name"]) for row in rows]


def _month(table: str) -> Month:
    year, month = (int(part) for part in table.removeprefix(_PREFIX).split("_"))
    begin = datetime(year, month, 1, tzinfo=UTC)
    return Month(table, begin, (begin + timedelta(days=32)).replace(day=1))


async def accounts(connection: Connection) -> dict[str, datetime]:
    """Return the accounts that do not keep attempts for ever, each with before when it does not: by ``LEAP`` earlier
    than it says, since a clock that goes so far ahead is trusted, and limits count over all the days it says."""
    rows = await connection.fetch(
        """
        SELECT account_id, clock_timestamp() - make_interval(days => attempts_days) - $1::interval AS before
          FROM account_retention WHERE attempts_days IS NOT NULL ORDER BY account_id
        """,
        LEAP,
    )
    return {row["account_id"]: row["before"] for row in rows}


async def with_attempts(
    connection: Connection, accounts: Mapping[str, datetime], months: Sequence[Month]
) -> list[tuple[str, Month]]:
    """Return the accounts, each with before when it does not keep attempts, that have some of a month before that."""
    rows = await connection.fetch(
        """
        SELECT a.account_id, m.place
          FROM unnest($1::text[], $2::timestamptz[]) AS a (account_id, before)
          JOIN unnest($3::timestamptz[], $4::timestamptz[]) WITH ORDINALITY AS m (begin_at, end_at, place)
            ON m.end_at <= a.before
         WHERE EXISTS (SELECT FROM old_attempts o WHERE o.account_id = a.account_id
                          AND o.ended_at >= m.begin_at AND o.ended_at < m.end_at)
         ORDER BY a.account_id, m.place
        """,
        list(accounts),
        list(accounts.values()),
        [month.begin for month in months],
        [month.end for month in months],
    )
    return [(row["account_id"], months[row["place"] - 1]) for row in rows]


async def due(connection: Connection, account_id: str, month: Month) -> int | None:
    """Return for how many days an account keeps attempts where it does not keep those of a month any more, else None.
    Until commit it does not choose otherwise."""
    days: int | None = await connection.fetchval(
        """
        SELECT attempts_days FROM account_retention
         WHERE account_id = $1
           AND $2::timestamptz <= clock_timestamp() - make_interval(days => attempts_days) - $3::interval
           FOR NO KEY UPDATE
        """,
        account_id,
        month.end,
        LEAP,
    )
    return days


async def webhooks_are_behind(connection: Connection, account_id: str) -> bool:
    """Whether a webhook of an account has not been told what happened a day ago: it may still be told of attempts."""
    return bool(
        await connection.fetchval(
            """
            SELECT EXISTS (SELECT FROM webhooks w
                             JOIN history_seals s ON s.account_id = w.account_id AND s.number = w.seal_number + 1
                            WHERE w.account_id = $1 AND w.removed_at IS NULL
                              AND s.sealed_at < clock_timestamp() - $2::interval)
            """,
            account_id,
            BEHIND,
        )
    )


async def told_of(connection: Connection, account_id: str) -> list[str]:
    """Return the attempts that are old enough to move and of which messages to the account's webhooks are kept; of one
    whose rows were sealed much later, none: its message tells what the history has."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT h.attempt_id FROM webhooks w
          JOIN webhook_deliveries d ON d.webhook_id = w.id JOIN history h ON h.id = d.history_id
         WHERE w.account_id = $1 AND h.attempt_id IS NOT NULL AND h.at < clock_timestamp() - $2::interval
           -- most messages are of lately: without this, the row of each would be read
           AND d.history_id <= (SELECT max(s.to_id) FROM history_seals s
                                 WHERE s.account_id = $1 AND s.sealed_at < clock_timestamp() - $2::interval)
        """,
        account_id,
        MOVES_AFTER,
    )
    return [row["attempt_id"] for row in rows]


async def removable(
    connection: Connection, account_id: str, month: Month, *, spared: Sequence[str], limit: int
) -> list[str]:
    """Return some of an account's attempts of a month that may go, locked; not those ``spared``, nor who has a
    recording, nor those of a stop of which there is no signed report."""
    rows = await connection.fetch(
        """
        SELECT o.id FROM old_attempts o
         WHERE o.account_id = $1 AND o.ended_at >= $2 AND o.ended_at < $3 AND o.id <> ALL ($4::text[])
           AND NOT EXISTS (SELECT FROM recordings c WHERE c.attempt_id = o.id AND c.removed_at IS NULL)
           AND NOT EXISTS (SELECT FROM runs r WHERE r.id = o.run_id AND r.state = 'stopped'
                              AND NOT EXISTS (SELECT FROM signed_reports s WHERE s.run_id = r.id))
         LIMIT $5 FOR UPDATE OF o SKIP LOCKED
        """,
        account_id,
        month.begin,
        month.end,
        list(spared),
        limit,
    )
    return [row["id"] for row in rows]


async def remove(connection: Connection, account_id: str, month: Month, attempt_ids: Sequence[str]) -> Removed:
    """Remove some of an account's attempts of a month, which are locked, with what was kept beside them; within the
    caller's transaction, which holds."""
    row = await connection.fetchrow(
        """
        WITH gone AS (
            DELETE FROM old_attempts o
             WHERE o.id = ANY ($1::text[]) AND o.ended_at >= $2 AND o.ended_at < $3
               -- one that came while the attempt was not locked yet is seen by this statement
               AND NOT EXISTS (SELECT FROM recordings c WHERE c.attempt_id = o.id AND c.removed_at IS NULL)
            RETURNING o.id, o.run_id
        ), outcomes AS (
            DELETE FROM flow_outcomes t USING gone WHERE t.attempt_id = gone.id
        ), heard AS (
            DELETE FROM recordings t USING gone WHERE t.attempt_id = gone.id
        ), legs AS (
            DELETE FROM transfers t USING gone WHERE t.attempt_id = gone.id
        ), reviews AS (
            DELETE FROM machine_reviews t USING gone WHERE t.attempt_id = gone.id
        ), noted AS (
            UPDATE account_retention SET attempts_gone_until = greatest(attempts_gone_until, $3)
             WHERE account_id = $4 AND EXISTS (SELECT FROM gone)
        ), unseen AS (
            DELETE FROM empty_months WHERE name = $5)
        SELECT count(*) AS attempts, count(DISTINCT run_id) AS runs FROM gone
        """,
        list(attempt_ids),
        month.begin,
        month.end,
        account_id,
        month.table,
    )
    assert row is not None  # noqa: S101 - an aggregate has a row
    return Removed(**row)


async def is_filled(connection: Connection, month: Month) -> bool:
    """Whether a month has attempts. False also where somebody has done away with it."""
    filled: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM old_attempts WHERE ended_at >= $1 AND ended_at < $2)", month.begin, month.end
    )
    return filled


async def is_known_empty(connection: Connection, month: Month) -> bool:
    """Whether a month has no attempt, and had none when somebody asked before. It is noted with the first question;
    within the caller's transaction, which holds."""
    if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {month.table})"):  # noqa: S608 - a name of ours
        return False
    noted = await connection.fetchval(
        "INSERT INTO empty_months (name) VALUES ($1) ON CONFLICT DO NOTHING RETURNING true", month.table
    )
    return not noted


async def drop(connection: Connection, month: Month) -> bool | None:
    """Do away with a month that is known to be empty, in no transaction: with the statement its locks are gone, also
    should this process freeze. False when somebody may still see some attempt there, or moves, removes or drops; None
    when somebody looks back just now. For each of its locks they wait no longer than ``DROP_SECONDS``."""
    dropped: bool | None = await connection.fetchval(
        "SELECT outdial_drop_month($1, $2)", month.table, round(DROP_SECONDS * 1000)
    )
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

"""Restoring a dump into a database, and making what was restored safe before anybody can work with it.

From the first change on a mark stands in the database, in a schema of its own, by which everything of outdial's
refuses to work with it (``store.migrations``); it goes in the transaction that makes safe what was restored. So a
restore that is killed at any moment leaves either what was there before, or what nobody dials by and the next restore
clears away. What was there before is kept aside, under another schema's name, until then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from outdial.core.backup import margins
from outdial.core.errors import StartupError
from outdial.core.model import AttemptState, Disposition, DoneReason, RunContactState
from outdial.core.schedule import Outcome
from outdial.store import attempts as attempts_store
from outdial.store import history
from outdial.store import schedules as schedules_store
from outdial.store.attempts import AttemptNews, ContactNews
from outdial.store.database import Connection, edge, server_time
from outdial.store.migrations import MARK_SCHEMA, is_marked

ACTOR: Final = "restore"
"""Who pauses, ends and switches off what a restore does."""

ASIDE: Final = "outdial_replaced"
"""The schema under whose name what was there before is kept until the restore is done."""

LIVE_REASON: Final = "it was live when the backup was made; how it ended nobody knows"

MISSED_REASON: Final = "It came due before the database was restored; whether it was started then, nobody knows here."

_LOT: Final = 500


@dataclass(frozen=True, slots=True)
class Present:
    """What is in the database that is to be restored to."""

    marked: bool
    """A restore was cut off."""
    tables: int
    accounts: int
    """-1: it is no database of outdial's."""
    sessions: tuple[str, ...]
    """Others that are connected, by what they call themselves."""

    @property
    def empty(self) -> bool:
        """Whether nobody would lose anything."""
        return self.marked or self.tables == 0 or self.accounts == 0


@dataclass(frozen=True, slots=True)
class LeftRun:
    """A run that goes on only once somebody resumes it."""

    instance_id: str
    campaign_id: str
    campaign_name: str
    was_active: bool
    """False: it was paused when the backup was made."""
    open_contacts: int
    """People it may still call: some of them may have been called since the backup."""
    kept_callbacks: int
    """Of those, people who asked to be called at an instant."""


@dataclass(frozen=True, slots=True)
class MadeSafe:
    """What was done to what was restored."""

    runs: tuple[LeftRun, ...]
    stopping_runs: int
    """Stops that were under way; they are finished when a server starts."""
    unknown_attempts: int
    schedules_off: tuple[str, ...]
    """Campaigns whose schedules were switched off."""
    schedules_on: tuple[str, ...]
    emergency: bool
    """An emergency stop is in force."""
    webhooks: int
    dnc_entries: int
    erased_since: int
    """Persons whom the database that is replaced has erased and the backup has not: they are there again."""


async def look(connection: Connection) -> Present:
    """Return what is there."""
    tables = await connection.fetchval(
        """
        SELECT count(*) FROM pg_class
         WHERE relnamespace = to_regnamespace('public') AND relkind IN ('r', 'p', 'v', 'm')
        """
    )
    ours = await connection.fetchval("SELECT to_regclass('public.accounts') IS NOT NULL")
    accounts = await connection.fetchval("SELECT count(*) FROM public.accounts") if ours else -1
    rows = await connection.fetch(
        """
        SELECT coalesce(nullif(application_name, ''), 'process ' || pid) AS name FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()
           -- of other accounts' sessions nothing is shown but that they are there
           AND (backend_type = 'client backend' OR (backend_type IS NULL AND usesysid IS NOT NULL))
         ORDER BY 1
        """
    )
    return Present(
        marked=await is_marked(connection),
        tables=tables,
        accounts=accounts,
        sessions=tuple(row["name"] for row in rows),
    )


async def begin(connection: Connection, *, manifest_sha256: str) -> None:
    """Mark the database and make room: what is there is put aside, or, when it is what a restore that was cut off has
    left, removed. In one transaction. Raises StartupError when the account may not."""
    try:
        async with connection.transaction():
            # whoever uses it is refused by the look before; what is open all the same is not waited for
            await connection.execute("SET LOCAL lock_timeout = '10s'")
            if await is_marked(connection):
                await connection.execute("DROP SCHEMA IF EXISTS public CASCADE")
            else:
                await connection.execute(f"DROP SCHEMA IF EXISTS {ASIDE} CASCADE")
                await connection.execute(f"ALTER SCHEMA public RENAME TO {ASIDE}")
                await connection.execute(f"CREATE SCHEMA {MARK_SCHEMA}")
                await connection.execute(
                    f"CREATE TABLE {MARK_SCHEMA}.under_way (manifest_sha256 text NOT NULL,"
                    " began_at timestamptz NOT NULL DEFAULT clock_timestamp())"
                )
            await connection.execute("CREATE SCHEMA public")
            await connection.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
            await connection.execute(f"TRUNCATE {MARK_SCHEMA}.under_way")
            await connection.execute(
                f"INSERT INTO {MARK_SCHEMA}.under_way (manifest_sha256) VALUES ($1)",  # noqa: S608 - a constant
                manifest_sha256,
            )
    except asyncpg.InsufficientPrivilegeError as error:
        raise StartupError(
            "The database's account may not make schemas: make it the owner of the database, then restore again."
        ) from error
    except asyncpg.LockNotAvailableError as error:
        raise StartupError("Somebody is using the database: end it, then restore again.") from error


async def undo(connection: Connection) -> None:
    """Put back what was there before a restore that has failed. Raises DatabaseUnavailableError."""
    with edge():
        async with connection.transaction():
            await connection.execute("DROP SCHEMA IF EXISTS public CASCADE")
            await connection.execute(f"ALTER SCHEMA {ASIDE} RENAME TO public")
            await connection.execute(f"DROP SCHEMA {MARK_SCHEMA} CASCADE")


async def finish(
    connection: Connection,
    *,
    taken_at: datetime,
    keep_schedules: bool,
    without_key: bool,
    actor: str,
    told: Mapping[str, Any],
) -> MadeSafe:
    """Make safe what was restored, write it into every account's history with ``told``, and take the mark and what was
    put aside away: all of it, or nothing. The schema is current. ``without_key``: nobody can read the secrets in it."""
    async with connection.transaction():
        raised = margins(taken_at, await server_time(connection))
        await _renumber(connection, raised.rows)
        await _end_nodes(connection)
        paused = await _pause(connection, taken_at, raised.epochs)
        unknown = await _end_attempts(connection)
        schedules = await _schedules(connection, keep=keep_schedules)
        if without_key:
            await _forget_keys(connection)
        erased_since = await _keep_never_called(connection, without_key=without_key)
        # snapshots mean something within one cluster only, and a copy of a cluster bears the same number
        await connection.execute("UPDATE history_sealing SET cluster = NULL, done = NULL, backlog = false")
        rest = await connection.fetchrow(
            """
            SELECT (SELECT count(*) FROM runs WHERE state = 'stopping') AS stopping_runs,
                   EXISTS (SELECT FROM emergency_stops WHERE lifted_at IS NULL) AS emergency,
                   (SELECT count(*) FROM webhooks WHERE enabled AND removed_at IS NULL) AS webhooks,
                   (SELECT count(*) FROM dnc_entries) AS dnc_entries
            """
        )
        assert rest is not None  # noqa: S101 - one row of counts
        made = MadeSafe(
            runs=await _left(connection, paused),
            unknown_attempts=unknown,
            erased_since=erased_since,
            schedules_off=() if keep_schedules else schedules,
            schedules_on=schedules if keep_schedules else (),
            **rest,
        )
        for row in await connection.fetch("SELECT id FROM accounts ORDER BY id"):
            await history.append(connection, row["id"], "restore", "restored", actor=actor, **told)
        await connection.execute(f"DROP SCHEMA IF EXISTS {ASIDE} CASCADE")
        await connection.execute(f"DROP SCHEMA {MARK_SCHEMA} CASCADE")
    return made


async def _keep_never_called(connection: Connection, *, without_key: bool) -> int:
    """Keep what the database that is replaced knows, as hashes alone, of numbers nobody may call: nobody could list
    them again. Return how many persons it has erased that are in the backup still.

    Hashes made by another key mean nothing here, and are left.
    """
    if await connection.fetchval(f"SELECT to_regclass('{ASIDE}.dnc_hashes') IS NULL"):
        return 0
    if not without_key:
        await connection.execute(
            f"INSERT INTO number_keys SELECT * FROM {ASIDE}.number_keys ON CONFLICT DO NOTHING"  # noqa: S608 - a constant
        )
        await connection.execute(
            f"""
            INSERT INTO dnc_hashes (dnc_list_id, number_hmac, source, added_at, expires_at)
            SELECT l.id, h.number_hmac, h.source, h.added_at, h.expires_at
              FROM {ASIDE}.dnc_hashes h JOIN {ASIDE}.dnc_lists o ON o.id = h.dnc_list_id
              JOIN dnc_lists l ON l.id = o.id
                OR (l.account_id = o.account_id AND l.iid IS NULL AND o.iid IS NULL)
             WHERE (SELECT key_encrypted FROM number_keys) = (SELECT key_encrypted FROM {ASIDE}.number_keys)
                ON CONFLICT DO NOTHING
            """  # noqa: S608 - a constant
        )
    count: int = await connection.fetchval(
        f"""
        SELECT count(*) FROM {ASIDE}.erasures e
         WHERE NOT EXISTS (SELECT FROM erasures r WHERE r.id = e.id AND r.erased_at IS NOT NULL)
        """  # noqa: S608 - a constant
    )
    return count


async def _forget_keys(connection: Connection) -> None:
    """Let go of secrets that outdial makes itself and would trip over: a new key signs from now on, and engines are
    asked without a password, which those that are gone do not answer anyway."""
    await connection.execute(
        "UPDATE signing_keys SET private_key_encrypted = NULL, retired_at = clock_timestamp() WHERE retired_at IS NULL"
    )
    await connection.execute("UPDATE engines SET password_encrypted = NULL")


async def _renumber(connection: Connection, margin: int) -> None:
    """Let whatever gets its number from here on have one that was given to nothing since the backup: runs are named in
    permits and channels, rows of the history in the messages of webhooks."""
    await connection.execute(
        """
        SELECT setval(c.oid::regclass, coalesce(pg_sequence_last_value(c.oid::regclass), 0) + $1)
          FROM pg_class c WHERE c.relkind = 'S' AND c.relnamespace = 'public'::regnamespace
        """,
        margin,
    )


async def _end_nodes(connection: Connection) -> None:
    """End every life of a node: from here on its lease is not renewed, and nothing can be reserved for it. Engines are
    taken for gone until somebody uses them again: their permits ended with their nodes, and a stop still asks those
    that answer."""
    await connection.execute(
        """
        UPDATE nodes SET ended_at = coalesce(ended_at, clock_timestamp()), engine_up = false,
                         lease_until = least(lease_until, clock_timestamp())
        """
    )
    await connection.execute("UPDATE run_nodes SET making_until = NULL, making_key = NULL")
    await connection.execute("UPDATE run_engines SET superseded_at = coalesce(superseded_at, clock_timestamp())")
    await connection.execute(
        "UPDATE engines SET retired_at = clock_timestamp(), retired_by = $1 WHERE retired_at IS NULL", ACTOR
    )
    await connection.execute(
        """
        UPDATE transfers SET ended_at = clock_timestamp(), outcome = coalesce(outcome, 'unknown')
         WHERE ended_at IS NULL
        """
    )


async def _pause(connection: Connection, taken_at: datetime, margin: int) -> dict[int, bool]:
    """Pause what was active, and raise the epoch of every run that can be resumed beyond any that was given out; return
    them, each with whether it was active. A stop that was under way stays what it is: no permit is made for it at any
    epoch."""
    rows = await connection.fetch(
        """
        WITH before AS (SELECT id, state FROM runs WHERE state IN ('active', 'paused') FOR UPDATE)
        UPDATE runs r
           SET state = 'paused', epoch = r.epoch + $3, updated_at = clock_timestamp(), changed_by = $1,
               change_reason = $2
          FROM before b WHERE r.id = b.id
        RETURNING r.id, b.state = 'active' AS was_active
        """,
        ACTOR,
        f"restored from the backup of {taken_at:%Y-%m-%d %H:%M:%S} UTC: whom it has called since, nobody knows here",
        margin,
    )
    return {row["id"]: row["was_active"] for row in rows}


async def _left(connection: Connection, paused: dict[int, bool]) -> tuple[LeftRun, ...]:
    rows = await connection.fetch(
        """
        SELECT r.id, r.instance_id, r.campaign_id, c.name AS campaign_name,
               (SELECT count(*) FROM run_contacts rc WHERE rc.run_id = r.id AND rc.state IN ('pending', 'waiting'))
                   AS open_contacts,
               (SELECT count(*) FROM run_contacts rc WHERE rc.run_id = r.id AND rc.callback_at IS NOT NULL)
                   AS kept_callbacks
          FROM runs r JOIN campaigns c ON c.id = r.campaign_id WHERE r.id = ANY ($1::bigint[]) ORDER BY r.id
        """,
        list(paused),
    )
    return tuple(
        LeftRun(was_active=paused[row["id"]], **{name: row[name] for name in row.keys() if name != "id"})  # noqa: SIM118 - a record
        for row in rows
    )


async def _end_attempts(connection: Connection) -> int:
    """End what was live, as unknown: nobody is called again because of it."""
    rows = await connection.fetch(
        "SELECT id FROM attempts WHERE state IN ('reserved', 'dialing', 'ringing', 'answered') ORDER BY id"
    )
    ids = [row["id"] for row in rows]
    at = await server_time(connection)
    for first in range(0, len(ids), _LOT):
        await attempts_store.book(connection, [_unknown(attempt_id, at) for attempt_id in ids[first : first + _LOT]])
    return len(ids)


def _unknown(attempt_id: str, at: datetime) -> AttemptNews:
    return AttemptNews(
        id=attempt_id,
        state=AttemptState.UNKNOWN,
        by=ACTOR,
        disposition=Disposition.UNKNOWN,
        ended_at=at,
        reason=LIVE_REASON,
        contact=ContactNews(state=RunContactState.DONE, done_reason=DoneReason.UNKNOWN),
    )


async def _schedules(connection: Connection, *, keep: bool) -> tuple[str, ...]:
    """Return the campaigns whose schedules are on; without ``keep`` they are off now, with it nothing is due."""
    names: Sequence[asyncpg.Record] = await connection.fetch(
        """
        SELECT c.name FROM schedules s JOIN campaigns c ON c.id = s.campaign_id
         WHERE s.enabled AND c.deleted_at IS NULL ORDER BY c.name
        """
    )
    if keep:
        await _miss(connection)
    else:
        await connection.execute(
            """
            UPDATE schedules
               SET enabled = false, version = version + 1, next_at = NULL, updated_at = clock_timestamp(),
                   changed_by = $1, change_reason = $1
             WHERE enabled
            """,
            ACTOR,
        )
    return tuple(row["name"] for row in names)


async def _miss(connection: Connection) -> None:
    """Report what came due by now as missed, also what is not late yet: it may have been started where the backup was
    made."""
    now = await server_time(connection)
    for due in await schedules_store.due(connection):
        seen, next_at = due.schedule, due.schedule.next_at
        while next_at is not None and next_at <= now:
            if not await schedules_store.happened(connection, due.campaign_id, next_at):
                await schedules_store.record(
                    connection, due.campaign_id, next_at, Outcome.MISSED, run_id=None, reason=MISSED_REASON
                )
            next_at = seen.schedule.next_after(next_at)
        await schedules_store.take(connection, due.campaign_id, seen, next_at=next_at)

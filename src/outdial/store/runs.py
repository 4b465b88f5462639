"""Runs: their state, moved by compare-and-set under the run's lock, and the notice that something has changed.

The lock orders what must not cross: reserving, booking and permit making share it; start, pause, resume, stop and
completion hold it alone. It is taken in one statement and the state read in a later one: read in the same, the state
may be older than the wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec

from outdial.core.campaign import RAISES_EPOCH, RUN_MOVES
from outdial.core.model import DialingRules, Run, RunState
from outdial.store.database import Connection

RUNS_CHANNEL: Final = "outdial_runs"
"""NOTIFY with a run's id whenever its state changes; a wake-up only, since notices can be lost."""

_IN_EMERGENCY: Final = "OD001"
"""SQLSTATE of the trigger that lets no run become active while an emergency stop is in force."""

_RAISES_EPOCH: Final = frozenset(
    (before, after) for (before, action), after in RUN_MOVES.items() if action in RAISES_EPOCH
)


@dataclass(frozen=True, slots=True)
class Present:
    """What of a run changes once it has begun. All else of it, its rules above all, stays as it was read before."""

    state: RunState
    epoch: int
    updated_at: datetime
    ended_at: datetime | None
    loaded: bool

    def of(self, run: Run) -> Run:
        """Return the run as it is now."""
        return replace(
            run,
            state=self.state,
            epoch=self.epoch,
            updated_at=self.updated_at,
            ended_at=self.ended_at,
            loaded=self.loaded,
        )


def _present(row: asyncpg.Record) -> Present:
    return Present(RunState(row["state"]), row["epoch"], row["updated_at"], row["ended_at"], row["loaded"])


def rules_from(document: Any) -> DialingRules:
    """Read dialing rules back from their ``jsonb`` column; writing them needs nothing, the codec knows them."""
    return msgspec.convert(document, DialingRules)


def run_of(row: asyncpg.Record) -> Run:
    """Read one row of ``runs``."""
    return Run(
        id=row["id"],
        instance_id=row["instance_id"],
        campaign_id=row["campaign_id"],
        account_id=row["account_id"],
        iid=row["iid"],
        state=RunState(row["state"]),
        epoch=row["epoch"],
        rules=rules_from(row["rules"]),
        trunk_id=row["trunk_id"],
        flow_id=row["flow_id"],
        max_concurrent_calls=row["max_concurrent_calls"],
        calls_per_second=row["calls_per_second"],
        started_at=row["started_at"],
        updated_at=row["updated_at"],
        ended_at=row["ended_at"],
        loaded=row["loaded_at"] is not None,
        courtesy_flow_id=row["courtesy_flow_id"],
    )


async def lock_run(connection: Connection, run_id: int) -> None:
    """Hold the run alone until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(outdial_run_lock_key($1))", run_id)


async def try_lock_runs(connection: Connection, run_ids: Sequence[int]) -> frozenset[int]:
    """Hold those of the runs alone that nobody holds or shares, until the transaction ends, and return them. Nobody is
    waited for, so whoever holds one run and wants another gets it."""
    rows = await connection.fetch(
        "SELECT id FROM unnest($1::bigint[]) AS asked (id) WHERE pg_try_advisory_xact_lock(outdial_run_lock_key(id))",
        run_ids,
    )
    return frozenset(row["id"] for row in rows)


async def share_run(connection: Connection, run_id: int) -> None:
    """Keep the run's state as it is until the transaction ends; many may at once."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared(outdial_run_lock_key($1))", run_id)


async def limit_idle(connection: Connection, seconds: float) -> None:
    """Let the server end this transaction when its client is silent for that long: a frozen process must not hold a
    run's lock."""
    await connection.execute(
        "SELECT set_config('idle_in_transaction_session_timeout', $1, true)", f"{round(seconds * 1000)}ms"
    )


async def announce(connection: Connection, run_id: int) -> None:
    """Wake every node once the transaction has committed."""
    await connection.execute("SELECT pg_notify($1, $2)", RUNS_CHANNEL, str(run_id))


async def insert_run(
    connection: Connection,
    *,
    instance_id: str,
    campaign_id: str,
    account_id: str,
    iid: str,
    rules: DialingRules,
    trunk_id: str,
    flow_id: str | None,
    courtesy_flow_id: str | None,
    dnc_list_ids: Sequence[str],
    max_concurrent_calls: int | None,
    actor: str,
) -> Run | None:
    """Begin a run, active at epoch 1; None: an emergency stop is in force, and the transaction may go on."""
    try:
        # a savepoint: what the trigger refuses must not take the words for it along
        async with connection.transaction():
            row = await connection.fetchrow(
                """
                INSERT INTO runs (instance_id, campaign_id, account_id, iid, state, rules, trunk_id, flow_id,
                                  courtesy_flow_id, dnc_list_ids, max_concurrent_calls, changed_by, change_reason)
                VALUES ($1, $2, $3, $4, 'active', $5, $6, $7, $8, $9, $10, $11, 'start')
                RETURNING *
                """,
                instance_id,
                campaign_id,
                account_id,
                iid,
                rules,
                trunk_id,
                flow_id,
                courtesy_flow_id,
                list(dnc_list_ids),
                max_concurrent_calls,
                actor,
            )
    except asyncpg.PostgresError as error:
        if error.sqlstate != _IN_EMERGENCY:
            raise
        return None
    assert row is not None  # noqa: S101 - RETURNING
    return run_of(row)


async def by_id(connection: Connection, run_id: int) -> Run:
    """Return a run that exists."""
    row = await connection.fetchrow("SELECT * FROM runs WHERE id = $1", run_id)
    assert row is not None  # noqa: S101 - runs are never deleted
    return run_of(row)


async def present(connection: Connection, run_id: int) -> Present:
    """Return how a run that exists stands now."""
    row = await connection.fetchrow(
        "SELECT state, epoch, updated_at, ended_at, loaded_at IS NOT NULL AS loaded FROM runs WHERE id = $1", run_id
    )
    assert row is not None  # noqa: S101 - runs are never deleted
    return _present(row)


async def latest_run(connection: Connection, campaign_id: str) -> Run | None:
    """Return a campaign's latest run, None when it never ran."""
    row = await connection.fetchrow("SELECT * FROM runs WHERE campaign_id = $1 ORDER BY id DESC LIMIT 1", campaign_id)
    return None if row is None else run_of(row)


async def latest_id(connection: Connection, campaign_id: str) -> int | None:
    """Return the id of a campaign's latest run, None when it never ran."""
    run_id: int | None = await connection.fetchval(
        "SELECT id FROM runs WHERE campaign_id = $1 ORDER BY id DESC LIMIT 1", campaign_id
    )
    return run_id


async def latest_runs(connection: Connection, campaign_ids: Sequence[str]) -> dict[str, Run]:
    """Return the latest run of each campaign that ever ran, by its campaign's id."""
    rows = await connection.fetch(
        """
        SELECT r.* FROM unnest($1::text[]) AS asked (id)
         CROSS JOIN LATERAL (SELECT * FROM runs WHERE campaign_id = asked.id ORDER BY id DESC LIMIT 1) r
        """,
        list(campaign_ids),
    )
    return {row["campaign_id"]: run_of(row) for row in rows}


async def by_instance(connection: Connection, iid: str, instance_id: str) -> Run | None:
    """Return the application's run of that wire id, also when its campaign is deleted; None when there is none."""
    row = await connection.fetchrow("SELECT * FROM runs WHERE iid = $1 AND instance_id = $2", iid, instance_id)
    return None if row is None else run_of(row)


async def by_any_instance(connection: Connection, instance_id: str) -> Run | None:
    """Return the run of that wire id, whosever it is; None when there is none."""
    row = await connection.fetchrow("SELECT * FROM runs WHERE instance_id = $1", instance_id)
    return None if row is None else run_of(row)


async def of_campaign(connection: Connection, campaign_id: str, *, skip: int, limit: int) -> tuple[list[Run], int]:
    """Return some of a campaign's runs, latest first, and how many it has."""
    rows = await connection.fetch(
        "SELECT * FROM runs WHERE campaign_id = $1 ORDER BY id DESC OFFSET $2 LIMIT $3", campaign_id, skip, limit
    )
    total: int = await connection.fetchval("SELECT count(*) FROM runs WHERE campaign_id = $1", campaign_id)
    return [run_of(row) for row in rows], total


async def live_runs(connection: Connection) -> list[Run]:
    """Return every run that is active, paused or stopping."""
    rows = await connection.fetch("SELECT * FROM runs WHERE state IN ('active', 'paused', 'stopping') ORDER BY id")
    return [run_of(row) for row in rows]


async def move_run(
    connection: Connection,
    run_id: int,
    *,
    before: RunState,
    epoch: int,
    after: RunState,
    actor: str,
    reason: str,
) -> Present | None:
    """Move a run, if it still is in that state at that epoch; None when somebody else was faster."""
    row = await connection.fetchrow(
        """
        UPDATE runs
           SET state = $4, epoch = epoch + $5, updated_at = clock_timestamp(),
               stopping_at = CASE WHEN $4 = 'stopping' THEN clock_timestamp() ELSE stopping_at END,
               ended_at = CASE WHEN $4 IN ('stopped', 'completed') THEN clock_timestamp() END,
               changed_by = $6, change_reason = $7
         WHERE id = $1 AND state = $2 AND epoch = $3
        RETURNING state, epoch, updated_at, ended_at, loaded_at IS NOT NULL AS loaded
        """,
        run_id,
        before,
        epoch,
        after,
        int((before, after) in _RAISES_EPOCH),
        actor,
        reason,
    )
    return None if row is None else _present(row)


async def take_lists(connection: Connection, run_id: int, list_ids: Sequence[str]) -> dict[str, str]:
    """Let the run dial the lists; return those that another live run dials, list name → that campaign's name."""
    taken = await connection.fetch(
        """
        INSERT INTO run_lists (list_id, run_id, position)
        SELECT w.list_id, $1, w.position FROM unnest($2::text[]) WITH ORDINALITY AS w (list_id, position)
         -- always in the same order, so that two who want the same lists wait for each other instead of deadlocking
         ORDER BY w.list_id
            ON CONFLICT (list_id) DO NOTHING
        RETURNING list_id
        """,
        run_id,
        list(list_ids),
    )
    left = sorted(set(list_ids) - {row["list_id"] for row in taken})
    if not left:
        return {}
    rows = await connection.fetch(
        """
        SELECT l.name AS list_name, coalesce(c.name, '') AS campaign_name
          FROM contact_lists l
          LEFT JOIN run_lists rl ON rl.list_id = l.id
          LEFT JOIN runs r ON r.id = rl.run_id
          LEFT JOIN campaigns c ON c.id = r.campaign_id
         WHERE l.id = ANY ($1::text[]) ORDER BY l.name
        """,
        left,
    )
    return {row["list_name"]: row["campaign_name"] for row in rows}


async def calls_completed(connection: Connection, campaign_id: str) -> int:
    """Return how many calls of the campaign have been answered and ended, over all its runs."""
    count: int = await connection.fetchval(
        """
        SELECT (SELECT count(*) FROM runs r JOIN attempts a ON a.run_id = r.id
                 WHERE r.campaign_id = $1 AND a.state = 'ended' AND a.answered_at IS NOT NULL)
             + (SELECT coalesce(sum(m.answered), 0)::bigint FROM runs r JOIN moved_attempts m ON m.run_id = r.id
                 WHERE r.campaign_id = $1 AND m.state = 'ended')
        """,
        campaign_id,
    )
    return count


async def mark_loaded(connection: Connection, run_id: int) -> bool:
    """Note that every list of the run is read to its end, if that is so."""
    done = await connection.fetchval(
        """
        UPDATE runs SET loaded_at = coalesce(loaded_at, clock_timestamp())
         WHERE id = $1 AND NOT EXISTS (SELECT FROM run_lists WHERE run_id = $1 AND NOT loaded)
        RETURNING true
        """,
        run_id,
    )
    return done is not None

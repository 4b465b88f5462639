"""What a backup reads besides the dump, in the dump's own snapshot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from outdial.core.backup import Head
from outdial.store.database import Connection, connect

COUNTED: Final = (
    "accounts",
    "applications",
    "clients",
    "trunks",
    "flows",
    "contact_lists",
    "contacts",
    "dnc_entries",
    "campaigns",
    "schedules",
    "runs",
    "run_contacts",
    "attempts",
    "old_attempts",
    "recordings",
    "imports",
    "history",
    "history_seals",
    "signed_reports",
    "webhooks",
)
"""Tables whose rows are counted at the backup and, before anything is changed, at the restore."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a snapshot shows."""

    taken_at: datetime
    schema: str
    postgres_version: str
    heads: tuple[Head, ...]
    live_runs: int
    live_attempts: int


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that the database speaks of."""

    id: str
    """Of the recording or import."""
    file: str
    """Where, below its folder."""
    size: int
    host: str | None
    """The machine that has it; None: whichever it was sent to."""


@asynccontextmanager
async def snapshot(dsn: str) -> AsyncIterator[tuple[Connection, str]]:
    """Open a connection whose statements all see one instant, and the name by which pg_dump sees the same.

    Raises DatabaseUnavailableError, StartupError.
    """
    connection = await connect(dsn, application_name="outdial backup")
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            # it waits for pg_dump
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            # before the snapshot is taken: no month that it shows goes before pg_dump has locked it
            await connection.execute("LOCK TABLE old_attempts IN ACCESS SHARE MODE")
            yield connection, await connection.fetchval("SELECT pg_export_snapshot()")
    finally:
        await connection.close()


async def facts(connection: Connection) -> Facts:
    """Return what there is to say of the database as a whole."""
    row = await connection.fetchrow(
        """
        SELECT now() AS taken_at, (SELECT version_num FROM alembic_version) AS schema,
               current_setting('server_version') AS postgres_version,
               (SELECT count(*) FROM runs WHERE state IN ('active', 'paused', 'stopping')) AS live_runs,
               (SELECT count(*) FROM attempts WHERE state IN ('reserved', 'dialing', 'ringing', 'answered'))
                   AS live_attempts
        """
    )
    assert row is not None  # noqa: S101 - one row of counts
    return Facts(heads=await heads(connection), **row)


async def heads(connection: Connection) -> tuple[Head, ...]:
    """Return the last seal of each account that has one."""
    rows = await connection.fetch(
        "SELECT DISTINCT ON (account_id) account_id, number, encode(sha256, 'hex') AS sha256 FROM history_seals"
        " ORDER BY account_id, number DESC"
    )
    return tuple(Head(**row) for row in rows)


async def counts(connection: Connection, among: Collection[str] = COUNTED) -> dict[str, int]:
    """Return how many rows each of the counted tables has, or of those of them that are ``among`` others."""
    found: dict[str, int] = {}
    for table in (name for name in COUNTED if name in among):
        found[table] = await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - constants
    return found


async def recordings(connection: Connection) -> list[KeptFile]:
    """Return the recordings there are."""
    rows = await connection.fetch(
        "SELECT id, file, size_bytes AS size, host FROM recordings "
        # a file of a person who was erased may wait to be removed by its machine
        "WHERE removed_at IS NULL AND erasure_id IS NULL ORDER BY recorded_at, id"
    )
    return [KeptFile(**row) for row in rows]


async def unfinished_imports(connection: Connection) -> list[KeptFile]:
    """Return the imports whose file is still needed, as far as it has arrived."""
    rows = await connection.fetch(
        """
        SELECT id, id AS file, received_bytes AS size, NULL AS host FROM imports
         WHERE state IN ('receiving', 'running') ORDER BY created_at, id
        """
    )
    return [KeptFile(**row) for row in rows]


async def gone(connection: Connection, ids: Sequence[str]) -> frozenset[str]:
    """Return those of the recordings and imports that were removed, or have ended, by now."""
    rows = await connection.fetch(
        """
        SELECT id FROM recordings WHERE id = ANY ($1::text[]) AND removed_at IS NOT NULL
        UNION ALL
        SELECT id FROM imports WHERE id = ANY ($1::text[]) AND state NOT IN ('receiving', 'running')
        """,
        list(ids),
    )
    return frozenset(row["id"] for row in rows)

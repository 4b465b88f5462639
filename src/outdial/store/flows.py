"""Flows and their audio."""

from __future__ import annotations

import asyncpg

from outdial.core.model import Flow
from outdial.store.database import Connection


def _flow(row: asyncpg.Record) -> Flow:
    return Flow(id=row["id"], iid=row["iid"], name=row["name"], duration_seconds=row["duration_seconds"])


async def insert(connection: Connection, flow: Flow, audio: bytes) -> bool:
    """Store a flow with its WAV file; False when the application has one of that name in any case."""
    inserted = await connection.fetchval(
        """
        INSERT INTO flows (id, iid, name, audio, duration_seconds) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (iid, lower(name)) DO NOTHING
        RETURNING true
        """,
        flow.id,
        flow.iid,
        flow.name,
        audio,
        flow.duration_seconds,
    )
    return inserted is not None


async def of_application(connection: Connection, iid: str | None) -> list[Flow]:
    """Return the flows of an application, or of all, oldest first."""
    rows = await connection.fetch(
        """
        SELECT id, iid, name, duration_seconds FROM flows
         WHERE $1::text IS NULL OR iid = $1 ORDER BY created_at, id
        """,
        iid,
    )
    return [_flow(row) for row in rows]


async def audio(connection: Connection, flow_id: str) -> bytes | None:
    """Return a flow's WAV file, None when there is no such flow."""
    data: bytes | None = await connection.fetchval("SELECT audio FROM flows WHERE id = $1", flow_id)
    return data


async def by_id(connection: Connection, flow_id: str) -> Flow | None:
    """Return a flow without its audio, None when there is no such flow."""
    row = await connection.fetchrow("SELECT id, iid, name, duration_seconds FROM flows WHERE id = $1", flow_id)
    return None if row is None else _flow(row)

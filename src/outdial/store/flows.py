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
            ON CONFLICT (iid, lower(name)) WHERE removed_at IS NULL DO NOTHING
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
    """Return the flows of an application, or of all, oldest first, without removed ones."""
    rows = await connection.fetch(
        """
        SELECT id, iid, name, duration_seconds FROM flows
         WHERE removed_at IS NULL AND ($1::text IS NULL OR iid = $1) ORDER BY created_at, id
        """,
        iid,
    )
    return [_flow(row) for row in rows]


async def audio(connection: Connection, flow_id: str) -> bytes | None:
    """Return a flow's WAV file, None when there is no such flow or it is removed."""
    data: bytes | None = await connection.fetchval(
        "SELECT audio FROM flows WHERE id = $1 AND removed_at IS NULL", flow_id
    )
    return data


async def by_id(connection: Connection, flow_id: str) -> Flow | None:
    """Return a flow without its audio, a removed one too: runs name it; None when there is no such flow."""
    row = await connection.fetchrow("SELECT id, iid, name, duration_seconds FROM flows WHERE id = $1", flow_id)
    return None if row is None else _flow(row)


async def of_application_by_id(connection: Connection, iid: str, flow_id: str, *, lock: bool = False) -> Flow | None:
    """Return the application's flow of that id; ``lock``: until commit nobody can refer to it anew."""
    row = await connection.fetchrow(
        f"""
        SELECT id, iid, name, duration_seconds FROM flows
         WHERE iid = $1 AND id = $2 AND removed_at IS NULL {"FOR UPDATE" if lock else ""}
        """,  # noqa: S608 - one of two words
        iid,
        flow_id,
    )
    return None if row is None else _flow(row)


async def user_of(connection: Connection, flow_id: str) -> str | None:
    """Return the name of a campaign that plays the flow or whose live run does; None when there is none."""
    name: str | None = await connection.fetchval(
        """
        SELECT c.name FROM campaigns c
         WHERE ($1 IN (c.flow_id, c.courtesy_flow_id) AND c.deleted_at IS NULL)
            OR EXISTS (SELECT FROM runs r WHERE r.campaign_id = c.id AND $1 IN (r.flow_id, r.courtesy_flow_id)
                          AND r.state IN ('active', 'paused', 'stopping'))
         ORDER BY c.created_at LIMIT 1
        """,
        flow_id,
    )
    return name


async def mark_removed(connection: Connection, flow_id: str) -> None:
    """Remove a flow that is locked: its audio goes, its row stays for the runs that played it."""
    await connection.execute("UPDATE flows SET removed_at = clock_timestamp(), audio = '' WHERE id = $1", flow_id)

"""Flows and their sounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import asyncpg

from outdial.core.audio import Message
from outdial.core.model import Flow
from outdial.store.database import Connection

_COLUMNS: Final = "SELECT id, iid, name, duration_seconds, document FROM flows"


def _flow(row: asyncpg.Record) -> Flow:
    return Flow(**row)


async def insert(connection: Connection, flow: Flow, sounds: Mapping[str, Message]) -> bool:
    """Store a flow with its sounds, by the names of their files; False when the application has a flow of that name in
    any case."""
    inserted = await connection.fetchval(
        """
        INSERT INTO flows (id, iid, name, document, duration_seconds) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (iid, lower(name)) WHERE removed_at IS NULL DO NOTHING
        RETURNING true
        """,
        flow.id,
        flow.iid,
        flow.name,
        flow.document,
        flow.duration_seconds,
    )
    if inserted is None:
        return False
    await connection.executemany(
        "INSERT INTO flow_sounds (flow_id, file, audio, duration_seconds) VALUES ($1, $2, $3, $4)",
        [(flow.id, file, sound.wav, sound.duration_seconds) for file, sound in sounds.items()],
    )
    return True


async def of_application(connection: Connection, iid: str | None) -> list[Flow]:
    """Return the flows of an application, or of all, oldest first, without removed ones."""
    rows = await connection.fetch(
        f"{_COLUMNS} WHERE removed_at IS NULL AND ($1::text IS NULL OR iid = $1) ORDER BY created_at, id", iid
    )
    return [_flow(row) for row in rows]


async def sounds(connection: Connection, flow_id: str) -> dict[str, float]:
    """Return the sounds of a flow: name of the file → seconds; none of one that is removed."""
    rows = await connection.fetch("SELECT file, duration_seconds FROM flow_sounds WHERE flow_id = $1", flow_id)
    return {row["file"]: row["duration_seconds"] for row in rows}


async def audio(connection: Connection, flow_id: str, file: str) -> bytes | None:
    """Return the WAV of one of a flow's sounds, None when it is not there."""
    data: bytes | None = await connection.fetchval(
        "SELECT audio FROM flow_sounds WHERE flow_id = $1 AND file = $2", flow_id, file
    )
    return data


async def by_id(connection: Connection, flow_id: str) -> Flow | None:
    """Return a flow without its audio, a removed one too: runs name it; None when there is no such flow."""
    row = await connection.fetchrow(f"{_COLUMNS} WHERE id = $1", flow_id)
    return None if row is None else _flow(row)


async def of_application_by_id(connection: Connection, iid: str, flow_id: str, *, lock: bool = False) -> Flow | None:
    """Return the application's flow of that id; ``lock``: until commit nobody can refer to it anew."""
    row = await connection.fetchrow(
        f"{_COLUMNS} WHERE iid = $1 AND id = $2 AND removed_at IS NULL {'FOR UPDATE' if lock else ''}",
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
    """Remove a flow that is locked: its sounds go, its row stays for the runs that played it."""
    await connection.execute("UPDATE flows SET removed_at = clock_timestamp() WHERE id = $1", flow_id)
    await connection.execute("DELETE FROM flow_sounds WHERE flow_id = $1", flow_id)

"""Engines: where they are reached, what they were last seen to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import asyncpg

from outdial.core.model import EngineKind
from outdial.secretbox import SecretBox
from outdial.store.database import Connection

_ENGINES: Final = """
SELECT e.id, e.kind, e.url, e.username, e.password_encrypted, e.clock_offset_seconds, e.seen_at, e.retired_at,
       e.retired_by, ARRAY(SELECT n.name FROM nodes n WHERE n.engine_id = e.id AND n.ended_at IS NULL
                              AND n.lease_until > clock_timestamp() ORDER BY n.name) AS node_names
  FROM engines e
"""


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One engine, as the nodes that use it last described it."""

    id: str
    kind: EngineKind
    url: str | None
    """ARI address; None for an engine inside a node's process."""
    username: str | None
    password_encrypted: bytes | None = field(repr=False)
    clock_offset_seconds: float | None
    """Its clock minus the wall clock of the node that measured last."""
    seen_at: datetime
    """When a node last reported about it."""
    retired_at: datetime | None
    """A person has stated that it is gone for good."""
    retired_by: str | None
    node_names: tuple[str, ...]
    """Nodes that use it now."""

    def password(self, secrets: SecretBox) -> str:
        """Return the ARI password. Raises StartupError when the box has another key."""
        return "" if self.password_encrypted is None else secrets.decrypt(self.password_encrypted)


def _engine(row: asyncpg.Record) -> EngineRow:
    return EngineRow(**{**row, "kind": EngineKind(row["kind"]), "node_names": tuple(row["node_names"])})


async def put(
    connection: Connection,
    secrets: SecretBox,
    *,
    engine_id: str,
    kind: EngineKind,
    url: str | None,
    username: str | None,
    password: str | None,
) -> None:
    """Store an engine, or where it is reached now; one that was retired is in use again."""
    await connection.execute(
        """
        INSERT INTO engines (id, kind, url, username, password_encrypted) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (id) DO UPDATE
               SET url = excluded.url, username = excluded.username, password_encrypted = excluded.password_encrypted,
                   seen_at = clock_timestamp(), retired_at = NULL, retired_by = NULL
        """,
        engine_id,
        kind,
        url,
        username,
        None if password is None else secrets.encrypt(password),
    )


async def seen(connection: Connection, engine_id: str, *, clock_offset_seconds: float | None) -> None:
    """Note that a node has just heard from the engine."""
    await connection.execute(
        "UPDATE engines SET seen_at = clock_timestamp(), clock_offset_seconds = $2 WHERE id = $1",
        engine_id,
        clock_offset_seconds,
    )


async def all_engines(connection: Connection) -> list[EngineRow]:
    """Return every engine, oldest first."""
    return [_engine(row) for row in await connection.fetch(f"{_ENGINES} ORDER BY e.created_at, e.id")]


async def by_ids(connection: Connection, ids: list[str]) -> list[EngineRow]:
    """Return those engines."""
    return [_engine(row) for row in await connection.fetch(f"{_ENGINES} WHERE e.id = ANY ($1::text[])", ids)]


async def retire(connection: Connection, engine_id: str, *, actor: str) -> EngineRow | None:
    """Mark an engine as gone for good; None when there is no such engine."""
    await connection.execute(
        """
        UPDATE engines SET retired_at = coalesce(retired_at, clock_timestamp()), retired_by = coalesce(retired_by, $2)
         WHERE id = $1
        """,
        engine_id,
        actor,
    )
    found = await by_ids(connection, [engine_id])
    return found[0] if found else None

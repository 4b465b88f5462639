"""Caller IDs with their caps. Which trunk a number selects is ``store.trunks``'s to change."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from outdial.core.pacing import CallerCaps
from outdial.store.database import Connection


@dataclass(frozen=True, slots=True)
class CallerId:
    """A number that calls may come from."""

    iid: str
    phone: str
    trunk_id: str
    trunk_name: str
    caps: CallerCaps


async def of_application(connection: Connection, iid: str | None) -> list[CallerId]:
    """Return the caller IDs of an application (None: of all), sorted by number."""
    rows = await connection.fetch(
        """
        SELECT c.*, t.name FROM caller_ids c JOIN trunks t ON t.id = c.trunk_id
         WHERE $1::text IS NULL OR c.iid = $1 ORDER BY c.phone, c.iid
        """,
        iid,
    )
    return [_caller_id(row) for row in rows]


async def set_caps(connection: Connection, iid: str, phone: str, caps: CallerCaps) -> CallerId | None:
    """Give a caller ID caps; None when the application has no such number."""
    row = await connection.fetchrow(
        """
        UPDATE caller_ids c SET max_concurrent_calls = $3, calls_per_second = $4, calls_per_day = $5
          FROM trunks t WHERE t.id = c.trunk_id AND c.iid = $1 AND c.phone = $2 RETURNING c.*, t.name
        """,
        iid,
        phone,
        caps.max_concurrent_calls,
        caps.calls_per_second,
        caps.calls_per_day,
    )
    return None if row is None else _caller_id(row)


def _caller_id(row: asyncpg.Record) -> CallerId:
    caps = CallerCaps(row["max_concurrent_calls"], row["calls_per_second"], row["calls_per_day"])
    return CallerId(row["iid"], row["phone"], row["trunk_id"], row["name"], caps)

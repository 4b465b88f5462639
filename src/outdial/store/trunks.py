"""Trunks and the caller IDs that select them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from outdial.core.errors import NotFoundError
from outdial.core.model import NumberFormat, Transport, Trunk
from outdial.secretbox import SecretBox
from outdial.store.database import Connection

_TRUNKS: Final = """
SELECT t.id, t.iid, t.name, t.host, t.port, t.transport, t.username, t.password_encrypted, t.from_domain,
       t.number_format, t.number_prefix, t.max_channels, t.calls_per_second,
       ARRAY(SELECT c.phone FROM caller_ids c WHERE c.trunk_id = t.id ORDER BY c.phone) AS caller_ids
  FROM trunks t
"""


def _trunk(row: asyncpg.Record, secrets: SecretBox | None) -> Trunk:
    """Read a trunk; without the box its password is left out."""
    password = row["password_encrypted"]
    return Trunk(
        id=row["id"],
        iid=row["iid"],
        name=row["name"],
        host=row["host"],
        port=row["port"],
        transport=Transport(row["transport"]),
        username=row["username"],
        password=None if password is None or secrets is None else secrets.decrypt(password),
        from_domain=row["from_domain"],
        number_format=NumberFormat(row["number_format"]),
        number_prefix=row["number_prefix"],
        caller_ids=tuple(row["caller_ids"]),
        max_channels=row["max_channels"],
        calls_per_second=row["calls_per_second"],
    )


async def insert(connection: Connection, secrets: SecretBox, trunk: Trunk) -> bool:
    """Store a trunk without its caller IDs; False when the application has one of that name in any case."""
    inserted = await connection.fetchval(
        """
        INSERT INTO trunks (id, iid, name, host, port, transport, username, password_encrypted, from_domain,
                            number_format, number_prefix, max_channels, calls_per_second)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
            ON CONFLICT (iid, lower(name)) WHERE removed_at IS NULL DO NOTHING
        RETURNING true
        """,
        trunk.id,
        trunk.iid,
        trunk.name,
        trunk.host,
        trunk.port,
        trunk.transport,
        trunk.username,
        None if trunk.password is None else secrets.encrypt(trunk.password),
        trunk.from_domain,
        trunk.number_format,
        trunk.number_prefix,
        trunk.max_channels,
        trunk.calls_per_second,
    )
    return inserted is not None


async def give_caller_ids(connection: Connection, iid: str, trunk_id: str, phones: Sequence[str]) -> set[str]:
    """Let the numbers select the trunk; return those that select another trunk of the application already."""
    # always in the same order, so that two who want the same numbers wait for each other instead of deadlocking
    wanted = sorted(set(phones))
    given = await connection.fetch(
        """
        INSERT INTO caller_ids (iid, phone, trunk_id)
        SELECT $1, phone, $2 FROM unnest($3::text[]) WITH ORDINALITY AS w (phone, place) ORDER BY place
            ON CONFLICT (iid, phone) DO NOTHING
        RETURNING phone
        """,
        iid,
        trunk_id,
        wanted,
    )
    return set(wanted) - {row["phone"] for row in given}


async def by_id(connection: Connection, secrets: SecretBox | None, trunk_id: str) -> Trunk:
    """Return a trunk, a removed one too: runs and attempts name it; without the box its password is left out. Raises
    NotFoundError."""
    row = await connection.fetchrow(f"{_TRUNKS} WHERE t.id = $1", trunk_id)
    if row is None:
        raise NotFoundError(f"There is no trunk {trunk_id}.")
    return _trunk(row, secrets)


async def by_caller_id(connection: Connection, secrets: SecretBox, iid: str, phone: str) -> Trunk | None:
    """Return the application's trunk that calls with this number go out by; it stays until commit."""
    row = await connection.fetchrow(
        f"""
        {_TRUNKS}
          JOIN caller_ids own ON own.trunk_id = t.id
         WHERE own.iid = $1 AND own.phone = $2 AND t.removed_at IS NULL
           FOR KEY SHARE OF t
        """,
        iid,
        phone,
    )
    return None if row is None else _trunk(row, secrets)


async def of_application(connection: Connection, secrets: SecretBox, iid: str | None) -> list[Trunk]:
    """Return the trunks of an application, or of all, oldest first, without removed ones."""
    rows = await connection.fetch(
        f"{_TRUNKS} WHERE t.removed_at IS NULL AND ($1::text IS NULL OR t.iid = $1) ORDER BY t.created_at, t.id", iid
    )
    return [_trunk(row, secrets) for row in rows]


async def lock_named(connection: Connection, iid: str, name: str) -> Trunk | None:
    """Return the application's trunk of that name without its password; until commit no run can start on it."""
    row = await connection.fetchrow(
        f"{_TRUNKS} WHERE t.iid = $1 AND lower(t.name) = lower($2) AND t.removed_at IS NULL FOR UPDATE OF t", iid, name
    )
    return None if row is None else _trunk(row, None)


async def of_application_by_id(
    connection: Connection, secrets: SecretBox, iid: str, trunk_id: str, *, lock: bool = False
) -> Trunk | None:
    """Return the application's trunk of that id, not a removed one; ``lock``: until commit no run can start on it."""
    row = await connection.fetchrow(
        f"""
        {_TRUNKS} WHERE t.iid = $1 AND t.id = $2 AND t.removed_at IS NULL {"FOR UPDATE OF t" if lock else ""}
        """,
        iid,
        trunk_id,
    )
    return None if row is None else _trunk(row, secrets)


async def change(connection: Connection, secrets: SecretBox, trunk: Trunk) -> bool:
    """Store what a trunk that is locked is now, without its caller IDs; False when another one has its name."""
    try:
        # a savepoint: the transaction goes on after the refusal
        async with connection.transaction():
            await connection.execute(
                """
                UPDATE trunks
                   SET name = $2, host = $3, port = $4, transport = $5, username = $6, password_encrypted = $7,
                       from_domain = $8, number_format = $9, number_prefix = $10, max_channels = $11,
                       calls_per_second = $12
                 WHERE id = $1
                """,
                trunk.id,
                trunk.name,
                trunk.host,
                trunk.port,
                trunk.transport,
                trunk.username,
                None if trunk.password is None else secrets.encrypt(trunk.password),
                trunk.from_domain,
                trunk.number_format,
                trunk.number_prefix,
                trunk.max_channels,
                trunk.calls_per_second,
            )
    except asyncpg.UniqueViolationError:
        return False
    return True


async def trunk_of_caller_id(connection: Connection, iid: str, phone: str) -> str | None:
    """Return the id of the trunk that a caller ID of the application selects, None when there is none."""
    trunk_id: str | None = await connection.fetchval(
        "SELECT trunk_id FROM caller_ids WHERE iid = $1 AND phone = $2", iid, phone
    )
    return trunk_id


async def take_caller_id(connection: Connection, iid: str, phone: str) -> None:
    """Let the number select no trunk any more."""
    await connection.execute("DELETE FROM caller_ids WHERE iid = $1 AND phone = $2", iid, phone)


async def campaign_calling_with(connection: Connection, iid: str, phone: str) -> str | None:
    """Return the name of a campaign whose live run calls with the number."""
    name: str | None = await connection.fetchval(
        """
        SELECT c.name FROM runs r JOIN campaigns c ON c.id = r.campaign_id
         WHERE r.iid = $1 AND r.rules ->> 'caller_id' = $2 AND r.state IN ('active', 'paused', 'stopping') LIMIT 1
        """,
        iid,
        phone,
    )
    return name


async def campaign_using(connection: Connection, trunk_id: str) -> str | None:
    """Return the name of a campaign whose live run goes out by the trunk."""
    name: str | None = await connection.fetchval(
        """
        SELECT c.name FROM runs r JOIN campaigns c ON c.id = r.campaign_id
         WHERE r.trunk_id = $1 AND r.state IN ('active', 'paused', 'stopping') LIMIT 1
        """,
        trunk_id,
    )
    return name


async def mark_removed(connection: Connection, trunk_id: str) -> None:
    """Remove a trunk that is locked: its caller IDs and its password go, its row stays for the runs that name it."""
    await connection.execute("DELETE FROM caller_ids WHERE trunk_id = $1", trunk_id)
    await connection.execute("UPDATE trunks SET removed_at = now(), password_encrypted = NULL WHERE id = $1", trunk_id)


async def transport_of(connection: Connection, trunk_id: str) -> Transport:
    """Return how a trunk is reached, a removed one too."""
    return Transport(await connection.fetchval("SELECT transport FROM trunks WHERE id = $1", trunk_id))

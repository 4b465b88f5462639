"""API clients of applications: their secrets, what they may do, and tokens that have served."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import asyncpg

from outdial.core.model import ApiClient
from outdial.store.database import Connection

_CLIENTS: Final = """
SELECT id, iid, account_id, name, scopes, require_jti, created_at, revoked_at,
       CASE WHEN previous_valid_until > clock_timestamp() THEN previous_valid_until END AS previous_valid_until
  FROM clients
"""

_SWEEP: Final = 10
"""Expired tokens forgotten with each new one."""


@dataclass(frozen=True, slots=True)
class ClientSecrets:
    """What the tokens of a client are checked against, as stored."""

    iid: str
    account_id: str
    scopes: frozenset[str]
    require_jti: bool
    revoked: bool
    encrypted: tuple[bytes, ...] = field(repr=False)
    """The secret, and the one before it while that is still good."""


def _client(row: asyncpg.Record) -> ApiClient:
    return ApiClient(**{**row, "scopes": frozenset(row["scopes"])})


async def insert(connection: Connection, client: ApiClient, secret_encrypted: bytes) -> None:
    """Store a new client."""
    await connection.execute(
        """
        INSERT INTO clients (id, iid, account_id, name, secret_encrypted, scopes, require_jti, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        client.id,
        client.iid,
        client.account_id,
        client.name,
        secret_encrypted,
        sorted(client.scopes),
        client.require_jti,
        client.created_at,
    )


async def secrets_of(connection: Connection, client_id: str) -> ClientSecrets | None:
    """Return what a client's tokens are checked against, a revoked one's too; None when there is no such client."""
    row = await connection.fetchrow(
        """
        SELECT iid, account_id, scopes, require_jti, revoked_at, secret_encrypted,
               CASE WHEN previous_valid_until > clock_timestamp() THEN previous_secret_encrypted END AS previous
          FROM clients WHERE id = $1
        """,
        client_id,
    )
    if row is None:
        return None
    return ClientSecrets(
        iid=row["iid"],
        account_id=row["account_id"],
        scopes=frozenset(row["scopes"]),
        require_jti=row["require_jti"],
        revoked=row["revoked_at"] is not None,
        encrypted=(row["secret_encrypted"], *([] if row["previous"] is None else [row["previous"]])),
    )


async def of_application(connection: Connection, iid: str) -> list[ApiClient]:
    """Return an application's clients, revoked ones too, oldest first."""
    rows = await connection.fetch(f"{_CLIENTS} WHERE iid = $1 ORDER BY created_at, id", iid)
    return [_client(row) for row in rows]


async def by_id(connection: Connection, iid: str, client_id: str, *, lock: bool = False) -> ApiClient | None:
    """Return an application's client, None when it has none of that id."""
    row = await connection.fetchrow(
        f"{_CLIENTS} WHERE iid = $1 AND id = $2 {'FOR UPDATE' if lock else ''}", iid, client_id
    )
    return None if row is None else _client(row)


async def change(
    connection: Connection, client_id: str, *, name: str, scopes: Iterable[str], require_jti: bool
) -> None:
    """Give a client a name and rights."""
    await connection.execute(
        "UPDATE clients SET name = $2, scopes = $3, require_jti = $4 WHERE id = $1",
        client_id,
        name,
        sorted(scopes),
        require_jti,
    )


async def rotate(connection: Connection, client_id: str, secret_encrypted: bytes, *, overlap_seconds: int) -> None:
    """Give a client a new secret; the present one stays good for some seconds, the one before it no longer."""
    await connection.execute(
        """
        UPDATE clients
           SET previous_secret_encrypted = CASE WHEN $3 > 0 THEN secret_encrypted END,
               previous_valid_until = CASE WHEN $3 > 0 THEN clock_timestamp() + make_interval(secs => $3) END,
               secret_encrypted = $2
         WHERE id = $1
        """,
        client_id,
        secret_encrypted,
        overlap_seconds,
    )


async def revoke(connection: Connection, client_id: str) -> None:
    """Let a client in no more; one that is revoked stays as it is."""
    await connection.execute(
        """
        UPDATE clients SET revoked_at = coalesce(revoked_at, clock_timestamp()), previous_secret_encrypted = NULL,
                           previous_valid_until = NULL
         WHERE id = $1
        """,
        client_id,
    )


async def use_token(connection: Connection, client_id: str, jti: str, *, until: datetime) -> bool:
    """Note that a token has served, until an instant; False when it has already."""
    await connection.execute(
        """
        DELETE FROM used_tokens WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM used_tokens WHERE expires_at < clock_timestamp()
             ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED))
        """,
        _SWEEP,
    )
    used = await connection.fetchval(
        """
        INSERT INTO used_tokens (client_id, jti, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING true
        """,
        client_id,
        jti,
        until,
    )
    return used is not None

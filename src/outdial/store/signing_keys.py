"""Keys that reports are signed with. The partial unique index is the referee: one is in use at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import asyncpg

from outdial.secretbox import SecretBox
from outdial.store.database import Connection


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key, its public half."""

    id: str
    """SHA-256 of the public key, hexadecimal."""
    public: bytes = field(repr=False)
    created_at: datetime
    retired_at: datetime | None
    """None: it is in use."""


def _key_of(row: asyncpg.Record) -> SigningKey:
    return SigningKey(
        id=row["id"], public=row["public_key"], created_at=row["created_at"], retired_at=row["retired_at"]
    )


async def every(connection: Connection) -> list[SigningKey]:
    """Return all keys, the newest first."""
    rows = await connection.fetch("SELECT * FROM signing_keys ORDER BY retired_at DESC NULLS FIRST, created_at DESC")
    return [_key_of(row) for row in rows]


async def in_use(connection: Connection) -> SigningKey | None:
    """Return the key that signs; None when none has been made."""
    row = await connection.fetchrow("SELECT * FROM signing_keys WHERE retired_at IS NULL")
    return None if row is None else _key_of(row)


async def private_of(connection: Connection, secrets: SecretBox, key_id: str) -> str | None:
    """Return the private half of a key; None when it has been retired meanwhile. Raises WrongSecretKeyError."""
    encrypted = await connection.fetchval("SELECT private_key_encrypted FROM signing_keys WHERE id = $1", key_id)
    return None if encrypted is None else secrets.decrypt(encrypted)


async def in_use_whole(connection: Connection, secrets: SecretBox) -> tuple[SigningKey, str] | None:
    """Return the key that signs, both halves; None when none has been made. Raises WrongSecretKeyError."""
    row = await connection.fetchrow("SELECT * FROM signing_keys WHERE retired_at IS NULL")
    return None if row is None else (_key_of(row), secrets.decrypt(row["private_key_encrypted"]))


async def hold(connection: Connection, key_id: str) -> bool:
    """Keep a key in use until the transaction ends; False when it has been retired. Many may at once."""
    held: bool | None = await connection.fetchval(
        "SELECT true FROM signing_keys WHERE id = $1 AND retired_at IS NULL FOR SHARE", key_id
    )
    return held is not None


async def insert(
    connection: Connection, secrets: SecretBox, *, key_id: str, public: bytes, private: str, actor: str
) -> bool:
    """Store a key to be used from now on; False when one is in use already."""
    made = await connection.fetchval(
        """
        INSERT INTO signing_keys (id, public_key, private_key_encrypted, created_by) VALUES ($1, $2, $3, $4)
            ON CONFLICT ((true)) WHERE retired_at IS NULL DO NOTHING
        RETURNING true
        """,
        key_id,
        public,
        secrets.encrypt(private),
        actor,
    )
    return made is not None


async def retire(connection: Connection) -> None:
    """End the use of the key that signs, and forget its private half."""
    await connection.execute(
        "UPDATE signing_keys SET retired_at = clock_timestamp(), private_key_encrypted = NULL WHERE retired_at IS NULL"
    )

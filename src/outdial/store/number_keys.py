"""The key that numbers are hashed with where a number itself may not stay: one for the installation, never replaced,
since what it has hashed cannot be hashed anew."""

from __future__ import annotations

import base64
import os
from functools import lru_cache
from typing import Final

from outdial.secretbox import SecretBox
from outdial.store.database import Connection

_BYTES: Final = 32


async def key(connection: Connection, secrets: SecretBox) -> bytes:
    """Return it, made at the first use. Raises WrongSecretKeyError."""
    encrypted = await connection.fetchval("SELECT key_encrypted FROM number_keys")
    if encrypted is None:
        fresh = base64.b64encode(os.urandom(_BYTES)).decode()
        await connection.execute(
            "INSERT INTO number_keys (key_encrypted) VALUES ($1) ON CONFLICT DO NOTHING", secrets.encrypt(fresh)
        )
        # another process may have been faster
        encrypted = await connection.fetchval("SELECT key_encrypted FROM number_keys")
    return _decrypted(secrets, encrypted)


@lru_cache(maxsize=4)
def _decrypted(secrets: SecretBox, encrypted: bytes) -> bytes:
    """Decrypting takes longer than the hashing of a whole claim."""
    return base64.b64decode(secrets.decrypt(encrypted))

"""The installation's signing keys: made at the first start, shown to whoever wants to check, replaced on request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from outdial import signing
from outdial.secretbox import SecretBox
from outdial.store import signing_keys as store
from outdial.store.database import Connection, Database
from outdial.store.signing_keys import SigningKey

__all__ = ["Signer", "SigningKey", "every", "in_use", "rotate", "signer"]


@dataclass(frozen=True, slots=True)
class Signer:
    """The key in use, ready to sign."""

    key: SigningKey
    sign: Callable[[bytes], bytes] = field(repr=False)


async def signer(database: Database, secrets: SecretBox) -> Signer:
    """Return the key that signs; the first one is made here. It may be replaced at any instant: what it has signed
    counts only where it was still in use when that was kept (``store.signing_keys.hold``).

    Raises WrongSecretKeyError, DatabaseUnavailableError.
    """
    while True:
        async with database.connection() as connection:
            found = await store.in_use_whole(connection, secrets)
        if found is not None:
            key, private = found
            return Signer(key, signing.signer(private))
        await in_use(database, secrets)


async def in_use(database: Database, secrets: SecretBox, *, actor: str = "outdial") -> SigningKey:
    """Return the key that signs; the first one is made here. Raises DatabaseUnavailableError."""
    async with database.transaction() as connection:
        found = await store.in_use(connection)
        return await _make(connection, secrets, actor=actor) if found is None else found


async def every(database: Database, secrets: SecretBox) -> list[SigningKey]:
    """Return all keys, the one in use first, then those that were, latest first."""
    await in_use(database, secrets)
    async with database.connection() as connection:
        return await store.every(connection)


async def rotate(database: Database, secrets: SecretBox, *, actor: str) -> SigningKey:
    """Sign with a new key from now on and return it; what the old one has signed can still be checked, and nobody can
    sign with it any more."""
    async with database.transaction() as connection:
        await store.retire(connection)
        return await _make(connection, secrets, actor=actor)


async def _make(connection: Connection, secrets: SecretBox, *, actor: str) -> SigningKey:
    private, public = signing.new_key()
    await store.insert(connection, secrets, key_id=signing.key_id(public), public=public, private=private, actor=actor)
    # another process may have been faster: its key is the one, then
    found = await store.in_use(connection)
    assert found is not None  # noqa: S101 - one of the two was inserted
    return found

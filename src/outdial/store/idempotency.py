"""Idempotency keys: who carries a request out, that it was carried out, and what was answered.

A request is claimed, carried out, and its answer is kept. The claim is a fence: :func:`mark_carried_out` belongs into
the transaction that carries the request out and fails when somebody else has taken the key over meanwhile, so one key
is carried out at most once, whoever crashes or sleeps. What is older than :data:`KEPT` counts as never asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from outdial.store.database import Connection

KEPT: Final = timedelta(hours=24)
"""How long an answer is kept."""

_SWEEP: Final = 10
"""Old keys removed with each new one: faster than they come, and never many at once."""


@dataclass(frozen=True, slots=True)
class Key:
    """One client's key, claimed for one request."""

    client_id: str
    key: str
    claim: str
    """Unique to whoever carries the request out."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a key that is not ours."""

    fingerprint: bytes
    claimed: bool
    """Somebody is carrying it out, or was until a moment ago."""
    carried_out: bool
    status: int | None
    """None: not answered yet."""
    headers: dict[str, str] = field(default_factory=dict)
    body_encrypted: bytes = field(default=b"", repr=False)


async def claim(connection: Connection, key: Key, fingerprint: bytes, *, seconds: float) -> Kept | None:
    """Claim a key for some seconds; return None when that succeeds, else what stands in the way.

    A claim that ran out without anything carried out is taken over. Raises nothing for a key that vanishes meanwhile:
    it counts as claimed, so that the caller asks again.
    """
    claimed = await connection.fetchval(
        """
        INSERT INTO idempotency_keys AS k (client_id, key, fingerprint, claim, claimed_until)
        VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5))
            ON CONFLICT (client_id, key) DO UPDATE
               SET fingerprint = excluded.fingerprint, claim = excluded.claim, claimed_at = excluded.claimed_at,
                   claimed_until = excluded.claimed_until, carried_out_at = NULL, status = NULL, headers = NULL,
                   body_encrypted = NULL
             WHERE k.claimed_at < clock_timestamp() - $6::interval
                OR (k.fingerprint = excluded.fingerprint AND k.status IS NULL AND k.carried_out_at IS NULL
                    AND k.claimed_until < clock_timestamp())
        RETURNING true
        """,
        key.client_id,
        key.key,
        fingerprint,
        key.claim,
        seconds,
        KEPT,
    )
    if claimed:
        await _sweep(connection)
        return None
    row = await connection.fetchrow(
        """
        SELECT fingerprint, claimed_until >= clock_timestamp() AS claimed, carried_out_at IS NOT NULL AS carried_out,
               status, headers, body_encrypted
          FROM idempotency_keys WHERE client_id = $1 AND key = $2
        """,
        key.client_id,
        key.key,
    )
    if row is None:
        return Kept(fingerprint, claimed=True, carried_out=False, status=None)
    return Kept(
        fingerprint=row["fingerprint"],
        claimed=row["claimed"],
        carried_out=row["carried_out"],
        status=row["status"],
        headers=row["headers"] or {},
        body_encrypted=row["body_encrypted"] or b"",
    )


async def _sweep(connection: Connection) -> None:
    await connection.execute(
        """
        DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM idempotency_keys WHERE claimed_at < clock_timestamp() - $1::interval
             ORDER BY claimed_at LIMIT $2 FOR UPDATE SKIP LOCKED))
        """,
        KEPT,
        _SWEEP,
    )


async def mark_carried_out(connection: Connection, key: Key) -> bool:
    """Note, within the transaction that does it, that the request is carried out; False: the key is not ours now."""
    marked = await connection.fetchval(
        """
        UPDATE idempotency_keys SET carried_out_at = coalesce(carried_out_at, clock_timestamp())
         WHERE client_id = $1 AND key = $2 AND claim = $3 AND status IS NULL RETURNING true
        """,
        key.client_id,
        key.key,
        key.claim,
    )
    return marked is not None


async def keep(connection: Connection, key: Key, status: int, headers: dict[str, str], body_encrypted: bytes) -> None:
    """Keep the answer, if the key is still ours."""
    await connection.execute(
        """
        UPDATE idempotency_keys SET status = $4, headers = $5, body_encrypted = $6
         WHERE client_id = $1 AND key = $2 AND claim = $3 AND status IS NULL
        """,
        key.client_id,
        key.key,
        key.claim,
        status,
        headers,
        body_encrypted,
    )


async def release(connection: Connection, key: Key) -> None:
    """Forget the key, if it is still ours and nothing was carried out: the next request may try again."""
    await connection.execute(
        """
        DELETE FROM idempotency_keys
         WHERE client_id = $1 AND key = $2 AND claim = $3 AND status IS NULL AND carried_out_at IS NULL
        """,
        key.client_id,
        key.key,
        key.claim,
    )

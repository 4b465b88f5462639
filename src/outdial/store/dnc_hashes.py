"""Numbers on do-not-call lists whose persons were erased: entries that hold a keyed hash in place of the number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from outdial.core.erasure import number_hash
from outdial.core.model import DncSource
from outdial.secretbox import SecretBox
from outdial.store import number_keys
from outdial.store.database import Connection


@dataclass(frozen=True, slots=True)
class Listed:
    """On which lists of a run some numbers are, as hashes."""

    on_account: frozenset[str]
    on_campaign: frozenset[str]
    """On another list that the run's campaign names."""


async def hashes(connection: Connection, secrets: SecretBox, account_id: str, phones: Sequence[str]) -> list[bytes]:
    """Return the hashes of numbers in the account, in their order. Raises WrongSecretKeyError."""
    key = await number_keys.key(connection, secrets)
    return [number_hash(key, account_id, phone) for phone in phones]


async def keep(connection: Connection, account_id: str, phone: str, number_hmac: bytes) -> None:
    """Keep each entry that the account's lists have of a number as a hash. One that is there only until the number is
    erased is none."""
    await connection.execute(
        """
        INSERT INTO dnc_hashes AS d (dnc_list_id, number_hmac, source, added_at, expires_at)
        SELECT e.dnc_list_id, $3, e.source, e.added_at, e.expires_at
          FROM dnc_entries e JOIN dnc_lists l ON l.id = e.dnc_list_id
         WHERE l.account_id = $1 AND e.phone = $2 AND e.source <> 'erasure'
           AND (e.expires_at IS NULL OR e.expires_at > clock_timestamp())
            ON CONFLICT (dnc_list_id, number_hmac) DO UPDATE SET expires_at = excluded.expires_at
             -- never shorter than it was
             WHERE d.expires_at < coalesce(excluded.expires_at, 'infinity')
        """,
        account_id,
        phone,
        number_hmac,
    )


async def add(connection: Connection, list_id: str, number_hmac: bytes) -> None:
    """Put a hash on a list, for good."""
    await connection.execute(
        """
        INSERT INTO dnc_hashes (dnc_list_id, number_hmac, source) VALUES ($1, $2, $3)
            ON CONFLICT (dnc_list_id, number_hmac) DO UPDATE SET expires_at = NULL
        """,
        list_id,
        number_hmac,
        DncSource.ERASURE,
    )


async def remove(connection: Connection, list_id: str, number_hmacs: Sequence[bytes], *, actor: str) -> int:
    """Take hashes off a list, with a row of history for each; return how many were on it."""
    rows = await connection.fetch(
        """
        WITH gone AS (
            DELETE FROM dnc_hashes WHERE dnc_list_id = $1 AND number_hmac = ANY ($2::bytea[]) RETURNING *)
        INSERT INTO history (account_id, action, from_state, to_state, actor, detail)
        SELECT l.account_id, 'dnc', 'listed', 'removed', $3,
               jsonb_build_object('dnc_list_id', l.id, 'number_hmac', encode(g.number_hmac, 'hex'), 'source', g.source,
                                  'added_at', g.added_at, 'expires_at', g.expires_at)
          FROM gone g JOIN dnc_lists l ON l.id = g.dnc_list_id
        RETURNING 1
        """,
        list_id,
        list(number_hmacs),
        actor,
    )
    return len(rows)


async def any_of_list(connection: Connection, list_id: str) -> bool:
    """Whether a do-not-call list has one."""
    found: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM dnc_hashes WHERE dnc_list_id = $1)", list_id)
    return found


async def of_run(connection: Connection, run_id: int, known: dict[str, bytes]) -> Listed:
    """Return which of some numbers, each with its hash, are on a do-not-call list of a run now."""
    rows = await connection.fetch(
        """
        SELECT d.number_hmac, l.iid IS NULL AS of_account
          FROM runs r JOIN dnc_hashes d ON d.dnc_list_id = ANY (r.dnc_list_ids) AND d.number_hmac = ANY ($2::bytea[])
          JOIN dnc_lists l ON l.id = d.dnc_list_id
         WHERE r.id = $1 AND (d.expires_at IS NULL OR d.expires_at > clock_timestamp())
        """,
        run_id,
        list(known.values()),
    )
    phones = {number_hmac: phone for phone, number_hmac in known.items()}
    return Listed(
        on_account=frozenset(phones[row["number_hmac"]] for row in rows if row["of_account"]),
        on_campaign=frozenset(phones[row["number_hmac"]] for row in rows if not row["of_account"]),
    )


async def is_listed(
    connection: Connection, secrets: SecretBox | None, run_id: int, account_id: str, phone: str | None
) -> bool:
    """Whether a number is on a do-not-call list of a run as a hash; it counts as listed where only ``secrets`` could
    tell. Raises WrongSecretKeyError."""
    if phone is None or not await any_of_run(connection, run_id):
        return False
    if secrets is None:
        return True
    (number_hmac,) = await hashes(connection, secrets, account_id, [phone])
    listed = await of_run(connection, run_id, {phone: number_hmac})
    return bool(listed.on_account | listed.on_campaign)


async def any_of_run(connection: Connection, run_id: int) -> bool:
    """Whether a do-not-call list of a run has one."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM runs r JOIN dnc_hashes d ON d.dnc_list_id = ANY (r.dnc_list_ids) WHERE r.id = $1)
        """,
        run_id,
    )
    return found


async def refused(connection: Connection, secrets: SecretBox | None, iid: str, phones: Sequence[str]) -> frozenset[str]:
    """Return those of the numbers that may not come back into a contact list of the application: whose persons were
    erased and are on the account's do-not-call list, or on one of the application's own. Raises WrongSecretKeyError."""
    row = await connection.fetchrow(
        """
        SELECT a.account_id, array_agg(l.id) AS list_ids
          FROM applications a JOIN dnc_lists l ON l.account_id = a.account_id AND (l.iid IS NULL OR l.iid = a.iid)
         WHERE a.iid = $1 AND EXISTS (SELECT FROM dnc_hashes d WHERE d.dnc_list_id = l.id)
         GROUP BY a.account_id
        """,
        iid,
    )
    if row is None or not phones:
        return frozenset()
    if secrets is None:
        raise RuntimeError("contacts are added without the secret key, by which erased numbers are recognized")
    known = dict(zip(await hashes(connection, secrets, row["account_id"], phones), phones, strict=True))
    found = await connection.fetch(
        """
        SELECT number_hmac FROM dnc_hashes
         WHERE dnc_list_id = ANY ($1::text[]) AND number_hmac = ANY ($2::bytea[])
           AND (expires_at IS NULL OR expires_at > clock_timestamp())
        """,
        row["list_ids"],
        list(known),
    )
    return frozenset(known[one["number_hmac"]] for one in found)

"""Pre-call fetches: where campaigns ask about their contacts, and what the contacts' lists say of them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from outdial.core.pre_call import PreCallContact, PreCallFetch
from outdial.secretbox import SecretBox
from outdial.store.database import Connection


async def of_campaign(connection: Connection, secrets: SecretBox, campaign_id: str) -> PreCallFetch | None:
    """Return a campaign's fetch, None when it has none. Raises WrongSecretKeyError."""
    row = await connection.fetchrow(
        """
        SELECT p.url, p.headers_encrypted, c.id, c.name FROM pre_call_fetches p JOIN campaigns c ON c.id = p.campaign_id
         WHERE p.campaign_id = $1
        """,
        campaign_id,
    )
    if row is None:
        return None
    return PreCallFetch(
        url=row["url"],
        headers=msgspec.json.decode(secrets.decrypt(row["headers_encrypted"]), type=dict[str, str]),
        campaign_id=row["id"],
        campaign_name=row["name"],
    )


async def has_one(connection: Connection, campaign_id: str) -> bool:
    """Whether a campaign has a fetch."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pre_call_fetches WHERE campaign_id = $1)", campaign_id
    )
    return found


async def put(connection: Connection, secrets: SecretBox, fetch: PreCallFetch, *, actor: str) -> None:
    """Give a campaign, which the caller has locked, its fetch or another one; write down who did."""
    await connection.execute(
        """
        WITH put AS (
            INSERT INTO pre_call_fetches (campaign_id, url, headers_encrypted, updated_by) VALUES ($1, $2, $3, $4)
                ON CONFLICT (campaign_id) DO UPDATE
               SET url = EXCLUDED.url, headers_encrypted = EXCLUDED.headers_encrypted,
                   updated_at = clock_timestamp(), updated_by = EXCLUDED.updated_by)
        INSERT INTO history (account_id, campaign_id, action, to_state, actor, detail)
        SELECT account_id, id, 'pre_call_fetch', 'set', $4, jsonb_build_object('url', $2::text)
          FROM campaigns WHERE id = $1
        """,
        fetch.campaign_id,
        fetch.url,
        secrets.encrypt(msgspec.json.encode(dict(fetch.headers)).decode()),
        actor,
    )


async def remove(connection: Connection, campaign_id: str, *, actor: str) -> None:
    """Take a campaign's fetch away and write down who did."""
    await connection.execute(
        """
        WITH gone AS (DELETE FROM pre_call_fetches WHERE campaign_id = $1 RETURNING campaign_id)
        INSERT INTO history (account_id, campaign_id, action, to_state, actor)
        SELECT c.account_id, c.id, 'pre_call_fetch', 'removed', $2 FROM gone JOIN campaigns c ON c.id = gone.campaign_id
        """,
        campaign_id,
        actor,
    )


async def copy(connection: Connection, campaign_id: str, *, to: str) -> None:
    """Give another campaign, which has none, the same fetch."""
    await connection.execute(
        """
        INSERT INTO pre_call_fetches (campaign_id, url, headers_encrypted, updated_by)
        SELECT $2, url, headers_encrypted, updated_by FROM pre_call_fetches WHERE campaign_id = $1
        """,
        campaign_id,
        to,
    )


async def contacts(connection: Connection, contact_ids: Sequence[int]) -> dict[int, PreCallContact]:
    """Return the contacts that are still in a list, by their id."""
    rows = await connection.fetch(
        "SELECT id, phone, time_zone, unique_id, priority, attributes FROM contacts WHERE id = ANY ($1::bigint[])",
        list(contact_ids),
    )
    return {
        row["id"]: PreCallContact(
            phone=row["phone"],
            time_zone=row["time_zone"],
            unique_id=row["unique_id"],
            priority=row["priority"],
            attributes=row["attributes"],
        )
        for row in rows
    }

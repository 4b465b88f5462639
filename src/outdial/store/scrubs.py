"""How many of a campaign's contacts are on a do-not-call list: for people only, since every dial checks again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from outdial.core.schedule import SCRUB_AHEAD
from outdial.store.database import Connection


@dataclass(frozen=True, slots=True)
class Scrub:
    """One look."""

    at: datetime
    contacts_count: int
    dnc_count: int
    """Of them, those that will not be dialed as things stand."""


async def of_campaign(connection: Connection, campaign_id: str) -> Scrub | None:
    """Return the latest look at a campaign's contacts, None before the first."""
    row = await connection.fetchrow(
        "SELECT at, contacts_count, dnc_count FROM scrubs WHERE campaign_id = $1", campaign_id
    )
    return None if row is None else Scrub(**row)


async def pick(connection: Connection) -> str | None:
    """Return a campaign that is to be looked at: saved since the last look, or due to run soon. None when there is
    none, or another process is looking at one; until the transaction ends no other process gets one."""
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock(4476484, 1)"):
        return None
    campaign_id: str | None = await connection.fetchval(
        """
        SELECT c.id FROM campaigns c
          LEFT JOIN scrubs b ON b.campaign_id = c.id
          LEFT JOIN schedules s ON s.campaign_id = c.id AND s.enabled
         WHERE c.deleted_at IS NULL
           AND (b.at IS NULL OR b.at < c.updated_at
                OR (s.next_at - $1::interval <= clock_timestamp() AND b.at < s.next_at - $1::interval))
         ORDER BY s.next_at NULLS LAST, c.updated_at LIMIT 1
        """,
        SCRUB_AHEAD,
    )
    return campaign_id


async def scrub(connection: Connection, campaign_id: str) -> Scrub:
    """Count, and write it down."""
    row = await connection.fetchrow(
        """
        WITH looked AS (
            SELECT c.id, c.account_id, clock_timestamp() AS at,
                   ARRAY(SELECT d.id FROM dnc_lists d
                          WHERE d.id = c.dnc_list_id OR (d.account_id = c.account_id AND d.iid IS NULL)) AS dnc_ids
              FROM campaigns c WHERE c.id = $1
        ), counted AS (
            SELECT l.id, l.account_id, l.at, n.contacts_count, n.dnc_count
              FROM looked l
             CROSS JOIN LATERAL (
                   SELECT count(*) AS contacts_count,
                          count(*) FILTER (WHERE CASE WHEN p.other_phones IS NULL THEN EXISTS (
                              SELECT FROM dnc_entries e
                               WHERE e.dnc_list_id = ANY (l.dnc_ids) AND e.phone = p.phone
                                 AND (e.expires_at IS NULL OR e.expires_at > l.at))
                              ELSE outdial_uncallable(l.dnc_ids, p.phone || p.other_phones, l.at) END)
                          AS dnc_count
                     FROM campaign_lists cl JOIN contacts p ON p.list_id = cl.list_id
                    WHERE cl.campaign_id = l.id) n
        ), told AS (
            INSERT INTO history (account_id, campaign_id, action, actor, detail)
            SELECT account_id, id, 'scrub', 'schedule',
                   jsonb_build_object('contacts_count', contacts_count, 'dnc_count', dnc_count) FROM counted
        )
        INSERT INTO scrubs (campaign_id, at, contacts_count, dnc_count)
        SELECT id, at, contacts_count, dnc_count FROM counted
            ON CONFLICT (campaign_id) DO UPDATE
           SET at = excluded.at, contacts_count = excluded.contacts_count, dnc_count = excluded.dnc_count
        RETURNING at, contacts_count, dnc_count
        """,
        campaign_id,
    )
    assert row is not None  # noqa: S101 - the campaign exists
    return Scrub(**row)

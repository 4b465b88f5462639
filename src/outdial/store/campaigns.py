"""Campaigns: their definition, and what names in a definition refer to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import asyncpg

from outdial.core.campaign import Standing
from outdial.core.model import Campaign, CampaignSchedule, CampaignState, DialingMode, DialingRules, Run
from outdial.store import runs, schedules
from outdial.store.database import Connection
from outdial.store.runs import rules_from

_COLUMNS: Final = """
SELECT c.id, c.iid, c.account_id, c.name, c.description, c.priority, c.mode, c.rules, c.flow_id, f.name AS flow_name,
       l.ids AS list_ids, l.names AS list_names, c.dnc_list_id, d.name AS dnc_list_name, c.state, c.api_version,
       c.queue_name, c.max_skips, c.created_at, c.updated_at, c.courtesy_flow_id, k.name AS courtesy_flow_name
"""
_FROM: Final = """
  FROM campaigns c
  LEFT JOIN flows f ON f.id = c.flow_id
  LEFT JOIN flows k ON k.id = c.courtesy_flow_id
  LEFT JOIN dnc_lists d ON d.id = c.dnc_list_id
 CROSS JOIN LATERAL (
       SELECT coalesce(array_agg(n.id ORDER BY cl.position), '{}') AS ids,
              coalesce(array_agg(n.name ORDER BY cl.position), '{}') AS names
         FROM campaign_lists cl JOIN contact_lists n ON n.id = cl.list_id
        WHERE cl.campaign_id = c.id) l
"""
_CAMPAIGNS: Final = f"{_COLUMNS}{_FROM} WHERE c.deleted_at IS NULL"


_LATEST_RUN: Final = """
  LEFT JOIN LATERAL (SELECT state, updated_at FROM runs WHERE campaign_id = c.id ORDER BY id DESC LIMIT 1) r ON true
  LEFT JOIN schedules s ON s.campaign_id = c.id
"""
# core.campaign.standing
_STANDING: Final = """
CASE WHEN r.state IN ('active', 'paused', 'stopping') THEN r.state
     WHEN s.enabled AND s.next_at IS NOT NULL THEN 'scheduled'
     WHEN s.stopped_at IS NOT NULL THEN 'stopped'
     ELSE coalesce(r.state, c.state) END
"""


_STANDING_COLUMNS: Final = f"SELECT c.name, {_STANDING} AS standing"
_STATUS: Final = (
    f"{_STANDING_COLUMNS} FROM campaigns c {_LATEST_RUN} WHERE c.deleted_at IS NULL AND c.iid = $1 AND c.id = $2"
)


class CampaignOrder(StrEnum):
    """What campaigns can be sorted by."""

    NAME = "name"
    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    """When the campaign, its latest run or its schedule changed last."""


_ORDER: Final = {
    CampaignOrder.NAME: "lower(c.name)",
    CampaignOrder.CREATED_AT: "c.created_at",
    CampaignOrder.UPDATED_AT: "greatest(c.updated_at, r.updated_at, s.updated_at)",
}


@dataclass(frozen=True, slots=True)
class CampaignSearch:
    """Which campaigns of an application, and in which order. None = whatever."""

    skip: int = 0
    limit: int = 50
    created_from: datetime | None = None
    """Inclusive, as is the end."""
    created_to: datetime | None = None
    standings: frozenset[Standing] | None = None
    priorities: frozenset[int] | None = None
    modes: frozenset[DialingMode] | None = None
    order: tuple[tuple[CampaignOrder, bool], ...] = ()
    """Keys, most important first, each with whether it descends; newest first when there is none."""


@dataclass(frozen=True, slots=True)
class CampaignStatus:
    """A campaign that is only asked how it stands."""

    id: str
    name: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """What a new campaign is stored with; everything it refers to exists."""

    id: str
    iid: str
    account_id: str
    name: str
    description: str
    priority: int
    mode: DialingMode
    rules: DialingRules
    flow_id: str | None
    list_ids: tuple[str, ...]
    dnc_list_id: str | None
    queue_name: str | None
    max_skips: int | None
    api_version: int


def _campaign(row: asyncpg.Record, run: Run | None = None, schedule: CampaignSchedule | None = None) -> Campaign:
    return Campaign(
        id=row["id"],
        iid=row["iid"],
        account_id=row["account_id"],
        name=row["name"],
        description=row["description"],
        priority=row["priority"],
        mode=DialingMode(row["mode"]),
        rules=rules_from(row["rules"]),
        flow_id=row["flow_id"],
        flow_name=row["flow_name"],
        list_ids=tuple(row["list_ids"]),
        list_names=tuple(row["list_names"]),
        dnc_list_id=row["dnc_list_id"],
        dnc_list_name=row["dnc_list_name"],
        state=CampaignState(row["state"]),
        api_version=row["api_version"],
        queue_name=row["queue_name"],
        max_skips=row["max_skips"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        courtesy_flow_id=row["courtesy_flow_id"],
        courtesy_flow_name=row["courtesy_flow_name"],
        run=run,
        schedule=schedule,
    )


async def insert(connection: Connection, campaign: CampaignRow, *, actor: str) -> bool:
    """Store a campaign, ready at once, and its history row; False when the account has no such application."""
    inserted = await connection.fetchval(
        """
        WITH new AS (
            INSERT INTO campaigns (id, iid, account_id, name, description, priority, mode, rules, flow_id, dnc_list_id,
                                   queue_name, max_skips, state, api_version, created_by, created_at, updated_at)
            SELECT $1, iid, account_id, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'ready', $13, $14, now(), now()
              FROM applications WHERE iid = $2 AND account_id = $3
            RETURNING id, account_id, state)
        INSERT INTO history (account_id, campaign_id, action, to_state, actor)
        SELECT account_id, id, 'campaign', state, $14 FROM new
        RETURNING true
        """,
        campaign.id,
        campaign.iid,
        campaign.account_id,
        *_definition(campaign),
        campaign.api_version,
        actor,
    )
    if inserted is None:
        return False
    await _insert_lists(connection, campaign)
    return True


async def update(connection: Connection, campaign: CampaignRow, *, changed: Sequence[str], actor: str) -> None:
    """Give a campaign that is locked another definition; the history names what ``changed``."""
    await connection.execute(
        """
        WITH new AS (
            UPDATE campaigns
               SET name = $2, description = $3, priority = $4, mode = $5, rules = $6, flow_id = $7, dnc_list_id = $8,
                   queue_name = $9, max_skips = $10, updated_at = now()
             WHERE id = $1
            RETURNING id, account_id, state)
        INSERT INTO history (account_id, campaign_id, action, from_state, to_state, actor, reason, detail)
        SELECT account_id, id, 'campaign', state, state, $11, 'update', jsonb_build_object('changed', $12::text[])
          FROM new
        """,
        campaign.id,
        *_definition(campaign),
        actor,
        list(changed),
    )
    await connection.execute("DELETE FROM campaign_lists WHERE campaign_id = $1", campaign.id)
    await _insert_lists(connection, campaign)


def _definition(campaign: CampaignRow) -> tuple[Any, ...]:
    """Return the values that create and update write, in the order of both statements."""
    return (
        campaign.name,
        campaign.description,
        campaign.priority,
        campaign.mode,
        campaign.rules,
        campaign.flow_id,
        campaign.dnc_list_id,
        campaign.queue_name,
        campaign.max_skips,
    )


async def set_rules(connection: Connection, campaign_id: str, rules: DialingRules, *, actor: str) -> None:
    """Give a campaign, which the caller has locked, other dialing rules; write down which, and who did."""
    await connection.execute(
        """
        WITH changed AS (
            UPDATE campaigns SET rules = $2, updated_at = now() WHERE id = $1 RETURNING id, account_id, state)
        INSERT INTO history (account_id, campaign_id, action, from_state, to_state, actor, detail)
        SELECT account_id, id, 'dialing_rules', state, state, $3, $2::jsonb -> 'own' FROM changed
        """,
        campaign_id,
        rules,
        actor,
    )


async def _insert_lists(connection: Connection, campaign: CampaignRow) -> None:
    await connection.executemany(
        "INSERT INTO campaign_lists (campaign_id, list_id, position) VALUES ($1, $2, $3)",
        [(campaign.id, list_id, position) for position, list_id in enumerate(campaign.list_ids)],
    )


async def by_id(connection: Connection, iid: str, campaign_id: str, *, lock: bool = False) -> Campaign | None:
    """Return a campaign of the application, without its run; None for a deleted, unknown or other tenant's one.

    With ``lock`` nobody else can start, change or delete it until the transaction ends.
    """
    row = await _row(connection, iid, campaign_id, lock=lock)
    return None if row is None else _campaign(row)


async def whole_by_id(connection: Connection, iid: str, campaign_id: str, *, lock: bool = False) -> Campaign | None:
    """The same, whole: with its latest run and its schedule."""
    row = await _row(connection, iid, campaign_id, lock=lock)
    return None if row is None else (await _whole(connection, [row]))[0]


async def status_of(connection: Connection, iid: str, campaign_id: str) -> CampaignStatus | None:
    """Return how a campaign of the application stands; None for a deleted, unknown or other tenant's one."""
    # one statement that reads no definition: this is what clients ask again and again
    row = await connection.fetchrow(_STATUS, iid, campaign_id)
    return None if row is None else CampaignStatus(campaign_id, row["name"], Standing(row["standing"]))


async def name_of(connection: Connection, iid: str, campaign_id: str) -> str | None:
    """Return a campaign's name; None for a deleted, unknown or other tenant's one."""
    name: str | None = await connection.fetchval(
        "SELECT name FROM campaigns WHERE deleted_at IS NULL AND iid = $1 AND id = $2", iid, campaign_id
    )
    return name


async def _row(connection: Connection, iid: str, campaign_id: str, *, lock: bool) -> asyncpg.Record | None:
    if lock:
        # in a statement of its own: one that waits sees the row as it is after the wait, and all else, its contact
        # lists above all, as it was before
        await connection.execute("SELECT FROM campaigns WHERE iid = $1 AND id = $2 FOR NO KEY UPDATE", iid, campaign_id)
    return await connection.fetchrow(f"{_CAMPAIGNS} AND c.iid = $1 AND c.id = $2", iid, campaign_id)


async def _whole(connection: Connection, rows: Sequence[asyncpg.Record]) -> list[Campaign]:
    """Read rows of campaigns, each with its latest run and its schedule."""
    campaign_ids = [row["id"] for row in rows]
    latest = await runs.latest_runs(connection, campaign_ids)
    planned = await schedules.of_campaigns(connection, campaign_ids)
    return [_campaign(row, latest.get(row["id"]), planned.get(row["id"])) for row in rows]


async def find(connection: Connection, text: str) -> list[Campaign]:
    """Return the campaign with that id, or all that bear exactly that name, over all applications, whole."""
    rows = await connection.fetch(f"{_CAMPAIGNS} AND (c.id = $1 OR c.name = $1) ORDER BY c.created_at, c.id", text)
    return await _whole(connection, rows)


async def named(connection: Connection, iid: str, name: str) -> list[Campaign]:
    """Return the application's campaigns of exactly that name, oldest first, without their runs."""
    rows = await connection.fetch(f"{_CAMPAIGNS} AND c.iid = $1 AND c.name = $2 ORDER BY c.created_at, c.id", iid, name)
    return [_campaign(row) for row in rows]


async def of_application(connection: Connection, iid: str | None) -> list[Campaign]:
    """Return the campaigns of an application, or of all, oldest first, whole."""
    rows = await connection.fetch(f"{_CAMPAIGNS} AND ($1::text IS NULL OR c.iid = $1) ORDER BY c.created_at, c.id", iid)
    return await _whole(connection, rows)


async def search(connection: Connection, iid: str, wanted: CampaignSearch) -> tuple[list[Campaign], int]:
    """Return the campaigns of an application that fit, whole, and how many fit in all."""
    order = ", ".join(
        f"{_ORDER[key]} {'DESC' if descending else 'ASC'}"
        for key, descending in wanted.order or ((CampaignOrder.CREATED_AT, True),)
    )
    fitting = f"""
      {_FROM} {_LATEST_RUN}
      WHERE c.deleted_at IS NULL AND c.iid = $1
        AND ($2::timestamptz IS NULL OR c.created_at >= $2)
        AND ($3::timestamptz IS NULL OR c.created_at <= $3)
        AND ($4::text[] IS NULL OR {_STANDING} = ANY ($4))
        AND ($5::smallint[] IS NULL OR c.priority = ANY ($5))
        AND ($6::text[] IS NULL OR c.mode = ANY ($6))
    """
    arguments = (
        iid,
        wanted.created_from,
        wanted.created_to,
        _listed(wanted.standings),
        _listed(wanted.priorities),
        _listed(wanted.modes),
    )
    total: int = await connection.fetchval(f"SELECT count(*) {fitting}", *arguments)
    rows = await connection.fetch(
        # created_at and id: an order that is whole, so that pages neither repeat nor leave out
        f"{_COLUMNS} {fitting} ORDER BY {order}, c.created_at DESC, c.id OFFSET $7 LIMIT $8",
        *arguments,
        wanted.skip,
        wanted.limit,
    )
    return await _whole(connection, rows), total


def _listed(values: frozenset[Any] | None) -> list[Any] | None:
    return None if values is None else sorted(values)


async def mark_deleted(connection: Connection, campaign: Campaign, *, actor: str) -> None:
    """Delete a campaign that is locked; its row, runs, attempts and history stay, its hold on its lists ends."""
    await connection.execute(
        """
        WITH gone AS (
            UPDATE campaigns SET deleted_at = now(), updated_at = now() WHERE id = $1
            RETURNING id, account_id, state)
        INSERT INTO history (account_id, campaign_id, action, from_state, to_state, actor)
        SELECT account_id, id, 'campaign', state, 'deleted', $2 FROM gone
        """,
        campaign.id,
        actor,
    )
    await connection.execute("DELETE FROM campaign_lists WHERE campaign_id = $1", campaign.id)


async def contact_lists_named(connection: Connection, iid: str, names: Sequence[str]) -> dict[str, str]:
    """Return name as given → id for those names that are contact lists of the application; they stay until commit."""
    rows = await connection.fetch(
        """
        SELECT asked.name, l.id FROM unnest($2::text[]) AS asked (name)
          JOIN contact_lists l ON l.iid = $1 AND lower(l.name) = lower(asked.name)
           FOR KEY SHARE OF l
        """,
        iid,
        list(names),
    )
    return {row["name"]: row["id"] for row in rows}


async def flow_named(connection: Connection, iid: str, name: str) -> str | None:
    """Return the id of the application's flow of that name, None when there is none; it stays until commit."""
    flow_id: str | None = await connection.fetchval(
        """
        SELECT id FROM flows WHERE iid = $1 AND lower(name) = lower($2) AND removed_at IS NULL FOR KEY SHARE
        """,
        iid,
        name,
    )
    return flow_id


async def set_courtesy(connection: Connection, campaign_id: str, flow_id: str | None, *, actor: str) -> None:
    """Give a campaign, which the caller has locked, its courtesy message, another or none; write down who did."""
    await connection.execute(
        """
        WITH new AS (
            UPDATE campaigns SET courtesy_flow_id = $2, updated_at = now() WHERE id = $1 RETURNING id, account_id)
        INSERT INTO history (account_id, campaign_id, action, to_state, actor, detail)
        SELECT account_id, id, 'courtesy_message', CASE WHEN $2::text IS NULL THEN 'removed' ELSE 'set' END, $3,
               jsonb_strip_nulls(jsonb_build_object('flow_id', $2::text))
          FROM new
        """,
        campaign_id,
        flow_id,
        actor,
    )


async def copy_courtesy(connection: Connection, campaign_id: str, *, to: str) -> None:
    """Give another campaign the same courtesy message."""
    await connection.execute(
        "UPDATE campaigns SET courtesy_flow_id = (SELECT courtesy_flow_id FROM campaigns WHERE id = $1) WHERE id = $2",
        campaign_id,
        to,
    )


async def detecting(connection: Connection) -> tuple[int, int]:
    """Return how many campaigns of the installation have answering machines detected, and how many of those keep
    verdicts for review."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS detecting,
               count(*) FILTER (WHERE greatest((rules #>> '{own,review,machines}')::double precision,
                                               (rules #>> '{own,review,people}')::double precision) > 0) AS keeping
          FROM campaigns WHERE deleted_at IS NULL AND rules ->> 'machine_detection' <> 'no'
        """
    )
    assert row is not None  # noqa: S101 - an aggregate is one row
    return row["detecting"], row["keeping"]

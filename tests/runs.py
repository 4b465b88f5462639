"""Rows of campaigns and runs for tests that need one to exist, without starting anything."""

from __future__ import annotations

import uuid
from datetime import time

from outdial.core.model import CallingHours, CallingWindow, DialingOrder, DialingRules
from outdial.services.access import Credentials
from outdial.store.database import Connection, Database

RULES = DialingRules(
    caller_id="+15550100001",
    calling_hours=CallingHours(windows=(CallingWindow(0, time(9), time(18)),), zone="Europe/Paris"),
    order=DialingOrder.FIFO,
    max_attempts=3,
    retry_seconds=600,
    ring_seconds=30,
)


async def insert_campaign(
    connection: Connection, owner: Credentials, *, name: str = "Spring", list_ids: tuple[str, ...] = (), flow_id=None
) -> str:
    """Insert a ready campaign; return its id."""
    campaign_id = f"cd-{uuid.uuid4()}"
    await connection.execute(
        """
        INSERT INTO campaigns (id, iid, account_id, name, description, priority, mode, rules, flow_id, state,
                               api_version, created_by)
        VALUES ($1, $2, $3, $4, '', 1, 'agentless', $5, $6, 'ready', 2, 'test')
        """,
        campaign_id,
        owner.iid,
        owner.account_id,
        name,
        RULES,
        flow_id,
    )
    for position, list_id in enumerate(list_ids):
        await connection.execute(
            "INSERT INTO campaign_lists (campaign_id, list_id, position) VALUES ($1, $2, $3)",
            campaign_id,
            list_id,
            position,
        )
    return campaign_id


async def insert_run(
    connection: Connection,
    owner: Credentials,
    *,
    trunk_id: str,
    state: str = "active",
    name: str = "Spring",
    list_ids: tuple[str, ...] = (),
) -> int:
    """Insert a campaign and a run of it; return the run's id."""
    campaign_id = await insert_campaign(connection, owner, name=name, list_ids=list_ids)
    run_id: int = await connection.fetchval(
        """
        INSERT INTO runs (instance_id, campaign_id, account_id, iid, state, rules, trunk_id, dnc_list_ids, changed_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7, '{}', 'test') RETURNING id
        """,
        f"cid-{uuid.uuid4()}",
        campaign_id,
        owner.account_id,
        owner.iid,
        state,
        RULES,
        trunk_id,
    )
    for position, list_id in enumerate(list_ids):
        await connection.execute(
            "INSERT INTO run_lists (list_id, run_id, position) VALUES ($1, $2, $3)", list_id, run_id, position
        )
    return run_id


async def waits_for_a_lock(database: Database) -> bool:
    """Whether some statement in this database waits for another transaction."""
    async with database.connection() as connection:
        return await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event_type = 'Lock')"
        )

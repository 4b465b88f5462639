"""Campaign rows against the real server: what is stored comes back, references resolve, deletion keeps evidence."""

from __future__ import annotations

import asyncio
from datetime import time

import pytest

from outdial.core.machine import MachineDetection
from outdial.core.model import (
    CallingHours,
    CallingWindow,
    CampaignState,
    DialingMode,
    DialingOrder,
    DialingRules,
)
from outdial.store import campaigns
from waiting import until

ACCOUNT, IID = "a" * 24, "st-1"
RULES = DialingRules(
    caller_id="+15550100001",
    calling_hours=CallingHours(
        windows=(CallingWindow(0, time(9), time(18)), CallingWindow(6, time.min, time.max)),
        zone="Europe/Paris",
        frequency="CUSTOM",
    ),
    order=DialingOrder.LIFO,
    max_attempts=3,
    retry_seconds=600,
    ring_seconds=30,
    machine_detection=MachineDetection.DISCONNECT,
)


@pytest.fixture
async def tenants(database):
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO accounts (id, name) VALUES ($1, 'a'), ('b', 'b')", ACCOUNT)
        await connection.execute(
            "INSERT INTO applications (iid, account_id, name) VALUES ($1, $2, 'one'), ('st-2', 'b', 'two')",
            IID,
            ACCOUNT,
        )
        await connection.execute(
            "INSERT INTO contact_lists (id, iid, account_id, name, created_by, updated_by) VALUES "
            "('cl-1', $1, $2, 'Ärzte', 'x', 'x'), ('cl-2', $1, $2, 'Pupils', 'x', 'x'), "
            "('cl-3', 'st-2', 'b', 'Pupils', 'x', 'x')",
            IID,
            ACCOUNT,
        )
        await connection.execute(
            "INSERT INTO flows (id, iid, name, document, duration_seconds) VALUES ('cf-1', $1, 'Hello', '{}', 1)", IID
        )
        await connection.execute(
            "INSERT INTO dnc_lists (id, account_id, iid, name) VALUES ('cl-9', $2, $1, 'Never')", IID, ACCOUNT
        )


def row(campaign_id: str = "cd-1", **changed) -> campaigns.CampaignRow:
    values = {
        "id": campaign_id,
        "iid": IID,
        "account_id": ACCOUNT,
        "name": "Spring",
        "description": "d",
        "priority": 4,
        "mode": DialingMode.AGENTLESS,
        "rules": RULES,
        "flow_id": "cf-1",
        "list_ids": ("cl-2", "cl-1"),
        "dnc_list_id": "cl-9",
        "queue_name": None,
        "max_skips": None,
        "api_version": 2,
    }
    return campaigns.CampaignRow(**{**values, **changed})


async def test_what_is_stored_comes_back(database, tenants):
    async with database.transaction() as connection:
        assert await campaigns.insert(connection, row(), actor="cs-1")
        stored = await campaigns.by_id(connection, IID, "cd-1")
    assert stored.rules == RULES
    assert stored.created_at == stored.updated_at
    assert (stored.list_ids, stored.list_names) == (("cl-2", "cl-1"), ("Pupils", "Ärzte"))
    assert (stored.flow_name, stored.dnc_list_id, stored.dnc_list_name) == ("Hello", "cl-9", "Never")
    assert (stored.state, stored.mode, stored.priority, stored.api_version) == (
        CampaignState.READY,
        DialingMode.AGENTLESS,
        4,
        2,
    )
    assert stored.run is None


async def test_a_campaign_without_flow_and_dnc_list(database, tenants):
    async with database.transaction() as connection:
        bare = row(mode=DialingMode.PREVIEW, flow_id=None, dnc_list_id=None, queue_name="Sales", max_skips=2)
        await campaigns.insert(connection, bare, actor="cs-1")
        stored = await campaigns.by_id(connection, IID, "cd-1")
    assert (stored.flow_id, stored.flow_name, stored.dnc_list_id, stored.dnc_list_name) == (None, None, None, None)
    assert (stored.queue_name, stored.max_skips) == ("Sales", 2)


async def test_an_application_of_another_account_gets_no_campaign(database, tenants):
    async with database.transaction() as connection:
        assert not await campaigns.insert(connection, row(iid="st-2"), actor="cs-1")
        assert not await campaigns.insert(connection, row(iid="st-9"), actor="cs-1")
        assert await campaigns.of_application(connection, None) == []


async def test_other_tenants_see_nothing(database, tenants):
    async with database.transaction() as connection:
        await campaigns.insert(connection, row(), actor="cs-1")
        assert await campaigns.by_id(connection, "st-2", "cd-1") is None
        assert await campaigns.of_application(connection, "st-2") == []
        assert [found.id for found in await campaigns.of_application(connection, IID)] == ["cd-1"]


async def test_finding_by_id_and_by_exact_name(database, tenants):
    async with database.transaction() as connection:
        await campaigns.insert(connection, row("cd-1"), actor="cs-1")
        await campaigns.insert(connection, row("cd-2", name="Autumn"), actor="cs-1")
        await campaigns.insert(connection, row("cd-3"), actor="cs-1")
    async with database.connection() as connection:
        assert [found.id for found in await campaigns.find(connection, "cd-2")] == ["cd-2"]
        assert [found.id for found in await campaigns.find(connection, "Spring")] == ["cd-1", "cd-3"]
        assert await campaigns.find(connection, "spring") == []


async def test_names_resolve_in_any_case_and_only_within_the_application(database, tenants):
    async with database.transaction() as connection:
        found = await campaigns.contact_lists_named(connection, IID, ["ÄRZTE", "Pupils", "Nobody"])
        assert found == {"ÄRZTE": "cl-1", "Pupils": "cl-2"}
        assert await campaigns.contact_lists_named(connection, IID, []) == {}
        assert await campaigns.flow_named(connection, IID, "hello") == "cf-1"
        assert await campaigns.flow_named(connection, "st-2", "Hello") is None


async def test_a_list_in_use_by_a_campaign_being_made_cannot_vanish(database, tenants):
    async with database.transaction() as connection:
        await campaigns.contact_lists_named(connection, IID, ["Pupils"])
        deletion = asyncio.create_task(_execute(database, "DELETE FROM contact_lists WHERE id = 'cl-2'"))
        await until(lambda: _waits_for_a_lock(database))
        assert not deletion.done()
    await deletion


async def _execute(database, statement: str) -> None:
    async with database.transaction() as connection:
        await connection.execute(statement)


async def _waits_for_a_lock(database) -> bool:
    async with database.connection() as connection:
        return await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event_type = 'Lock')"
        )


async def test_deletion_frees_the_lists_and_keeps_row_and_history(database, tenants):
    async with database.transaction() as connection:
        await campaigns.insert(connection, row(), actor="cs-1")
    async with database.transaction() as connection:
        locked = await campaigns.by_id(connection, IID, "cd-1", lock=True)
        await campaigns.mark_deleted(connection, locked, actor="cs-2")
    async with database.transaction() as connection:
        assert await campaigns.by_id(connection, IID, "cd-1") is None
        assert await campaigns.find(connection, "cd-1") == []
        await connection.execute("DELETE FROM contact_lists WHERE iid = $1", IID)
        assert await connection.fetchval("SELECT deleted_at IS NOT NULL FROM campaigns WHERE id = 'cd-1'")
        history = await connection.fetch(
            "SELECT account_id, action, from_state, to_state, actor FROM history WHERE campaign_id = 'cd-1' ORDER BY id"
        )
        assert [tuple(entry) for entry in history] == [
            (ACCOUNT, "campaign", None, "ready", "cs-1"),
            (ACCOUNT, "campaign", "ready", "deleted", "cs-2"),
        ]


async def test_a_locked_campaign_waits(database, tenants):
    async with database.transaction() as connection:
        await campaigns.insert(connection, row(), actor="cs-1")
    async with database.transaction() as first:
        await campaigns.by_id(first, IID, "cd-1", lock=True)

        async def second() -> None:
            async with database.transaction() as connection:
                await campaigns.by_id(connection, IID, "cd-1", lock=True)

        task = asyncio.create_task(second())
        await until(lambda: _waits_for_a_lock(database))
        assert not task.done()
    await task

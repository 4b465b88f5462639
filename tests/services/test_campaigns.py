"""Campaigns as a service: references, tenants, deletion, and the command line's look-up."""

from __future__ import annotations

from dataclasses import replace
from datetime import time

import pytest

from outdial.core.errors import BadReferenceError, ConflictError, NotFoundError
from outdial.core.model import (
    CallingHours,
    CallingWindow,
    CampaignState,
    DialingMode,
    DialingOrder,
    DialingRules,
    RunState,
)
from outdial.services import access, campaigns, contact_lists, dnc, runs
from support.wire import CALLER_ID, FLOW, furnish

DRAFT = campaigns.CampaignDraft(
    name="Spring",
    description="d",
    list_names=("Pupils", "parents"),
    dnc_list_name="never",
    priority=5,
    mode=DialingMode.AGENTLESS,
    rules=DialingRules(
        caller_id=CALLER_ID,
        calling_hours=CallingHours(
            windows=tuple(CallingWindow(day, time.min, time.max) for day in range(7)), zone="UTC"
        ),
        order=DialingOrder.FIFO,
        max_attempts=1,
        retry_seconds=60,
        ring_seconds=20,
    ),
    flow_name=FLOW.lower(),
    queue_name=None,
    max_skips=None,
    api_version=2,
)


@pytest.fixture
async def owner(database, secret_box) -> access.Credentials:
    made = await access.create_application(database, secret_box, account="Acme", name="App")
    await furnish(database, secret_box, made.iid)
    for name in ("Pupils", "Parents"):
        await contact_lists.create_list(
            database,
            iid=made.iid,
            account_id=made.account_id,
            name=name,
            description="",
            source="passiveApi",
            allow_duplicates=False,
            api_version=2,
            actor="test",
        )
    await contact_lists.add_contacts(
        database, made.iid, "Pupils", [contact_lists.ContactDraft(phone="+15550100101")], default_region=None
    )
    await dnc.add_numbers(
        database, account_id=made.account_id, iid=made.iid, list_name="Never", phones=["+15550109999"], actor="test"
    )
    return made


@pytest.fixture
def create(database, owner):
    async def make(**changed):
        return await campaigns.create_campaign(
            database, iid=owner.iid, account_id=owner.account_id, draft=replace(DRAFT, **changed), actor="cs-1"
        )

    return make


async def test_names_become_what_they_mean(create, database, owner):
    made = await create()
    assert (made.list_names, made.dnc_list_name, made.flow_name) == (("Pupils", "Parents"), "Never", FLOW)
    assert (made.state, made.run, made.rules) == (CampaignState.READY, None, DRAFT.rules)
    assert await campaigns.get_campaign(database, owner.iid, made.id) == made


async def test_a_list_named_twice_is_taken_once(create):
    assert (await create(list_names=("Pupils", "PUPILS"))).list_names == ("Pupils",)


async def test_all_that_is_missing_is_named(create, database):
    with pytest.raises(BadReferenceError) as refused:
        await create(list_names=("Pupils", "A", "B"), flow_name="C", dnc_list_name="D")
    for name in "ABCD":
        assert f"'{name}'" in refused.value.message
    assert await campaigns.list_campaigns(database, None) == []


async def test_an_application_of_another_account(create, database, owner):
    with pytest.raises(NotFoundError):
        await campaigns.create_campaign(database, iid=owner.iid, account_id="0" * 24, draft=DRAFT, actor="cs-1")


async def test_listing(create, database, owner, secret_box):
    made = [await create(name=name) for name in ("one", "two")]
    assert await campaigns.list_campaigns(database, owner.iid) == made
    assert await campaigns.list_campaigns(database, None) == made
    assert await campaigns.list_campaigns(database, "st-other") == []


async def test_finding_for_people(create, database):
    one, two = await create(name="one"), await create(name="two")
    again = await create(name="two")
    assert await campaigns.find_campaign(database, "one") == one
    assert await campaigns.find_campaign(database, two.id) == two
    with pytest.raises(ConflictError) as refused:
        await campaigns.find_campaign(database, "two")
    assert two.id in refused.value.message
    assert again.id in refused.value.message
    with pytest.raises(NotFoundError, match="'three'"):
        await campaigns.find_campaign(database, "three")


async def test_the_latest_run_comes_along(create, database, secret_box, owner):
    made = await create()
    started = await runs.start(database, secret_box, iid=owner.iid, campaign_id=made.id, actor="test")
    assert (await campaigns.get_campaign(database, owner.iid, made.id)).run == started.run
    assert (await campaigns.find_campaign(database, made.name)).run == started.run
    assert [found.run for found in await campaigns.list_campaigns(database, None)] == [started.run]


async def test_a_live_run_keeps_its_campaign(create, database, secret_box, owner):
    made = await create()
    await runs.start(database, secret_box, iid=owner.iid, campaign_id=made.id, actor="test")
    for state in (RunState.ACTIVE, RunState.PAUSED, RunState.STOPPING):
        async with database.transaction() as connection:
            await connection.execute("UPDATE runs SET state = $1", state)
        with pytest.raises(ConflictError, match=f"while its run is {state}; stop it first"):
            await campaigns.delete_campaign(database, iid=owner.iid, campaign_id=made.id, actor="test")
    async with database.transaction() as connection:
        await connection.execute("UPDATE runs SET state = 'completed', ended_at = now()")
    deleted = await campaigns.delete_campaign(database, iid=owner.iid, campaign_id=made.id, actor="test")
    assert deleted.run.state is RunState.COMPLETED
    assert deleted.list_names == made.list_names


async def test_what_is_deleted_is_gone(create, database, secret_box, owner):
    made = await create()
    await campaigns.delete_campaign(database, iid=owner.iid, campaign_id=made.id, actor="test")
    with pytest.raises(NotFoundError):
        await campaigns.get_campaign(database, owner.iid, made.id)
    with pytest.raises(NotFoundError):
        await campaigns.delete_campaign(database, iid=owner.iid, campaign_id=made.id, actor="test")
    with pytest.raises(NotFoundError):
        await runs.start(database, secret_box, iid=owner.iid, campaign_id=made.id, actor="test")


async def test_another_tenant_cannot_delete(create, database, owner):
    made = await create()
    with pytest.raises(NotFoundError):
        await campaigns.delete_campaign(database, iid="st-other", campaign_id=made.id, actor="test")
    assert await campaigns.get_campaign(database, owner.iid, made.id) == made

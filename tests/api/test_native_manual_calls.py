"""Calls by hand over the API."""

from __future__ import annotations

import msgspec
import pytest

from outdial.api.native.manual_calls import ManualCallView
from outdial.services.manual_call_text import manual_call_text
from support.native import Native, sentences
from support.wire import ever_open


@pytest.fixture
def native(tenant) -> Native:
    return Native(tenant)


@pytest.fixture
async def campaign_id(tenant) -> str:
    return await tenant.create_campaign(ever_open(1))


@pytest.fixture
async def run(tenant, campaign_id) -> str:
    """The wire id of a live run."""
    return (await tenant.trigger(campaign_id, "play")).json()["campaignInstanceId"]


@pytest.fixture
async def phone(run, database) -> str:
    async with database.connection() as connection:
        return await connection.fetchval("SELECT phone FROM run_contacts ORDER BY sort_key DESC LIMIT 1")


async def asked(database) -> int:
    async with database.connection() as connection:
        return await connection.fetchval("SELECT count(*) FROM history WHERE action = 'manual_call' AND detail ? 'at'")


async def test_what_is_allowed_is_told_as_the_document_says(native, run, phone, database, tenant):
    told = await native.done("POST", f"/runs/{run}/contacts/{phone}/call")
    assert msgspec.to_builtins(msgspec.convert(told, ManualCallView)) == told
    assert (told["answer"], told["decidedBy"], told["aheadCount"]) == ("allowed", None, 0)
    again = await native.done("POST", f"/runs/{run}/contacts/{told['dialingListId']}/call")
    assert (again["phoneNumber"], again["contactId"]) == (phone, told["contactId"])
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT asked_by FROM run_contacts WHERE asked_at IS NOT NULL") is not None
    assert "will be called. It is called as soon as a line is free" in manual_call_text(told)


async def test_a_request_sent_again_is_not_carried_out_again(native, run, phone, database):
    path, key = f"/runs/{run}/contacts/{phone}/call", {"Idempotency-Key": "once"}
    first = await native.done("POST", path, headers=key)
    assert await native.done("POST", path, headers=key) == first
    assert await asked(database) == 1
    await native.done("POST", path)
    assert await asked(database) == 2


async def test_what_is_not_allowed_says_why_and_until_when(native, run, phone, database):
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE run_contacts SET state = 'waiting', not_before = '2199-01-01T00:00:00Z' WHERE phone = $1", phone
        )
    told = await native.done("POST", f"/runs/{run}/contacts/{phone}/call")
    assert msgspec.to_builtins(msgspec.convert(told, ManualCallView)) == told
    assert (told["answer"], told["decidedBy"], told["until"], told["nextAt"]) == (
        "put_off",
        "retry_period",
        *["2199-01-01T00:00:00.000000Z"] * 2,
    )
    assert f"The gate lets it through at {told['nextAt']}" in manual_call_text(told)
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO dnc_entries (dnc_list_id, phone, added_by, source) "
            "SELECT dnc_list_ids[1], $1, 'test', 'key' FROM runs",
            phone,
        )
    told = await native.done("POST", f"/runs/{run}/contacts/{phone}/call")
    assert (told["answer"], told["decidedBy"], told["until"]) == ("denied", "account_dnc", None)
    assert await asked(database) == 0
    # who was told what stays, with the client that asked
    explained = await native.done("GET", f"/runs/{run}/contacts/{told['dialingListId']}/explain")
    past = [
        (one["to"], one["decision"]["rule"], one["by"]) for one in explained["past"] if one["action"] == "manual_call"
    ]
    client_id = explained["past"][-1]["by"]
    assert past == [("put_off", "retry_period", client_id), ("denied", "account_dnc", client_id)]
    assert client_id.startswith("cs-")


async def test_who_is_not_there_and_what_is_over(native, run, phone, tenant, campaign_id):
    await native.refused(404, "POST", f"/runs/{run}/contacts/+15550199999/call")
    await native.refused(412, "POST", f"/runs/{run}/contacts/nobody/call")
    await native.refused(404, "POST", f"/runs/cid-1111111-2222-4333-8444-555555555555/contacts/{phone}/call")
    assert (await tenant.trigger(campaign_id, "stop")).status_code == 200
    failure = await native.refused(409, "POST", f"/runs/{run}/contacts/{phone}/call")
    assert sentences(failure) == [f"The run {run} is stopped: only contacts of an active run can be called."]

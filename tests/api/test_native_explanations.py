"""Explanations over the API: a contact of a run, of a campaign, and a whole run."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from outdial.api.native import explanations as routes
from outdial.api.native.explanation_views import ExplanationView, WaterfallView
from outdial.services.explanation_text import explained_text, waterfall_text
from support.native import Native, sentences
from support.wire import ever_open
from waiting import until

PHONE = "+15550100101"


@pytest.fixture
def impatient(monkeypatch):
    """Who asks while as many are answered as are at a time waits for a moment only."""
    monkeypatch.setattr(routes, "WAIT_SECONDS", 0.05)


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
        return await connection.fetchval("SELECT phone FROM run_contacts ORDER BY sort_key LIMIT 1")


async def test_a_contact_is_explained_as_the_document_says(native, run, phone, campaign_id):
    told = await native.done("GET", f"/runs/{run}/contacts/{phone}/explain")
    assert msgspec.to_builtins(msgspec.convert(told, ExplanationView)) == told
    # no dialer node runs here
    assert (told["dialable"], told["decidedBy"]) == (False, "dialer_nodes")
    assert told["changes"][0]["kind"] == "start_node"
    assert {step["code"] for step in told["steps"]} >= {"calling_hours", "account_dnc", "run_state"}
    again = await native.done("GET", f"/runs/{run}/contacts/{told['dialingListId']}/explain")
    assert (again["contactId"], again["phoneNumber"]) == (told["contactId"], phone)
    of_campaign = await native.done("GET", f"/campaigns/{campaign_id}/contacts/{phone}/explain")
    assert (of_campaign["instanceId"], of_campaign["sentence"]) == (run, told["sentence"])
    text = explained_text(told)
    assert "~ dialer_nodes: No dialer node has its engine up." in text
    assert "Start a dialer node" in text


async def test_a_denial_and_its_past_are_told(native, run, phone, database):
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO dnc_entries (dnc_list_id, phone, added_by, source) "
            "SELECT dnc_list_ids[1], $1, 'test', 'key' FROM runs",
            phone,
        )
        await connection.execute(
            "UPDATE run_contacts SET state = 'done', done_reason = 'dnc', changed_by = 'n1', screening = "
            '\'{"rule": "account_dnc", "sentence": "The number is on the list.", "inputs": {"listed": true}}\' '
            "WHERE phone = $1",
            phone,
        )
    told = await native.done("GET", f"/runs/{run}/contacts/{phone}/explain")
    assert (told["decidedBy"], told["nextAt"]) == ("contact_state", None)
    assert [change["kind"] for change in told["changes"]] == ["start_run"]
    (past,) = told["past"]
    assert (past["to"], past["decision"]["inputs"]) == ("done", {"listed": True})
    assert "account_dnc: The number is on the list." in explained_text(told)


async def test_instants(native, run, phone):
    path = f"/runs/{run}/contacts/{phone}/explain"
    later = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    assert (await native.done("GET", path, params={"at": later}))["decidedBy"] == "dialer_nodes"
    earlier = await native.done("GET", path, params={"at": "2020-01-01T00:00:00+02:00"})
    assert (earlier["dialable"], earlier["steps"], earlier["past"]) == (None, [], [])
    far = (datetime.now(UTC) + timedelta(days=367)).isoformat()
    edges = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1999-12-31T23:59:59Z", far)
    for wrong in ("", "yesterday", "2026-03-02T12:30:00", "9999-12-31T00:00:00Z", *edges):
        failure = await native.refused(400, "GET", path, params={"at": wrong})
        assert "`at`" in sentences(failure)[0]


async def test_who_is_not_there(native, run, campaign_id):
    for path in (f"/runs/{run}", f"/campaigns/{campaign_id}"):
        await native.refused(404, "GET", f"{path}/contacts/+15550199999/explain")
        await native.refused(412, "GET", f"{path}/contacts/nobody/explain")
    await native.refused(404, "GET", "/runs/cid-1111111-2222-4333-8444-555555555555/waterfall")


async def test_a_campaign_that_never_ran(native, campaign_id, database):
    async with database.connection() as connection:
        phone = await connection.fetchval("SELECT phone FROM contacts LIMIT 1")
    told = await native.done("GET", f"/campaigns/{campaign_id}/contacts/{phone}/explain")
    assert (told["instanceId"], told["decidedBy"]) == (None, "run_state")
    assert "which has no run" in explained_text(told)


async def test_a_run_is_explained_as_the_document_says(native, run):
    told = await native.done("GET", f"/runs/{run}/waterfall")
    assert msgspec.to_builtins(msgspec.convert(told, WaterfallView)) == told
    assert (told["blockedBy"], told["totalCount"], told["dialableCount"]) == ("dialer_nodes", 3, 3)
    assert told["sentence"] == "Nothing is dialing because no dialer node has its engine up."
    assert "3 contacts may be dialed now" in waterfall_text(told)


WAITERS = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'run_contacts'::regclass"


async def test_explanations_leave_the_dialer_its_connections(impatient, native, run, phone, database):
    path = f"/runs/{run}/contacts/{phone}/explain"
    async with database.transaction() as other:
        await other.execute("LOCK TABLE run_contacts IN ACCESS EXCLUSIVE MODE")
        slow = [asyncio.create_task(native.ask("GET", one)) for one in (path, f"/runs/{run}/waterfall")]

        async def both_wait():
            return await other.fetchval(WAITERS) == 2

        await until(both_wait)
        for further in (path, f"/runs/{run}/waterfall"):
            failure = await native.refused(503, "GET", further)
            assert (failure["errorCode"], failure["retryable"]) == ("busy", True)
    assert [(await one).status_code for one in slow] == [200, 200]


async def test_what_takes_the_database_too_long_is_given_up(native, run, phone, database, monkeypatch):
    monkeypatch.setattr(routes, "STATEMENT_SECONDS", 0.1)
    async with database.transaction() as other:
        await other.execute("LOCK TABLE run_contacts IN ACCESS EXCLUSIVE MODE")
        for path in (f"/runs/{run}/contacts/{phone}/explain", f"/runs/{run}/waterfall"):
            failure = await native.refused(503, "GET", path)
            assert (failure["errorCode"], failure["retryable"]) == ("busy", True)
            assert "did not answer within 0.1 seconds" in sentences(failure)[0]

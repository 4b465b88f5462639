"""The vendor's wire while calls are placed: a real dialer node with the simulated engine behind the API."""

from __future__ import annotations

import asyncio

import jwt
import pytest

from engines import simulated
from support.nodes import dialer
from support.wire import SESSION_ID, differs, errors, ever_open
from waiting import until

PHONES = [f"+1555010{place:02d}{last}" for place in range(20) for last in ("01", "70")]
"""Half answer, half are busy; one of them is among the three the tenant has already."""


@pytest.fixture
async def engine():
    async with simulated(speed=20.0) as opened:
        yield opened


@pytest.fixture
async def dialing(parts, engine):
    async with dialer(parts, engine):
        yield engine


@pytest.fixture
async def campaign(tenant, database) -> str:
    await tenant.add_contacts(*PHONES)
    async with database.connection() as connection:
        await connection.execute("UPDATE trunks SET calls_per_second = 40, max_channels = 10")
    return await tenant.create_campaign(ever_open(1))


async def play(tenant, campaign_id) -> dict:
    answer = await tenant.trigger(campaign_id, "play")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def contacts(tenant, campaign_id, **body) -> dict:
    answer = await tenant.ask("POST", f"/{campaign_id}/status", body, view="contacts")
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_ready_once_a_node_has_its_engine(http, parts, engine):
    assert (await http.get("/ready")).status_code == 503
    async with dialer(parts, engine):

        async def ready() -> bool:
            return (await http.get("/ready")).status_code == 200

        await until(ready)


async def test_stop_answers_the_four_values_once_nothing_can_leave(tenant, campaign, dialing):
    started = await play(tenant, campaign)
    await until(lambda: len(dialing.sent) > 5)
    answer = await tenant.trigger(campaign, "stop")
    sent = len(dialing.sent)
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["status", "message", "updatedAt", "campaignInstanceId"]
    assert (body["status"], body["message"]) == ("Stopped", "Campaign Stopped")
    assert body["campaignInstanceId"] == started["campaignInstanceId"]
    await asyncio.sleep(0.5)
    assert len(dialing.sent) == sent
    assert await tenant.status(campaign) == "Stopped"
    assert (await tenant.trigger(campaign, "stop")).content == answer.content


async def test_a_run_that_is_over_is_completed_and_its_contacts_are(tenant, dialing, database):
    await tenant.add_contacts("+15550100104")
    campaign = await tenant.create_campaign(ever_open(1))
    await play(tenant, campaign)

    async def completed() -> bool:
        return await tenant.status(campaign) == "Completed"

    await until(completed, seconds=40)
    found = await contacts(tenant, campaign)
    assert found["totalResults"] == 4
    assert {(one["dialerOutcome"], one["botOutboundStatus"]) for one in found["results"]} == {
        ("completed", "answered_human")
    }
    assert all(one["numberOfAttemptsSoFar"] == 1 for one in found["results"])
    assert (await tenant.trigger(campaign, "stop")).status_code == 409


@pytest.mark.parametrize("version", [1, 2])
async def test_contacts_of_a_run_that_is_over_as_documented(tenant, dialing, database, version):
    """The sample's fields in its order; what it has in words of the vendor's own is in outdial's."""
    people = [
        {"phoneNumber": "+15550100104", "uniqueId": "A-7"},
        {"phoneNumber": "+15550100170"},
    ]
    await tenant.create_list("Two")
    await tenant.done("POST", "/contactList/addContacts", {"contact_list_name": "Two", "data": people}, version="1.1")
    body = ever_open(version, contactLists=["Two"])
    body["dialingStrategy"]["maxAttemptsPerRecord"] = 1
    campaign = await tenant.create_campaign(body, version=version)
    started = await tenant.trigger(campaign, "play", version=version)
    assert started.status_code == 200, started.text

    async def completed() -> bool:
        return await tenant.status(campaign) == "Completed"

    await until(completed, seconds=40)
    asked = {"page": 1, "limit": 100}
    answer = await tenant.done("POST", f"/{campaign}/status", asked, version=version, view="contacts")
    answered, busy = (
        {
            "phoneNumber": phone,
            "uniqueId": unique_id,
            "dialerOutcome": "completed",
            "numberOfAttemptsSoFar": 1,
            "botSessionId": SESSION_ID,
            "agentDispositionCodes": [],
            "botOutboundStatus": disposition,
            "botOutboundStatusDetail": why,
        }
        for phone, unique_id, disposition, why in (
            ("15550100104", "A-7", "answered_human", "reached"),
            ("15550100170", "", "busy", "attempts_used"),
        )
    )
    expected = {
        "status": "success",
        "data": {"results": [answered, busy], "page": 1, "limit": 100, "totalPages": 1, "totalResults": 2},
    }
    assert differs(expected, answer) == []
    shown = {one["phoneNumber"]: one["botSessionId"] for one in answer["data"]["results"]}
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT phone, id FROM attempts")
    assert shown == {row["phone"].removeprefix("+"): row["id"][:24] for row in rows}


async def test_contacts_are_paged_without_one_twice_or_missing_while_they_are_dialed(tenant, campaign, dialing):
    await play(tenant, campaign)
    await until(lambda: len(dialing.sent) > 10)
    seen = []
    for page in range(1, 6):
        found = await contacts(tenant, campaign, page=page, limit=10)
        assert (found["page"], found["limit"]) == (page, 10)
        seen += [one["phoneNumber"] for one in found["results"]]
    assert len(seen) == len(set(seen)) == 42
    await tenant.trigger(campaign, "stop")


async def test_an_engine_that_does_not_answer_is_503_and_stays_active_until_it_does(tenant, campaign, dialing):
    await play(tenant, campaign)
    await until(lambda: len(dialing.sent) > 5)
    dialing.freeze()
    answer = await tenant.trigger(campaign, "stop")
    assert answer.status_code == 503
    (sentence,) = errors(answer)
    assert "outdial engine retire" in sentence
    # the wire says Stopped only once that is true
    assert await tenant.status(campaign) == "Active"
    assert (await tenant.trigger(campaign, "play")).status_code == 409
    dialing.thaw()
    sent = len(dialing.sent)
    assert (await tenant.trigger(campaign, "stop")).status_code == 200
    assert len(dialing.sent) == sent


async def test_a_client_that_hangs_up_leaves_no_phone_ringing(tenant, campaign, dialing):
    await play(tenant, campaign)
    await until(lambda: len(dialing.sent) > 5)
    asked = asyncio.create_task(tenant.trigger(campaign, "stop"))

    async def stopping() -> bool:
        async with asyncio.timeout(5):
            return await tenant.status(campaign) in {"Active", "Stopped"} and not asked.done()

    await until(stopping)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)

    async def stopped() -> bool:
        return await tenant.status(campaign) == "Stopped"

    if await tenant.status(campaign) != "Stopped":
        # cut before the request was read: it was never asked
        await tenant.trigger(campaign, "stop")
    await until(stopped)


async def test_stopped_it_can_be_started_again_from_the_beginning(tenant, campaign, dialing):
    first = await play(tenant, campaign)
    await until(lambda: len(dialing.sent) > 5)
    await tenant.trigger(campaign, "stop")
    second = await play(tenant, campaign)
    assert second["campaignInstanceId"] != first["campaignInstanceId"]
    sent = len(dialing.sent)
    await until(lambda: len(dialing.sent) > sent)
    assert (await contacts(tenant, campaign))["totalResults"] == 42
    assert (await tenant.trigger(campaign, "stop")).status_code == 200


class TestNobodyElse:
    """Whoever may not, changes nothing: the run goes on."""

    @pytest.fixture
    async def running(self, tenant, campaign, dialing) -> str:
        await play(tenant, campaign)
        await until(lambda: len(dialing.sent) > 3)
        return campaign

    def wrong_tokens(self, tenant) -> dict[str, str]:
        return {
            "none": "",
            "another key": tenant.token(key="x" * 32),
            "expired": tenant.token(exp=1),
            "unsigned": jwt.encode({"appId": tenant.credentials.client_id}, None, algorithm="none"),
            "another algorithm": tenant.token(key="x" * 64, algorithm="HS512"),
        }

    @pytest.mark.parametrize("case", ["none", "another key", "expired", "unsigned", "another algorithm"])
    async def test_wrong_tokens_stop_nothing(self, tenant, running, dialing, case):
        token = self.wrong_tokens(tenant)[case]
        answer = await tenant.http.post(
            tenant.url(f"/{running}"),
            params={"campaignType": "voice", "trigger": "stop"},
            json={},
            headers=tenant.headers(auth=token),
        )
        assert answer.status_code == 401
        assert await tenant.status(running) == "Active"
        sent = len(dialing.sent)
        await until(lambda: len(dialing.sent) > sent)

    async def test_other_tenants_stop_nothing_and_learn_nothing(self, tenant, running, other, sibling):
        for stranger in (other, sibling):
            answer = await stranger.trigger(running, "stop")
            unknown = await stranger.trigger("cd-1111111-2222-4333-8444-555555555555", "stop")
            assert answer.status_code == unknown.status_code == 404
            assert answer.text.replace(running, "X") == unknown.text.replace(
                "cd-1111111-2222-4333-8444-555555555555", "X"
            )
        assert await tenant.status(running) == "Active"

    async def test_a_revoked_client_stops_nothing(self, tenant, running, database):
        async with database.connection() as connection:
            await connection.execute("UPDATE clients SET revoked_at = clock_timestamp()")
        assert (await tenant.trigger(running, "stop")).status_code == 401
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT state FROM runs") == "active"

"""Stops of more than one campaign, and the emergency stop, by outdial's own surface."""

from __future__ import annotations

import httpx
import pytest
from pydantic import SecretStr

from outdial.api.app import ApiParts, create_app
from support.native import BASE, Native
from support.wire import CALLER_ID, ever_open

OPERATOR = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"operator_token": SecretStr(OPERATOR)})


@pytest.fixture
async def native(tenant, database) -> Native:
    """A client that may stop the whole account."""
    async with database.connection() as connection:
        await connection.execute("UPDATE clients SET scopes = scopes || 'account_stop'::text")
    return Native(tenant)


@pytest.fixture
def operator(tenant) -> Native:
    return Native(tenant, token=OPERATOR)


@pytest.fixture
async def campaign(tenant) -> str:
    campaign_id = await tenant.create_campaign(ever_open(1))
    assert (await tenant.trigger(campaign_id, "play")).status_code == 200
    return campaign_id


async def list_id(database, tenant) -> str:
    async with database.connection() as connection:
        return await connection.fetchval("SELECT id FROM contact_lists WHERE iid = $1", tenant.iid)


async def test_a_caller_id(native, tenant, campaign):
    stopped = await native.done("POST", "/stops/caller-id", {"callerId": CALLER_ID})
    assert (stopped["scope"], stopped["value"], stopped["state"]) == ("caller_id", CALLER_ID, "stopped")
    (run,) = stopped["runs"]
    assert (run["campaignId"], run["state"], run["report"]["campaignId"]) == (campaign, "stopped", campaign)
    assert await tenant.status(campaign) == "Stopped"
    assert await native.done("GET", f"/stops/{stopped['id']}") == stopped
    listed = await native.done("GET", "/stops", params={"limit": 1})
    assert (listed["results"], listed["total"]) == ([stopped], 1)


async def test_a_contact_list_and_an_account(native, tenant, campaign, database):
    body = {"contactListId": await list_id(database, tenant)}
    assert [run["campaignId"] for run in (await native.done("POST", "/stops/contact-list", body))["runs"]] == [campaign]
    assert (await native.done("POST", "/stops/account", {}))["runs"] == []
    assert (await tenant.trigger(campaign, "play")).status_code == 200
    stopped = await native.done("POST", "/stops/account", {"connected": "hang_up"})
    assert [run["report"]["connected"] for run in stopped["runs"]] == ["hang_up"]


async def test_a_number(native, tenant, campaign):
    stopped = await native.done("POST", "/stops/number", {"phoneNumber": "+1 555 010 0101", "reason": "by mail"})
    assert stopped["value"] == "+15550100101"
    assert stopped["number"] == {"cancelled": 0, "hungUp": 0, "connected": 0, "contactsRemoved": 1}
    (account_list, *_) = (await native.done("GET", "/dnc-lists"))["results"]
    (entry,) = (await native.done("GET", f"/dnc-lists/{account_list['id']}/numbers"))["results"]
    assert (entry["phoneNumber"], entry["reason"]) == ("+15550100101", "by mail")


async def test_bad_bodies(native):
    await native.refused(412, "POST", "/stops/caller-id", {})
    await native.refused(412, "POST", "/stops/caller-id", {"callerId": "me"})
    await native.refused(404, "POST", "/stops/contact-list", {"contactListId": "cl-nobody"})
    await native.refused(412, "POST", "/stops/number", {"phoneNumber": "12"})
    await native.refused(412, "POST", "/stops/number", {"phoneNumber": "+15550100101", "reason": "x" * 257})
    await native.refused(412, "POST", "/stops/account", {"ringing": "loudly"})
    await native.refused(404, "GET", "/stops/sp-nobody")
    await native.refused(400, "GET", "/stops", params={"limit": "1000"})


async def test_another_account_s_stop_is_unknown(native, other):
    stopped = await native.done("POST", "/stops/account", {})
    await Native(other).refused(404, "GET", f"/stops/{stopped['id']}")
    assert (await Native(other).done("GET", "/stops"))["results"] == []


async def test_the_whole_account_needs_its_own_scope(native, tenant):
    made = await native.done("POST", "/clients", {"name": "narrow", "scopes": ["campaign_management"]})
    narrow = Native(tenant, token=tenant.token(key=made["secret"], appId=made["client"]["id"]))
    await narrow.refused(401, "POST", "/stops/account", {})
    await narrow.refused(401, "POST", "/stops/number", {"phoneNumber": "+15550100101"})
    await narrow.done("POST", "/stops/caller-id", {"callerId": CALLER_ID})


async def test_stops_are_never_rate_limited(native, parts, database):
    async with database.connection() as connection:
        before = await connection.fetch("SELECT * FROM request_counts")
    for _ in range(3):
        await native.done("POST", "/stops/account", {})
    async with database.connection() as connection:
        assert await connection.fetch("SELECT * FROM request_counts") == before


class TestEmergency:
    async def test_declare_show_lift(self, operator, tenant, campaign, http):
        assert await operator.done("GET", "/emergency-stop") == {
            "inForce": False,
            "file": False,
            "emergency": None,
            "stop": None,
        }
        declared = await operator.done("POST", "/emergency-stop", {"reason": "wrong recording"})
        assert (declared["inForce"], declared["emergency"]["declaredBy"]) == (True, "operator")
        assert [run["campaignId"] for run in declared["stop"]["runs"]] == [campaign]
        assert (declared["stop"]["scope"], declared["stop"]["state"]) == ("everything", "stopped")
        assert await operator.done("GET", "/emergency-stop") == declared
        refused = await tenant.trigger(campaign, "play")
        assert refused.status_code == 409
        assert "emergency stop is in force" in refused.text
        ready = await http.get("/ready")
        assert (ready.status_code, "emergency stop" in ready.text) == (503, True)
        failure = await operator.refused(412, "POST", "/emergency-stop/lift", {"reason": ""})
        assert "why" in failure["errors"][0]["msg"]
        lifted = await operator.done("POST", "/emergency-stop/lift", {"reason": "replaced"})
        assert (lifted["liftedBy"], lifted["liftReason"]) == ("operator", "replaced")
        assert (await tenant.trigger(campaign, "play")).status_code == 200
        await operator.refused(404, "POST", "/emergency-stop/lift", {"reason": "again"})

    async def test_no_tenant_may(self, native):
        for token in (native.token, "x", OPERATOR[:-1], f"{OPERATOR}0"):
            stranger = Native(native.tenant, token=token)
            await stranger.refused(401, "POST", "/emergency-stop", {})
            await stranger.refused(401, "GET", "/emergency-stop")
            await stranger.refused(401, "POST", "/emergency-stop/lift", {"reason": "x"})

    async def test_without_the_setting_nobody_may(self, parts, tenant):
        settings = parts.settings.model_copy(update={"operator_token": None})
        app = create_app(ApiParts(settings, parts.database, parts.secrets, parts.engines))
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://outdial") as http:
            for token in ("", "None", OPERATOR):
                answer = await http.get(f"{BASE}/emergency-stop", headers={"Authorization": f"Bearer {token}"})
                assert answer.status_code == 401

    async def test_the_file_is_seen(self, operator, parts, http):
        path = parts.settings.data_dir / "emergency-stop"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("smoke\n")
        assert (await operator.done("GET", "/emergency-stop"))["file"] is True
        assert (await http.get("/ready")).status_code == 503


@pytest.mark.parametrize("word", ["caller-id", "contact-list", "number", "account"])
async def test_a_kind_of_stop_is_no_id_of_one(native, word):
    answer = await native.ask("GET", f"/stops/{word}")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"

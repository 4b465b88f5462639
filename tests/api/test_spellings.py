"""Each documented address of each endpoint reaches it."""

from __future__ import annotations

import pytest

from support.wire import agentless, errors, ever_open

PREFIXES = ("", "/campaign", "/agentassist")


@pytest.fixture
async def running(tenant) -> str:
    campaign_id = await tenant.create_campaign(ever_open(1))
    assert (await tenant.trigger(campaign_id, "play")).status_code == 200
    return campaign_id


@pytest.mark.parametrize(
    "address",
    [
        "{prefix}/api/{version}/public/{iid}/campaign/{id}?campaignType=voice&trigger=stop",
        "{prefix}/api/{version}/public/{iid}/campaign/trigger/{id}?campaignType=voice&trigger=stop",
        "{prefix}/api/{version}/public/{iid}/campaign/{id}?accountId={account}&campaignType=voice&trigger=stop",
        "{prefix}/api/{version}/public/{iid}/campaign//trigger/{id}?accountId={account}&campaignType=voice&trigger=stop",
        "{prefix}/api/{version}/public/{iid}/campaign/{id}/?trigger=stop&campaignType=voice",
        # v2's table of the stop says sms, for voice campaigns
        "{prefix}/api/{version}/public/{iid}/campaign/trigger/{id}?accountId={account}&campaignType=sms&trigger=stop",
        "{prefix}//api/{version}/public//{iid}/campaign/trigger/{id}?accountId={account}\\&campaignType=voice\\&trigger=stop",
    ],
)
async def test_stop(tenant, running, address):
    answers = set()
    for prefix in PREFIXES:
        for version in ("v1", "v2"):
            url = address.format(prefix=prefix, version=version, iid=tenant.iid, id=running, account=tenant.account_id)
            # with everything in headers, and as older documents ask: the account in the query only
            for headers in (tenant.headers(), {"auth": tenant.token()}):
                answer = await tenant.http.post(f"http://api{url}", headers=headers, content=b"{}\n")
                assert answer.status_code == 200, (url, answer.text)
                answers.add(answer.content)
    assert len(answers) == 1


async def test_everything_else(tenant):
    bodies = {
        "list": {"name": "L", "description": "", "source": "passiveApi"},
        "contacts": {"contact_list_name": "L", "data": [{"phoneNumber": "+15550100101"}]},
    }
    for prefix in PREFIXES:
        for version in (1, 2):
            base = f"{prefix}/api/v{version}/public/{tenant.iid}/campaign"

            async def ask(method: str, path: str, body: object = None, base: str = base):
                answer = await tenant.http.request(method, base + path, json=body, headers=tenant.headers())
                assert answer.status_code == 200, (method, base + path, answer.text)
                return answer.json()

            list_id = (await ask("POST", "/contactList/createContactList", bodies["list"]))["data"]["_id"]
            await ask("POST", "/contactList/addContacts", bodies["contacts"])
            adding = f"{prefix}/api/1.1/public/{tenant.iid}/campaign/contactList/addContacts"
            answer = await tenant.http.post(adding, json=bodies["contacts"], headers=tenant.headers())
            assert answer.status_code == 200
            await ask("GET", f"/contactList/{list_id}")
            assert (await ask("GET", f"/contactList/{list_id}/getAllContacts"))["data"]["totalResults"] == 1
            await ask("DELETE", f"/contactList/{list_id}")
            campaign_id = (await ask("POST", "?campaignType=voice", agentless(version)))["data"]["id"]
            await ask("GET", f"/{campaign_id}")
            await ask("POST", f"/{campaign_id}/status?view=status")
            await ask("POST", f"/{campaign_id}/status?view=contacts")
            await ask("DELETE", f"/{campaign_id}?campaignType=voice")


async def test_wrong_verbs(tenant):
    for method, path, allowed in (
        ("PATCH", "/cd-1", None),
        ("GET", "", None),
        ("PUT", "", None),
        ("GET", "/trigger/cd-1", None),
        ("DELETE", "/cd-1/status", None),
        ("GET", "/getAllCampaignDetails", "POST"),
        ("DELETE", "/schedule", "POST"),
        ("GET", "/contactList/createContactList", "POST"),
        ("DELETE", "/contactList/addContacts", "POST"),
        ("PUT", "/contactList/getAllListDetails", "POST"),
        ("POST", "/contactList/cl-1", None),
        ("POST", "/contactList/cl-1/getAllContacts", None),
        ("GET", "/trigger", ""),
    ):
        answer = await tenant.ask(method, path, campaignType="voice", trigger="stop")
        assert answer.status_code == 405
        assert answer.json() == {"errors": [{"msg": "Method Not Allowed", "code": 405}]}
        assert answer.headers["allow"] if allowed is None else answer.headers["allow"] == allowed


async def test_nothing_there(tenant):
    for path in (
        "/",
        "/api",
        "/campaign",
        "/campaign/api/v3/public/{iid}/campaign/cd-1",
        "/other/api/v1/public/{iid}/campaign/cd-1",
        "/api/v1/{iid}/campaign",
    ):
        answer = await tenant.http.get(path.format(iid=tenant.iid), headers=tenant.headers())
        assert answer.status_code == 404
        assert answer.json()["errors"][0]["code"] == 404
        assert "There is nothing at GET " in errors(answer)[0]

"""Every endpoint of the document, asked by everybody who may not: nothing is told, nothing changes.

Generated from the document, so that no new endpoint can be forgotten.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from outdial.api.app import create_app
from outdial.core.ids import dialing_list_id
from outdial.core.model import Scope
from outdial.services import clients
from support.foreign import UNKNOWN, Own, named_in_bodies, own_things, readings
from support.native import Native
from support.recordings import kept
from support.tables import contents
from support.wire import FLOW, Tenant, agentless, ever_open

OWN_CALLER_ID = "+15550100077"
DELIVERY_ID = 4_711_471_101

OF_THE_ACCOUNT = {"/api/outdial/erasures", "/api/outdial/erasures/{erasureId}"}
"""What another application of the account may see too, with its scope: a person is erased from all of it."""

NAMES = ("Product Feedback", "Recent Buyers", "Their People", "Never Call", "+1555010010")
"""Of the victim's things; no answer to a stranger may hold one."""

OPEN = {"/health", "/ready", "/metrics", "/api/outdial/emergency-stop", "/api/outdial/emergency-stop/lift"}
"""What anybody may ask, where no tenant's data is in it (test_system), and what no tenant may (test_wide_stops)."""


@dataclass(frozen=True)
class Asked:
    """One endpoint of the document."""

    method: str
    path: str
    body: Any
    scope: str

    @property
    def names(self) -> list[str]:
        return re.findall(r"\{(\w+)\}", self.path)

    def url(self, ids: dict[str, str]) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], self.path)


def endpoints(document: dict[str, Any]) -> list[Asked]:
    schemas = document["components"]["schemas"]
    found = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            example = schemas.get(schema.get("$ref", "").rpartition("/")[2], {}).get("examples", [{}])[0]
            scope = re.search(r"Scope: `(\w+)`", operation.get("description", ""))
            if "/public/" in path and (
                path.endswith("/campaign") or (path.endswith("/{campaignId}") and method == "put")
            ):
                example = agentless(2 if "/v2/" in path else 1)
            found.append(Asked(method.upper(), path, example, scope[1] if scope else Scope.CAMPAIGN_MANAGEMENT))
    return [one for one in found if one.path not in OPEN]


@pytest.fixture
async def ids(tenant, other, sibling, database, parts) -> dict[str, str]:
    """The victim's things, one of each kind, a live run among them."""
    native = Native(tenant)
    async with database.connection() as connection:
        # no client has it from the start, and who has it shall not get further than who has not
        await connection.execute("UPDATE clients SET scopes = scopes || 'personal_data'::text")
    campaign_id = await tenant.create_campaign(ever_open(1))
    await native.done("PUT", f"/campaigns/{campaign_id}/pre-call-fetch", {"url": "https://crm.example.net/ask"})
    await native.done("PUT", f"/campaigns/{campaign_id}/courtesy-message", {"flow": FLOW})
    started = await tenant.trigger(campaign_id, "play")
    # what nobody else has one of the same name of
    their_list = await tenant.create_list("Their People")
    (flow,) = (await native.done("GET", "/flows"))["results"]
    (trunk,) = (await native.done("GET", "/trunks"))["results"]
    # the strangers have the number of the wire's samples too
    await native.done("POST", f"/trunks/{trunk['id']}/caller-ids", {"phoneNumber": OWN_CALLER_ID})
    lists = (await native.done("GET", "/dnc-lists"))["results"]
    limit = await native.done("POST", "/attempt-limits", {"count": 3, "windowSeconds": 86400, "counts": "attempts"})
    hook = await native.done("POST", "/webhooks", {"url": "https://192.0.2.9/told"})
    upload = await native.done("POST", "/imports", {"listName": "Recent Buyers", "fileName": "people.csv"})
    # of a number nobody calls from: the live run goes on
    wide = await native.done("POST", "/stops/caller-id", {"callerId": "+15550100888"})
    erasure = await native.done("POST", "/erasures", {"phoneNumber": "+15550100889"})
    # over, or whoever follows it would wait for its end
    await native.done("POST", f"/imports/{upload['id']}/cancel")
    async with database.connection() as connection:
        list_id = await connection.fetchval(
            "SELECT id FROM contact_lists WHERE iid = $1 AND name = 'Recent Buyers'", tenant.iid
        )
        await connection.execute(
            "INSERT INTO webhook_deliveries (id, webhook_id, lane, history_id, event, state, settled_at) "
            "OVERRIDING SYSTEM VALUE VALUES ($1, $2, 0, 1, 'run.stopped', 'dead', now())",
            DELIVERY_ID,
            hook["webhook"]["id"],
        )
        contact, contact_id = await connection.fetchrow(
            "SELECT phone, contact_id FROM run_contacts ORDER BY contact_id LIMIT 1"
        )
    attempt_id, recording_id = await kept(
        database, parts.settings.data_dir, instance_id=started.json()["campaignInstanceId"]
    )
    return {
        "iid": tenant.iid,
        "accountId": tenant.account_id,
        "campaignId": campaign_id,
        "contactListId": list_id,
        "theirListId": their_list["_id"],
        "campaignInstanceId": started.json()["campaignInstanceId"],
        "instanceId": started.json()["campaignInstanceId"],
        "importId": upload["id"],
        "stopId": wide["id"],
        "erasureId": erasure["id"],
        "attemptId": attempt_id,
        "recordingId": recording_id,
        "clientId": tenant.credentials.client_id,
        "dncListId": lists[1]["id"],
        "limitId": limit["id"],
        "webhookId": hook["webhook"]["id"],
        "deliveryId": str(DELIVERY_ID),
        "flowId": flow["id"],
        "trunkId": trunk["id"],
        "phoneNumber": OWN_CALLER_ID,
        "contact": contact,
        "dialingListId": dialing_list_id(started.json()["campaignInstanceId"], contact_id),
    }


QUERIES = (
    {},
    {"campaignType": "voice", "trigger": "stop"},
    {"campaignType": "voice", "trigger": "play", "enableSchedule": "true", "campaignName": "Product Feedback"},
    {"view": "contacts", "name": "x", "enableSchedule": "false", "campaignName": "Product Feedback"},
)


async def ask(asked: Asked, http, ids: dict[str, str], headers: dict[str, str], query: dict[str, str]):
    body = None if asked.method == "GET" else asked.body
    return await http.request(asked.method, asked.url(ids), json=body, headers=headers, params=query)


@pytest.fixture
def every(parts) -> list[Asked]:
    return endpoints(create_app(parts).openapi())


def test_the_document_knows_them_all(every):
    assert len(every) > 70
    assert {name for asked in every for name in asked.names} == {
        "iid",
        "accountId",
        "campaignId",
        "contactListId",
        "campaignInstanceId",
        "instanceId",
        "importId",
        "stopId",
        "erasureId",
        "attemptId",
        "recordingId",
        "clientId",
        "dncListId",
        "limitId",
        "webhookId",
        "flowId",
        "trunkId",
        "phoneNumber",
        "contact",
    }


@pytest.fixture
async def strangers(tenant, other, sibling, database, secret_box) -> dict[str, str | None]:
    """Who may not touch the victim's things, each with the token it comes with."""
    asked = {"iid": tenant.iid, "actor": "test", "scopes": clients.SCOPES}
    made = {
        name: await clients.create_client(database, secret_box, name=name, **asked) for name in ("revoked", "rotated")
    }
    await clients.revoke_client(database, iid=tenant.iid, client_id=made["revoked"].client.id, actor="test")
    await clients.rotate_secret(database, secret_box, iid=tenant.iid, client_id=made["rotated"].client.id, actor="test")

    def signed(name: str) -> str:
        credentials = replace(tenant.credentials, client_id=made[name].client.id, client_secret=made[name].secret)
        return replace(tenant, credentials=credentials).token()

    return {
        "another account": other.token(),
        "another application of the account": sibling.token(),
        "nobody": None,
        "a revoked client": signed("revoked"),
        "a client with its old secret": signed("rotated"),
        "an expired token": tenant.token(exp=1),
        "a token of tomorrow": tenant.token(nbf=9_999_999_999),
        "another secret": tenant.token(key="k" * 40),
        "the stranger's secret": tenant.token(key=other.credentials.client_secret),
        "another algorithm": tenant.token(key="k" * 64, algorithm="HS512"),
        "no signature": tenant.token().rpartition(".")[0] + ".",
    }


WITH_A_GOOD_TOKEN = ("another account", "another application of the account")
WHO = (
    *WITH_A_GOOD_TOKEN,
    "nobody",
    "a revoked client",
    "a client with its old secret",
    "an expired token",
    "a token of tomorrow",
    "another secret",
    "the stranger's secret",
    "another algorithm",
    "no signature",
)


def headers_of(asked: Asked, tenant: Tenant, token: str | None) -> list[dict[str, str]]:
    """The headers a stranger may try."""
    vendors = "/public/" in asked.path
    shared = {"Idempotency-Key": f"{asked.method} {asked.path}"}
    if vendors:
        shared |= {"iid": tenant.iid, "accountId": tenant.account_id}
    if token is None:
        return [shared]
    tried = [{**shared, "auth": token}]
    if not vendors:
        tried.append(
            {**shared, "Idempotency-Key": f"{asked.method} {asked.path} again", "Authorization": f"Bearer {token}"}
        )
    return tried


@pytest.mark.timeout(300)
@pytest.mark.parametrize("who", WHO)
async def test_nothing_is_told_and_nothing_changes(every, tenant, ids, strangers, database, who):
    token, known = strangers[who], who in WITH_A_GOOD_TOKEN
    before = await contents(database)
    for asked in every:
        native = "/public/" not in asked.path
        # without an id in its address it is about whoever asks
        if known and not asked.names:
            continue
        if who == "another application of the account" and asked.path in OF_THE_ACCOUNT:
            continue
        for query in QUERIES if not native else QUERIES[:1]:
            for headers in headers_of(asked, tenant, token):
                answer = await ask(asked, tenant.http, ids, headers, query)
                where = f"{who}: {asked.method} {asked.path} {query}: {answer.status_code} {answer.text}"
                assert answer.status_code == (404 if known and native else 401), where
                assert not any(name in answer.text for name in NAMES), where
                assert answer.headers["content-type"] == "application/json"
    assert await contents(database) == before


@pytest.mark.parametrize("who", WITH_A_GOOD_TOKEN)
async def test_what_has_no_id_is_about_whoever_asks(every, tenant, ids, strangers, database, who):
    before = await contents(database, iid=tenant.iid)
    own = {name: value for name, value in ids.items() if name not in {"iid", "accountId"}}
    asked_of = [asked for asked in every if not asked.names]
    assert len(asked_of) > 8
    for asked in asked_of:
        if who == "another application of the account" and asked.method == "GET" and asked.path in OF_THE_ACCOUNT:
            continue
        answer = await ask(asked, tenant.http, ids, {"auth": strangers[who]}, {})
        assert answer.status_code < 500
        for name in (*NAMES, *own.values(), tenant.iid):
            assert name not in answer.text, f"{asked.method} {asked.path}: {answer.text}"
    assert await contents(database, iid=tenant.iid) == before


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scope", list(Scope))
async def test_a_scope_opens_its_own_endpoints_only(every, tenant, ids, database, secret_box, scope):
    made = await clients.create_client(
        database, secret_box, iid=tenant.iid, name="narrow", scopes=frozenset({scope}), actor="test"
    )
    credentials = replace(tenant.credentials, client_id=made.client.id, client_secret=made.secret)
    headers = {"auth": replace(tenant, credentials=credentials).token()}
    before = await contents(database)
    for asked in every:
        if asked.scope == scope:
            continue
        for query in QUERIES if "/public/" in asked.path else QUERIES[:1]:
            answer = await ask(asked, tenant.http, ids, headers, query)
            assert answer.status_code == 401, f"{asked}: {answer.text}"
            assert answer.json()["errors"][0]["msg"] == "Permission denied. Scope is incorrect!"
    assert await contents(database) == before


NOT_OF_A_LIVE_RUN = {"/api/outdial/runs/{instanceId}/stop-report", "/api/outdial/runs/{instanceId}/stop-report.txt"}
"""What there is once the run is stopped only; the owner is told so, strangers are not."""


async def test_the_owner_gets_in_by_the_same_addresses(every, tenant, ids):
    """What refuses strangers is who they are, not how this test asks: its addresses, bodies and ids are right."""
    reached = 0
    for asked in every:
        if asked.method != "GET":
            continue
        answer = await ask(asked, tenant.http, ids, {"auth": tenant.token()}, {})
        expected = 409 if asked.path in NOT_OF_A_LIVE_RUN else 200
        assert answer.status_code == expected, f"{asked}: {answer.status_code} {answer.text}"
        reached += 1
    assert reached > 20


async def test_an_unknown_id_looks_like_somebody_elses(every, tenant, other, ids):
    for asked in every:
        if "/public/" in asked.path or not asked.names:
            continue
        # a contact is one of a run or a campaign, which comes first
        name = asked.names[0]
        answers = [
            await ask(asked, tenant.http, {**ids, name: value}, {"auth": other.token(), "X-Request-Id": "r"}, {})
            for value in (ids[name], UNKNOWN[name])
        ]
        texts = {answer.text.replace(ids[name], "ID").replace(UNKNOWN[name], "ID") for answer in answers}
        assert {answer.status_code for answer in answers} == {404}, asked
        assert len(texts) == 1, texts


VALID = (
    {"campaignType": "voice", "trigger": "play", "view": "status"},
    {"campaignType": "voice", "trigger": "stop", "view": "contacts"},
)
"""Queries that every one of the vendor's addresses with an id takes: what it does not know it leaves alone."""


@pytest.fixture
async def own(who, ids, other, sibling, database, secret_box) -> Own:
    """What a stranger has itself, in an application of its own."""
    stranger = other if who == "another account" else sibling
    return await own_things(stranger, database, secret_box)


def told(answer: httpx.Response, asked: object) -> str:
    """What an answer says beside what it was asked."""
    return answer.text.replace(str(asked), "ID")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("who", WITH_A_GOOD_TOKEN)
async def test_at_the_stranger_s_own_address_too_nobody_else_s_ids_are_known(every, ids, own, database):
    """The door lets in whoever names its own application; that the id is another's is for the service to find."""
    at = {"iid": own.tenant.iid, "accountId": own.tenant.account_id}
    with_ids = [asked for asked in every if "/public/" in asked.path and set(asked.names) - set(at)]
    assert len(with_ids) > 20
    before = await contents(database)
    for asked in with_ids:
        (name,) = set(asked.names) - set(at)
        for query in VALID:
            for headers in (own.tenant.headers(), {"auth": own.tenant.token()}):
                answers = [
                    await ask(asked, own.tenant.http, {**ids, **at, name: value}, headers, {**query, **more})
                    for value in (ids[name], UNKNOWN[name])
                    for more in ({}, {"accountId": own.tenant.account_id})
                ]
                where = f"{asked.method} {asked.path} {query}: {[answer.text for answer in answers]}"
                assert {answer.status_code for answer in answers} == {404}, where
                texts = {told(answer, ids[name]).replace(UNKNOWN[name], "ID") for answer in answers}
                # one sentence for both, and the service's: the door's and the router's have no id in them
                assert len(texts) == 1, where
                assert "ID" in texts.pop(), where
    assert await contents(database) == before


@pytest.mark.timeout(300)
@pytest.mark.parametrize("who", WITH_A_GOOD_TOKEN)
async def test_nobody_else_s_ids_and_names_are_known_in_queries_and_bodies(ids, own, database):
    before = await contents(database)
    requests = named_in_bodies(own, ids)
    assert {one.method for one in requests} == {"GET", "POST", "PUT"}
    wrong = []
    for one in requests:
        answers = [
            await own.tenant.http.request(
                one.method, one.path(value), json=one.body(value), params=one.query(value), headers=own.tenant.headers()
            )
            for value in (one.theirs, one.unknown)
        ]
        # who is told that it is not there is told the same of what is nowhere
        texts = {
            re.sub(r'"requestId":"[^"]*"', "", told(answer, asked))
            for answer, asked in zip(answers, (one.theirs, one.unknown), strict=True)
        }
        refused = {answer.status_code for answer in answers} == {one.status}
        if not refused or len(texts) != 1 or any(name in text for name in NAMES for text in texts):
            wrong.append(f"{one.what}: {[f'{answer.status_code} {answer.text}' for answer in answers]}")
    assert not wrong, "\n".join(wrong)
    assert await contents(database) == before


@pytest.mark.parametrize("who", WITH_A_GOOD_TOKEN)
async def test_lists_and_call_details_hold_one_s_own_only(tenant, ids, own):
    theirs = {value for name, value in ids.items() if name not in {"iid", "accountId", "phoneNumber"}}
    assert len(readings(own.tenant)) > 6
    for path, body in readings(own.tenant):
        answer = await own.tenant.http.post(path, json=body, headers=own.tenant.headers())
        assert answer.status_code == 200, f"{path}: {answer.text}"
        # the other account has a list of that name too
        names = {*NAMES, *theirs, tenant.iid} - {"Recent Buyers"}
        assert not [name for name in names if name in answer.text], f"{path}: {answer.text}"
    for path, body in readings(tenant):
        answer = await tenant.http.post(path, json=body, headers=tenant.headers())
        assert any(name in answer.text for name in theirs), f"{path}: {answer.text}"


@pytest.mark.parametrize("who", WITH_A_GOOD_TOKEN)
async def test_an_id_where_none_is_expected_changes_nothing_of_its_owner_s(ids, own, tenant, database):
    """Unknown fields of the vendor's bodies are left alone: the campaign that is named is the one that changes."""
    before = await contents(database, iid=tenant.iid)
    for version in (1, 2):
        for body, enable in ((own.plan, "true"), ({}, "false")):
            answer = await own.tenant.ask(
                "POST",
                "/schedule",
                {**body, "campaignId": ids["campaignId"], "iid": tenant.iid},
                version=version,
                enableSchedule=enable,
                campaignName=own.campaign,
            )
            assert (answer.status_code, answer.json()["id"]) == (200, own.idle_campaign_id), answer.text
            assert not any(name in answer.text for name in (*NAMES, ids["campaignId"]))
    assert await contents(database, iid=tenant.iid) == before

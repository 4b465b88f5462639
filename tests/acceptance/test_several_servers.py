"""Several API servers on one database, as processes over sockets: whichever is asked, the answer is the same.

The first two share a data folder, the third has one of its own; a fourth process dials with the simulated engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from outdial.config import Settings
from outdial.context import Context, open_context
from outdial.secretbox import KEY_FILE
from outdial.services import access
from support.native import Native, sentences
from support.programs import Program, end_all_of, free_port
from support.wire import Tenant, agentless, errors, ever_open, furnish
from waiting import until

pytestmark = pytest.mark.timeout(120)

LIMIT = 40
"""Requests a minute and account."""


@dataclass(frozen=True)
class Servers:
    """Where they are."""

    folder: Path
    urls: tuple[str, ...]


def answers(url: str, path: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}{path}").status_code == 200
    return False


@pytest.fixture(scope="module")
def servers(tmp_path_factory) -> Iterator[Servers]:
    folder, elsewhere = tmp_path_factory.mktemp("several") / "data", tmp_path_factory.mktemp("elsewhere") / "data"
    same = {"rate_limit_per_minute": LIMIT, "permit_ttl_seconds": 2.0}
    ports = [free_port() for _ in range(3)]
    urls = tuple(f"http://127.0.0.1:{port}" for port in ports)

    async def wait(number: int, path: str) -> None:
        await until(lambda: asyncio.to_thread(answers, urls[number], path), seconds=60)

    with contextlib.ExitStack() as stack:
        stack.callback(end_all_of, folder)
        stack.enter_context(Program("serve", "--no-dialer", data_dir=folder, http_port=ports[0], **same))
        asyncio.run(wait(0, "/health"))
        stack.enter_context(Program("serve", "--no-dialer", data_dir=folder, http_port=ports[1], **same))
        stack.enter_context(Program("dialer", data_dir=folder, engine="simulated", **same))
        dsn, key = asyncio.run(address(folder)), (folder / KEY_FILE).read_text()
        third = {"database_url": dsn, "secret_key": key.strip(), "data_dir": elsewhere, "http_port": ports[2]}
        stack.enter_context(Program("serve", "--no-dialer", **third, **same))
        for number in range(3):
            asyncio.run(wait(number, "/ready"))
        yield Servers(folder, urls)


async def address(folder: Path) -> str:
    async with open_context(Settings(_env_file=None, data_dir=folder)) as context:
        return context.dsn


@pytest.fixture
async def context(servers) -> AsyncIterator[Context]:
    async with open_context(Settings(_env_file=None, data_dir=servers.folder)) as opened:
        yield opened


@pytest.fixture
async def tenants(servers, context) -> AsyncIterator[list[Tenant]]:
    """A new account, speaking to each of the three servers."""
    made = await access.create_application(context.database, context.secrets, account=uuid.uuid4().hex, name="Support")
    await furnish(context.database, context.secrets, made.iid)
    async with contextlib.AsyncExitStack() as stack:
        yield [
            Tenant(await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30)), made)
            for url in servers.urls
        ]


async def look(tenant: Tenant, token: str) -> int:
    """Ask for a campaign that is not there: 404 for whoever may ask."""
    return (await tenant.http.get(tenant.url("/cd-unknown"), headers=tenant.headers(auth=token))).status_code


async def test_the_rate_limit_counts_over_all(tenants):
    asked = [tenants[number % 3].ask("GET", "/cd-unknown") for number in range(LIMIT + 12)]
    found = await asyncio.gather(*asked)
    assert Counter(answer.status_code for answer in found) == {404: LIMIT, 429: 12}
    for tenant in tenants:
        assert (await tenant.ask("GET", "/cd-unknown")).status_code == 429
        # a stop is never refused
        assert (await tenant.trigger("cd-unknown", "stop")).status_code == 404


async def keyed(tenant: Tenant, key: str) -> httpx.Response:
    """Create a campaign; while another server does so, ask again for its answer, as the refusal says."""
    while True:
        answer = await tenant.http.post(
            tenant.url(""),
            json=agentless(1),
            params={"campaignType": "voice"},
            headers={**tenant.headers(), "Idempotency-Key": key},
        )
        if answer.status_code != 409:
            return answer
        assert "is being carried out; ask again" in errors(answer)[0]
        await asyncio.sleep(0.1)


async def test_a_key_sent_to_all_at_once_is_carried_out_once(tenants):
    await tenants[0].create_list()
    for key in ("k1", "k2", "k3"):
        found = await asyncio.gather(*(keyed(tenant, key) for tenant in tenants))
        assert {answer.status_code for answer in found} == {200}
        assert len({answer.content for answer in found}) == 1
        assert [answer.headers.get("Idempotent-Replay") for answer in found].count("true") == 2
    page = await tenants[2].done("POST", "/getAllCampaignDetails", {"type": "voice"})
    assert page["data"]["totalResults"] == 3


async def test_made_at_one_started_at_another_stopped_at_all(tenants, context):
    one, two, three = tenants
    await one.create_list()
    await two.add_contacts("+15550100180", "+15550100280", "+15550100380")
    campaign_id = await three.create_campaign(ever_open(1))
    assert (await two.trigger(campaign_id, "play")).status_code == 200
    assert [await tenant.status(campaign_id) for tenant in tenants] == ["Active"] * 3

    async def dialed() -> bool:
        async with context.database.connection() as connection:
            return await connection.fetchval("SELECT count(*) > 0 FROM attempts WHERE campaign_id = $1", campaign_id)

    await until(dialed)
    found = await asyncio.gather(*(tenant.trigger(campaign_id, "stop") for tenant in tenants * 2))
    assert [answer.status_code for answer in found] == [200] * 6
    assert len({answer.content for answer in found}) == 1
    assert list(found[0].json()) == ["status", "message", "updatedAt", "campaignInstanceId"]
    assert [await tenant.status(campaign_id) for tenant in tenants] == ["Stopped"] * 3
    later = [await tenant.trigger(campaign_id, "stop") for tenant in tenants]
    assert {answer.content for answer in later} == {found[0].content}
    # and a start at another is seen at once
    assert (await three.trigger(campaign_id, "play")).status_code == 200
    assert (await one.trigger(campaign_id, "play")).status_code == 409
    assert (await two.trigger(campaign_id, "stop")).status_code == 200


async def test_a_secret_that_is_rotated_or_revoked_counts_everywhere_at_once(tenants):
    one, two, three = tenants
    old = one.token()
    made = await Native(one).done("POST", "/clients", {"name": "crm", "scopes": ["campaign_management"]})
    crm = replace(one.credentials, client_id=made["client"]["id"], client_secret=made["secret"])
    others = [replace(tenant, credentials=crm) for tenant in tenants]
    token = others[0].token()

    async def asked(token: str) -> list[int]:
        return [await look(tenant, token) for tenant in others]

    # each has seen it, and found its signature right
    assert await asked(token) == [404] * 3
    rotated = await Native(two).done("POST", f"/clients/{crm.client_id}/rotate", {})
    assert await asked(token) == [401] * 3
    token = replace(others[0], credentials=replace(crm, client_secret=rotated["secret"])).token()
    assert await asked(token) == [404] * 3
    await Native(three).done("PATCH", f"/clients/{crm.client_id}", {"scopes": ["do_not_call"]})
    assert await asked(token) == [401] * 3
    await Native(one).done("PATCH", f"/clients/{crm.client_id}", {"scopes": ["campaign_management"]})
    assert await asked(token) == [404] * 3
    await Native(two).done("POST", f"/clients/{crm.client_id}/revoke", {})
    assert await asked(token) == [401] * 3
    assert await look(three, old) == 404


async def test_a_token_that_serves_once_serves_at_one_of_them(tenants):
    made = await Native(tenants[0]).done(
        "POST", "/clients", {"name": "once", "scopes": ["campaign_management"], "requireJti": True}
    )
    once = replace(tenants[0].credentials, client_id=made["client"]["id"], client_secret=made["secret"])
    others = [replace(tenant, credentials=once) for tenant in tenants]
    for number in range(3):
        token = others[0].token(jti=f"token {number}", exp=time.time() + 60)
        assert sorted(await asyncio.gather(*(look(tenant, token) for tenant in others))) == [401, 401, 404]
        assert [await look(tenant, token) for tenant in others] == [401] * 3


FILE = b"phone,name\n+15550100201,Ada\n+15550100202,Ben\n+15550100203,Cy\n"


async def test_an_upload_goes_on_at_a_server_that_shares_the_folder_and_at_no_other(tenants, context):
    one, two, three = (Native(tenant) for tenant in tenants)
    made = await one.done("POST", "/imports", {"listName": "March callers", "fileName": "people.csv"})
    pieces = f"/imports/{made['id']}/pieces"
    await one.done("POST", f"{pieces}?offset=0", content=FILE[:20])
    told = sentences(await three.refused(409, "POST", f"{pieces}?offset=20", content=FILE[20:]))
    assert len(told) == 1
    assert "it was sent to one with another data folder. Send the rest to that one" in told[0]
    assert (await three.refused(409, "POST", f"/imports/{made['id']}/finish"))["errorCode"] == "file_elsewhere"
    # the same piece to both at once
    sent = await asyncio.gather(*(each.ask("POST", f"{pieces}?offset=20", content=FILE[20:40]) for each in (one, two)))
    assert sorted(answer.status_code for answer in sent) == [200, 409]
    await two.done("POST", f"{pieces}?offset=40", content=FILE[40:])
    assert (await one.done("POST", f"/imports/{made['id']}/finish"))["receivedBytes"] == len(FILE)

    async def ended() -> bool:
        # not asked of a server: it would count
        async with context.database.connection() as connection:
            return await connection.fetchval("SELECT state FROM imports WHERE id = $1", made["id"]) == "done"

    await until(ended)
    found = await three.done("GET", f"/imports/{made['id']}")
    assert (found["rows"], found["added"], found["bad"]) == (3, 3, 0)

"""The rate limit at the door: by account, after who asks is known, and never before a stop."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import pytest

from outdial.api import ratelimit
from outdial.api.app import create_app
from outdial.store.database import Database
from support.native import Native
from support.wire import errors, ever_open
from waiting import until

WAITING = "SELECT count(*) >= 2 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"rate_limit_per_minute": 12})


async def until_limited(tenant) -> int:
    for count in range(100):
        answer = await tenant.ask("GET", "/cd-unknown")
        if answer.status_code == 429:
            return count
        assert answer.status_code == 404
    pytest.fail("never limited")


async def test_the_documented_sentence(bare):
    assert await until_limited(bare) == 12
    answer = await bare.ask("GET", "/cd-unknown")
    assert answer.json() == {
        "errors": [
            {
                "msg": "You've exceeded the per-minute rate limit. Please wait for sometime before retrying.",
                "code": 429,
            }
        ]
    }
    assert 1 <= int(answer.headers["retry-after"]) <= 61


async def test_stop_is_never_limited(tenant):
    campaign_id = await tenant.create_campaign(ever_open(1))
    assert (await tenant.trigger(campaign_id, "play")).status_code == 200
    await until_limited(tenant)
    assert (await tenant.trigger(campaign_id, "play")).status_code == 429
    for version in (1, 2):
        assert (await tenant.trigger(campaign_id, "stop", version=version)).status_code == 200
    assert (await tenant.trigger(campaign_id, "pause")).status_code == 429


async def test_an_opt_out_is_neither_counted_nor_limited(tenant, database):
    native = Native(tenant)
    (account, _) = (await native.done("GET", "/dnc-lists"))["results"]
    path, body = f"/dnc-lists/{account['id']}/opt-outs", {"phoneNumbers": ["+15550100180"]}
    await until_limited(tenant)
    await native.refused(429, "POST", f"/dnc-lists/{account['id']}/numbers", body)
    async with database.connection() as connection:
        before = await connection.fetch("SELECT * FROM request_counts")
    assert (await native.done("POST", path, body))["changedCount"] == 1
    async with database.connection() as connection:
        assert await connection.fetch("SELECT * FROM request_counts") == before


async def test_stops_do_not_use_the_limit_up(bare):
    for _ in range(20):
        assert (await bare.trigger("cd-unknown", "stop")).status_code == 404
    assert await until_limited(bare) == 12


async def test_accounts_share_nothing_and_applications_of_one_do(bare, other, sibling):
    used = 12 - await until_limited(sibling)
    assert used == 2  # the account's other application made a list and filled it
    assert (await bare.ask("GET", "/cd-unknown")).status_code == 429
    assert (await other.ask("GET", "/cd-unknown")).status_code == 404


async def test_strangers_are_refused_without_being_counted(bare):
    for _ in range(20):
        answer = await bare.http.get(bare.url("/cd-1"), headers=bare.headers(auth=bare.token(key="k" * 40)))
        assert answer.status_code == 401
    assert await until_limited(bare) == 12
    answer = await bare.http.get(bare.url("/cd-1"), headers=bare.headers(auth=None))
    assert answer.status_code == 401
    assert errors(answer) == ["Invalid SDK credentials"]


async def test_processes_count_together(bare, parts):
    assert await until_limited(bare) == 12
    second = create_app(parts)
    transport = httpx.ASGITransport(second, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
        elsewhere = replace(bare, http=http)
        assert (await elsewhere.ask("GET", "/cd-unknown")).status_code == 429


async def test_a_stop_does_not_wait_for_the_count(tenant, database, dsn):
    """Somebody holds the account's row: everybody who is counted waits, a stop does not."""
    campaign_id = await tenant.create_campaign(ever_open(1))
    assert (await tenant.trigger(campaign_id, "play")).status_code == 200
    observer = await Database.open(dsn, pool_size=1)
    async with database.transaction() as connection:
        await connection.execute("SELECT FROM request_counts FOR UPDATE")
        # more than the pool has connections
        waiting = [asyncio.create_task(tenant.ask("GET", f"/{campaign_id}")) for _ in range(20)]
        async with observer.connection() as watching:
            await until(lambda: watching.fetchval(WAITING))
        assert (await tenant.trigger(campaign_id, "stop")).status_code == 200
        assert not any(one.done() for one in waiting)
    answers = [(await one).status_code for one in waiting]
    assert set(answers) <= {200, 429}
    await observer.close()


async def test_what_is_not_counted_in_time_is_not_let_in(bare, database, monkeypatch):
    monkeypatch.setattr(ratelimit, "PATIENCE_SECONDS", 0.2)
    await bare.ask("GET", "/cd-unknown")
    async with database.transaction() as connection:
        await connection.execute("SELECT FROM request_counts FOR UPDATE")
        answer = await bare.ask("GET", "/cd-unknown")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
    assert (await bare.ask("GET", "/cd-unknown")).status_code == 404


async def test_machines_are_not_limited(http):
    for _ in range(30):
        assert (await http.get("/health")).status_code == 200

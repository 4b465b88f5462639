"""A request sent again is answered again and not carried out again, whoever crashes, sleeps or comes at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from generated.again import takes_key, twice
from generated.server import running
from generated.things import Things
from outdial.api import idempotency as module
from outdial.api.app import create_app
from outdial.api.idempotency import Idempotency
from outdial.core.errors import DatabaseUnavailableError
from outdial.services import campaigns
from outdial.store import idempotency as store
from outdial.store.database import Database
from support.tables import contents
from support.wire import Tenant, agentless, errors, ever_open

READING = {
    *(
        f"/campaign/api/v{version}/public/{{iid}}/campaign/{word}"
        for version in (1, 2)
        for word in ("getAllCampaignDetails", "contactList/getAllListDetails", "{campaignId}/status")
    ),
    *(
        f"/agentassist/api/public/analytics/account/{{accountId}}/v2/{word}"
        for word in ("interactionDetails", "calldetails", "callDetails")
    ),
}
"""What is asked with POST and changes nothing."""

ALWAYS = {
    *(f"/api/outdial/campaigns/{{campaignId}}/{verb}" for verb in ("stop", "pause")),
    *(f"/api/outdial/stops/{what}" for what in ("caller-id", "contact-list", "number", "account")),
    *(f"/api/outdial/dnc-lists/{{dncListId}}/{what}" for what in ("opt-outs", "files")),
    *("/api/outdial/emergency-stop", "/api/outdial/emergency-stop/lift", "/api/outdial/erasures"),
}
"""What is carried out whenever it is asked for, as docs/reference/compatibility.md says."""


async def send(tenant: Tenant, key: str | bytes, body: object = None, *, path: str = "", method: str = "POST", **query):
    """Create a campaign, unless told otherwise, with a key."""
    return await tenant.http.request(
        method,
        tenant.url(path),
        json=agentless(1) if body is None else body,
        params={"campaignType": "voice", **query},
        headers={**tenant.headers(), "Idempotency-Key": key},
    )


async def count(database, table: str = "campaigns") -> int:
    async with database.connection() as connection:
        return await connection.fetchval(f"SELECT count(*) FROM {table}")


async def age(database, *, hours: float = 0, claim: bool = False) -> None:
    """Let time pass for all keys: hours of it, or just more than a claim lasts."""
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE idempotency_keys SET claimed_at = claimed_at - make_interval(hours => $1), "
            "claimed_until = claimed_until - make_interval(hours => $1, secs => $2)",
            int(hours),
            module.CLAIM_SECONDS + 1 if claim else 0,
        )


async def test_the_same_again_is_the_same_answer(tenant, database):
    first = await send(tenant, "k1")
    assert first.status_code == 200
    assert "Idempotent-Replay" not in first.headers
    second = await send(tenant, "k1")
    assert (second.status_code, second.content) == (200, first.content)
    assert second.headers["Idempotent-Replay"] == "true"
    assert second.headers["content-type"] == "application/json"
    assert second.headers["X-Request-Id"] != first.headers["X-Request-Id"]
    assert await count(database) == 1


async def test_without_a_key_or_with_another_it_is_done_again(tenant, database):
    for key in ("k1", "k2"):
        assert (await send(tenant, key)).status_code == 200
    await tenant.create_campaign()
    assert await count(database) == 3


async def test_a_refusal_is_an_answer_too(tenant):
    first = await send(tenant, "k1", agentless(1, name=""))
    assert first.status_code == 412
    second = await send(tenant, "k1", agentless(1, name=""))
    assert (second.status_code, second.content) == (412, first.content)
    assert second.headers["Idempotent-Replay"] == "true"


async def test_the_key_of_another_request_is_refused(tenant, database):
    assert (await send(tenant, "k1")).status_code == 200
    for answer in (
        await send(tenant, "k1", agentless(1, name="Another")),
        await send(tenant, "k1", path="/cd-1", method="PUT"),
        await send(tenant, "k1", accountId=tenant.account_id),
        await send(tenant, "k1", {}, path="/cd-1", trigger="play"),
    ):
        assert answer.status_code == 422
        assert errors(answer) == [
            "This Idempotency-Key has served for another request within 24 hours; a new request needs a new key."
        ]
    assert await count(database) == 1


async def test_clients_do_not_share_keys(tenant, other, database):
    first, second = await send(tenant, "k1"), await send(other, "k1")
    assert first.status_code == second.status_code == 200
    assert first.json()["data"]["id"] != second.json()["data"]["id"]
    assert await count(database) == 2


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "é".encode(), b"a\xffb", "a\tb"], ids=ascii)
async def test_what_is_no_key(tenant, database, key):
    answer = await send(tenant, key)
    assert answer.status_code == 400
    assert "`Idempotency-Key` must be" in errors(answer)[0]
    assert await count(database) == 0


async def test_two_keys_at_once_are_none(tenant):
    headers = [*tenant.headers().items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = await tenant.http.post(tenant.url(""), json={}, params={"campaignType": "voice"}, headers=headers)
    assert answer.status_code == 400


async def test_who_may_not_come_in_learns_nothing_of_keys(tenant):
    await send(tenant, "k1")
    headers = {**tenant.headers(auth=tenant.token(key="k" * 40)), "Idempotency-Key": "k1"}
    answer = await tenant.http.post(
        tenant.url(""), json=agentless(1), params={"campaignType": "voice"}, headers=headers
    )
    assert answer.status_code == 401


async def test_what_only_reads_ignores_it(tenant):
    body = {"type": "voice"}
    for _ in range(2):
        answer = await send(tenant, "k1", body, path="/getAllCampaignDetails")
        assert answer.status_code == 200
        assert "Idempotent-Replay" not in answer.headers
        body = {"type": "voice", "limit": 5}


class Gate:
    """Holds a service function until it is opened."""

    def __init__(self, monkeypatch, module_, name: str) -> None:
        self.entered, self.open, self.calls = asyncio.Event(), asyncio.Event(), 0
        real = getattr(module_, name)

        async def held(*args, **kwargs):
            self.calls += 1
            self.entered.set()
            if self.calls == 1:
                await self.open.wait()
            return await real(*args, **kwargs)

        monkeypatch.setattr(module_, name, held)


async def test_of_two_at_once_one_is_asked_to_come_again(tenant, database, monkeypatch):
    gate = Gate(monkeypatch, campaigns, "create_campaign")
    first = asyncio.create_task(send(tenant, "k1"))
    await gate.entered.wait()
    second = await send(tenant, "k1")
    assert second.status_code == 409
    assert second.headers["Retry-After"] == "1"
    assert errors(second) == ["A request with this Idempotency-Key is being carried out; ask again for its answer."]
    gate.open.set()
    done = await first
    assert done.status_code == 200
    third = await send(tenant, "k1")
    assert (third.content, third.headers["Idempotent-Replay"]) == (done.content, "true")
    assert (gate.calls, await count(database)) == (1, 1)


async def test_many_at_once_make_one(tenant, database):
    answers = await asyncio.gather(*(send(tenant, "k1") for _ in range(20)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
    assert await count(database) == 1


async def test_a_failure_is_not_kept(tenant, database, monkeypatch):
    with monkeypatch.context() as broken:
        for error, status in ((DatabaseUnavailableError("away"), 503), (ZeroDivisionError(), 500)):

            async def fail(*_args, error=error, **_more):
                raise error

            broken.setattr(campaigns, "create_campaign", fail)
            assert (await send(tenant, "k1")).status_code == status
    answer = await send(tenant, "k1")
    assert answer.status_code == 200
    assert "Idempotent-Replay" not in answer.headers
    assert await count(database) == 1


class Crashed(BaseException):
    """The process is no more."""


async def crash(tenant: Tenant) -> None:
    with pytest.raises(Crashed):
        await send(tenant, "k1")


async def test_after_a_crash_before_it_was_done_it_is_done(tenant, database, monkeypatch):
    async def die(*_args, **_more):
        raise Crashed

    with monkeypatch.context() as broken:
        broken.setattr(campaigns, "create_campaign", die)
        await crash(tenant)
    # for all that is known it is still under way
    assert (await send(tenant, "k1")).status_code == 409
    await age(database, claim=True)
    answer = await send(tenant, "k1")
    assert answer.status_code == 200
    assert "Idempotent-Replay" not in answer.headers
    assert await count(database) == 1


async def test_after_a_crash_once_it_was_done_it_is_told_and_not_done(tenant, database, monkeypatch):
    async def die(*_args):
        raise Crashed

    with monkeypatch.context() as broken:
        broken.setattr(Idempotency, "_keep", die)
        await crash(tenant)
    busy = await send(tenant, "k1")
    assert (busy.status_code, busy.headers["Retry-After"]) == (409, "1")
    await age(database, claim=True)
    for _ in range(2):
        lost = await send(tenant, "k1")
        assert lost.status_code == 409
        assert "Retry-After" not in lost.headers
        assert "was carried out, but outdial was interrupted" in errors(lost)[0]
    assert await count(database) == 1
    assert (await send(tenant, "k2")).status_code == 200


async def test_who_sleeps_and_is_overtaken_does_nothing(tenant, database, monkeypatch):
    gate = Gate(monkeypatch, campaigns, "create_campaign")
    sleeper = asyncio.create_task(send(tenant, "k1"))
    await gate.entered.wait()
    await age(database, claim=True)
    overtaker = await send(tenant, "k1")
    assert overtaker.status_code == 200
    gate.open.set()
    assert (await sleeper).status_code == 409
    assert await count(database) == 1
    again = await send(tenant, "k1")
    assert (again.content, again.headers["Idempotent-Replay"]) == (overtaker.content, "true")


async def test_a_failure_after_it_was_done_is_not_done_again(tenant, database, monkeypatch):
    real = campaigns.create_campaign

    async def half(*args, **kwargs):
        await real(*args, **kwargs)
        raise DatabaseUnavailableError("away")

    with monkeypatch.context() as broken:
        broken.setattr(campaigns, "create_campaign", half)
        assert (await send(tenant, "k1")).status_code == 503
    assert (await send(tenant, "k1")).status_code == 409
    assert await count(database) == 1


async def test_an_answer_that_cannot_be_kept_is_given_all_the_same(tenant, database, monkeypatch):
    async def away(*_args):
        raise DatabaseUnavailableError("away")

    with monkeypatch.context() as broken:
        broken.setattr(store, "keep", away)
        assert (await send(tenant, "k1")).status_code == 200
    assert (await send(tenant, "k1")).status_code == 409
    assert await count(database) == 1


async def test_after_a_day_the_key_is_new_again(tenant, database):
    first = await send(tenant, "k1")
    await age(database, hours=23)
    assert (await send(tenant, "k1")).content == first.content
    await age(database, hours=1)
    second = await send(tenant, "k1", agentless(1, name="Another"))
    assert second.status_code == 200
    assert second.json()["data"]["name"] == "Another"


async def test_old_keys_are_swept_away_by_new_ones(tenant, database):
    for number in range(12):
        await send(tenant, f"old {number}")
    await age(database, hours=25)
    await send(tenant, "new 1")
    await send(tenant, "new 2")
    assert await count(database, "idempotency_keys") == 2


async def test_answers_are_stored_encrypted(tenant, database):
    await send(tenant, "k1")
    async with database.connection() as connection:
        stored = await connection.fetchval("SELECT body_encrypted FROM idempotency_keys")
    assert b"Product" not in stored


class TestStop:
    """A stop is never refused, delayed, or answered from memory."""

    async def trigger(self, tenant, campaign_id: str, trigger: str, key: str):
        return await send(tenant, key, {}, path=f"/{campaign_id}", trigger=trigger)

    async def test_a_key_that_clashes_does_not_keep_it(self, tenant):
        campaign_id = (await send(tenant, "k1", ever_open(1))).json()["data"]["id"]
        assert (await self.trigger(tenant, campaign_id, "play", "k2")).status_code == 200
        for key in ("k1", "k2", "", "é".encode()):
            answer = await self.trigger(tenant, campaign_id, "stop", key)
            assert (answer.status_code, answer.json()["status"]) == (200, "Stopped")
            assert "Idempotent-Replay" not in answer.headers

    async def test_the_same_key_stops_the_next_run_too(self, tenant, database):
        campaign_id = await tenant.create_campaign(ever_open(1))
        instances = set()
        for _ in range(2):
            assert (await tenant.trigger(campaign_id, "play")).status_code == 200
            answer = await self.trigger(tenant, campaign_id, "stop", "k1")
            assert answer.status_code == 200
            instances.add(answer.json()["campaignInstanceId"])
        assert len(instances) == 2
        assert await count(database, "runs WHERE state = 'stopped'") == 2

    async def test_it_does_not_wait_for_a_key_that_is_held(self, tenant, database):
        campaign_id = await tenant.create_campaign(ever_open(1))
        assert (await self.trigger(tenant, campaign_id, "play", "k1")).status_code == 200
        async with database.transaction() as connection:
            await connection.execute("LOCK TABLE idempotency_keys IN ACCESS EXCLUSIVE MODE")
            assert (await self.trigger(tenant, campaign_id, "stop", "k1")).status_code == 200

    async def test_a_start_with_a_key_starts_once(self, tenant, database):
        campaign_id = await tenant.create_campaign(ever_open(1))
        first = await self.trigger(tenant, campaign_id, "play", "k1")
        await tenant.trigger(campaign_id, "stop")
        again = await self.trigger(tenant, campaign_id, "play", "k1")
        assert (again.content, again.headers["Idempotent-Replay"]) == (first.content, "true")
        assert await count(database, "runs") == 1


def test_everything_that_changes_something_takes_a_key_but_what_is_always_done(parts):
    operations = {
        (method, path): operation
        for path, found in create_app(parts).openapi()["paths"].items()
        for method, operation in found.items()
    }
    keyed = {asked for asked, operation in operations.items() if takes_key(operation)}
    assert {asked for asked in operations if asked[0] != "get"} - keyed == {("post", path) for path in READING | ALWAYS}
    assert not {method for method, _ in keyed} & {"get", "head"}
    for asked in keyed:
        answers = operations[asked]["responses"]
        assert "Idempotent-Replay" in answers["200"]["headers"], asked
        assert {"409", "422"} <= answers.keys(), asked


@pytest.fixture
def things(dsn, tmp_path) -> Iterator[Things]:
    with running(dsn, tmp_path) as server:
        made = Things(server)
        yield made
        made.close()


@pytest.fixture
def digests(dsn) -> Iterator[Callable[[], dict[str, str]]]:
    """Those of all tables, for who may block."""
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(dsn, pool_size=1))
        yield lambda: runner.run(contents(database))
        runner.run(database.close())


@pytest.mark.timeout(600)
def test_each_operation_that_takes_a_key_is_done_once(things, digests):
    found = list(twice(things, digests, seed=1))
    assert len(found) > 60
    assert [each.operation for each in found if each.first is None] == [], "never carried out"
    answered = [(each, each.first, each.second) for each in found if each.first is not None and each.second is not None]
    assert [each.operation for each, first, _ in answered if "idempotent-replay" in first.headers] == []
    told = {
        each.operation: second.text
        for each, first, second in answered
        if second.headers.get("Idempotent-Replay") != "true"
        or (second.status_code, second.content) != (200, first.content)
        or [second.headers.get("content-type")] != first.headers["content-type"]
    }
    assert told == {}, "another answer than the first"
    assert {each.operation: each.changed for each, *_ in answered if each.changed} == {}

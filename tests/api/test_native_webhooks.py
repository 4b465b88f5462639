"""Webhooks by outdial's own surface."""

from __future__ import annotations

import pytest

from outdial.core.webhook import WebhookEvent
from outdial.services import sealing, webhooks
from outdial.services.webhook_keeper import WebhookCounts, WebhookKeeper
from outdial.services.webhook_post import WebhookPost
from support.native import Native, sentences
from support.wire import ever_open
from webhooks import receiving, told

URL = "https://crm.example.net/outdial"


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"webhook_private_hosts": "127.0.0.1, CRM.internal"})


@pytest.fixture
async def native(tenant, database) -> Native:
    # the first round of a cluster waits for everybody who writes
    await sealing.seal_all(database)
    return Native(tenant)


@pytest.fixture
async def receiver():
    async with receiving() as one:
        yield one


def shown(webhook: dict) -> dict:
    return {name: webhook[name] for name in ("url", "events", "enabled", "disabledReason")}


async def test_made_shown_changed_removed(native, database):
    made = await native.done("POST", "/webhooks", {"url": URL})
    webhook = made["webhook"]
    assert shown(webhook) == {
        "url": URL,
        "events": [event.value for event in WebhookEvent],
        "enabled": True,
        "disabledReason": "",
    }
    assert made["secret"].startswith("whsec_")
    path = f"/webhooks/{webhook['id']}"
    assert await native.done("GET", path) == webhook
    assert (await native.done("GET", "/webhooks"))["results"] == [webhook]
    changed = await native.done("PATCH", path, {"events": ["run.stopped", "run.started"], "enabled": False})
    assert shown(changed) == {
        "url": URL,
        "events": ["run.started", "run.stopped"],
        "enabled": False,
        "disabledReason": "",
    }
    assert (await native.refused(409, "POST", f"{path}/test"))["errorCode"] == "conflict"
    assert shown(await native.done("PATCH", path, {"url": f"{URL}/2", "enabled": True}))["url"] == f"{URL}/2"
    assert (await native.done("DELETE", path))["id"] == webhook["id"]
    assert (await native.done("GET", "/webhooks"))["results"] == []
    for method, below in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/deliveries"), ("POST", "/replay")):
        await native.refused(404, method, f"{path}{below}", None if method in {"GET", "DELETE"} else {})
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT to_state, detail FROM history WHERE action = 'webhook' ORDER BY id")
    assert [row["to_state"] for row in rows] == ["added", "changed", "changed", "removed"]
    # the secret is nowhere in the evidence
    assert made["secret"] not in str(rows)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "`url`"),
        ({"url": "ftp://crm.example.net"}, "of http or https"),
        ({"url": "https://u:p@crm.example.net/"}, "credentials"),
        ({"url": f"{URL}#here"}, "fragment"),
        ({"url": URL + "x" * 2000}, "2000"),
        ({"url": URL, "events": []}, "`events`"),
        ({"url": URL, "events": ["run.exploded"]}, "events"),
        ({"url": URL, "secret": "whsec_x"}, "secret"),
    ],
)
async def test_what_is_refused_is_said(native, body, says):
    failure = await native.refused(412, "POST", "/webhooks", body)
    assert any(says in sentence for sentence in sentences(failure)), failure


async def test_an_account_has_twenty_and_others_are_not_seen(native, sibling, other, monkeypatch):
    monkeypatch.setattr(webhooks, "MOST_WEBHOOKS", 2)
    own = await native.done("POST", "/webhooks", {"url": URL})
    await Native(sibling).done("POST", "/webhooks", {"url": URL})
    assert (await native.refused(409, "POST", "/webhooks", {"url": URL}))["errorCode"] == "limit_reached"
    for stranger in (Native(sibling), Native(other)):
        await stranger.refused(404, "GET", f"/webhooks/{own['webhook']['id']}")
        await stranger.refused(404, "POST", f"/webhooks/{own['webhook']['id']}/rotate", {})
    assert [one["id"] for one in (await native.done("GET", "/webhooks"))["results"]] == [own["webhook"]["id"]]


async def test_a_test_message_and_a_new_secret(native, receiver):
    made = await native.done("POST", "/webhooks", {"url": receiver.url})
    path = f"/webhooks/{made['webhook']['id']}"
    tried = await native.done("POST", f"{path}/test")
    assert (tried["delivered"], tried["status"], tried["problem"]) == (True, 204, "")
    rotated = await native.done("POST", f"{path}/rotate", {"overlapSeconds": 3600})
    assert rotated["webhook"]["previousSecretValidUntil"]
    await native.done("POST", f"{path}/test", {})
    first, second = receiver.got
    assert receiver.events == ["webhook.test", "webhook.test"]
    assert first.id != second.id
    assert first.signed_by(made["secret"])
    assert second.signed_by(made["secret"])
    assert second.signed_by(rotated["secret"])
    receiver.hold.clear()
    await native.refused(412, "POST", f"{path}/rotate", {"overlapSeconds": -1})


async def test_a_private_address_is_not_asked(native, receiver):
    url = receiver.url.replace("127.0.0.1", "[::1]")
    made = await native.done("POST", "/webhooks", {"url": url})
    tried = await native.done("POST", f"/webhooks/{made['webhook']['id']}/test")
    assert (tried["delivered"], tried["status"]) == (False, None)
    assert "OUTDIAL_WEBHOOK_PRIVATE_HOSTS" in tried["problem"]
    assert receiver.got == []


async def test_messages_are_listed_by_page_and_replayed(native, receiver, database, secret_box, http):
    made = await native.done("POST", "/webhooks", {"url": receiver.url})
    path = f"/webhooks/{made['webhook']['id']}"
    campaign_id = await native.tenant.create_campaign(ever_open(1))
    counts = WebhookCounts()
    for trigger in ("play", "stop"):
        assert (await native.tenant.trigger(campaign_id, trigger)).status_code == 200
    async with WebhookPost(["127.0.0.1"]) as post:
        keeper = WebhookKeeper(database, secret_box, post, counts)
        await told(keeper)
        listed = await native.done("GET", f"{path}/deliveries", params={"limit": 1})
        (stopped,) = listed["results"]
        assert (stopped["event"], stopped["state"], stopped["tries"], stopped["status"]) == (
            "run.stopped",
            "delivered",
            1,
            204,
        )
        assert stopped["messageId"] == receiver.got[1].id
        assert stopped["instanceId"] == receiver.got[1].data["instanceId"]
        rest = await native.done("GET", f"{path}/deliveries", params={"after": listed["next"]})
        assert ([one["event"] for one in rest["results"]], rest["next"]) == (["run.started"], None)
        dead = {"state": "dead"}
        assert (await native.done("GET", f"{path}/deliveries", params=dead))["results"] == []
        assert await native.done("POST", f"{path}/replay") == {"replayedCount": 0}
        assert await native.done("POST", f"{path}/replay", {"deliveryId": stopped["id"]}) == {"replayedCount": 1}
        assert await native.done("POST", f"{path}/replay", {"deliveryId": stopped["id"]}) == {"replayedCount": 0}
        await told(keeper)
    assert receiver.events == ["run.started", "run.stopped", "run.stopped"]
    await native.refused(404, "POST", f"{path}/replay", {"deliveryId": "999"})
    await native.refused(404, "POST", f"{path}/replay", {"deliveryId": "x"})
    for wrong in ({"state": "gone"}, {"state": ""}, {"after": "x"}, {"limit": "0"}):
        await native.refused(400, "GET", f"{path}/deliveries", params=wrong)


async def test_what_has_failed_is_counted(native, receiver, parts, http):
    text = (await http.get("/metrics")).text
    assert 'outdial_webhook_messages_total{outcome="sent"} 0.0' in text
    assert "outdial_webhook_oldest_waiting_seconds 0.0" in text
    await native.done("POST", "/webhooks", {"url": receiver.url, "events": ["run.started"]})
    receiver.hold.clear()
    await native.tenant.trigger(await native.tenant.create_campaign(ever_open(1)), "play")
    async with WebhookPost(["127.0.0.1"], answer_seconds=0.2) as post:
        keeper = WebhookKeeper(parts.database, parts.secrets, post, parts.webhook_counts)
        await told(keeper)
    text = (await http.get("/metrics")).text
    assert 'outdial_webhook_messages_total{outcome="failed"} 1.0' in text
    assert "outdial_webhook_dead 0.0" in text
    assert "outdial_webhook_oldest_waiting_seconds 0.0" not in text

"""Alarms reach the operator's address signed, in order, again when it fails, and never hold anything up."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json

import pytest
from aiohttp import web

from outdial.config import Settings
from outdial.core.errors import StartupError
from outdial.core.webhook import sign
from outdial.watchdog import webhook as module
from outdial.watchdog.counts import Counts
from outdial.watchdog.webhook import Webhook, read_secret
from waiting import until

SECRET = b"0123456789abcdef0123456789abcdef"
TEXT = "whsec_" + base64.b64encode(SECRET).decode()


class Receiver:
    """Somebody's address; answers with the statuses given, then 204."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def post(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 204)


@contextlib.asynccontextmanager
async def receiving(*statuses: int):
    receiver = Receiver(*statuses)
    app = web.Application()
    app.router.add_post("/alarms", receiver.post)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/alarms"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def sending(url: str, counts: Counts, pauses: tuple[float, ...] = (0.0, 0.0)):
    webhook = Webhook(url, SECRET, counts, pauses=pauses)
    task = asyncio.create_task(webhook.run())
    try:
        yield webhook
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def count(counts: Counts, outcome: str) -> float:
    name = f'outdial_watchdog_webhooks_total{{outcome="{outcome}"}}'
    lines = counts.text().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


async def test_it_is_signed_as_standard_webhooks_has_it():
    counts = Counts()
    async with receiving() as receiver, sending(receiver.url, counts) as webhook:
        webhook.send("alarm_1", {"type": "watchdog.alarm", "data": {"id": 1}})
        await until(lambda: count(counts, "delivered") == 1)
    ((headers, body),) = receiver.got
    assert json.loads(body) == {"type": "watchdog.alarm", "data": {"id": 1}}
    assert headers["webhook-id"] == "alarm_1"
    signed = f"alarm_1.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{wanted}"


def test_the_example_of_the_specification():
    secret = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    found = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_one_that_fails_comes_again_and_in_order():
    counts = Counts()
    async with receiving(500, 302) as receiver, sending(receiver.url, counts) as webhook:
        webhook.send("alarm_1", {})
        webhook.send("alarm_2", {})
        await until(lambda: count(counts, "delivered") == 2)
    assert [headers["webhook-id"] for headers, _ in receiver.got] == ["alarm_1"] * 3 + ["alarm_2"]


async def test_one_that_never_arrives_is_given_up_and_the_next_is_sent():
    counts = Counts()
    async with receiving(500, 500, 500) as receiver, sending(receiver.url, counts) as webhook:
        webhook.send("alarm_1", {})
        webhook.send("alarm_2", {})
        await until(lambda: count(counts, "delivered") == 1)
    assert count(counts, "failed") == 1
    assert receiver.got[-1][0]["webhook-id"] == "alarm_2"


async def test_when_too_many_wait_sending_still_returns_at_once(monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    counts = Counts()
    webhook = Webhook("http://127.0.0.1:9/", SECRET, counts)
    for number in range(5):
        webhook.send(f"alarm_{number}", {})
    assert count(counts, "dropped") == 3


async def test_asked_to_end_it_sends_what_waits():
    counts = Counts()
    async with receiving(500) as receiver:
        async with sending(receiver.url, counts, pauses=(600.0,)) as webhook:
            webhook.send("alarm_1", {})
            webhook.send("alarm_2", {})
            await until(lambda: len(receiver.got) == 1)
        assert [headers["webhook-id"] for headers, _ in receiver.got] == ["alarm_1", "alarm_1", "alarm_2"]
    assert count(counts, "delivered") == 2


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_c2hvcnQ=", TEXT.removeprefix("whsec_"), TEXT + "!"])
def test_a_secret_that_is_none_is_said(text):
    with pytest.raises(StartupError, match="OUTDIAL_WATCHDOG_WEBHOOK_SECRET must be whsec_"):
        read_secret(text)


def test_without_an_address_there_is_none_and_without_a_secret_neither():
    assert Webhook.of(Settings(_env_file=None), Counts()) is None
    settings = Settings(_env_file=None, watchdog_webhook="https://example.net/x")
    with pytest.raises(StartupError, match="OUTDIAL_WATCHDOG_WEBHOOK_SECRET"):
        Webhook.of(settings, Counts())
    given = settings.model_copy(
        update={
            "watchdog_webhook_secret": Settings(_env_file=None, watchdog_webhook_secret=TEXT).watchdog_webhook_secret
        }
    )
    assert Webhook.of(given, Counts()) is not None

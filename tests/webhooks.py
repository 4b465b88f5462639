"""A receiver of webhooks, and things that happen for it to be told of."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from outdial.core.webhook import DeliveryState
from outdial.services import webhooks
from outdial.services.webhook_keeper import WebhookCounts, WebhookKeeper
from outdial.services.webhook_post import WebhookPost
from outdial.store.database import Connection, Database
from runs import insert_run

PRIVATE = ("127.0.0.1", "localhost")


@dataclass
class Got:
    """One request."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> str:
        kind: str = json.loads(self.body)["type"]
        return kind

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.body)["data"]
        return data

    def signed_by(self, secret: str) -> bool:
        """Whether one of the signatures is by that secret, worked out as the specification says."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        mine = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return f"v1,{mine}" in self.headers["webhook-signature"].split(" ")


@dataclass
class Receiver:
    """Answers as ``answer`` says, and keeps what it got."""

    url: str = ""
    answer: Callable[[Got], Any] = lambda _got: web.Response(status=204)
    got: list[Got] = field(default_factory=list)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: it answers; clear: it hangs."""

    @property
    def events(self) -> list[str]:
        return [one.event for one in self.got]


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Receive on a free port of this machine."""
    receiver = Receiver()
    receiver.hold.set()

    async def post(request: web.Request) -> web.StreamResponse:
        got = Got({name.lower(): value for name, value in request.headers.items()}, await request.read())
        receiver.got.append(got)
        await receiver.hold.wait()
        answer = receiver.answer(got)
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return await answer(request) if callable(answer) else answer

    application = web.Application()
    application.router.add_post("/{any:.*}", post)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/told"
    try:
        yield receiver
    finally:
        receiver.hold.set()
        await runner.cleanup()


@contextlib.asynccontextmanager
async def keeping(stage, *, answer_seconds: float = 5.0, lease_seconds: float = 30.0, hosts=PRIVATE):
    """A process's keeper, whose pauses are as short as they may be."""
    counts = WebhookCounts()
    async with WebhookPost(hosts, answer_seconds=answer_seconds) as post:
        keeper = WebhookKeeper(
            stage.database, stage.secrets, post, counts, draw=lambda: 1.0, lease_seconds=lease_seconds
        )
        try:
            yield keeper, counts
        finally:
            await keeper.close()


async def hook(stage, receiver, *, events=webhooks.EVERY_EVENT, iid="own"):
    return await webhooks.create_webhook(
        stage.database,
        stage.secrets,
        account_id=stage.owner.account_id,
        iid=stage.owner.iid if iid == "own" else iid,
        url=receiver.url,
        events=events,
        actor="test",
    )


async def begun(stage, name: str = "Autumn") -> int:
    async with stage.database.connection() as connection:
        return await insert_run(connection, stage.owner, trunk_id=stage.trunk.id, name=name)


async def of(stage, made, state: DeliveryState | None = None):
    return await webhooks.deliveries(
        stage.database, made.webhook.id, account_id=stage.owner.account_id, iid=None, state=state, limit=1000
    )


async def due(stage) -> None:
    """Let every pause be over."""
    async with stage.database.connection() as connection:
        await connection.execute("UPDATE webhook_lanes SET next_try_at = clock_timestamp()")


async def told(keeper: WebhookKeeper) -> None:
    """Look once, and wait until everything that was due is sent."""
    await keeper.look()
    await keeper.until_idle()


async def move(connection: Connection, run_id: int, state: str, *, actor: str = "anna", reason: str = "") -> None:
    """Move a run, as services do: with its history."""
    await connection.execute(
        "UPDATE runs SET state = $2, epoch = epoch + 1, changed_by = $3, change_reason = $4 WHERE id = $1",
        run_id,
        state,
        actor,
        reason,
    )


async def try_somebody(connection: Connection, run_id: int, contact_id: int) -> str:
    """Reserve an attempt; return its id."""
    attempt_id = uuid.uuid4().hex
    await connection.execute(
        """
        INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id, engine_id,
                              node_id, epoch, number, state, changed_by)
        SELECT $1, id, campaign_id, account_id, $3::bigint, '+1555' || (1000000 + $3::bigint), '+15550100999', trunk_id,
               'e', 'n', epoch, 1, 'reserved', 'n'
          FROM runs WHERE id = $2
        """,
        attempt_id,
        run_id,
        contact_id,
    )
    return attempt_id


async def end(connection: Connection, attempt_id: str, disposition: str = "busy") -> None:
    """End an attempt."""
    await connection.execute(
        "UPDATE attempts SET state = 'ended', disposition = $2, ended_at = clock_timestamp() WHERE id = $1",
        attempt_id,
        disposition,
    )


async def attempts(database: Database, run_id: int, contact_ids: range) -> list[str]:
    """Reserve and end attempts; return their ids in order."""
    made = []
    async with database.connection() as connection:
        for contact_id in contact_ids:
            made.append(await try_somebody(connection, run_id, contact_id))
            await end(connection, made[-1])
    return made


__all__ = [
    "Got",
    "Receiver",
    "attempts",
    "begun",
    "due",
    "end",
    "hook",
    "insert_run",
    "keeping",
    "move",
    "of",
    "receiving",
    "told",
    "try_somebody",
]

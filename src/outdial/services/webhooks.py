"""Webhooks: set up, changed, given new secrets, tried, removed; their messages, and sending them again."""

from __future__ import annotations

import secrets as randomness
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from outdial import clock
from outdial.core import ids
from outdial.core.errors import ConflictError, LimitReachedError, NotFoundError
from outdial.core.webhook import (
    SECRET_BYTES,
    TEST_EVENT,
    DeliveryState,
    WebhookEvent,
    read_events,
    secret_text,
)
from outdial.secretbox import SecretBox
from outdial.services.clients import LONGEST_OVERLAP_SECONDS
from outdial.services.fields import is_storable, range_problems, require, url_problems
from outdial.services.webhook_post import Answer, WebhookPost, secrets_of
from outdial.store import access as access_store
from outdial.store import history
from outdial.store import webhook_deliveries as deliveries_store
from outdial.store import webhooks as store
from outdial.store.database import Connection, Database
from outdial.store.webhook_deliveries import Delivery
from outdial.store.webhooks import Webhook

__all__ = ["Delivery", "NewWebhookSecret", "Webhook"]

MOST_WEBHOOKS: Final = 20
"""Per account."""

REPLAY_LOT: Final = 5_000
"""Messages replayed in one transaction."""

EVERY_EVENT: Final = tuple(event.value for event in WebhookEvent)


@dataclass(frozen=True, slots=True)
class NewWebhookSecret:
    """A webhook and its new secret, shown once, here."""

    webhook: Webhook
    secret: str = field(repr=False)


async def create_webhook(
    database: Database,
    box: SecretBox,
    *,
    account_id: str,
    iid: str | None,
    url: str,
    events: Sequence[str] = EVERY_EVENT,
    actor: str,
) -> NewWebhookSecret:
    """Have an address told of what happens from now on in one application, or (``iid`` None) in all of the account.

    Raises InvalidInputError, NotFoundError for an unknown account, LimitReachedError.
    """
    require(_url(url) + _event_problems(events))
    secret = secret_text(randomness.token_bytes(SECRET_BYTES))
    async with database.transaction() as connection:
        if not (is_storable(account_id) and await access_store.account_exists(connection, account_id)):
            raise NotFoundError(f"There is no account {account_id}.")
        if await store.lock_account(connection, account_id) >= MOST_WEBHOOKS:
            raise LimitReachedError(f"The account has {MOST_WEBHOOKS} webhooks already, as many as it may; remove one.")
        made = await store.insert(
            connection,
            webhook_id=ids.webhook_id(uuid.uuid4()),
            account_id=account_id,
            iid=iid,
            url=url,
            events=read_events(events)[0],
            secret_encrypted=box.encrypt(secret),
            actor=actor,
        )
        await _remember(connection, made, "added", actor)
    return NewWebhookSecret(made, secret)


async def list_webhooks(database: Database, *, account_id: str, iid: str | None) -> list[Webhook]:
    """Return the webhooks of an application, or (``iid`` None) all of the account, oldest first."""
    async with database.connection() as connection:
        return await store.of_account(connection, account_id, iid=iid)


async def get_webhook(database: Database, webhook_id: str, *, account_id: str, iid: str | None) -> Webhook:
    """Return a webhook; raise NotFoundError, alike for unknown ones and everybody else's."""
    async with database.connection() as connection:
        return await _found(connection, webhook_id, account_id, iid)


async def change_webhook(
    database: Database,
    webhook_id: str,
    *,
    account_id: str,
    iid: str | None,
    url: str | None = None,
    events: Sequence[str] | None = None,
    enabled: bool | None = None,
    actor: str,
) -> Webhook:
    """Change a webhook; what is None stays. Switched off nothing is sent to it, and switched on again it is told what
    has happened meanwhile. What waits goes to the new address. Raises InvalidInputError, NotFoundError."""
    require(([] if url is None else _url(url)) + ([] if events is None else _event_problems(events)))
    async with database.transaction() as connection:
        present = await _found(connection, webhook_id, account_id, iid, lock=True)
        changed = await store.change(
            connection,
            present,
            url=present.url if url is None else url,
            events=present.events if events is None else read_events(events)[0],
            enabled=present.enabled if enabled is None else enabled,
        )
        await _remember(connection, changed, "changed", actor)
    return changed


async def rotate_secret(
    database: Database,
    box: SecretBox,
    webhook_id: str,
    *,
    account_id: str,
    iid: str | None,
    overlap_seconds: int = 0,
    actor: str,
) -> NewWebhookSecret:
    """Give a webhook a new secret; for ``overlap_seconds`` messages are signed with the old one too.

    Raises InvalidInputError, NotFoundError.
    """
    require(range_problems("overlapSeconds", overlap_seconds, least=0, most=LONGEST_OVERLAP_SECONDS))
    secret = secret_text(randomness.token_bytes(SECRET_BYTES))
    async with database.transaction() as connection:
        found = await _found(connection, webhook_id, account_id, iid, lock=True)
        await store.rotate(connection, webhook_id, box.encrypt(secret), overlap_seconds=overlap_seconds)
        await _remember(connection, found, "rotated", actor, overlap_seconds=overlap_seconds)
        return NewWebhookSecret(await _found(connection, webhook_id, account_id, iid), secret)


async def remove_webhook(
    database: Database, webhook_id: str, *, account_id: str, iid: str | None, actor: str
) -> Webhook:
    """Remove a webhook with all that waits for it, and return it as it was. Raises NotFoundError."""
    async with database.transaction() as connection:
        found = await _found(connection, webhook_id, account_id, iid, lock=True)
        await store.remove(connection, webhook_id)
        await _remember(connection, found, "removed", actor)
    return found


async def try_webhook(
    database: Database, box: SecretBox, post: WebhookPost, webhook_id: str, *, account_id: str, iid: str | None
) -> Answer:
    """Send ``webhook.test`` at once, once, and return what came of it. Raises NotFoundError, and ConflictError for one
    that is switched off."""
    found = await get_webhook(database, webhook_id, account_id=account_id, iid=iid)
    async with database.connection() as connection:
        target = await store.target(connection, webhook_id)
    if target is None:
        raise ConflictError(f"The webhook {webhook_id} is switched off; switch it on before trying it.")
    body = {"type": TEST_EVENT, "timestamp": clock.now(), "data": {"webhookId": found.id, "iid": found.iid}}
    name = f"webhook_test_{uuid.uuid4().hex}"
    return await post.post(target.url, secrets_of(box, target), name, msgspec.json.encode(body))


async def deliveries(
    database: Database,
    webhook_id: str,
    *,
    account_id: str,
    iid: str | None,
    state: DeliveryState | None = None,
    before: int | None = None,
    limit: int,
) -> list[Delivery]:
    """Return some messages of a webhook, all or those in one state, the newest first, below the id ``before``.

    Raises NotFoundError.
    """
    states = list(DeliveryState) if state is None else [state]
    async with database.connection() as connection:
        await _found(connection, webhook_id, account_id, iid)
        return await deliveries_store.page(connection, webhook_id, states=states, before=before, limit=limit)


async def replay_one(
    database: Database, webhook_id: str, delivery_id: int, *, account_id: str, iid: str | None, actor: str
) -> int:
    """Send a message that is dead, or was delivered, once more; return 1, or 0 for one that waits anyway. Raises
    NotFoundError."""
    async with database.transaction() as connection:
        found = await _found(connection, webhook_id, account_id, iid)
        if not await deliveries_store.exists(connection, webhook_id, delivery_id):
            raise NotFoundError(f"The webhook {webhook_id} has no message {delivery_id}; old ones are deleted.")
        count = await deliveries_store.replay(connection, webhook_id, limit=1, delivery_id=delivery_id)
        if count:
            await _remember(connection, found, "replayed", actor, delivery_id=delivery_id)
    return count


async def replay_dead(database: Database, webhook_id: str, *, account_id: str, iid: str | None, actor: str) -> int:
    """Send every message that is dead once more, in order; return how many. Raises NotFoundError."""
    total = 0
    while True:
        async with database.transaction() as connection:
            found = await _found(connection, webhook_id, account_id, iid)
            count = await deliveries_store.replay(connection, webhook_id, limit=REPLAY_LOT)
            if count:
                await _remember(connection, found, "replayed", actor, count=count)
        total += count
        if count < REPLAY_LOT:
            return total


async def _found(
    connection: Connection, webhook_id: str, account_id: str, iid: str | None, *, lock: bool = False
) -> Webhook:
    known = is_storable(webhook_id)
    found = await store.by_id(connection, webhook_id, account_id=account_id, iid=iid, lock=lock) if known else None
    if found is None:
        raise NotFoundError(f"There is no webhook {webhook_id}.")
    return found


async def _remember(connection: Connection, webhook: Webhook, what: str, actor: str, **more: Any) -> None:
    await history.append(
        connection,
        webhook.account_id,
        "webhook",
        what,
        actor=actor,
        webhook_id=webhook.id,
        iid=webhook.iid,
        url=webhook.url,
        events=list(webhook.events),
        enabled=webhook.enabled,
        **more,
    )


def _url(url: str) -> list[str]:
    return url_problems(
        "url",
        url,
        example="https://crm.example.net/outdial",
        instead="messages are signed, and the receiver checks that",
    )


def _event_problems(events: Sequence[str]) -> list[str]:
    known, unknown = read_events(events)
    if unknown:
        return [f"`events` may hold {', '.join(EVERY_EVENT)}, not {', '.join(name[:60] for name in unknown)}."]
    return [] if known else ["`events` must not be empty; leave it out for every event."]

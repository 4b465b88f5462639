"""Who is told of what happens, and what became of the messages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import Caller
from outdial.api.body import read_json
from outdial.api.json_reply import JsonReply
from outdial.api.links import Link
from outdial.api.native.bodies import NewWebhookBody, NoBody, ReplayBody, RotateBody, WebhookBody
from outdial.api.native.routes import Operation, Routes
from outdial.api.native.views import All, Part
from outdial.api.parameters import Parameter, choice, number
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.api.query import query_number, query_value
from outdial.core.errors import BadRequestError
from outdial.core.model import Scope
from outdial.core.webhook import DeliveryState, message_id
from outdial.services import webhooks
from outdial.services.webhook_post import WebhookPost
from outdial.services.webhooks import Delivery, NewWebhookSecret, Webhook

DEFAULT_PAGE: Final = 100
LARGEST_PAGE: Final = 1000

_DIGITS: Final = 18
"""Of an id: fewer than 64 bits hold."""


class WebhookView(msgspec.Struct, frozen=True, rename="camel"):
    """A webhook, without its secret."""

    id: str
    url: str
    events: list[str]
    enabled: bool
    disabled_reason: str
    """Why outdial has switched it off; empty: somebody did, or it is on."""
    created_at: datetime
    created_by: str
    updated_at: datetime
    previous_secret_valid_until: datetime | None
    """Until then messages are signed with the secret before this one too."""


class WebhookSecretView(msgspec.Struct, frozen=True, rename="camel"):
    """A webhook and its new secret, shown this once."""

    webhook: WebhookView
    secret: str


class DeliveryView(msgspec.Struct, frozen=True, rename="camel"):
    """One message for one webhook."""

    id: str
    message_id: str
    """The header `webhook-id` of each try."""
    event: str
    instance_id: str | None
    """The run it tells of; null: none."""
    state: str
    tries: int
    waiting_since: datetime
    tried_at: datetime | None
    status: int | None
    """HTTP status of the last try; null: there was no answer."""
    problem: str
    """Why the last try did not deliver."""
    settled_at: datetime | None


class TryView(msgspec.Struct, frozen=True, rename="camel"):
    """What came of a test message."""

    delivered: bool
    status: int | None
    problem: str
    seconds: float


class ReplayView(msgspec.Struct, frozen=True, rename="camel"):
    """How many messages are sent once more."""

    replayed_count: int


_AT: Final = datetime(2026, 3, 1, 10, tzinfo=UTC)
_WEBHOOK: Final = WebhookView(
    id="wh-11111111-2222-4333-8444-555555555555",
    url="https://crm.example.net/outdial",
    events=["run.stopped", "attempt.ended"],
    enabled=True,
    disabled_reason="",
    created_at=_AT,
    created_by="cs-22222222-2222-4333-8444-555555555555",
    updated_at=_AT,
    previous_secret_valid_until=None,
)
_SECRET: Final = WebhookSecretView(webhook=_WEBHOOK, secret="whsec_mWZ0…")  # noqa: S106 - an example
_DELIVERY: Final = DeliveryView(
    id="4711",
    message_id="run_stopped_90210",
    event="run.stopped",
    instance_id="cid-1111111-2222-4333-8444-555555555555",
    state="dead",
    tries=31,
    waiting_since=_AT,
    tried_at=datetime(2026, 3, 2, 10, tzinfo=UTC),
    status=500,
    problem="HTTP status 500",
    settled_at=datetime(2026, 3, 2, 10, tzinfo=UTC),
)
_TRIED: Final = TryView(delivered=True, status=204, problem="", seconds=0.031)
_NEW: Final = {"path.webhookId": "$response.body#/webhook/id"}
_AFTER: Final = (
    Link("get_webhooks_webhookId", "The webhook.", _NEW),
    Link("patch_webhooks_webhookId", "Change it.", _NEW),
    Link("post_webhooks_webhookId_rotate", "Give it a new secret.", _NEW),
    Link("get_webhooks_webhookId_deliveries", "What became of its messages.", _NEW),
    Link("delete_webhooks_webhookId", "Remove it.", _NEW),
)


class WebhookRoutes:
    """Webhooks and their messages."""

    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts
        self._database = parts.database

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        scope, every = Scope.CONFIGURATION, "/webhooks"
        one = f"{every}/{{webhookId}}"
        listed: dict[str, Parameter] = {
            "state": choice("Only those in this state.", *DeliveryState),
            "after": Parameter("`next` of the page before.", {"type": "string", "pattern": f"^[0-9]{{0,{_DIGITS}}}$"}),
            "limit": number(f"How many, {DEFAULT_PAGE} if left out.", least=1, most=LARGEST_PAGE),
        }
        for method, path, endpoint, operation in (
            ("GET", every, self.all, Operation("List webhooks", scope, All[WebhookView], All(results=[_WEBHOOK]))),
            (
                "POST",
                every,
                self.create,
                Operation("Make a webhook", scope, WebhookSecretView, _SECRET, NewWebhookBody, links=_AFTER),
            ),
            ("GET", one, self.get, Operation("Get a webhook", scope, WebhookView, _WEBHOOK)),
            ("PATCH", one, self.change, Operation("Change a webhook", scope, WebhookView, _WEBHOOK, WebhookBody)),
            ("DELETE", one, self.remove, Operation("Remove a webhook", scope, WebhookView, _WEBHOOK)),
            (
                "POST",
                f"{one}/rotate",
                self.rotate,
                Operation("Give a webhook a new secret", scope, WebhookSecretView, _SECRET, RotateBody),
            ),
            (
                "POST",
                f"{one}/test",
                self.test,
                Operation("Send a webhook a test message", scope, TryView, _TRIED, NoBody),
            ),
            (
                "GET",
                f"{one}/deliveries",
                self.deliveries,
                Operation(
                    "List a webhook's messages",
                    scope,
                    Part[DeliveryView],
                    Part(results=[_DELIVERY], next=None),
                    query=listed,
                ),
            ),
            (
                "POST",
                f"{one}/replay",
                self.replay,
                Operation("Send dead messages once more", scope, ReplayView, ReplayView(12), ReplayBody),
            ),
        ):
            routes.add(method, path, endpoint, operation)

    async def all(self, _request: Request, caller: Caller) -> Response:
        """Return the application's webhooks, oldest first; never their secrets."""
        found = await webhooks.list_webhooks(self._database, account_id=caller.account_id, iid=caller.iid)
        return JsonReply(All(results=[_view(one) for one in found]))

    async def create(self, request: Request, caller: Caller) -> Response:
        """Have an address told, by POST, of what happens from now on in the application. The secret its messages are
        signed with, as Standard Webhooks has it, is shown this once. A message is sent until it is answered 2xx, for a
        day at most, and those of one run in order; it may come more than once, with the same `webhook-id`."""
        body = parse(NewWebhookBody, await read_json(request))
        made = await webhooks.create_webhook(
            self._database,
            self._parts.secrets,
            account_id=caller.account_id,
            iid=caller.iid,
            url=body.url,
            events=body.events,
            actor=caller.client_id,
        )
        return JsonReply(_secret_view(made))

    async def get(self, request: Request, caller: Caller) -> Response:
        """Return a webhook."""
        found = await webhooks.get_webhook(
            self._database, _named(request), account_id=caller.account_id, iid=caller.iid
        )
        return JsonReply(_view(found))

    async def change(self, request: Request, caller: Caller) -> Response:
        """Change a webhook's address or events, or switch it off or on. What waits is sent to the new address, at
        once."""
        body = parse(WebhookBody, await read_json(request))
        given = body.model_fields_set
        changed = await webhooks.change_webhook(
            self._database,
            _named(request),
            account_id=caller.account_id,
            iid=caller.iid,
            url=body.url if "url" in given else None,
            events=body.events if "events" in given else None,
            enabled=body.enabled if "enabled" in given else None,
            actor=caller.client_id,
        )
        return JsonReply(_view(changed))

    async def remove(self, request: Request, caller: Caller) -> Response:
        """Remove a webhook with all that waits for it, and return it as it was."""
        removed = await webhooks.remove_webhook(
            self._database, _named(request), account_id=caller.account_id, iid=caller.iid, actor=caller.client_id
        )
        return JsonReply(_view(removed))

    async def rotate(self, request: Request, caller: Caller) -> Response:
        """Give a webhook a new secret, shown this once. For `overlapSeconds`, at most a week, messages have two
        signatures, one by each secret; 0, also when left out: one."""
        body = parse(RotateBody, await read_json(request))
        rotated = await webhooks.rotate_secret(
            self._database,
            self._parts.secrets,
            _named(request),
            account_id=caller.account_id,
            iid=caller.iid,
            overlap_seconds=body.overlap_seconds,
            actor=caller.client_id,
        )
        return JsonReply(_secret_view(rotated))

    async def test(self, request: Request, caller: Caller) -> Response:
        """Send `webhook.test` to a webhook at once, and return what came of it after at most 15 seconds. It is sent
        once and not kept."""
        parse(NoBody, await read_json(request))
        async with WebhookPost(self._parts.settings.hosts_of_webhooks) as post:
            answer = await webhooks.try_webhook(
                self._database,
                self._parts.secrets,
                post,
                _named(request),
                account_id=caller.account_id,
                iid=caller.iid,
            )
        return JsonReply(TryView(answer.delivered, answer.status, answer.problem, answer.seconds))

    async def deliveries(self, request: Request, caller: Caller) -> Response:
        """Return a webhook's messages, the newest first, page by page. Those that were delivered are kept for a day,
        dead ones for 30 days."""
        limit = query_number(request, "limit", default=DEFAULT_PAGE, least=1, most=LARGEST_PAGE)
        state, after = query_value(request, "state"), query_value(request, "after")
        if state is not None and state not in set(DeliveryState):
            raise BadRequestError(f"`state` must be one of {', '.join(DeliveryState)}, not {state[:60]!r}.")
        if after and _whole(after) is None:
            raise BadRequestError("`after` must be the `next` of the page before.")
        found = await webhooks.deliveries(
            self._database,
            _named(request),
            account_id=caller.account_id,
            iid=caller.iid,
            state=None if state is None else DeliveryState(state),
            before=_whole(after) if after else None,
            limit=limit,
        )
        following = str(found[-1].id) if len(found) == limit else None
        return JsonReply(Part(results=[_delivery_view(one) for one in found], next=following))

    async def replay(self, request: Request, caller: Caller) -> Response:
        """Send every dead message of a webhook once more, in order, or only `deliveryId`, dead or delivered. Each keeps
        its `webhook-id`. One that waits goes on waiting."""
        body = parse(ReplayBody, await read_json(request))
        where = {"account_id": caller.account_id, "iid": caller.iid, "actor": caller.client_id}
        if body.delivery_id is None:
            count = await webhooks.replay_dead(self._database, _named(request), **where)
        else:
            number = _whole(body.delivery_id)
            count = await webhooks.replay_one(self._database, _named(request), 0 if number is None else number, **where)
        return JsonReply(ReplayView(count))


def _named(request: Request) -> str:
    name: str = request.path_params["webhookId"]
    return name


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS else None


def _view(webhook: Webhook) -> WebhookView:
    return WebhookView(
        id=webhook.id,
        url=webhook.url,
        events=list(webhook.events),
        enabled=webhook.enabled,
        disabled_reason=webhook.disabled_reason,
        created_at=webhook.created_at,
        created_by=webhook.created_by,
        updated_at=webhook.updated_at,
        previous_secret_valid_until=webhook.previous_valid_until,
    )


def _secret_view(made: NewWebhookSecret) -> WebhookSecretView:
    return WebhookSecretView(webhook=_view(made.webhook), secret=made.secret)


def _delivery_view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        id=str(delivery.id),
        message_id=message_id(delivery.event, delivery.history_id),
        event=delivery.event,
        instance_id=delivery.instance_id,
        state=delivery.state,
        tries=delivery.tries,
        waiting_since=delivery.waiting_since,
        tried_at=delivery.tried_at,
        status=delivery.status,
        problem=delivery.problem,
        settled_at=delivery.settled_at,
    )

"""``outdial webhook``: addresses of your own systems that are told of what happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias

import typer

from outdial.cli import output
from outdial.cli.options import Account, Json, account_id, application
from outdial.cli.running import actor, in_context
from outdial.context import Context
from outdial.core.webhook import DeliveryState, WebhookEvent, message_id
from outdial.services import webhooks
from outdial.services.clients import LONGEST_OVERLAP_SECONDS
from outdial.services.webhook_post import Answer, WebhookPost
from outdial.services.webhooks import Delivery, NewWebhookSecret, Webhook

app = typer.Typer(help="Addresses of your own systems that are told of what happens.", no_args_is_help=True)

WebhookId: TypeAlias = Annotated[str, typer.Argument(metavar="WEBHOOK", help="The webhook, wh-….")]
Event: TypeAlias = Annotated[
    list[WebhookEvent] | None, typer.Option("--event", help="What it is told of; may be given several times.")
]


@app.command(epilog="Example: outdial webhook create https://crm.example.net/outdial --event attempt.ended")
def create(
    url: Annotated[str, typer.Argument(metavar="URL", help="Gets each message by POST; http or https.")],
    *,
    event: Event = None,
    account: Account = None,
    iid: Annotated[
        str | None, typer.Option("--iid", metavar="IID", help="Only of this application; else of the whole account.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Have an address told of what happens from now on; its secret is shown this once. Without --event it is told
    everything."""

    async def work(context: Context) -> NewWebhookSecret:
        owner = await account_id(context.database, account) if iid is None else await _account_of(context, iid)
        return await webhooks.create_webhook(
            context.database,
            context.secrets,
            account_id=owner,
            iid=iid,
            url=url,
            events=webhooks.EVERY_EVENT if event is None else event,
            actor=actor(),
        )

    _show_secret(in_context(work), as_json=as_json)


@app.command("list", epilog="Example: outdial webhook list --json")
def list_(*, account: Account = None, as_json: Json = False) -> None:
    """List the webhooks of an account and its applications."""

    async def work(context: Context) -> list[Webhook]:
        owner = await account_id(context.database, account)
        return await webhooks.list_webhooks(context.database, account_id=owner, iid=None)

    _show(in_context(work), as_json=as_json)


@app.command(epilog="Example: outdial webhook change wh-… --off")
def change(
    webhook: WebhookId,
    *,
    url: Annotated[str | None, typer.Option(metavar="URL", help="Another address.")] = None,
    event: Event = None,
    enabled: Annotated[bool | None, typer.Option("--on/--off", help="Switch it on or off.")] = None,
    account: Account = None,
    as_json: Json = False,
) -> None:
    """Change a webhook; what is not named stays. Switched on again it is told what has happened meanwhile."""

    async def work(context: Context) -> list[Webhook]:
        changed = await webhooks.change_webhook(
            context.database,
            webhook,
            account_id=await account_id(context.database, account),
            iid=None,
            url=url,
            events=event,
            enabled=enabled,
            actor=actor(),
        )
        return [changed]

    _show(in_context(work), as_json=as_json)


@app.command(epilog="Example: outdial webhook remove wh-…")
def remove(webhook: WebhookId, *, account: Account = None, as_json: Json = False) -> None:
    """Remove a webhook with all that waits for it."""

    async def work(context: Context) -> Webhook:
        owner = await account_id(context.database, account)
        return await webhooks.remove_webhook(context.database, webhook, account_id=owner, iid=None, actor=actor())

    removed = in_context(work)
    if as_json:
        output.print_json(removed)
    else:
        output.say(f"{removed.url} is told nothing any more.")


@app.command(epilog="Example: outdial webhook rotate wh-… --overlap 3600")
def rotate(
    webhook: WebhookId,
    *,
    overlap: Annotated[
        int,
        typer.Option(
            min=0,
            max=LONGEST_OVERLAP_SECONDS,
            metavar="SECONDS",
            help="So long messages are signed with the old secret too.",
        ),
    ] = 0,
    account: Account = None,
    as_json: Json = False,
) -> None:
    """Give a webhook a new secret, shown this once."""

    async def work(context: Context) -> NewWebhookSecret:
        return await webhooks.rotate_secret(
            context.database,
            context.secrets,
            webhook,
            account_id=await account_id(context.database, account),
            iid=None,
            overlap_seconds=overlap,
            actor=actor(),
        )

    _show_secret(in_context(work), as_json=as_json)


@app.command("test", epilog="Example: outdial webhook test wh-…")
def send_test(webhook: WebhookId, *, account: Account = None, as_json: Json = False) -> None:
    """Send a webhook a test message, once, and show what came of it."""

    async def work(context: Context) -> Answer:
        owner = await account_id(context.database, account)
        async with WebhookPost(context.settings.hosts_of_webhooks) as post:
            return await webhooks.try_webhook(
                context.database, context.secrets, post, webhook, account_id=owner, iid=None
            )

    answer = in_context(work)
    if as_json:
        told = {"delivered": answer.delivered, "status": answer.status, "problem": answer.problem}
        output.print_json({**told, "seconds": answer.seconds})
    elif answer.delivered:
        output.say(f"Delivered: HTTP status {answer.status} after {answer.seconds:.2f} s.")
    else:
        output.note(f"Not delivered: {answer.problem}.")
    if not answer.delivered:
        raise typer.Exit(1)


@app.command(epilog="Example: outdial webhook deliveries wh-… --state dead")
def deliveries(
    webhook: WebhookId,
    *,
    state: Annotated[DeliveryState | None, typer.Option(help="Only messages in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 20,
    before: Annotated[int | None, typer.Option(metavar="ID", help="Only those older than this one.")] = None,
    account: Account = None,
    as_json: Json = False,
) -> None:
    """List what became of a webhook's messages, the newest first."""

    async def work(context: Context) -> list[Delivery]:
        return await webhooks.deliveries(
            context.database,
            webhook,
            account_id=await account_id(context.database, account),
            iid=None,
            state=state,
            before=before,
            limit=limit,
        )

    found = in_context(work)
    if as_json:
        output.print_json(found)
        return
    output.print_table(
        ("id", "message", "run", "state", "tries", "since", "last try", "problem"),
        (
            (
                each.id,
                message_id(each.event, each.history_id),
                each.instance_id or "",
                each.state,
                each.tries,
                output.time_text(each.waiting_since),
                output.time_text(each.tried_at),
                each.problem,
            )
            for each in found
        ),
        empty="There is no message.",
    )


@app.command(epilog="Example: outdial webhook replay wh-… --id 4711")
def replay(
    webhook: WebhookId,
    *,
    delivery: Annotated[
        int | None, typer.Option("--id", metavar="ID", help="Only this one, dead or delivered; else all dead ones.")
    ] = None,
    account: Account = None,
    as_json: Json = False,
) -> None:
    """Send dead messages once more, in order."""

    async def work(context: Context) -> int:
        owner = await account_id(context.database, account)
        if delivery is None:
            return await webhooks.replay_dead(context.database, webhook, account_id=owner, iid=None, actor=actor())
        return await webhooks.replay_one(context.database, webhook, delivery, account_id=owner, iid=None, actor=actor())

    count = in_context(work)
    if as_json:
        output.print_json({"replayedCount": count})
    else:
        output.say(f"{count} messages are sent once more, by a running `outdial serve`.")


async def _account_of(context: Context, iid: str) -> str:
    return (await application(context.database, iid)).account_id


def _show_secret(made: NewWebhookSecret, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"webhook": made.webhook, "secret": made.secret})
        return
    output.print_fields({"id": made.webhook.id, "url": made.webhook.url, "secret": made.secret})
    output.note("The secret is shown this once; the receiver checks signatures with it.")


def _show(found: Sequence[Webhook], *, as_json: bool) -> None:
    if as_json:
        output.print_json(found)
        return
    output.print_table(
        ("id", "url", "told of", "whose", "state"),
        (
            (
                each.id,
                each.url,
                "everything" if each.events == webhooks.EVERY_EVENT else " ".join(each.events),
                each.iid or "the account",
                "on" if each.enabled else each.disabled_reason or "off",
            )
            for each in found
        ),
        empty="There is no webhook.",
    )

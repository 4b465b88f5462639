"""``outdial app`` and ``outdial token``: who may use the API."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from outdial import clock, tokens
from outdial.cli import output
from outdial.cli.options import Json
from outdial.cli.running import in_context
from outdial.context import Context
from outdial.core.errors import NotFoundError
from outdial.core.model import Application
from outdial.services import access, clients
from outdial.services.access import Credentials

app = typer.Typer(help="Applications: each has its own campaigns, lists, trunks and API client.", no_args_is_help=True)


@app.command(epilog="Example: outdial app create --account Acme --name Reminders")
def create(
    *,
    account: Annotated[str, typer.Option(help="Account it belongs to; made when there is none of that name.")],
    name: Annotated[str, typer.Option(help="Name of the application, unique in its account.")],
    max_concurrent_calls: Annotated[
        int | None, typer.Option(min=1, help="Ceiling over all its runs; without it only the trunks' own count.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an application and its API client; the secret signs the client's tokens."""

    async def work(context: Context) -> Credentials:
        return await access.create_application(
            context.database, context.secrets, account=account, name=name, max_concurrent_calls=max_concurrent_calls
        )

    made = in_context(work)
    values = {
        "accountId": made.account_id,
        "iid": made.iid,
        "clientId": made.client_id,
        "clientSecret": made.client_secret,
    }
    if as_json:
        output.print_json(values)
    else:
        output.print_fields(values)
        output.note(f"Keep the secret. A token for curl: outdial token --client-id {made.client_id}")


@app.command("list", epilog="Example: outdial app list --json")
def list_(*, as_json: Json = False) -> None:
    """List all applications."""

    async def work(context: Context) -> list[Application]:
        return await access.list_applications(context.database)

    found = in_context(work)
    if as_json:
        output.print_json(found)
    else:
        output.print_table(
            ("account", "account id", "name", "iid", "concurrent calls"),
            (
                (each.account_name, each.account_id, each.name, each.iid, each.max_concurrent_calls or "–")
                for each in found
            ),
            empty="There is no application yet: outdial app create --account NAME --name NAME",
        )


def token(
    *,
    client_id: Annotated[str, typer.Option(help="The client, cs-….")],
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 366, help="How long it is valid.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Print a token that is valid for an API client: the header ``auth`` of every request."""

    async def work(context: Context) -> str:
        client = await clients.client_access(context.database, context.secrets, client_id)
        if client is None or client.revoked:
            raise NotFoundError(
                f"There is no client {client_id!r} that may use the API; `outdial app create` makes one."
            )
        return client.secrets[0]

    expires_at = clock.now() + timedelta(hours=hours)
    signed = tokens.sign(client_id, in_context(work), expires_at=expires_at)
    if as_json:
        output.print_json({"token": signed, "expiresAt": expires_at})
    else:
        output.say(signed)

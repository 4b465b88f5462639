"""``outdial client``: the API clients of an application."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from outdial.cli import output
from outdial.cli.options import Iid, Json, application
from outdial.cli.running import actor, in_context
from outdial.context import Context
from outdial.core.model import ApiClient, Scope
from outdial.services import clients
from outdial.services.clients import NewSecret

app = typer.Typer(
    help="API clients: each has a secret of its own and may do what its scopes say.", no_args_is_help=True
)

ClientId: TypeAlias = Annotated[str, typer.Argument(metavar="CLIENT", help="The client, cs-….")]
Scopes: TypeAlias = Annotated[
    list[Scope] | None, typer.Option("--scope", help="What it may do; may be given several times.")
]


@app.command(epilog="Example: outdial client create --name crm --scope campaign_management --scope do_not_call")
def create(
    *,
    iid: Iid = None,
    name: Annotated[str, typer.Option(help="What it is called, for people.")],
    scope: Scopes = None,
    require_jti: Annotated[
        bool, typer.Option("--require-jti", help="Let each of its tokens, which need a jti, serve once.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make an API client; its secret is shown this once. Without --scope it may do everything."""

    async def work(context: Context) -> NewSecret:
        owner = await application(context.database, iid)
        return await clients.create_client(
            context.database,
            context.secrets,
            iid=owner.iid,
            name=name,
            scopes=clients.FIRST_SCOPES if scope is None else frozenset(scope),
            require_jti=require_jti,
            actor=actor(),
        )

    _show_secret(in_context(work), as_json=as_json)


@app.command("list", epilog="Example: outdial client list")
def list_(*, iid: Iid = None, as_json: Json = False) -> None:
    """List the API clients of an application, revoked ones too."""

    async def work(context: Context) -> list[ApiClient]:
        owner = await application(context.database, iid)
        return await clients.list_clients(context.database, owner.iid)

    found = in_context(work)
    if as_json:
        output.print_json(found)
    else:
        output.print_table(
            ("id", "name", "scopes", "one-time tokens", "revoked"),
            (
                (
                    each.id,
                    each.name,
                    " ".join(sorted(each.scopes)),
                    "yes" if each.require_jti else "no",
                    output.time_text(each.revoked_at),
                )
                for each in found
            ),
            empty="There is no client.",
        )


@app.command(epilog="Example: outdial client change cs-… --scope configuration --require-jti")
def change(
    client_id: ClientId,
    *,
    iid: Iid = None,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    scope: Scopes = None,
    require_jti: Annotated[
        bool | None,
        typer.Option("--require-jti/--no-require-jti", help="Whether each of its tokens serves once."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Change an API client; what is not named stays. It counts from the next request on."""

    async def work(context: Context) -> ApiClient:
        owner = await application(context.database, iid)
        return await clients.change_client(
            context.database,
            iid=owner.iid,
            client_id=client_id,
            name=name,
            scopes=None if scope is None else frozenset(scope),
            require_jti=require_jti,
            actor=actor(),
        )

    changed = in_context(work)
    if as_json:
        output.print_json(changed)
    else:
        output.say(f"Client {changed.name} may do: {', '.join(sorted(changed.scopes))}.")


@app.command(epilog="Example: outdial client rotate cs-… --overlap-seconds 3600")
def rotate(
    client_id: ClientId,
    *,
    iid: Iid = None,
    overlap_seconds: Annotated[
        int,
        typer.Option(min=0, max=clients.LONGEST_OVERLAP_SECONDS, help="How long the old secret stays good too."),
    ] = 0,
    as_json: Json = False,
) -> None:
    """Give an API client a new secret, shown this once."""

    async def work(context: Context) -> NewSecret:
        owner = await application(context.database, iid)
        return await clients.rotate_secret(
            context.database,
            context.secrets,
            iid=owner.iid,
            client_id=client_id,
            overlap_seconds=overlap_seconds,
            actor=actor(),
        )

    _show_secret(in_context(work), as_json=as_json)


@app.command(epilog="Example: outdial client revoke cs-…")
def revoke(client_id: ClientId, *, iid: Iid = None, as_json: Json = False) -> None:
    """Let an API client in no more, from the next request on; it cannot be taken back."""

    async def work(context: Context) -> ApiClient:
        owner = await application(context.database, iid)
        return await clients.revoke_client(context.database, iid=owner.iid, client_id=client_id, actor=actor())

    revoked = in_context(work)
    if as_json:
        output.print_json(revoked)
    else:
        output.say(f"Client {revoked.name} is revoked.")


def _show_secret(made: NewSecret, *, as_json: bool) -> None:
    values = {"clientId": made.client.id, "clientSecret": made.secret}
    if as_json:
        output.print_json(values)
    else:
        output.print_fields(values)
        output.note(f"Keep the secret. A token for curl: outdial token --client-id {made.client.id}")

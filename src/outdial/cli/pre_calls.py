"""``outdial pre-call``: the address a campaign's contacts are asked about right before they are dialed."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from outdial.cli import output
from outdial.cli.options import Json
from outdial.cli.running import actor, in_context
from outdial.context import Context
from outdial.core.errors import InvalidInputError
from outdial.services import campaigns, pre_calls
from outdial.services.pre_calls import PreCallView

app = typer.Typer(
    help="The address a campaign's contacts are asked about right before they are dialed.", no_args_is_help=True
)

Named: TypeAlias = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Its id, or its name where that is unique.")]


@app.command("set", epilog="Example: outdial pre-call set Spring --url https://crm.example.net/ask --header 'X-Key: 1'")
def set_(
    campaign: Named,
    *,
    url: Annotated[str, typer.Option(metavar="URL", help="Asked by POST before each call; http or https.")],
    header: Annotated[
        list[str] | None, typer.Option(metavar="'NAME: VALUE'", help="Sent with each question; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Have an address asked about each contact, from the campaign's next run on; whom it does not say to call is
    skipped."""
    headers = _headers(header or [])

    async def work(context: Context) -> PreCallView:
        found = await campaigns.find_campaign(context.database, campaign)
        return await pre_calls.set_fetch(
            context.database,
            context.secrets,
            iid=found.iid,
            campaign_id=found.id,
            url=url,
            headers=headers,
            actor=actor(),
        )

    _tell(in_context(work), as_json=as_json)


@app.command(epilog="Example: outdial pre-call show Spring --json")
def show(campaign: Named, *, as_json: Json = False) -> None:
    """Show the address and the names of the headers; their values are never shown."""

    async def work(context: Context) -> PreCallView:
        found = await campaigns.find_campaign(context.database, campaign)
        return await pre_calls.show_fetch(context.database, context.secrets, iid=found.iid, campaign_id=found.id)

    _tell(in_context(work), as_json=as_json)


@app.command(epilog="Example: outdial pre-call remove Spring")
def remove(campaign: Named, *, as_json: Json = False) -> None:
    """Have the campaign's contacts dialed without asking, from its next run on."""

    async def work(context: Context) -> PreCallView:
        found = await campaigns.find_campaign(context.database, campaign)
        return await pre_calls.remove_fetch(
            context.database, context.secrets, iid=found.iid, campaign_id=found.id, actor=actor()
        )

    removed = in_context(work)
    if as_json:
        output.print_json(removed)
    else:
        output.say(f"{removed.url} is not asked any more.")


def _headers(given: list[str]) -> dict[str, str]:
    made: dict[str, str] = {}
    for each in given:
        name, colon, value = each.partition(":")
        if not colon:
            raise InvalidInputError([f"--header must be 'NAME: VALUE', not {name[:60]!r}."])
        if name.strip() in made:
            raise InvalidInputError([f"--header names {name.strip()[:60]!r} twice."])
        made[name.strip()] = value.strip()
    return made


def _tell(found: PreCallView, *, as_json: bool) -> None:
    if as_json:
        output.print_json(found)
    else:
        output.print_fields({"url": found.url, "headers": ", ".join(found.header_names) or "none"})

"""``outdial courtesy``: what whoever answers a call hears although it was being cancelled."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from outdial.cli import output
from outdial.cli.options import Json
from outdial.cli.running import actor, in_context
from outdial.context import Context
from outdial.core.model import Flow
from outdial.services import campaigns, courtesy

app = typer.Typer(
    help="The message that whoever answers a call of a campaign hears although it was being cancelled.",
    no_args_is_help=True,
)

Named: TypeAlias = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Its id, or its name where that is unique.")]


@app.command("set", epilog="Example: outdial courtesy set Spring --flow Sorry")
def set_(
    campaign: Named,
    *,
    flow: Annotated[str, typer.Option(metavar="FLOW", help="A flow of the application, by its name or id.")],
    as_json: Json = False,
) -> None:
    """Let whoever answers as a stop cancels hear a flow and be hung up then, from the campaign's next run on."""

    async def work(context: Context) -> Flow:
        found = await campaigns.find_campaign(context.database, campaign)
        return await courtesy.set_courtesy(
            context.database, iid=found.iid, campaign_id=found.id, flow=flow, actor=actor()
        )

    _tell(in_context(work), as_json=as_json)


@app.command(epilog="Example: outdial courtesy show Spring --json")
def show(campaign: Named, *, as_json: Json = False) -> None:
    """Show the flow."""

    async def work(context: Context) -> Flow:
        found = await campaigns.find_campaign(context.database, campaign)
        return await courtesy.show_courtesy(context.database, iid=found.iid, campaign_id=found.id)

    _tell(in_context(work), as_json=as_json)


@app.command(epilog="Example: outdial courtesy remove Spring")
def remove(campaign: Named, *, as_json: Json = False) -> None:
    """Let whoever answers as a stop cancels be hung up on at once, from the campaign's next run on."""

    async def work(context: Context) -> Flow:
        found = await campaigns.find_campaign(context.database, campaign)
        return await courtesy.remove_courtesy(context.database, iid=found.iid, campaign_id=found.id, actor=actor())

    removed = in_context(work)
    if as_json:
        output.print_json(removed)
    else:
        output.say(f"{removed.name} is not heard any more.")


def _tell(found: Flow, *, as_json: bool) -> None:
    if as_json:
        output.print_json(found)
    else:
        output.print_fields({"flow": found.name, "id": found.id, "lasts": f"{found.duration_seconds:.1f} s"})

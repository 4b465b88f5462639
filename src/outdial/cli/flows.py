"""``outdial flow``: what an answered call hears."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from outdial.cli import output
from outdial.cli.options import Iid, Json, application
from outdial.cli.running import actor, in_context
from outdial.context import Context
from outdial.core.model import Flow
from outdial.services import flows

app = typer.Typer(help="Flows: what an answered call hears.", no_args_is_help=True)


@app.command(epilog="Example: outdial flow add --name Reminder --audio reminder.wav")
def add(
    *,
    iid: Iid = None,
    name: Annotated[str, typer.Option(help="Name of the flow, unique in its application.")],
    audio: Annotated[
        Path,
        typer.Option(
            metavar="FILE.wav", exists=True, dir_okay=False, readable=True, help="Any PCM WAV, 8 or 16 bit, 8–48 kHz."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Add a flow that plays a WAV and hangs up."""
    wav = audio.read_bytes()

    async def work(context: Context) -> Flow:
        owner = await application(context.database, iid)
        return await flows.add_flow(context.database, owner.iid, name, wav, actor=actor())

    added = in_context(work)
    if as_json:
        output.print_json(added)
    else:
        output.say(f"Flow {added.name} added, {added.duration_seconds:.1f} s.")


@app.command("list", epilog="Example: outdial flow list")
def list_(*, iid: Iid = None, as_json: Json = False) -> None:
    """List flows, of one application or of all."""

    async def work(context: Context) -> list[Flow]:
        return await flows.list_flows(context.database, iid)

    found = in_context(work)
    if as_json:
        output.print_json(found)
    else:
        output.print_table(
            ("name", "id", "iid", "seconds"),
            ((each.name, each.id, each.iid, f"{each.duration_seconds:.1f}") for each in found),
            empty="There is no flow yet; `outdial flow add --help` shows an example.",
        )

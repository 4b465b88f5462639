"""``outdial trunk``: the SIP lines calls leave by."""

from __future__ import annotations

from typing import Annotated

import typer

from outdial.cli import output
from outdial.cli.options import Iid, Json, application
from outdial.cli.running import actor, in_context
from outdial.context import Context
from outdial.core.model import NumberFormat, Transport, Trunk
from outdial.core.pacing import CallerCaps
from outdial.services import caller_ids, trunks
from outdial.services.caller_ids import CallerId
from outdial.services.trunks import TrunkDraft

app = typer.Typer(
    help="Trunks: the SIP lines calls leave by. A campaign's caller ID chooses its trunk.", no_args_is_help=True
)


@app.command(
    epilog="Example: outdial trunk add --name Main --host sip.example.net --transport tls --username acme "
    "--caller-id +15550100001 --max-channels 30 --calls-per-second 5"
)
def add(
    *,
    iid: Iid = None,
    name: Annotated[str, typer.Option(help="Name of the trunk, unique in its application.")],
    host: Annotated[str, typer.Option(help="Address or name of the carrier's SIP server.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Its port; 0 = as DNS says (SRV).")] = 5060,
    transport: Annotated[Transport, typer.Option(help="How SIP travels.")] = Transport.UDP,
    username: Annotated[str | None, typer.Option(help="For digest authentication.")] = None,
    password: Annotated[
        str | None,
        typer.Option(envvar="OUTDIAL_TRUNK_PASSWORD", help="Asked for when a user name is given without it."),
    ] = None,
    from_domain: Annotated[str | None, typer.Option(help="Domain of the From header.")] = None,
    number_format: Annotated[
        NumberFormat, typer.Option(help="How called numbers are written: with or without +.")
    ] = NumberFormat.E164_PLUS,
    number_prefix: Annotated[str, typer.Option(help="Digits put before the called number.")] = "",
    caller_id: Annotated[
        list[str], typer.Option(metavar="+NUMBER", help="A number calls may come from; may be given several times.")
    ],
    max_channels: Annotated[int, typer.Option(min=1, help="Calls at once.")] = 10,
    calls_per_second: Annotated[float, typer.Option(min=0.01, help="New calls per second.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Add a trunk."""
    if username is not None and password is None:
        password = typer.prompt("Password of the trunk", hide_input=True, err=True)
    draft = TrunkDraft(
        name=name,
        host=host,
        port=port,
        transport=transport,
        username=username,
        password=password,
        from_domain=from_domain,
        number_format=number_format,
        number_prefix=number_prefix,
        caller_ids=tuple(caller_id),
        max_channels=max_channels,
        calls_per_second=calls_per_second,
    )

    async def work(context: Context) -> Trunk:
        owner = await application(context.database, iid)
        return await trunks.add_trunk(context.database, context.secrets, owner.iid, draft, actor=actor())

    added = in_context(work)
    if as_json:
        output.print_json(added)
    else:
        output.say(f"Trunk {added.name} added. `outdial doctor` asks whether it answers.")


@app.command("list", epilog="Example: outdial trunk list")
def list_(*, iid: Iid = None, as_json: Json = False) -> None:
    """List trunks, of one application or of all."""

    async def work(context: Context) -> list[Trunk]:
        return await trunks.list_trunks(context.database, context.secrets, iid)

    found = in_context(work)
    if as_json:
        output.print_json(found)
    else:
        output.print_table(
            ("name", "iid", "address", "transport", "caller IDs", "channels", "calls/s"),
            (
                (
                    each.name,
                    each.iid,
                    f"{each.host}:{each.port}" if each.port else f"{each.host} (port by DNS)",
                    each.transport,
                    " ".join(each.caller_ids),
                    each.max_channels,
                    f"{each.calls_per_second:g}",
                )
                for each in found
            ),
            empty="There is no trunk yet; `outdial trunk add --help` shows an example.",
        )


@app.command(epilog="Example: outdial trunk remove Main")
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the trunk.")],
    *,
    iid: Iid = None,
    as_json: Json = False,
) -> None:
    """Remove a trunk; refused while a live run uses it."""

    async def work(context: Context) -> Trunk:
        owner = await application(context.database, iid)
        return await trunks.remove_trunk(context.database, owner.iid, name, actor=actor())

    removed = in_context(work)
    if as_json:
        output.print_json(removed)
    else:
        output.say(f"Trunk {removed.name} removed.")


@app.command("caller-ids", epilog="Example: outdial trunk caller-ids")
def caller_ids_(*, iid: Iid = None, as_json: Json = False) -> None:
    """List caller IDs with their trunks and caps, of one application or of all."""

    async def work(context: Context) -> list[CallerId]:
        return await caller_ids.list_caller_ids(context.database, iid)

    _show_caller_ids(in_context(work), as_json=as_json)


@app.command(epilog="Example: outdial trunk cap +15550100001 --max-calls 10 --calls-per-day 500")
def cap(
    phone: Annotated[str, typer.Argument(metavar="+NUMBER", help="The caller ID.")],
    *,
    max_calls: Annotated[int | None, typer.Option(min=1, help="Calls at once; left out: no cap.")] = None,
    calls_per_second: Annotated[
        float | None, typer.Option(min=0.001, help="New calls per second; left out: no cap.")
    ] = None,
    calls_per_day: Annotated[int | None, typer.Option(min=1, help="Calls in any 24 hours; left out: no cap.")] = None,
    iid: Iid = None,
    as_json: Json = False,
) -> None:
    """Say how much may be called with a caller ID, over all campaigns; what is not named is not capped."""

    async def work(context: Context) -> list[CallerId]:
        owner = await application(context.database, iid)
        caps = CallerCaps(max_calls, calls_per_second, calls_per_day)
        return [await caller_ids.set_caps(context.database, iid=owner.iid, phone=phone, caps=caps, actor=actor())]

    _show_caller_ids(in_context(work), as_json=as_json)


def _show_caller_ids(found: list[CallerId], *, as_json: bool) -> None:
    if as_json:
        output.print_json(found)
        return
    output.print_table(
        ("caller ID", "trunk", "at once", "calls/s", "in 24 hours"),
        (
            (
                each.phone,
                each.trunk_name,
                *(
                    "" if value is None else f"{value:g}"
                    for value in (each.caps.max_concurrent_calls, each.caps.calls_per_second, each.caps.calls_per_day)
                ),
            )
            for each in found
        ),
        empty="There is no caller ID.",
    )

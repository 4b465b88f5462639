"""``outdial contacts``: people to call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from outdial.cli import output, remote
from outdial.cli.imports import refuse_overwriting, run_import, tell_import, upload
from outdial.cli.options import Iid, Json, application
from outdial.cli.remote import ClientId, ClientSecret, Server, ServerIid
from outdial.cli.running import FAILED, actor, in_context
from outdial.context import Context
from outdial.core.canonical import Json as Document
from outdial.core.manual_call import ManualAnswer
from outdial.services import manual_calls
from outdial.services.contact_columns import ColumnMapping
from outdial.services.imports import Import, ImportDraft, RowError
from outdial.services.manual_call_text import manual_call_document, manual_call_text
from outdial.services.stop_lookup import find_run

app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """Contacts: people to call, in contact lists."""


@app.command("import", epilog="Example: outdial contacts import people.csv --list 'March callers'")
def import_(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, help="CSV or XLSX with a header."),
    ],
    *,
    list_name: Annotated[str, typer.Option("--list", metavar="NAME", help="The contact list.")],
    create: Annotated[
        bool, typer.Option("--create/--no-create", help="Make the list when there is none of that name.")
    ] = True,
    errors: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, help="Where rows that are wrong go; without it FILE with .errors.csv."
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(metavar="CC", help="Country of numbers without +, e.g. US; without it OUTDIAL_DEFAULT_REGION."),
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="FIELD=COLUMN",
            help="What a column holds, where its name does not say so: phone, timeZone, uniqueId, priority, or the "
            "name of an attribute; phone2 to phone5 are other numbers of the contact. May be given several times.",
        ),
    ] = None,
    sheet: Annotated[
        str | None, typer.Option(metavar="NAME", help="The sheet of a workbook; without it the first.")
    ] = None,
    iid: Iid = None,
    as_json: Json = False,
) -> None:
    """Import contacts from a CSV file or an Excel workbook; one column must be called phone or the like, or be mapped.

    Rows that are wrong go to a file, each with its line and reason; the good ones are kept. Run again, it adds
    nothing twice; one that was broken off goes on with `outdial import resume`.

    Exit code 0 when it is done, 1 when it failed, or there were rows and every one of them was wrong or had no room,
    2 for wrong usage.
    """
    draft = ImportDraft(
        list_name=list_name,
        file_name=file.name,
        create_list=create,
        sheet=sheet,
        mapping=ColumnMapping.parse(maps or ()),
    )

    async def work(context: Context) -> tuple[Import, Sequence[RowError]]:
        owner = await application(context.database, iid)
        ready = await upload(
            context, owner, replace(draft, default_region=region or context.settings.default_region), file
        )
        return await run_import(context, ready, error_file)

    error_file = errors or file.with_name(f"{file.stem}.errors.csv")
    refuse_overwriting(error_file, file)
    tell_import(*in_context(work), error_file, as_json=as_json)


@app.command(epilog="Example: outdial contacts call 'Spring calls' +15550100001")
def call(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="The run, cid-…; or its campaign, id or name, for the latest.")
    ],
    contact: Annotated[str, typer.Argument(metavar="CONTACT", help="Its number, or its id in the run, cdl-….")],
    *,
    server: Server = None,
    iid: ServerIid = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    as_json: Json = False,
) -> None:
    """Have a contact of an active run called before all others, where the gate lets it through now.

    Rules, rates, caps and the stop hold as ever, and it is no attempt beyond those the campaign allows. Asked twice, it
    is called once.

    Exit code 0 when it will be called, 1 when something does not allow it, which is said, and nothing was changed; 2
    for wrong usage.
    """
    told = remote.access(server, iid, client_id, client_secret)
    if told is not None:
        document = remote.called_now(told, run, contact)
    else:
        remote.only_with_server(iid)
        document = _called_now(run, contact)
    if as_json:
        output.print_json(document)
    else:
        output.say(manual_call_text(document))
    if document["answer"] != ManualAnswer.ALLOWED:
        raise typer.Exit(FAILED)


def _called_now(run: str, contact: str) -> dict[str, Document]:
    async def work(context: Context) -> dict[str, Document]:
        named = await find_run(context.database, run)
        return manual_call_document(
            await manual_calls.call_now(
                context.database, iid=named.iid, instance_id=named.instance_id, contact=contact, actor=actor()
            )
        )

    return in_context(work)

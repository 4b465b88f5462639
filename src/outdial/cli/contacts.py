"""``outdial contacts``: people to call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from outdial.cli import output
from outdial.cli.options import Iid, Json, application
from outdial.cli.running import FAILED, actor, in_context
from outdial.context import Context
from outdial.services import imports
from outdial.services.contact_columns import ColumnMapping
from outdial.services.imports import ImportProgress, ImportReport

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
            "name of an attribute. May be given several times.",
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
    nothing twice. Exit code 1 when there were rows and every one of them was wrong or had no room.
    """
    mapping = ColumnMapping.parse(maps or ())
    error_file = errors or file.with_name(f"{file.stem}.errors.csv")

    async def work(context: Context) -> ImportReport:
        owner = await application(context.database, iid)
        with _progress_bar(file.name) as on_progress:
            return await imports.import_file(
                context.database,
                iid=owner.iid,
                account_id=owner.account_id,
                list_name=list_name,
                path=file,
                default_region=region or context.settings.default_region,
                create=create,
                on_progress=on_progress,
                error_file=error_file,
                actor=actor(),
                mapping=mapping,
                sheet=sheet,
            )

    report = in_context(work)
    if as_json:
        output.print_json(report)
    else:
        made = " (new)" if report.list_created else ""
        output.say(
            f"{report.rows} rows: {report.added} contacts added to {list_name}{made}, {report.duplicates} were there "
            f"already, {report.bad} are wrong{f', {report.beyond} had no room' if report.beyond else ''}."
        )
    for sentence in report.examples:
        output.note(sentence)
    if report.error_file is not None:
        output.note(f"All wrong rows, with line and reason: {report.error_file}")
    if report.rows and report.bad + report.beyond == report.rows:
        raise typer.Exit(FAILED)


@contextmanager
def _progress_bar(name: str) -> Iterator[Callable[[ImportProgress], None]]:
    """Show a bar on standard error, where that is a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]} rows, {task.fields[bad]} wrong"),
        TimeRemainingColumn(),
    )
    console = output.console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None, rows=0, bad=0)

        def show(progress: ImportProgress) -> None:
            bar.update(
                task,
                completed=progress.position,
                total=progress.size,
                rows=f"{progress.rows:,}",
                bad=f"{progress.bad:,}",
            )

        yield show

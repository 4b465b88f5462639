"""``outdial import``: imports of contacts, which ``outdial contacts import`` begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from outdial.cli import output
from outdial.cli.options import Iid, Json, application
from outdial.cli.running import FAILED, actor, in_context
from outdial.context import Context
from outdial.core.errors import FileError, InvalidInputError
from outdial.core.model import Application
from outdial.core.paging import Page
from outdial.services import imports
from outdial.services.import_rows import MOST_EXAMPLES
from outdial.services.imports import FOLDER, LARGEST_PIECE, Import, ImportDraft, ImportProgress, RowError

app = typer.Typer(no_args_is_help=True)

ImportId: TypeAlias = Annotated[str, typer.Argument(metavar="IMPORT", help="Id of the import, im-….")]
Skip: TypeAlias = Annotated[int, typer.Option(min=0, help="Leave out so many.")]
Limit: TypeAlias = Annotated[int, typer.Option(min=1, max=10_000, help="Show at most so many.")]


@app.callback()
def group() -> None:
    """Imports of contacts: how far they are, what was wrong, resume, cancel. `outdial contacts import` begins one."""


@app.command("list", epilog="Example: outdial import list --json")
def list_(*, skip: Skip = 0, limit: Limit = 50, iid: Iid = None, as_json: Json = False) -> None:
    """List imports, newest first. Exit code 0, or 1 when that failed."""

    async def work(context: Context) -> Page[Import]:
        owner = await application(context.database, iid)
        return await imports.list_imports(context.database, owner.iid, skip=skip, limit=limit)

    found = in_context(work)
    if as_json:
        output.print_json(found)
    else:
        output.print_table(
            ("import", "state", "file", "list", "rows", "added", "wrong", "began"),
            (
                (
                    *(each.id, each.state, each.file_name, each.list_name, each.rows, each.added, each.bad),
                    output.time_text(each.created_at),
                )
                for each in found.items
            ),
            empty="There is no import.",
        )


@app.command(epilog="Example: outdial import show im-11111111-2222-4333-8444-555555555555")
def show(import_id: ImportId, *, iid: Iid = None, as_json: Json = False) -> None:
    """Show how far an import is. Exit code 0, or 1 when there is none of that id."""

    async def work(context: Context) -> Import:
        return await imports.progress(context.database, (await application(context.database, iid)).iid, import_id)

    found = in_context(work)
    if as_json:
        output.print_json(found)
        return
    output.print_fields(
        {
            "import": found.id,
            "state": f"{found.state}{f': {found.failure}' if found.failure else ''}",
            "file": found.file_name,
            "list": found.list_name,
            "read": f"{found.position} of {found.size}" if found.size else f"{found.received_bytes} bytes uploaded",
            "rows": found.rows,
            "added": found.added,
            "there already": found.duplicates,
            "wrong": found.bad,
            "no room": found.beyond,
            "do-not-call": found.on_dnc,
            "numbers left out": found.numbers_left_out,
            "by": found.created_by,
            "began": output.time_text(found.created_at),
            "ended": output.time_text(found.ended_at),
        }
    )


@app.command(epilog="Example: outdial import errors im-11111111-2222-4333-8444-555555555555 --limit 100")
def errors(import_id: ImportId, *, skip: Skip = 0, limit: Limit = 50, iid: Iid = None, as_json: Json = False) -> None:
    """Show why rows, or other numbers of contacts, were left out, by line; the first ten thousand are kept.

    Exit code 0, or 1 for an unknown id.
    """

    async def work(context: Context) -> Page[RowError]:
        owner = await application(context.database, iid)
        return await imports.errors(context.database, owner.iid, import_id, skip=skip, limit=limit)

    found = in_context(work)
    if as_json:
        output.print_json(found)
    else:
        output.print_table(
            ("line", "reason"), ((each.line, each.reason) for each in found.items), empty="No row was left out."
        )


@app.command(epilog="Example: outdial import resume im-11111111-2222-4333-8444-555555555555 --errors wrong.csv")
def resume(
    import_id: ImportId,
    *,
    error_file: Annotated[
        Path | None,
        typer.Option(
            "--errors", metavar="FILE", dir_okay=False, help="Where rows that are wrong go, after those there."
        ),
    ] = None,
    iid: Iid = None,
    as_json: Json = False,
) -> None:
    """Go on with an import that was broken off, on the machine that has its file.

    Exit codes as of `outdial contacts import`.
    """

    async def work(context: Context) -> tuple[Import, Sequence[RowError]]:
        owner = await application(context.database, iid)
        return await run_import(context, await imports.progress(context.database, owner.iid, import_id), error_file)

    tell_import(*in_context(work), error_file, as_json=as_json)


@app.command(epilog="Example: outdial import cancel im-11111111-2222-4333-8444-555555555555")
def cancel(import_id: ImportId, *, iid: Iid = None, as_json: Json = False) -> None:
    """End an import for good; contacts added before stay. Exit code 0, or 1 when it has ended already."""

    async def work(context: Context) -> Import:
        owner = await application(context.database, iid)
        return await imports.cancel(context.database, folder(context), owner.iid, import_id, actor=actor())

    found = in_context(work)
    if as_json:
        output.print_json(found)
    else:
        output.say(f"Cancelled; {found.added} contacts were added to {found.list_name} before and stay.")


def folder(context: Context) -> Path:
    """Return where files of imports are kept."""
    return context.settings.data_dir / FOLDER


def refuse_overwriting(error_file: Path, file: Path) -> None:
    """Raise InvalidInputError when errors would be written over the file that is imported."""
    if error_file.exists() and error_file.samefile(file):
        raise InvalidInputError(["The error file is the imported file itself; name another."])


async def upload(context: Context, owner: Application, draft: ImportDraft, file: Path) -> Import:
    """Begin an import of a file of this machine and hand the file over."""
    made = await imports.create(
        context.database, iid=owner.iid, account_id=owner.account_id, draft=draft, actor=actor()
    )
    try:
        offset = 0
        with file.open("rb") as content:
            while piece := content.read(LARGEST_PIECE):
                offset = await imports.append(
                    context.database, folder(context), owner.iid, made.id, offset=offset, data=piece
                )
        return await imports.finish_upload(context.database, folder(context), owner.iid, made.id, actor=actor())
    except BaseException as error:
        # half a file is of no use to anybody
        await imports.cancel(context.database, folder(context), owner.iid, made.id, actor=actor())
        if isinstance(error, OSError):
            raise FileError(f"{file} cannot be read: {error.strerror}.") from error
        raise


async def run_import(context: Context, found: Import, error_file: Path | None) -> tuple[Import, Sequence[RowError]]:
    """Run an import, with a bar where somebody looks; return how it ended, and the first few errors."""
    try:
        with progress_bar(found.file_name) as on_progress:
            ended = await imports.run(
                context.database,
                folder(context),
                found.iid,
                found.id,
                actor=actor(),
                on_progress=on_progress,
                error_file=error_file,
                secrets=context.secrets,
            )
    except BaseException:
        after = await imports.progress(context.database, found.iid, found.id)
        if after.state is imports.ImportState.RUNNING:
            output.note(f"{after.rows} rows are done. Go on: outdial import resume {found.id}")
        raise
    page = await imports.errors(context.database, found.iid, found.id, skip=0, limit=MOST_EXAMPLES)
    return ended, page.items


def tell_import(ended: Import, examples: Sequence[RowError], error_file: Path | None, *, as_json: bool) -> None:
    """Print how an import ended; leave with an exit code when nothing of it was good."""
    left_out = ended.bad + ended.beyond
    written = error_file if left_out or ended.numbers_left_out else None
    sentences = [f"Line {each.line}: {each.reason}." for each in examples]
    if as_json:
        output.print_json({**output.plain(ended), "errorFile": written, "examples": sentences})
    else:
        made = " (new)" if ended.list_created else ""
        no_room = f", {ended.beyond} had no room" if ended.beyond else ""
        output.say(
            f"{ended.rows} rows: {ended.added} contacts added to {ended.list_name}{made}, "
            f"{ended.duplicates} were there already, {ended.bad} are wrong{no_room}."
        )
        if ended.numbers_left_out:
            output.say(f"{ended.numbers_left_out} other numbers are wrong; their contacts were imported without them.")
        if ended.on_dnc:
            output.say(f"{ended.on_dnc} are on the do-not-call list and will not be called while they are.")
    for sentence in sentences:
        output.note(sentence)
    if written is not None:
        output.note(f"All wrong rows, with line and reason: {written}")
    if ended.state is imports.ImportState.CANCELLED:
        output.note("The import was cancelled.")
    if ended.state is imports.ImportState.CANCELLED or (ended.rows and left_out == ended.rows):
        raise typer.Exit(FAILED)


@contextmanager
def progress_bar(name: str) -> Iterator[Callable[[ImportProgress], None]]:
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

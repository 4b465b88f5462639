"""``outdial history``: everything that happened, as a file that proves itself, and the check of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from outdial.cli import output
from outdial.cli.files import write_pieces
from outdial.cli.options import Account, Json, account_id, asked_for, require_one
from outdial.cli.running import FAILED, in_context
from outdial.context import Context
from outdial.core.history import ChainError
from outdial.core.history_file import FileCheck, check_file
from outdial.services import history_export
from outdial.services.history_export import ChainReport
from outdial.services.verification import lines_of

UNREADABLE: Final = 2
"""Exit code for a file that cannot be read."""

app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """History: everything that was done and dialed, chained so that nothing of it can be changed unseen."""


@app.command(epilog="Example: outdial history export --campaign 'Spring calls' --output spring.jsonl")
def export(
    *,
    account: Account = None,
    campaign: Annotated[
        str | None, typer.Option("--campaign", metavar="CAMPAIGN", help="Only that campaign and its runs: id or name.")
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="Only that run: cid-…, or its campaign for the latest.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", dir_okay=False, help="Where to; without it standard output."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the history of an account, a campaign or a run, as JSON lines.

    Rows of others that share a seal are in it as digests only, so that the chain can be recomputed from the file alone:
    outdial history verify FILE. Phone numbers that were dialed are in it. Exit code 0, or 1 when that failed.
    """
    require_one(account, campaign, run)

    async def work(context: Context) -> int:
        asked = await asked_for(context.database, account=account, campaign=campaign, run=run)
        return await write_pieces(history_export.export(context.database, asked), file)

    lines = in_context(work)
    if file is None:
        return
    if as_json:
        output.print_json({"file": file, "lines": lines})
    else:
        output.say(f"{lines} lines written to {file}.")


@app.command(epilog="Example: outdial history verify spring.jsonl")
def verify(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            readable=True,
            help="An export; without it the database itself is checked.",
        ),
    ] = None,
    *,
    account: Account = None,
    as_json: Json = False,
) -> None:
    """Recompute the chain of an export from the file alone, or of an account from its rows in the database.

    Of the database also: that no row is outside the chain, and that the chain is still the one signed reports name.
    Exit codes: 0 it holds, 1 it does not (standard error says where), 2 the file cannot be read.
    """
    if file is not None:
        if account is not None:
            raise typer.BadParameter("--account is for the database; the file itself says whose it is.")
        _tell_file(_checked(file, as_json=as_json), as_json=as_json)
        return

    async def work(context: Context) -> ChainReport:
        return await history_export.verify(context.database, await account_id(context.database, account))

    report = in_context(work)
    if as_json:
        output.print_json({"valid": True, **output.plain(report)})
    else:
        output.say(
            f"The chain of account {report.account_id} holds: {report.seals} seals, {report.rows} rows"
            f"{erased_text(report.erased)}."
        )
        output.say(f"Last seal: {report.head or 'none yet'}")


def erased_text(count: int) -> str:
    """Return how many rows were erased, to stand within a sentence; nothing where none was."""
    return f", {count} more whose person was erased" if count else ""


def _checked(file: Path, *, as_json: bool) -> FileCheck:
    try:
        with file.open("rb") as lines:
            return check_file(lines_of(lines))
    except ChainError as error:
        if as_json:
            output.print_json({"valid": False, "where": error.where, "problem": error.sentence})
        output.note(f"The file does not hold, {error.where}: {error.sentence}.")
        raise typer.Exit(FAILED) from None
    except OSError as error:
        output.note(f"{file} cannot be read: {error.strerror}.")
        raise typer.Exit(UNREADABLE) from None


def _tell_file(found: FileCheck, *, as_json: bool) -> None:
    head = None if found.head is None else found.head.sha256.hex()
    if as_json:
        of = found.asked.document()
        counts = {"seals": found.seals, "rows": found.rows, "erased": found.erased}
        output.print_json({"valid": True, **of, **counts, "head": head})
        return
    of_what = found.asked.instance_id or found.asked.campaign_id or f"account {found.asked.account_id}"
    output.say(
        f"The history of {of_what} holds: {found.rows} rows in full{erased_text(found.erased)}, {found.seals} seals."
    )
    output.say(f"Last seal: {head or 'none yet'}")

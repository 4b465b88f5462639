"""``outdial dnc``: numbers that must not be called."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Annotated, Final, Self, TypeAlias

import typer

from outdial.cli import output
from outdial.cli.imports import progress_bar
from outdial.cli.options import Account, Iid, Json, account_id, application
from outdial.cli.running import FAILED, actor, in_context
from outdial.context import Context
from outdial.core.contact_import import ImportProgress
from outdial.services import dnc
from outdial.services.dnc import DncChange, DncEntry
from outdial.services.engines import Engines
from outdial.services.number_file import NumberFile

app = typer.Typer(
    help="Do-not-call lists. Without --list it is the account's own, which counts for every campaign of the account; "
    "with it a list that campaigns name.",
    no_args_is_help=True,
)

_INDEX: Final = re.compile(r"\[(\d+)\]: ")

ListName: TypeAlias = Annotated[
    str | None,
    typer.Option("--list", metavar="NAME", help="A list that campaigns name; without it the account's own."),
]
Phones: TypeAlias = Annotated[list[str] | None, typer.Argument(metavar="+NUMBER…", help="Numbers, E.164.")]
PhonesFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--file",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        readable=True,
        help="File with a number a line, CSV file or Excel workbook (.xlsx).",
    ),
]
Column: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Column of the numbers; without it the one called phone or the like, or the only."
    ),
]
Sheet: TypeAlias = Annotated[
    str | None, typer.Option(metavar="NAME", help="The sheet of a workbook; without it the first.")
]
Region: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="CC", help="Country of numbers without +, e.g. US; without it OUTDIAL_DEFAULT_REGION."),
]
Errors: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", dir_okay=False, help="Where rows of --file that cannot be read go, with line and reason."
    ),
]
_UNTIL: Final = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")


@dataclass(frozen=True, slots=True)
class _Given:
    """Where the numbers of a command are."""

    phones: Sequence[str]
    file: Path | None
    column: str | None
    sheet: str | None
    region: str | None
    errors: Path | None

    def __post_init__(self) -> None:
        if not self.phones and self.file is None:
            raise typer.BadParameter("Name at least one number, or a --file of them.")
        if self.file is None and (self.column or self.sheet or self.errors):
            raise typer.BadParameter("--column, --sheet and --errors go with --file.")


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of them."""

    changed: int
    unchanged: int
    problems: tuple[str, ...]
    """One sentence for each number that was left out, the first thousand of a file."""
    rows: int
    """Read from the file."""
    left_out: int
    """Numbers and rows that could not be read."""
    error_file: Path | None
    """Where those of the file are, when there are any."""


@app.command(epilog="Example: outdial dnc add --file complaints.csv --column Caller --region DE --expires 2099-01-31")
def add(
    phones: Phones = None,
    *,
    file: PhonesFile = None,
    column: Column = None,
    sheet: Sheet = None,
    region: Region = None,
    errors: Errors = None,
    expires: Annotated[
        datetime | None,
        typer.Option(formats=list(_UNTIL), metavar="TIME", help="Until when, UTC; without it for good."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    account: Account = None,
    iid: Iid = None,
    list_name: ListName = None,
    as_json: Json = False,
) -> None:
    """Add numbers. When the command returns, none of them will be called any more.

    A number that cannot be read is told with its line and left out; the others are added. Run again, it adds nothing
    twice, and it never shortens how long a number stays.

    Exit code 0 when all were added, 1 when one was left out or the command failed, 2 for wrong usage.
    """
    given = _Given(phones or (), file, column, sheet, region, errors)

    async def work(context: Context) -> _Done:
        owner, of_iid = await _owner(context, account, iid, list_name)
        engines = Engines(context.database, context.secrets, ttl_seconds=context.settings.permit_ttl_seconds)
        try:
            with _Numbers(given, context.settings.default_region) as numbers:
                change = await dnc.add_numbers(
                    context.database,
                    account_id=owner,
                    iid=of_iid,
                    list_name=list_name,
                    phones=numbers.all(),
                    expires_at=None if expires is None else expires.replace(tzinfo=UTC),
                    reason=reason,
                    actor=actor(),
                    default_region=numbers.region,
                    engines=engines,
                )
                return numbers.done(change)
        finally:
            await engines.close()

    _tell(in_context(work), done="added", not_needed="there already", as_json=as_json)


@app.command(epilog="Example: outdial dnc remove +15550100001")
def remove(
    phones: Phones = None,
    *,
    file: PhonesFile = None,
    column: Column = None,
    sheet: Sheet = None,
    region: Region = None,
    errors: Errors = None,
    account: Account = None,
    iid: Iid = None,
    list_name: ListName = None,
    as_json: Json = False,
) -> None:
    """Remove numbers: they may be called again.

    Exit code 0 when all could be read, 1 when one could not or the command failed, 2 for wrong usage.
    """
    given = _Given(phones or (), file, column, sheet, region, errors)

    async def work(context: Context) -> _Done:
        owner, of_iid = await _owner(context, account, iid, list_name)
        with _Numbers(given, context.settings.default_region) as numbers:
            change = await dnc.remove_numbers(
                context.database,
                account_id=owner,
                iid=of_iid,
                list_name=list_name,
                phones=numbers.all(),
                actor=actor(),
                default_region=numbers.region,
                secrets=context.secrets,
            )
            return numbers.done(change)

    _tell(in_context(work), done="removed", not_needed="not there", as_json=as_json)


@app.command("list", epilog="Example: outdial dnc list --list Complaints")
def list_(*, account: Account = None, iid: Iid = None, list_name: ListName = None, as_json: Json = False) -> None:
    """List the numbers of a do-not-call list."""

    async def work(context: Context) -> list[DncEntry]:
        owner, of_iid = await _owner(context, account, iid, list_name)
        return await dnc.list_numbers(context.database, account_id=owner, iid=of_iid, list_name=list_name)

    found = in_context(work)
    if as_json:
        output.print_json(found)
    else:
        output.print_table(
            ("number", "since", "until", "source", "by", "reason"),
            (
                (
                    *(each.phone, output.time_text(each.added_at), output.time_text(each.expires_at)),
                    *(each.source, each.added_by, each.reason),
                )
                for each in found
            ),
            empty="The list is empty.",
        )


async def _owner(
    context: Context, account: str | None, iid: str | None, list_name: str | None
) -> tuple[str, str | None]:
    """Return the account whose list it is, and the application when it is one that campaigns name."""
    if list_name is None and iid is None:
        return await account_id(context.database, account), None
    owner = await application(context.database, iid)
    return owner.account_id, owner.iid if list_name is not None else None


class _Numbers:
    """The numbers of a command, read as they are needed, with a bar where somebody looks."""

    def __init__(self, given: _Given, default_region: str | None) -> None:
        self.region = given.region or default_region
        self._given = given
        self._open = ExitStack()
        self._file: NumberFile | None = None
        self._on_progress: Callable[[ImportProgress], None] | None = None

    def __enter__(self) -> Self:
        given = self._given
        if given.file is not None:
            opened = NumberFile(
                given.file,
                column=given.column,
                sheet=given.sheet,
                default_region=self.region,
                error_file=given.errors,
            )
            self._file = self._open.enter_context(closing(opened))
            self._on_progress = self._open.enter_context(progress_bar(given.file.name))
        return self

    def __exit__(self, *_exception: object) -> None:
        self._open.close()

    def all(self) -> Iterable[str]:
        """Those of the command line first: what is wrong with one of them is told by its place."""
        if self._file is None:
            return self._given.phones
        return chain(self._given.phones, self._file.numbers(self._on_progress))

    def done(self, change: DncChange) -> _Done:
        """Return what became of all of them."""
        problems = tuple(_with_number(each, self._given.phones) for each in change.problems)
        words = sum(_INDEX.match(each) is not None for each in change.problems)
        told = _Done(change.changed, change.unchanged, problems, rows=0, left_out=words, error_file=None)
        if self._file is None:
            return told
        wrong = self._file.unreadable
        return replace(
            told,
            problems=(*problems, *self._file.problems),
            rows=self._file.rows,
            left_out=words + wrong,
            error_file=self._given.errors if wrong else None,
        )


def _tell(what: _Done, *, done: str, not_needed: str, as_json: bool) -> None:
    if as_json:
        output.print_json(what)
    else:
        output.say(f"{what.changed} {done}, {what.unchanged} {not_needed}.")
    for problem in what.problems:
        output.note(problem)
    if what.left_out > len(what.problems):
        output.note(f"{what.left_out} were left out in all; --errors FILE writes every one down.")
    if what.error_file is not None:
        output.note(f"All rows that could not be read, with line and reason: {what.error_file}")
    if what.problems:
        raise typer.Exit(FAILED)


def _with_number(problem: str, numbers: Sequence[str]) -> str:
    """Return a problem that begins with an index with the number itself, as it was given."""
    found = _INDEX.match(problem)
    return problem if found is None else f"{numbers[int(found[1])]!r}: {problem[found.end() :]}"

"""``outdial dnc``: numbers that must not be called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from outdial import clock
from outdial.cli import output, remote
from outdial.cli.imports import progress_bar
from outdial.cli.options import Account, Iid, Json, account_id, application
from outdial.cli.remote import ClientId, ClientSecret, Server
from outdial.cli.running import FAILED, actor, in_context
from outdial.context import Context
from outdial.core.errors import InvalidInputError, OutdialError, TooLargeError
from outdial.core.numbers import MOST_NUMBERS
from outdial.core.phone import parse_phone
from outdial.services import dnc, opt_out
from outdial.services.dnc import DncChange, DncEntry, GivenSource
from outdial.services.dnc_file import LARGEST_FILE
from outdial.services.engines import Engines
from outdial.services.number_file import NumberFile, Tally, regular

app = typer.Typer(
    help="Do-not-call lists. Without --list it is the account's own, which counts for every campaign of the account; "
    "with it a list that campaigns name.",
    no_args_is_help=True,
)

UNFINISHED: Final = 3
"""Exit code when some numbers of a command were done and others not even looked at."""

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
        help="File or pipe with a number a line, CSV file, or Excel workbook (.xlsx).",
    ),
]
Columns: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="NAME",
        help="Column of the numbers, or 'column 2' for the second; repeatable. Without it the one called phone or the "
        "like, or the only.",
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
    columns: Sequence[str]
    sheet: str | None
    region: str | None
    errors: Path | None

    def __post_init__(self) -> None:
        if not self.phones and self.file is None:
            raise typer.BadParameter("Name at least one number, or a --file of them.")
        if self.file is None and (self.columns or self.sheet or self.errors):
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
    """Numbers, and rows of which something could not be read."""
    error_file: Path | None
    """Where those of the file are, when there are any."""
    finished: bool
    """Whether all numbers were looked at."""
    line: int | None
    """Of the file, where not: all that was to be done up to the end of it is done."""


@app.command(epilog="Example: outdial dnc add --file complaints.csv --column Caller --region DE --expires 2099-01-31")
def add(
    phones: Phones = None,
    *,
    file: PhonesFile = None,
    column: Columns = None,
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
    source: Annotated[
        GivenSource, typer.Option(help="Who says so; agent: the called person, to an agent (at most 5 numbers).")
    ] = GivenSource.OPERATOR,
    server: Server = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    as_json: Json = False,
) -> None:
    """Add numbers. When the command returns, none of them will be called any more.

    A number that cannot be read is told with its line and left out; the others are added. Run again, it adds nothing
    twice, and it never shortens how long a number stays.

    With --source agent they are the numbers of one person who wants no more calls, and whoever has one of them is
    called at no other either. On the account's own list a call to them that rings is cancelled. Webhooks are told.

    With --server a --file of at most 64 MB goes to a server's API, and nothing else does.

    Exit code 0 when all were added, 1 when one was left out or the command failed and added none, 2 for wrong usage,
    3 when it was broken off after some were added: it says up to which line. So it does when Ctrl-C (130) or SIGTERM
    (143) ended it.
    """
    if source is GivenSource.AGENT and expires is not None:
        raise typer.BadParameter("What an agent was told is for good: leave --expires out.")
    until = None if expires is None else expires.replace(tzinfo=UTC)
    if until is not None and until <= clock.now():
        raise InvalidInputError(["--expires is past; leave it out to keep the numbers for good."])
    given = _Given(phones or (), file, column or (), sheet, region, errors)
    told = remote.access(server, iid, client_id, client_secret)
    if told is not None:
        if phones or file is None or errors or account or source is GivenSource.AGENT:
            raise typer.BadParameter("--server takes a --file, no numbers, --errors, --account or --source agent.")
        _send(told, given, file, list_name, reason=reason, until=until, as_json=as_json)
        return

    async def work(context: Context, numbers: _Numbers) -> DncChange:
        owner, of_iid = await _owner(context, account, iid, list_name)
        dnc.require_addition(iid=of_iid, list_name=list_name, reason=reason, expires_at=until)
        engines = Engines(context.database, context.secrets, ttl_seconds=context.settings.permit_ttl_seconds)
        try:
            with numbers.opened(context.settings.default_region) as read:
                if source is GivenSource.AGENT:
                    change = await opt_out.told_by_agent(
                        context.database,
                        engines,
                        account_id=owner,
                        iid=of_iid,
                        list_name=list_name,
                        # one more than a person has is enough to be refused
                        phones=list(islice(read, MOST_NUMBERS + 1)),
                        reason=reason,
                        actor=actor(),
                    )
                    numbers.tally.count(change.changed, change.unchanged)
                    return change
                return await dnc.add_numbers(
                    context.database,
                    account_id=owner,
                    iid=of_iid,
                    list_name=list_name,
                    phones=read,
                    as_stored=True,
                    blocking=True,
                    expires_at=until,
                    reason=reason,
                    actor=actor(),
                    engines=engines,
                    on_lot=numbers.tally.count,
                )
        finally:
            await engines.close()

    _carry_out(given, work, done="added", not_needed="there already", as_json=as_json)


@app.command(epilog="Example: outdial dnc remove +15550100001")
def remove(
    phones: Phones = None,
    *,
    file: PhonesFile = None,
    column: Columns = None,
    sheet: Sheet = None,
    region: Region = None,
    errors: Errors = None,
    account: Account = None,
    iid: Iid = None,
    list_name: ListName = None,
    as_json: Json = False,
) -> None:
    """Remove numbers: they may be called again.

    Exit code 0 when all could be read, 1 when one could not or the command failed and removed none, 2 for wrong usage,
    3 when it was broken off after some were removed.
    """
    given = _Given(phones or (), file, column or (), sheet, region, errors)

    async def work(context: Context, numbers: _Numbers) -> DncChange:
        owner, of_iid = await _owner(context, account, iid, list_name)
        with numbers.opened(context.settings.default_region) as read:
            return await dnc.remove_numbers(
                context.database,
                account_id=owner,
                iid=of_iid,
                list_name=list_name,
                phones=read,
                as_stored=True,
                blocking=True,
                actor=actor(),
                secrets=context.secrets,
                on_lot=numbers.tally.count,
            )

    _carry_out(given, work, done="removed", not_needed="not there", as_json=as_json)


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
    """The numbers of a command, read as they are needed, with a bar where somebody looks; and what became of them."""

    def __init__(self, given: _Given, path: Path | None) -> None:
        self.tally = Tally()
        self._given = given
        self._path = path
        self._problems: list[str] = []
        """Of the numbers that are words of the command."""

    @contextmanager
    def opened(self, default_region: str | None) -> Iterator[Iterator[str]]:
        """Lend the numbers, E.164. Those that cannot be read are told in the end."""
        given, region = self._given, self._given.region or default_region
        with ExitStack() as stack:
            words = self._words(region)
            if given.file is None or self._path is None:
                yield words
                return
            file = self.tally.file = stack.enter_context(
                closing(
                    NumberFile(
                        self._path,
                        columns=given.columns,
                        sheet=given.sheet,
                        default_region=region,
                        error_file=given.errors,
                        name=given.file.name,
                    )
                )
            )
            yield chain(words, file.numbers(stack.enter_context(progress_bar(given.file.name))))

    def _words(self, region: str | None) -> Iterator[str]:
        for text in self._given.phones:
            try:
                yield parse_phone(text, region)
            except InvalidInputError as error:
                self._problems.append(f"{text!r}: {error.message}.")

    @property
    def begun(self) -> bool:
        """Whether something was done."""
        return self.tally.changed + self.tally.unchanged > 0

    @property
    def untold(self) -> int:
        """Rows that could not be read and of which no sentence is kept."""
        file = self.tally.file
        return 0 if file is None else file.unreadable - len(file.problems)

    def done(self, change: DncChange | None) -> _Done:
        """Return what became of all of them, or of those before it was broken off (None)."""
        told, tally = (*(() if change is None else change.problems), *self._problems), self.tally
        file = tally.file
        wrong = 0 if file is None else file.unreadable
        return _Done(
            tally.changed,
            tally.unchanged,
            problems=told if file is None else (*told, *file.problems),
            rows=0 if file is None else file.rows,
            left_out=len(self._problems) + wrong,
            error_file=self._given.errors if wrong else None,
            finished=change is not None,
            line=tally.line if change is None and tally.line else None,
        )


def _carry_out(
    given: _Given,
    work: Callable[[Context, _Numbers], Awaitable[DncChange]],
    *,
    done: str,
    not_needed: str,
    as_json: bool,
) -> None:
    """Do it and tell what became of the numbers, also of those before it failed or was ended."""
    # a pipe is read before anything else: here Ctrl-C and SIGTERM end it at once
    with nullcontext() if given.file is None else regular(given.file) as path:
        numbers = _Numbers(given, path)
        try:
            change = in_context(lambda context: work(context, numbers))
        except BaseException as error:
            if numbers.begun:
                _tell(numbers.done(None), numbers.untold, done=done, not_needed=not_needed, as_json=as_json)
            if not numbers.begun or not isinstance(error, OutdialError):
                # the exit code of a signal is its own
                raise
            for sentence in error.messages:
                output.note(sentence)
            raise typer.Exit(UNFINISHED) from error
    what = numbers.done(change)
    _tell(what, numbers.untold, done=done, not_needed=not_needed, as_json=as_json)
    if what.problems:
        raise typer.Exit(FAILED)


def _send(
    told: remote.Access,
    given: _Given,
    file: Path,
    list_name: str | None,
    *,
    reason: str,
    until: datetime | None,
    as_json: bool,
) -> None:
    """Have a server add the numbers of a file, and tell what became of them."""
    with regular(file) as path:
        if path.stat().st_size > LARGEST_FILE:
            raise TooLargeError(f"{file} has more than {LARGEST_FILE >> 20} MB; send it in parts.")
        content = path.read_bytes()
    added = remote.add_numbers(
        told,
        list_name,
        content,
        name=file.name,
        columns=given.columns,
        sheet=given.sheet,
        default_region=given.region,
        reason=reason,
        expires_at=until,
    )
    what = _Done(
        added.changed_count,
        added.unchanged_count,
        problems=added.problems,
        rows=added.rows,
        left_out=added.unreadable_count,
        error_file=None,
        finished=True,
        line=None,
    )
    _tell(what, 0, done="added", not_needed="there already", as_json=as_json)
    if what.left_out > len(what.problems):
        output.note(f"{what.left_out} were left out in all.")
    if what.problems:
        raise typer.Exit(FAILED)


def _tell(what: _Done, untold: int, *, done: str, not_needed: str, as_json: bool) -> None:
    if as_json:
        output.print_json(what)
    else:
        where = "" if what.line is None else f", up to line {what.line}"
        end = "" if what.finished else "; not finished: run the command again"
        output.say(f"{what.changed} {done}, {what.unchanged} {not_needed}{where}{end}.")
    for problem in what.problems:
        output.note(problem)
    if what.error_file is not None:
        output.note(f"All rows that could not be read, with line and reason: {what.error_file}")
    elif untold:
        output.note(f"{what.left_out} were left out in all; --errors FILE writes every one down.")

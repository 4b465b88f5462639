"""``outdial dnc``: numbers that must not be called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from outdial.cli import output
from outdial.cli.options import Account, Iid, Json, account_id, application
from outdial.cli.running import FAILED, actor, in_context
from outdial.context import Context
from outdial.services import dnc, opt_out
from outdial.services.dnc import DncChange, DncEntry, GivenSource
from outdial.services.engines import Engines

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
        "--file", metavar="FILE", exists=True, dir_okay=False, readable=True, help="File with a number a line."
    ),
]


@app.command(epilog="Example: outdial dnc add +15550100001 --source agent --reason 'told Ann on the phone'")
def add(
    phones: Phones = None,
    *,
    file: PhonesFile = None,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    account: Account = None,
    iid: Iid = None,
    list_name: ListName = None,
    source: Annotated[
        GivenSource, typer.Option(help="Who says so; agent: the called person, to an agent (at most 5 numbers).")
    ] = GivenSource.OPERATOR,
    as_json: Json = False,
) -> None:
    """Add numbers. When the command returns, none of them will be called any more.

    A number that cannot be read is told and left out; the others are added. Exit code 1 when one was left out.

    With --source agent they are the numbers of one person who wants no more calls, and whoever has one of them is
    called at no other either. On the account's own list a call to them that rings is cancelled. Webhooks are told.
    """
    numbers = _numbers(phones, file)

    async def work(context: Context) -> DncChange:
        owner, of_iid = await _owner(context, account, iid, list_name)
        engines = Engines(context.database, context.secrets, ttl_seconds=context.settings.permit_ttl_seconds)
        try:
            if source is GivenSource.AGENT:
                return await opt_out.told_by_agent(
                    context.database,
                    engines,
                    account_id=owner,
                    iid=of_iid,
                    list_name=list_name,
                    phones=numbers,
                    reason=reason,
                    actor=actor(),
                    default_region=context.settings.default_region,
                )
            return await dnc.add_numbers(
                context.database,
                account_id=owner,
                iid=of_iid,
                list_name=list_name,
                phones=numbers,
                reason=reason,
                actor=actor(),
                default_region=context.settings.default_region,
                engines=engines,
            )
        finally:
            await engines.close()

    _tell(in_context(work), numbers, done="added", not_needed="there already", as_json=as_json)


@app.command(epilog="Example: outdial dnc remove +15550100001")
def remove(
    phones: Phones = None,
    *,
    file: PhonesFile = None,
    account: Account = None,
    iid: Iid = None,
    list_name: ListName = None,
    as_json: Json = False,
) -> None:
    """Remove numbers: they may be called again. Exit code 1 when one cannot be read."""
    numbers = _numbers(phones, file)

    async def work(context: Context) -> DncChange:
        owner, of_iid = await _owner(context, account, iid, list_name)
        return await dnc.remove_numbers(
            context.database,
            account_id=owner,
            iid=of_iid,
            list_name=list_name,
            phones=numbers,
            actor=actor(),
            default_region=context.settings.default_region,
            secrets=context.secrets,
        )

    _tell(in_context(work), numbers, done="removed", not_needed="not there", as_json=as_json)


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
            ("number", "since", "source", "by", "reason"),
            ((each.phone, output.time_text(each.added_at), each.source, each.added_by, each.reason) for each in found),
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


def _numbers(phones: list[str] | None, file: Path | None) -> list[str]:
    lines = file.read_text(encoding="utf-8-sig").splitlines() if file is not None else []
    numbers = [*(phones or ()), *(line.strip() for line in lines if line.strip())]
    if not numbers:
        raise typer.BadParameter("Name at least one number, or a --file of them.")
    return numbers


def _tell(change: DncChange, numbers: Sequence[str], *, done: str, not_needed: str, as_json: bool) -> None:
    if as_json:
        output.print_json(change)
    else:
        output.say(f"{change.changed} {done}, {change.unchanged} {not_needed}.")
    for problem in change.problems:
        output.note(_with_number(problem, numbers))
    if change.problems:
        raise typer.Exit(FAILED)


def _with_number(problem: str, numbers: Sequence[str]) -> str:
    """Return a problem that begins with an index with the number itself, as it was given."""
    found = _INDEX.match(problem)
    return problem if found is None else f"{numbers[int(found[1])]!r}: {problem[found.end() :]}"

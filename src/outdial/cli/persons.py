"""``outdial person``: erasing everything of one person; ``outdial retention``: how long what is kept."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from outdial.cli import output
from outdial.cli.options import Account, Json, account_id
from outdial.cli.running import actor, in_context
from outdial.cli.wide_stops import with_engines
from outdial.context import Context
from outdial.core.model import ConnectedCalls
from outdial.core.paging import Page
from outdial.services import erasures, recordings, retention
from outdial.services.engines import Engines
from outdial.services.erasures import Erasure
from outdial.services.retention import Retention

app = typer.Typer(help="Persons: erase everything that is known of one.", no_args_is_help=True)
retention_app = typer.Typer(
    help="How long recordings and contacts' attributes are kept: for ever, unless told.", no_args_is_help=True
)

LARGEST_PAGE: Final = 1000


@app.command(epilog="Example: outdial person erase +15550100001 --and-never-call")
def erase(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="The person's number.")],
    *,
    account: Account = None,
    and_never_call: Annotated[
        bool,
        typer.Option("--and-never-call", help="Never call the number again, though it is forgotten: as a keyed hash."),
    ] = False,
    connected: Annotated[ConnectedCalls, typer.Option(help="What becomes of a conversation.")] = ConnectedCalls.KEEP,
    as_json: Json = False,
) -> None:
    """Erase everything of the person with a number in an account: contacts, calls, recordings, what history tells.

    First the number is stopped. Who was on a do-not-call list stays on it, as a keyed hash in place of the number. What
    was done stays in history as digests, so that the chain still holds. It cannot be undone; asking again goes on with
    what was broken off. Exit code 1 while somebody talks with the person, or a call to the number may still ring.
    """

    async def work(context: Context, engines: Engines) -> Erasure:
        return await erasures.erase(
            context.database,
            context.secrets,
            engines,
            account_id=await account_id(context.database, account),
            phone=number,
            actor=actor(),
            never_call=and_never_call,
            connected=connected,
            default_region=context.settings.default_region,
            folder=context.settings.data_dir.resolve() / recordings.FOLDER,
        )

    done = with_engines(work)
    if as_json:
        output.print_json(done)
        return
    gone = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in sorted(done.counts.items()) if count)
    output.say(f"Erased ({done.id}): {gone or 'nothing was known of the number'}.")
    if done.done_at is None:
        output.note("Recordings on other machines are removed by their servers: outdial person erasures.")


@app.command("erasures", epilog="Example: outdial person erasures")
def list_(*, account: Account = None, as_json: Json = False) -> None:
    """List who was erased from an account, without the numbers; the newest first, at most 1000."""

    async def work(context: Context) -> Page[Erasure]:
        owner = await account_id(context.database, account)
        return await erasures.list_erasures(context.database, account_id=owner, skip=0, limit=LARGEST_PAGE)

    found = in_context(work).items
    if as_json:
        output.print_json(found)
        return
    output.print_table(
        ("id", "asked for", "by", "never call", "erased"),
        (
            (
                one.id,
                output.time_text(one.requested_at),
                one.requested_by,
                "yes" if one.never_call else "no",
                _state(one),
            )
            for one in found
        ),
        empty="Nobody was erased.",
    )


def _state(erasure: Erasure) -> str:
    if erasure.done_at is not None:
        return output.time_text(erasure.done_at)
    return "being erased" if erasure.erased_at is None else "but for recordings on other machines"


@retention_app.command(epilog="Example: outdial retention show")
def show(*, account: Account = None, as_json: Json = False) -> None:
    """Show how long an account keeps recordings, contacts' attributes and attempts."""

    async def work(context: Context) -> Retention:
        return await retention.show(context.database, account_id=await account_id(context.database, account))

    _tell(in_context(work), as_json=as_json)


@retention_app.command("set", epilog="Example: outdial retention set --recordings-days 30 --attributes-days 365")
def set_(
    *,
    account: Account = None,
    recordings_days: Annotated[
        int | None, typer.Option(min=0, metavar="DAYS", help="Keep recordings so long; 0: for ever.")
    ] = None,
    attributes_days: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="DAYS", help="Keep contacts' attributes, names and unique ids so long; 0: for ever."
        ),
    ] = None,
    attempts_days: Annotated[
        int | None,
        typer.Option(min=0, metavar="DAYS", help="Keep attempts so long and a week, 31 days or more; 0: for ever."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Set how many days an account keeps what; what is not named stays as it is.

    A server removes what is older, by and by. Contacts of live runs keep theirs until those are over. Attempts go
    by whole months, of runs that have been over for a month, and are still counted for their runs.
    """
    if recordings_days is None and attributes_days is None and attempts_days is None:
        raise typer.BadParameter("Name --recordings-days, --attributes-days or --attempts-days.")

    async def work(context: Context) -> Retention:
        owner = await account_id(context.database, account)
        before = await retention.show(context.database, account_id=owner)
        return await retention.set_days(
            context.database,
            account_id=owner,
            recordings_days=_days(recordings_days, before.recordings_days),
            attributes_days=_days(attributes_days, before.attributes_days),
            attempts_days=_days(attempts_days, before.attempts_days),
            actor=actor(),
        )

    _tell(in_context(work), as_json=as_json)


def _days(given: int | None, before: int | None) -> int | None:
    return before if given is None else given or None


def _tell(found: Retention, *, as_json: bool) -> None:
    if as_json:
        output.print_json(found)
        return
    output.print_fields(
        {
            "recordings": _text(found.recordings_days),
            "attributes": _text(found.attributes_days),
            "attempts": _text(found.attempts_days),
        }
    )


def _text(days: int | None) -> str:
    return "for ever" if days is None else f"{days} days"

"""Options that several commands take, and the things they name."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from outdial.core.errors import ConflictError, NotFoundError
from outdial.core.history_file import Asked
from outdial.core.model import Application
from outdial.services import access, campaigns, history_export
from outdial.services.stop_lookup import find_run
from outdial.store.database import Database

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one line of JSON, for scripts.")]
Iid: TypeAlias = Annotated[
    str | None,
    typer.Option("--iid", metavar="IID", help="The application; may be left out where there is only one."),
]
Account: TypeAlias = Annotated[
    str | None,
    typer.Option("--account", metavar="NAME", help="Name or id of the account; may be left out where there is one."),
]


async def application(database: Database, iid: str | None) -> Application:
    """Return the application named, or the only one.

    Raises NotFoundError when there is none, ConflictError when there are several and none was named.
    """
    if iid is not None:
        return await access.get_application(database, iid)
    found = await access.list_applications(database)
    if not found:
        raise NotFoundError("There is no application yet: outdial app create --account NAME --name NAME")
    if len(found) > 1:
        names = ", ".join(f"{each.iid} ({each.account_name}: {each.name})" for each in found)
        raise ConflictError(f"There are several applications; say which one with --iid: {names}")
    return found[0]


async def account_id(database: Database, account: str | None) -> str:
    """Return the id of the account named by name or id, or of the only one.

    Raises NotFoundError when there is none, ConflictError when there are several and none was named.
    """
    names = {each.account_id: each.account_name for each in await access.list_applications(database)}
    if account is not None:
        names = {key: name for key, name in names.items() if account in {key, name}}
        if not names:
            raise NotFoundError(f"There is no account {account!r}; `outdial app list` shows them.")
    if not names:
        raise NotFoundError("There is no account yet: outdial app create --account NAME --name NAME")
    if len(names) > 1:
        listed = ", ".join(f"{name} ({key})" for key, name in names.items())
        raise ConflictError(f"There are several accounts; say which one with --account: {listed}")
    return next(iter(names))


def require_one(account: str | None, campaign: str | None, run: str | None) -> None:
    """Refuse more than one of ``--account``, ``--campaign`` and ``--run``; raise typer.BadParameter."""
    if sum(one is not None for one in (account, campaign, run)) > 1:
        raise typer.BadParameter("--account, --campaign and --run exclude one another.")


async def asked_for(database: Database, *, account: str | None, campaign: str | None, run: str | None) -> Asked:
    """Return whose history is meant: a run's, a campaign's, or an account's, which may be left out where there is one.

    Raises NotFoundError, ConflictError.
    """
    if run is not None:
        return history_export.of_run(await find_run(database, run))
    if campaign is not None:
        found = await campaigns.find_campaign(database, campaign)
        return await history_export.of_campaign(database, found.iid, found.id)
    return Asked(await account_id(database, account))

"""Options that several commands take, and the things they name."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from outdial.core.errors import ConflictError, NotFoundError
from outdial.core.model import Application
from outdial.services import access
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

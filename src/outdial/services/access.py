"""Applications; their API clients are ``services.clients``."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from outdial.core import ids
from outdial.core.errors import ConflictError, NotFoundError
from outdial.core.model import Application
from outdial.secretbox import SecretBox
from outdial.services import clients
from outdial.services.fields import is_storable, name_problems, range_problems, require
from outdial.store import access as store
from outdial.store import dnc, history
from outdial.store.database import Connection, Database

OPERATOR: Final = "operator"
"""Who did what nobody else is named for: somebody with access to the machine."""

LARGEST_CONCURRENCY: Final = 1_000_000
"""Calls at once an application may be allowed; far above what trunks carry, it only keeps typing errors out."""


class Unchanged(Enum):
    """Stands for what a change leaves as it is, where None is a value."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a person needs to use the API; the secret is shown once, here."""

    account_id: str
    iid: str
    client_id: str
    client_secret: str = field(repr=False)


async def create_application(
    database: Database, secrets: SecretBox, *, account: str, name: str, max_concurrent_calls: int | None = None
) -> Credentials:
    """Make an application of the account, which is made too when there is none of that name, and one API client.

    Raises InvalidInputError, and ConflictError when the account has an application of that name.
    """
    problems = name_problems("account", account) + name_problems("name", name)
    if max_concurrent_calls is not None:
        problems += range_problems("max_concurrent_calls", max_concurrent_calls, least=1, most=LARGEST_CONCURRENCY)
    require(problems)
    iid = ids.application_id(uuid.uuid4())
    async with database.transaction() as connection:
        account_id = await store.account_named(connection, account, new_id=ids.account_id(uuid.uuid4()))
        # made with the account, so that a run knows its id before the first number is on it
        await dnc.account_list(connection, account_id, new_id=ids.contact_list_id(uuid.uuid4()))
        inserted = await store.insert_application(
            connection, iid=iid, account_id=account_id, name=name, max_concurrent_calls=max_concurrent_calls
        )
        if not inserted:
            raise ConflictError(f"The account {account} already has an application named {name}; choose another name.")
        made = await clients.insert_client(
            connection,
            secrets,
            iid=iid,
            account_id=account_id,
            name="first",
            scopes=clients.FIRST_SCOPES,
            require_jti=False,
        )
    return Credentials(account_id=account_id, iid=iid, client_id=made.client.id, client_secret=made.secret)


async def change_application(
    database: Database,
    iid: str,
    *,
    name: str | None = None,
    max_concurrent_calls: int | Unchanged | None = UNCHANGED,
    actor: str,
) -> Application:
    """Change an application's name or ceiling, and return it; runs that are live heed the ceiling at once.

    Raises InvalidInputError, NotFoundError, and ConflictError when another one of its account has the name.
    """
    problems = [] if name is None else name_problems("name", name)
    if isinstance(max_concurrent_calls, int):
        problems += range_problems("maxConcurrentCalls", max_concurrent_calls, least=1, most=LARGEST_CONCURRENCY)
    require(problems)
    async with database.transaction() as connection:
        present = await require_application(connection, iid)
        changed = replace(
            present,
            name=present.name if name is None else name,
            max_concurrent_calls=(
                present.max_concurrent_calls if isinstance(max_concurrent_calls, Unchanged) else max_concurrent_calls
            ),
        )
        if not await store.change_application(
            connection, iid, name=changed.name, max_concurrent_calls=changed.max_concurrent_calls
        ):
            raise ConflictError(f"The account already has an application named {name}; choose another name.")
        await history.append(
            connection,
            present.account_id,
            "application",
            "changed",
            actor=actor,
            iid=iid,
            name=changed.name,
            max_concurrent_calls=changed.max_concurrent_calls,
        )
    return changed


async def list_applications(database: Database) -> list[Application]:
    """Return the applications of all accounts, oldest first."""
    async with database.connection() as connection:
        return await store.applications(connection)


async def get_application(database: Database, iid: str) -> Application:
    """Return an application; raise NotFoundError when there is none of that iid."""
    async with database.connection() as connection:
        return await require_application(connection, iid)


async def require_application(connection: Connection, iid: str) -> Application:
    """Return an application within somebody else's transaction; raise NotFoundError when there is none."""
    application = await store.application_by_iid(connection, iid) if is_storable(iid) else None
    if application is None:
        raise NotFoundError(f"There is no application {iid}.")
    return application

"""Applications and the credentials of their API clients."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Final

from outdial.core import ids
from outdial.core.errors import ConflictError, NotFoundError
from outdial.core.model import Application
from outdial.secretbox import SecretBox
from outdial.services.fields import is_storable, name_problems, range_problems, require
from outdial.store import access as store
from outdial.store import dnc
from outdial.store.database import Connection, Database

SCOPES: Final = frozenset({"campaign_management"})
"""What a new client may do: everything there is."""

LARGEST_CONCURRENCY: Final = 1_000_000
"""Calls at once an application may be allowed; far above what trunks carry, it only keeps typing errors out."""

_SECRET_BYTES: Final = 32
"""As long as HS256's hash (RFC 7518 §3.2)."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a person needs to use the API; the secret is shown once, here."""

    account_id: str
    iid: str
    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientAccess:
    """What a token of this client is checked against."""

    client_id: str
    iid: str
    account_id: str
    secret: str = field(repr=False)
    scopes: frozenset[str]
    revoked: bool


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
    iid, client_id = ids.application_id(uuid.uuid4()), ids.client_id(uuid.uuid4())
    secret = token_urlsafe(_SECRET_BYTES)
    async with database.transaction() as connection:
        account_id = await store.account_named(connection, account, new_id=ids.account_id(uuid.uuid4()))
        # made with the account, so that a run knows its id before the first number is on it
        await dnc.account_list(connection, account_id, new_id=ids.contact_list_id(uuid.uuid4()))
        inserted = await store.insert_application(
            connection, iid=iid, account_id=account_id, name=name, max_concurrent_calls=max_concurrent_calls
        )
        if not inserted:
            raise ConflictError(f"The account {account} already has an application named {name}; choose another name.")
        client = store.ClientRow(
            id=client_id,
            iid=iid,
            account_id=account_id,
            secret_encrypted=secrets.encrypt(secret),
            scopes=SCOPES,
            revoked=False,
        )
        await store.insert_client(connection, client)
    return Credentials(account_id=account_id, iid=iid, client_id=client_id, client_secret=secret)


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


async def client_access(database: Database, secrets: SecretBox, client_id: str) -> ClientAccess | None:
    """Return what the tokens of a client are checked against, None when there is no such client.

    Raises WrongSecretKeyError when its secret was stored under another key.
    """
    if not is_storable(client_id):
        return None
    async with database.connection() as connection:
        client = await store.client_by_id(connection, client_id)
    if client is None:
        return None
    return ClientAccess(
        client_id=client.id,
        iid=client.iid,
        account_id=client.account_id,
        secret=secrets.decrypt(client.secret_encrypted),
        scopes=client.scopes,
        revoked=client.revoked,
    )

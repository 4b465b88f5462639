"""API clients: made, given rights, given new secrets, revoked; all of it counts from the next request on."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from secrets import token_urlsafe
from typing import Any, Final

from outdial import clock
from outdial.core import ids
from outdial.core.errors import ConflictError, ForbiddenError, NotFoundError
from outdial.core.model import ApiClient, Scope
from outdial.secretbox import SecretBox
from outdial.services.fields import is_storable, name_problems, range_problems, require
from outdial.store import access as access_store
from outdial.store import clients as store
from outdial.store import history
from outdial.store.database import Connection, Database

SCOPES: Final = frozenset(scope.value for scope in Scope)
FIRST_SCOPES: Final = SCOPES - {Scope.ACCOUNT_STOP, Scope.PERSONAL_DATA}
"""What a client may do unless told: nothing that reaches the account's other applications."""
"""What an application's first client may do: everything there is."""

LONGEST_OVERLAP_SECONDS: Final = 7 * 24 * 3600
"""How long an old secret may stay good beside the new one."""

_SECRET_BYTES: Final = 32
"""As long as HS256's hash (RFC 7518 §3.2)."""


@dataclass(frozen=True, slots=True)
class ClientAccess:
    """What a token of this client is checked against."""

    client_id: str
    iid: str
    account_id: str
    encrypted: tuple[bytes, ...] = field(repr=False)
    """The secret first, then the one before it while that is still good; stored anew, the same one looks different."""
    scopes: frozenset[str]
    require_jti: bool
    revoked: bool
    box: SecretBox = field(repr=False)
    """What they are encrypted with."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """The same in clear; raises WrongSecretKeyError when one was stored under another key."""
        return tuple([self.box.opened(one) for one in self.encrypted])


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A client and its new secret, shown once, here."""

    client: ApiClient
    secret: str = field(repr=False)


async def client_access(database: Database, secrets: SecretBox, client_id: str) -> ClientAccess | None:
    """Return what the tokens of a client are checked against, None when there is no such client."""
    if not is_storable(client_id):
        return None
    async with database.connection() as connection:
        stored = await store.secrets_of(connection, client_id)
    if stored is None:
        return None
    return ClientAccess(
        client_id=client_id,
        iid=stored.iid,
        account_id=stored.account_id,
        encrypted=stored.encrypted,
        scopes=stored.scopes,
        require_jti=stored.require_jti,
        revoked=stored.revoked,
        box=secrets,
    )


async def use_token(database: Database, client_id: str, jti: str, *, until: datetime) -> bool:
    """Note that a token serves now, once and for all processes; False when it has served before."""
    async with database.transaction() as connection:
        return await store.use_token(connection, client_id, jti, until=until)


async def insert_client(
    connection: Connection,
    secrets: SecretBox,
    *,
    iid: str,
    account_id: str,
    name: str,
    scopes: Iterable[str],
    require_jti: bool,
) -> NewSecret:
    """Store a new client with a new secret, within somebody else's transaction."""
    client = ApiClient(
        id=ids.client_id(uuid.uuid4()),
        iid=iid,
        account_id=account_id,
        name=name,
        scopes=frozenset(scopes),
        require_jti=require_jti,
        created_at=clock.now(),
        revoked_at=None,
        previous_valid_until=None,
    )
    secret = token_urlsafe(_SECRET_BYTES)
    await store.insert(connection, client, secrets.encrypt(secret))
    return NewSecret(client, secret)


async def create_client(
    database: Database,
    secrets: SecretBox,
    *,
    iid: str,
    name: str,
    scopes: frozenset[str],
    require_jti: bool = False,
    granting: frozenset[str] = SCOPES,
    actor: str,
) -> NewSecret:
    """Make a client of the application. ``granting``: what whoever asks may do; nobody can give more.

    Raises InvalidInputError, ForbiddenError, and NotFoundError for an unknown application.
    """
    require(name_problems("name", name) + _scope_problems(scopes))
    _check_granting(granting, scopes)
    async with database.transaction() as connection:
        application = await access_store.application_by_iid(connection, iid)
        if application is None:
            raise NotFoundError(f"There is no application {iid}.")
        made = await insert_client(
            connection,
            secrets,
            iid=iid,
            account_id=application.account_id,
            name=name,
            scopes=scopes,
            require_jti=require_jti,
        )
        await _remember(connection, made.client, "created", actor)
    return made


async def list_clients(database: Database, iid: str) -> list[ApiClient]:
    """Return the application's clients, revoked ones too, oldest first."""
    async with database.connection() as connection:
        return await store.of_application(connection, iid)


async def get_client(database: Database, iid: str, client_id: str) -> ApiClient:
    """Return a client; raise NotFoundError, alike for unknown ones and another application's."""
    async with database.connection() as connection:
        return await _found(connection, iid, client_id)


async def change_client(
    database: Database,
    *,
    iid: str,
    client_id: str,
    name: str | None = None,
    scopes: frozenset[str] | None = None,
    require_jti: bool | None = None,
    granting: frozenset[str] = SCOPES,
    actor: str,
) -> ApiClient:
    """Change a client; what is None stays. Raises as :func:`create_client`, and ConflictError for a revoked one."""
    require(([] if name is None else name_problems("name", name)) + ([] if scopes is None else _scope_problems(scopes)))
    async with database.transaction() as connection:
        present = await _living(connection, iid, client_id)
        changed = replace(
            present,
            name=present.name if name is None else name,
            scopes=present.scopes if scopes is None else scopes,
            require_jti=present.require_jti if require_jti is None else require_jti,
        )
        _check_granting(granting, present.scopes | changed.scopes)
        await store.change(
            connection, client_id, name=changed.name, scopes=changed.scopes, require_jti=changed.require_jti
        )
        await _remember(connection, changed, "changed", actor)
    return changed


async def rotate_secret(
    database: Database,
    secrets: SecretBox,
    *,
    iid: str,
    client_id: str,
    overlap_seconds: int = 0,
    granting: frozenset[str] = SCOPES,
    actor: str,
) -> NewSecret:
    """Give a client a new secret; tokens signed with the old one are good for ``overlap_seconds`` more.

    Raises InvalidInputError, NotFoundError, ConflictError for a revoked client, ForbiddenError: whoever gets the
    secret can do what the client can.
    """
    require(range_problems("overlapSeconds", overlap_seconds, least=0, most=LONGEST_OVERLAP_SECONDS))
    secret = token_urlsafe(_SECRET_BYTES)
    async with database.transaction() as connection:
        client = await _living(connection, iid, client_id)
        _check_granting(granting, client.scopes)
        await store.rotate(connection, client_id, secrets.encrypt(secret), overlap_seconds=overlap_seconds)
        await _remember(connection, client, "rotated", actor, overlap_seconds=overlap_seconds)
        return NewSecret(await _found(connection, iid, client_id), secret)


async def revoke_client(database: Database, *, iid: str, client_id: str, actor: str) -> ApiClient:
    """Let a client in no more, from the next request on; one that is revoked stays so. Raises NotFoundError."""
    async with database.transaction() as connection:
        client = await _found(connection, iid, client_id, lock=True)
        if client.revoked_at is None:
            await store.revoke(connection, client_id)
            await _remember(connection, client, "revoked", actor)
        return await _found(connection, iid, client_id)


async def _found(connection: Connection, iid: str, client_id: str, *, lock: bool = False) -> ApiClient:
    client = await store.by_id(connection, iid, client_id, lock=lock) if is_storable(client_id) else None
    if client is None:
        raise NotFoundError(f"There is no client {client_id}.")
    return client


async def _living(connection: Connection, iid: str, client_id: str) -> ApiClient:
    client = await _found(connection, iid, client_id, lock=True)
    if client.revoked_at is not None:
        raise ConflictError(f"The client {client_id} is revoked; make a new one.")
    return client


async def _remember(connection: Connection, client: ApiClient, what: str, actor: str, **more: Any) -> None:
    await history.append(
        connection,
        client.account_id,
        "client",
        what,
        actor=actor,
        client_id=client.id,
        scopes=sorted(client.scopes),
        require_jti=client.require_jti,
        **more,
    )


def _scope_problems(scopes: frozenset[str]) -> list[str]:
    unknown = sorted(scopes - SCOPES)
    if unknown:
        return [f"`scopes` may hold {', '.join(sorted(SCOPES))}, not {', '.join(unknown)}."]
    return [] if scopes else ["`scopes` must not be empty; a client that may do nothing is better revoked."]


def _check_granting(granting: frozenset[str], scopes: frozenset[str]) -> None:
    missing = sorted(scopes - granting)
    if missing:
        raise ForbiddenError(f"Only a client that has {', '.join(missing)} itself may do this.")

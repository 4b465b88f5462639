"""Trunks: the SIP lines of an application."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from outdial.core import ids
from outdial.core.errors import ConflictError, InUseError, InvalidInputError, NotFoundError
from outdial.core.model import NumberFormat, Transport, Trunk
from outdial.core.phone import parse_phone
from outdial.secretbox import SecretBox
from outdial.services.access import OPERATOR, require_application
from outdial.services.fields import (
    host_problems,
    is_address,
    is_storable,
    line_problems,
    name_problems,
    range_problems,
    require,
)
from outdial.store import history
from outdial.store import trunks as store
from outdial.store.database import Connection, Database

LARGEST_PORT: Final = 65535
MOST_CHANNELS: Final = 10_000
"""Calls at once on one trunk; far above one Asterisk, it only keeps typing errors out."""

MOST_CALLS_PER_SECOND: Final = 1_000
LEAST_CALLS_PER_SECOND: Final = 0.001

LONGEST_CREDENTIAL: Final = 255
"""Characters of a user name or a password."""
_NUMBER_PREFIX: Final = re.compile(r"[0-9*+]{0,16}")
"""Nothing that has a meaning in a SIP address (RFC 3261 §25.1)."""


@dataclass(frozen=True, slots=True)
class TrunkDraft:
    """A trunk as a person describes it; meanings as in ``core.model.Trunk``."""

    name: str
    host: str
    caller_ids: tuple[str, ...]
    """As people write them, with + and country code."""
    port: int = 5060
    transport: Transport = Transport.UDP
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    from_domain: str | None = None
    number_format: NumberFormat = NumberFormat.E164_PLUS
    number_prefix: str = ""
    max_channels: int = 10
    calls_per_second: float = 1.0


async def add_trunk(
    database: Database, secrets: SecretBox, iid: str, draft: TrunkDraft, *, actor: str = OPERATOR
) -> Trunk:
    """Add a trunk to the application.

    Raises InvalidInputError with all wrong fields, NotFoundError for an unknown application, ConflictError when the
    application has a trunk of that name or one with one of these caller IDs.
    """
    trunk = _checked(iid, draft, trunk_id=ids.trunk_id(uuid.uuid4()))
    async with database.transaction() as connection:
        await require_application(connection, iid)
        if not await store.insert(connection, secrets, trunk):
            raise ConflictError(f"There is already a trunk named {draft.name}; remove it first or choose another name.")
        taken = await store.give_caller_ids(connection, iid, trunk.id, trunk.caller_ids)
        if taken:
            raise ConflictError(f"Another trunk has the caller ID {', '.join(sorted(taken))} already; remove it first.")
        await _remember(connection, trunk, "added", actor)
    return trunk


def _checked(iid: str, draft: TrunkDraft, *, trunk_id: str, silent: bool = False) -> Trunk:
    """Return the draft as a trunk; raise InvalidInputError with everything that is wrong. ``silent``: it may be without
    a caller ID."""
    username, password = draft.username or None, draft.password or None
    problems = name_problems("name", draft.name) + host_problems("host", draft.host)
    problems += range_problems("port", draft.port, least=0, most=LARGEST_PORT)
    if draft.port == 0 and is_address(draft.host):
        problems.append("`port` 0 asks DNS for the port, which takes a host name; an address needs a port.")
    problems += line_problems("username", username or "", longest=LONGEST_CREDENTIAL)
    problems += line_problems("password", password or "", longest=LONGEST_CREDENTIAL)
    if password is not None and username is None:
        problems.append("`username` is missing; a password alone cannot be used.")
    if draft.from_domain:
        problems += host_problems("from_domain", draft.from_domain)
    if not _NUMBER_PREFIX.fullmatch(draft.number_prefix):
        problems.append("`number_prefix` may have at most 16 characters, digits, * and + only.")
    problems += range_problems("max_channels", draft.max_channels, least=1, most=MOST_CHANNELS)
    problems += range_problems(
        "calls_per_second", draft.calls_per_second, least=LEAST_CALLS_PER_SECOND, most=MOST_CALLS_PER_SECOND
    )
    caller_ids = () if silent and not draft.caller_ids else _caller_ids(draft.caller_ids, problems)
    require(problems)
    return Trunk(
        id=trunk_id,
        iid=iid,
        name=draft.name,
        host=draft.host,
        port=draft.port,
        transport=draft.transport,
        username=username,
        password=password,
        from_domain=draft.from_domain or None,
        number_format=draft.number_format,
        number_prefix=draft.number_prefix,
        caller_ids=caller_ids,
        max_channels=draft.max_channels,
        calls_per_second=float(draft.calls_per_second),
    )


def _caller_ids(texts: tuple[str, ...], problems: list[str]) -> tuple[str, ...]:
    """Return the numbers in E.164, each once, sorted as stored; tell what is wrong with the others."""
    phones = set()
    for place, text in enumerate(texts):
        try:
            phones.add(parse_phone(text))
        except InvalidInputError as error:
            problems.append(f"`caller_ids[{place}]`: {error.message}.")
    if not texts:
        problems.append("`caller_ids` must not be empty: a campaign's caller ID selects its trunk.")
    return tuple(sorted(phones))


async def list_trunks(database: Database, secrets: SecretBox, iid: str | None = None) -> list[Trunk]:
    """Return the trunks of an application, or of all, oldest first."""
    async with database.connection() as connection:
        return await store.of_application(connection, secrets, iid)


async def remove_trunk(database: Database, iid: str, name: str, *, actor: str = OPERATOR) -> Trunk:
    """Remove the application's trunk of that name and return it without its password; its caller IDs become free.

    Raises NotFoundError, and InUseError while a live run goes out by it.
    """
    async with database.transaction() as connection:
        trunk = await store.lock_named(connection, iid, name) if is_storable(name) else None
        if trunk is None:
            raise NotFoundError(f"There is no trunk named {name}.")
        campaign = await store.campaign_using(connection, trunk.id)
        if campaign is not None:
            raise InUseError(f"The trunk {name} is in use by the campaign {campaign}; stop it first.")
        await store.mark_removed(connection, trunk.id)
        await _remember(connection, trunk, "removed", actor)
    return trunk


async def get_trunk(database: Database, secrets: SecretBox, iid: str, trunk_id: str) -> Trunk:
    """Return a trunk; raise NotFoundError, alike for unknown and other tenants' ids."""
    async with database.connection() as connection:
        return await _found(connection, secrets, iid, trunk_id)


async def change_trunk(
    database: Database, secrets: SecretBox, *, iid: str, trunk_id: str, changes: Mapping[str, Any], actor: str
) -> Trunk:
    """Change a trunk: ``changes`` are fields of :class:`TrunkDraft`, all but its caller IDs; the others stay.

    Raises InvalidInputError, NotFoundError, ConflictError for a name that is taken, and InUseError while a live run
    goes out by it: half of a run must not go one way and half another.
    """
    async with database.transaction() as connection:
        present = await _idle(connection, secrets, iid, trunk_id)
        draft = TrunkDraft(**{one.name: getattr(present, one.name) for one in fields(TrunkDraft)})
        trunk = _checked(iid, replace(draft, **changes), trunk_id=trunk_id, silent=True)
        if not await store.change(connection, secrets, trunk):
            raise ConflictError(f"There is already a trunk named {trunk.name}; choose another name.")
        await _remember(connection, trunk, "changed", actor, fields=sorted(changes))
    return trunk


async def remove_trunk_by_id(database: Database, secrets: SecretBox, *, iid: str, trunk_id: str, actor: str) -> Trunk:
    """Remove a trunk and return it as it was; its caller IDs become free. Raises NotFoundError, InUseError."""
    async with database.transaction() as connection:
        trunk = await _idle(connection, secrets, iid, trunk_id)
        await store.mark_removed(connection, trunk_id)
        await _remember(connection, trunk, "removed", actor)
    return trunk


async def add_caller_id(
    database: Database, secrets: SecretBox, *, iid: str, trunk_id: str, phone: str, actor: str
) -> Trunk:
    """Let a number select a trunk; return that. Raises InvalidInputError, NotFoundError, ConflictError when it selects
    another trunk."""
    number = _number(phone)
    async with database.transaction() as connection:
        await _found(connection, secrets, iid, trunk_id, lock=True)
        await store.give_caller_ids(connection, iid, trunk_id, [number])
        if await store.trunk_of_caller_id(connection, iid, number) != trunk_id:
            raise ConflictError(f"Another trunk has the caller ID {number} already; remove it there first.")
        trunk = await _found(connection, secrets, iid, trunk_id)
        await _remember(connection, trunk, "caller_id_added", actor, caller_id=number)
    return trunk


async def remove_caller_id(database: Database, secrets: SecretBox, *, iid: str, phone: str, actor: str) -> Trunk:
    """Let a number select its trunk no more; return the trunk. Raises NotFoundError, and InUseError while a live run
    calls with it."""
    try:
        number = _number(phone)
    except InvalidInputError:
        raise _no_caller_id(phone) from None
    async with database.transaction() as connection:
        trunk_id = await store.trunk_of_caller_id(connection, iid, number)
        if trunk_id is None:
            raise _no_caller_id(number)
        await _found(connection, secrets, iid, trunk_id, lock=True)
        campaign = await store.campaign_calling_with(connection, iid, number)
        if campaign is not None:
            raise InUseError(f"The campaign {campaign} is calling with {number}; stop it first.")
        await store.take_caller_id(connection, iid, number)
        trunk = await _found(connection, secrets, iid, trunk_id)
        await _remember(connection, trunk, "caller_id_removed", actor, caller_id=number)
    return trunk


def _number(phone: str) -> str:
    try:
        return parse_phone(phone)
    except InvalidInputError as error:
        raise InvalidInputError([f"`phoneNumber`: {error.message}."]) from None


def _no_caller_id(phone: str) -> NotFoundError:
    return NotFoundError(f"There is no caller ID {phone}.")


async def _found(connection: Connection, secrets: SecretBox, iid: str, trunk_id: str, *, lock: bool = False) -> Trunk:
    storable = is_storable(trunk_id)
    trunk = await store.of_application_by_id(connection, secrets, iid, trunk_id, lock=lock) if storable else None
    if trunk is None:
        raise NotFoundError(f"There is no trunk {trunk_id}.")
    return trunk


async def _idle(connection: Connection, secrets: SecretBox, iid: str, trunk_id: str) -> Trunk:
    """Return a trunk on which no run is live, and none can start before the transaction ends."""
    trunk = await _found(connection, secrets, iid, trunk_id, lock=True)
    campaign = await store.campaign_using(connection, trunk_id)
    if campaign is not None:
        raise InUseError(f"The trunk {trunk.name} is in use by the campaign {campaign}; stop it first.")
    return trunk


async def _remember(connection: Connection, trunk: Trunk, what: str, actor: str, **detail: Any) -> None:
    owner = await require_application(connection, trunk.iid)
    await history.append(connection, owner.account_id, "trunk", what, actor=actor, trunk_id=trunk.id, **detail)

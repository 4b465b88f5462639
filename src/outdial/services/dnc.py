"""Do-not-call lists: numbers that no run may dial from the moment they are on one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Final, TypeAlias

from outdial import clock
from outdial.core import ids
from outdial.core.errors import ConflictError, InvalidInputError, NotFoundError, OutdialError
from outdial.core.model import OPT_OUTS, DncEntry, DncList, DncSource
from outdial.core.numbers import OF_PERSON
from outdial.core.phone import parse_phone
from outdial.secretbox import SecretBox
from outdial.services import barrier, lines
from outdial.services.access import require_application
from outdial.services.engines import Engines
from outdial.services.fields import LONGEST_DESCRIPTION, is_storable, line_problems, name_problems, require
from outdial.services.threads import in_thread
from outdial.store import access as access_store
from outdial.store import dnc as store
from outdial.store import dnc_hashes, history
from outdial.store import runs as runs_store
from outdial.store import wide_stops as wide_stops_store
from outdial.store.database import Connection, Database

__all__ = ["DncChange", "DncEntry", "DncList"]

LOT: Final = 5000
"""Numbers per transaction: dialing of the account rests meanwhile, for some tens of milliseconds."""

IDLE_SECONDS: Final = 2.0
"""How long an addition may fall silent while it keeps the account from dialing."""

SETTLE_SECONDS: Final = 5.0
"""How long an addition waits for calls that were being placed already; one takes milliseconds."""

_LOOK_EVERY_SECONDS: Final = 0.02


Listed: TypeAlias = Callable[[], Awaitable[None]]
"""Awaited once numbers are on their list, before the calls are waited for that were being placed."""


class GivenSource(StrEnum):
    """What somebody who puts numbers on a list may name as their source; the others are outdial's own to say."""

    OPERATOR = DncSource.OPERATOR
    AGENT = DncSource.AGENT


@dataclass(frozen=True, slots=True)
class DncChange:
    """What became of the numbers."""

    changed: int
    unchanged: int
    """Already on the list (when adding), or not on it (when removing), or given twice."""
    problems: tuple[str, ...]
    """One sentence for each number that could not be read, beginning with its index; and for calls still open."""


OnLot = Callable[[int, int], None]
"""Hears of each transaction that is committed: how many numbers it changed, and how many it left as they were."""


async def add_numbers(
    database: Database,
    *,
    account_id: str,
    iid: str | None = None,
    list_name: str | None = None,
    phones: Iterable[str],
    expires_at: datetime | None = None,
    reason: str = "",
    source: DncSource = DncSource.OPERATOR,
    actor: str,
    default_region: str | None = None,
    as_stored: bool = False,
    blocking: bool = False,
    engines: Engines | None = None,
    lines_later: bool = False,
    listed: Listed | None = None,
    on_lot: OnLot | None = None,
) -> DncChange:
    """Put numbers on the account-wide list (``iid`` None) or on a named one of the application, made on first use; for
    good or until an instant, where a number that is on it longer stays so.

    When this returns none of them will be dialed any more: calls that were being placed have left before, or are told
    in ``problems`` when that is still open after some seconds, as it is while they wait for the broken connection of a
    TCP or TLS trunk. ``engines`` is who tells of that; without it every such call that nobody has heard of yet counts
    as open. ``lines_later``: the caller asks about those himself. Numbers that cannot be read are told, the others
    added; ``as_stored`` ones are E.164 as outdial has read them before, and are not read again. ``blocking``: to get
    the next of ``phones`` takes time, as from a file, so a thread does.

    Where ``phones`` raises a named error those before it are added, ``on_lot`` hears of them, and it is raised again.
    Raises InvalidInputError, also for an instant that is past, and NotFoundError for an unknown account or another
    account's application.
    """
    _check_names(iid, list_name, reason=reason, expires_at=expires_at)
    async with database.transaction() as connection:
        list_id = await _made_list(connection, account_id, iid, list_name)
    return await _add(
        database,
        account_id,
        list_id,
        phones,
        reason=reason,
        expires_at=expires_at,
        source=source,
        actor=actor,
        region=default_region,
        as_stored=as_stored,
        blocking=blocking,
        engines=engines,
        lines_later=lines_later,
        listed=listed,
        on_lot=on_lot,
    )


async def _add(
    database: Database,
    account_id: str,
    list_id: str,
    phones: Iterable[str],
    *,
    reason: str,
    expires_at: datetime | None,
    source: DncSource,
    actor: str,
    region: str | None,
    engines: Engines | None,
    as_stored: bool = False,
    blocking: bool = False,
    lines_later: bool = False,
    listed: Listed | None = None,
    on_lot: OnLot | None = None,
) -> DncChange:
    problems: list[str] = []
    changed = unchanged = 0
    lots = _lots(phones if as_stored else read_numbers(phones, region, problems))
    while (lot := await _next(lots, blocking=blocking)) is not None:
        distinct = sorted(set(lot))
        async with database.transaction() as connection:
            # frozen in the middle of this, the process must not keep the account from dialing for long
            await runs_store.limit_idle(connection, IDLE_SECONDS)
            await store.freeze(connection, account_id)
            added = await store.add(
                connection, list_id, distinct, reason=reason, actor=actor, source=source, expires_at=expires_at
            )
            # said again it is no other opt-out, and no other evidence
            for phone in added if source in OPT_OUTS else ():
                await history.append(
                    connection,
                    account_id,
                    "opt_out",
                    "listed",
                    actor=actor,
                    dnc_list_id=list_id,
                    phone=phone,
                    source=source,
                    reason=reason,
                )
        changed += len(added)
        unchanged += len(lot) - len(added)
        if on_lot is not None:
            on_lot(len(added), len(lot) - len(added))
        if listed is not None:
            await listed()
        concerned = distinct
        if source in OF_PERSON:
            # none of whoever has one of these is called any more
            async with database.connection() as connection:
                concerned = await wide_stops_store.numbers_with(connection, account_id, distinct)
        still_open = await _settle(database, account_id, concerned)
        if still_open:
            problems.append(
                f"{still_open} of the numbers were being called already, and whether the call has left is not known "
                "yet; they are on the list."
            )
        waiting = "" if lines_later else await lines.waited_for(database, engines, account_id, concerned)
        if waiting:
            problems.append(
                "A call to one of the numbers that was placed before waits for the connection of its trunk and may "
                f"leave yet, for {barrier.INVITE_SECONDS:.0f} s at most: {waiting}. They are on the list."
            )
    return DncChange(changed=changed, unchanged=unchanged, problems=tuple(problems))


async def remove_numbers(
    database: Database,
    *,
    account_id: str,
    iid: str | None = None,
    list_name: str | None = None,
    phones: Iterable[str],
    actor: str,
    default_region: str | None = None,
    as_stored: bool = False,
    blocking: bool = False,
    secrets: SecretBox | None = None,
    on_lot: OnLot | None = None,
) -> DncChange:
    """Take numbers off the account-wide list (``iid`` None) or off a named one of the application; with ``secrets``
    those too that are on it as hashes, since their persons were erased.

    ``as_stored``, ``blocking``, ``on_lot`` and errors of ``phones`` as in :func:`add_numbers`.
    Raises InvalidInputError, and NotFoundError for an unknown account or list.
    """
    _check_names(iid, list_name)
    async with database.connection() as connection:
        list_id = await _found_list(connection, account_id, iid, list_name)
    return await _remove(
        database,
        account_id,
        list_id,
        phones,
        actor=actor,
        region=default_region,
        as_stored=as_stored,
        blocking=blocking,
        secrets=secrets,
        on_lot=on_lot,
    )


async def _remove(
    database: Database,
    account_id: str,
    list_id: str,
    phones: Iterable[str],
    *,
    actor: str,
    region: str | None,
    secrets: SecretBox | None,
    as_stored: bool = False,
    blocking: bool = False,
    on_lot: OnLot | None = None,
) -> DncChange:
    problems: list[str] = []
    changed = unchanged = 0
    lots = _lots(phones if as_stored else read_numbers(phones, region, problems))
    while (lot := await _next(lots, blocking=blocking)) is not None:
        async with database.transaction() as connection:
            distinct = sorted(set(lot))
            removed = await store.remove(connection, list_id, distinct, actor=actor)
            if secrets is not None and await dnc_hashes.any_of_list(connection, list_id):
                # of persons who were erased, for whom somebody has the number again
                hashes = await dnc_hashes.hashes(connection, secrets, account_id, distinct)
                hashed = await dnc_hashes.remove(connection, list_id, hashes, actor=actor)
                # a number may have been put on it once more since
                removed = min(removed + hashed, len(distinct))
        changed += removed
        unchanged += len(lot) - removed
        if on_lot is not None:
            on_lot(removed, len(lot) - removed)
    return DncChange(changed=changed, unchanged=unchanged, problems=tuple(problems))


async def list_numbers(
    database: Database, *, account_id: str, iid: str | None = None, list_name: str | None = None
) -> list[DncEntry]:
    """Return what is on the account-wide list (``iid`` None) or on a named one, sorted by number.

    Raises InvalidInputError, and NotFoundError for an unknown account or list.
    """
    _check_names(iid, list_name)
    async with database.connection() as connection:
        list_id = await _found_list(connection, account_id, iid, list_name)
        return await store.entries(connection, list_id)


async def list_lists(database: Database, *, account_id: str, iid: str) -> list[DncList]:
    """Return the account-wide list, first, and those of the application."""
    async with database.transaction() as connection:
        await _made_list(connection, account_id, None, None)
        return await store.lists(connection, account_id, iid)


async def get_list(database: Database, *, account_id: str, iid: str, list_id: str) -> DncList:
    """Return a list of the account or of the application; raise NotFoundError, alike for everybody else's."""
    async with database.connection() as connection:
        found = await store.lists(connection, account_id, iid, list_id=list_id) if is_storable(list_id) else []
    if not found:
        raise NotFoundError(f"There is no do-not-call list {list_id}.")
    return found[0]


async def create_list(database: Database, *, account_id: str, iid: str, name: str, actor: str) -> DncList:
    """Make an empty list that the application's campaigns may name. Raises InvalidInputError, ConflictError."""
    require(name_problems("name", name))
    list_id = ids.contact_list_id(uuid.uuid4())
    async with database.transaction() as connection:
        if not await store.insert_list(connection, account_id, iid, name, new_id=list_id):
            raise ConflictError(f"There is already a do-not-call list named {name}; choose another name.")
        await history.append(connection, account_id, "dnc_list", "created", actor=actor, dnc_list_id=list_id)
        (made,) = await store.lists(connection, account_id, iid, list_id=list_id)
        return made


async def numbers_page(
    database: Database, *, account_id: str, iid: str, list_id: str, after: str, limit: int
) -> list[DncEntry]:
    """Return some of what is on a list, sorted by number, from the first after ``after`` on. Raises NotFoundError."""
    found = await get_list(database, account_id=account_id, iid=iid, list_id=list_id)
    async with database.connection() as connection:
        return await store.page(connection, found.id, after=after, limit=limit)


async def add_to_list(
    database: Database,
    *,
    account_id: str,
    iid: str,
    list_id: str,
    phones: Iterable[str],
    reason: str = "",
    expires_at: datetime | None = None,
    actor: str,
    default_region: str | None = None,
    as_stored: bool = False,
    blocking: bool = False,
    engines: Engines | None = None,
    on_lot: OnLot | None = None,
) -> DncChange:
    """Put numbers on a list, for good or until an instant; a number that is on it longer stays so.

    As :func:`add_numbers`. Raises NotFoundError, and InvalidInputError also for an instant that is past.
    """
    _check_names(None, None, reason=reason, expires_at=expires_at)
    found = await get_list(database, account_id=account_id, iid=iid, list_id=list_id)
    return await _add(
        database,
        account_id,
        found.id,
        phones,
        reason=reason,
        expires_at=expires_at,
        source=DncSource.OPERATOR,
        actor=actor,
        region=default_region,
        as_stored=as_stored,
        blocking=blocking,
        engines=engines,
        on_lot=on_lot,
    )


async def remove_from_list(
    database: Database,
    *,
    account_id: str,
    iid: str,
    list_id: str,
    phones: Iterable[str],
    actor: str,
    default_region: str | None = None,
    secrets: SecretBox | None = None,
) -> DncChange:
    """Take numbers off a list; with ``secrets`` those too that are on it as hashes. Raises NotFoundError."""
    found = await get_list(database, account_id=account_id, iid=iid, list_id=list_id)
    return await _remove(database, account_id, found.id, phones, actor=actor, region=default_region, secrets=secrets)


async def require_owner(connection: Connection, account_id: str) -> None:
    """Raise NotFoundError when there is no such account."""
    await _check_owner(connection, account_id, None)


def require_reason(reason: str) -> None:
    """Raise InvalidInputError for what cannot be a reason."""
    _check_names(None, None, reason=reason)


def require_addition(*, iid: str | None, list_name: str | None, reason: str, expires_at: datetime | None) -> None:
    """Raise InvalidInputError for what :func:`add_numbers` refuses whatever the numbers are, before any is read."""
    _check_names(iid, list_name, reason=reason, expires_at=expires_at)


def _check_names(
    iid: str | None, list_name: str | None, *, reason: str = "", expires_at: datetime | None = None
) -> None:
    problems = line_problems("reason", reason, longest=LONGEST_DESCRIPTION)
    if expires_at is not None and expires_at <= clock.now():
        problems.append("`expiresAt` is past; leave it out to keep the numbers for good.")
    if iid is None and list_name is not None:
        problems.append("`list_name` is given without an application; the account-wide list has no name.")
    if iid is not None:
        problems += name_problems("list_name", list_name or "")
    require(problems)


async def _made_list(connection: Connection, account_id: str, iid: str | None, name: str | None) -> str:
    new_id = ids.contact_list_id(uuid.uuid4())
    await _check_owner(connection, account_id, iid)
    if iid is None or name is None:
        return await store.account_list(connection, account_id, new_id=new_id)
    return await store.application_list(connection, account_id, iid, name, new_id=new_id)


async def _found_list(connection: Connection, account_id: str, iid: str | None, name: str | None) -> str:
    if iid is None or name is None:
        return await _made_list(connection, account_id, None, None)
    await _check_owner(connection, account_id, iid)
    list_id = await store.dnc_list_id(connection, iid, name)
    if list_id is None:
        raise NotFoundError(f"There is no do-not-call list named {name}.")
    return list_id


async def _check_owner(connection: Connection, account_id: str, iid: str | None) -> None:
    if iid is not None:
        application = await require_application(connection, iid)
        if application.account_id != account_id:
            raise NotFoundError(f"There is no application {iid}.")
    elif not (is_storable(account_id) and await access_store.account_exists(connection, account_id)):
        raise NotFoundError(f"There is no account {account_id}.")


def _lots(numbers: Iterable[str]) -> Iterator[Sequence[str]]:
    """Yield the numbers some thousands at a time; where they raise a named error, those before it first."""
    left = iter(numbers)
    failure: OutdialError | None = None
    while failure is None:
        lot: list[str] = []
        try:
            # not list(): what it has taken is lost with an error
            for number in islice(left, LOT):
                lot.append(number)  # noqa: PERF402
        except OutdialError as error:
            failure = error
        if lot:
            yield lot
        elif failure is None:
            return
    raise failure


async def _next(lots: Iterator[Sequence[str]], *, blocking: bool) -> Sequence[str] | None:
    """Return the next lot, None after the last."""
    return await in_thread(lambda: next(lots, None)) if blocking else next(lots, None)


def read_numbers(phones: Iterable[str], region: str | None, problems: list[str]) -> Iterator[str]:
    """Yield the numbers in E.164; tell those that cannot be read, each in a sentence that begins with its index."""
    for index, text in enumerate(phones):
        try:
            yield parse_phone(text, region)
        except InvalidInputError as error:
            problems.append(f"[{index}]: {error.message}.")


async def _settle(database: Database, account_id: str, phones: Sequence[str]) -> int:
    """Wait until no attempt to these numbers is reserved any more; return how many still are when time is up."""
    deadline = asyncio.get_running_loop().time() + SETTLE_SECONDS
    while True:
        async with database.connection() as connection:
            count = await store.reserved_count(connection, account_id, phones)
        if not count or asyncio.get_running_loop().time() >= deadline:
            return count
        await asyncio.sleep(_LOOK_EVERY_SECONDS)

"""Erasing one person by their number, in one account: the number and everything known of its person go.

First nothing dials the number any more, by the stop of a number (``services.wide_stops``); then what mentions it is
mended; then, in one transaction, everything of the person goes, rows of history keep their digests, and the row that
tells of the erasure is appended. Killed anywhere in between, it is gone on with by whoever asks again, or by a server.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from outdial.core import ids
from outdial.core.erasure import pattern_of
from outdial.core.errors import (
    BusyError,
    DatabaseUnavailableError,
    InUseError,
    NotFoundError,
    OutdialError,
    PersonOnCallError,
)
from outdial.core.history import rows_hash
from outdial.core.model import AttemptState, ConnectedCalls, DncSource
from outdial.core.paging import Page
from outdial.core.phone import mask, parse_phone
from outdial.secretbox import SecretBox
from outdial.services import dnc, recordings, sealing, wide_stops
from outdial.services.engines import Engines
from outdial.services.fields import is_storable
from outdial.services.history_export import HistoryNotWholeError
from outdial.store import dnc as dnc_store
from outdial.store import dnc_hashes, erased_texts, seals
from outdial.store import erasures as store
from outdial.store import runs as runs_store
from outdial.store import wide_stops as wide_stops_store
from outdial.store.database import Connection, Database
from outdial.store.erased_texts import Reply
from outdial.store.erasures import Erasure, MovedError, OnACallError

__all__ = ["Erasure"]

REASON: Final = "erasure"
"""Of the stop of the number."""

PASSES: Final = 5
"""How often what has come meanwhile is looked for: after the first time somebody must still be writing of them."""

IDLE_SECONDS: Final = 2.0
"""How long the erasing may fall silent while it keeps the account from dialing."""

REPLIES_AT_ONCE: Final = 200

FILES_AT_ONCE: Final = 100


async def erase(
    database: Database,
    secrets: SecretBox,
    engines: Engines,
    *,
    account_id: str,
    phone: str,
    actor: str,
    never_call: bool = False,
    connected: ConnectedCalls = ConnectedCalls.KEEP,
    default_region: str | None = None,
    folder: Path,
) -> Erasure:
    """Erase the person of a number in an account and return what that was. Asking again goes on with one that was
    broken off. ``folder`` is that of recordings here; those of other machines are removed by their servers, until when
    the erasure is not done.

    Who was on a do-not-call list of the account stays on it, as a hash in place of the number; with ``never_call`` the
    number goes on the account-wide one. Raises InvalidInputError for what is no number, NotFoundError for an unknown
    account, InUseError for a number the account calls from, PersonOnCallError while somebody talks with the person and
    ``connected`` keeps that, StopNotProvenError while a call to it may still ring, HistoryNotWholeError,
    WrongSecretKeyError, FileError.
    """
    number = parse_phone(phone, default_region)
    async with database.connection() as connection:
        await dnc.require_owner(connection, account_id)
        if await store.is_caller_id(connection, account_id, number):
            raise InUseError(
                f"The account calls from {mask(number)}: it is no called person's number alone, and stands in the "
                "rules of its runs. It cannot be erased."
            )
    async with database.transaction() as connection:
        (number_hmac,) = await dnc_hashes.hashes(connection, secrets, account_id, [number])
        erasure = await store.begin(
            connection,
            f"er-{uuid.uuid4()}",
            account_id,
            number_hmac=number_hmac,
            number_encrypted=secrets.encrypt(number),
            never_call=never_call,
            connected=connected,
            actor=actor,
        )
        # before the stop puts an entry of its own beside them
        await _keep_uncallable(connection, erasure, number)
    return await _carry_out(database, secrets, engines, erasure, number, folder)


async def _keep_uncallable(connection: Connection, erasure: Erasure, number: str) -> None:
    await runs_store.limit_idle(connection, IDLE_SECONDS)
    await dnc_store.freeze(connection, erasure.account_id)
    await dnc_hashes.keep(connection, erasure.account_id, number, erasure.number_hmac)
    if erasure.never_call:
        new_id = ids.contact_list_id(uuid.uuid4())
        list_id = await dnc_store.account_list(connection, erasure.account_id, new_id=new_id)
        await dnc_hashes.add(connection, list_id, erasure.number_hmac)


async def _carry_out(
    database: Database, secrets: SecretBox, engines: Engines, erasure: Erasure, number: str, folder: Path
) -> Erasure:
    stopped = await wide_stops.stop_number(
        database,
        engines,
        account_id=erasure.account_id,
        phone=number,
        actor=erasure.requested_by,
        reason=REASON,
        source=DncSource.ERASURE,
        connected=erasure.connected,
    )
    if stopped.number is not None and stopped.number.connected:
        raise _on_call(number)
    await _mend(database, secrets, erasure, number)
    for turn in range(PASSES):
        # what is in no seal yet could not be erased
        async with database.connection() as connection:
            since = await store.oldest_writer(connection)
        await sealing.seal_all(database)
        if not await _pass(database, erasure, number, since=since, first=turn == 0):
            break
    else:
        raise BusyError(f"Something of {mask(number)} keeps being written while it is erased; ask again.")
    async with database.connection() as connection:
        await store.erased(connection, erasure.id)
    await clear_files(database, folder)
    return await erasure_of(database, account_id=erasure.account_id, erasure_id=erasure.id)


def _on_call(number: str) -> PersonOnCallError:
    return PersonOnCallError(
        f"Somebody is talking with {mask(number)}; ask again when that is over, or have it ended with `connected`: "
        "`hang_up`. Nobody else calls the number meanwhile."
    )


async def _mend(database: Database, secrets: SecretBox, erasure: Erasure, number: str) -> None:
    """Take the number out of everything that mentions it beside what is its person's own."""
    for mend, mentions in (
        (erased_texts.mend_text, erased_texts.TEXTS),
        (erased_texts.mend_values, erased_texts.VALUES),
    ):
        for mention in mentions:
            async with database.connection() as connection:
                count = await mend(connection, mention, erasure.account_id, number)
                await store.add_counts(connection, erasure.id, {"mentions": count})
    found = re.compile(pattern_of(number))
    after = ("", "")
    while lot := await _replies(database, erasure.account_id, after):
        for reply in lot:
            if found.search(secrets.decrypt(reply.body_encrypted)):
                async with database.connection() as connection:
                    await erased_texts.forget_reply(connection, reply)
                    await store.add_counts(connection, erasure.id, {"replies": 1})
        after = lot[-1].client_id, lot[-1].key


async def _replies(database: Database, account_id: str, after: tuple[str, str]) -> Sequence[Reply]:
    async with database.connection() as connection:
        return await erased_texts.replies(connection, account_id, after=after, limit=REPLIES_AT_ONCE)


async def _pass(database: Database, erasure: Erasure, number: str, *, since: str, first: bool) -> bool:
    """Erase what there is now, in one transaction; return whether there was anything, or this was the first. What was
    written before ``since`` is in seals."""
    async with database.snapshot() as connection:
        found = await store.find(connection, erasure.account_id, number)
    if not (first or found.any):
        return False
    digests = await _digests(database, erasure.account_id, found.history_ids)
    try:
        async with database.transaction() as connection:
            # dialing of the account rests meanwhile, for some tens of milliseconds
            await _keep_uncallable(connection, erasure, number)
            await store.hold(connection, erasure.account_id, number)
            counts = await store.erase(connection, erasure, number, found)
            await store.check_sealed(connection, found, digests, since=since)
            counts = await store.erase_history(connection, erasure, found, digests, counts)
            await store.add_counts(connection, erasure.id, counts)
    except OnACallError as error:
        raise _on_call(number) from error
    except MovedError:
        # looked for again by the next pass
        return True
    return True


async def _digests(database: Database, account_id: str, row_ids: Sequence[int]) -> dict[int, bytes]:
    """Return the digests of those of the rows that are in seals, each of which holds: what an erasure leaves vouches
    for what was there, so nothing may be erased out of a chain that is broken. Raises HistoryNotWholeError."""
    wanted, found = frozenset(row_ids), dict[int, bytes]()
    async with database.connection() as connection:
        numbers = await store.seals_of(connection, account_id, row_ids)
    for number in numbers:
        async with database.connection() as connection:
            ((seal, ids_of_seal),) = await seals.page(connection, account_id, number=number, through=number, limit=1)
            rows = await seals.rows(connection, ids_of_seal)
        digests = [row.digest() for row in rows]
        if len(rows) != seal.count or rows_hash(digests) != seal.rows:
            raise HistoryNotWholeError(
                f"The rows of seal {number} are not those it was made of, and some of them are to be erased: that "
                "would hide what was changed. See: outdial history verify."
            )
        found.update((row.id, digest) for row, digest in zip(rows, digests, strict=True) if row.id in wanted)
    return found


async def clear_files(database: Database, folder: Path) -> int:
    """Remove the recordings here of persons who were erased, and finish the erasures that have none left anywhere;
    return how many files that were. Raises FileError."""
    count = 0
    while removed := await recordings.remove_erased(database, folder, limit=FILES_AT_ONCE):
        count += removed
    async with database.connection() as connection:
        await store.finish(connection)
    return count


async def go_on(
    database: Database, secrets: SecretBox, engines: Engines, folder: Path, *, older_than: timedelta
) -> list[str]:
    """Go on with erasures whose process has died, or that could not be carried out; return those that are through now.

    Raises what :func:`erase` does, for the first that cannot be carried out yet, once all others were gone on with.
    """
    async with database.connection() as connection:
        waiting = await store.unfinished(connection, older_than=older_than)
    through = []
    trouble: OutdialError | None = None
    for erasure, encrypted in waiting:
        try:
            number = secrets.decrypt(encrypted)
            if await _is_talking(database, erasure, number):
                raise _on_call(number)
            await _carry_out(database, secrets, engines, erasure, number, folder)
        except DatabaseUnavailableError:
            raise
        except OutdialError as error:
            trouble = trouble or error
        else:
            through.append(erasure.id)
    if trouble is not None:
        raise trouble
    return through


async def _is_talking(database: Database, erasure: Erasure, number: str) -> bool:
    """Whether somebody talks with the person, who is not called again, and that is to be kept: then the number need not
    be stopped once more."""
    if erasure.connected is not ConnectedCalls.KEEP:
        return False
    async with database.connection() as connection:
        calls = await wide_stops_store.calls_to(connection, erasure.account_id, number, of_person=True)
        listed = await dnc_store.listed_count(connection, erasure.account_id, [number])
    return bool(listed) and any(call.state == AttemptState.ANSWERED for call in calls)


async def erasure_of(database: Database, *, account_id: str, erasure_id: str) -> Erasure:
    """Return one of the account's. Raises NotFoundError."""
    async with database.connection() as connection:
        found = await store.by_id(connection, account_id, erasure_id) if is_storable(erasure_id) else None
    if found is None:
        raise NotFoundError(f"There is no erasure with the id {erasure_id}.")
    return found


async def list_erasures(database: Database, *, account_id: str, skip: int, limit: int) -> Page[Erasure]:
    """Return some of an account's, the newest first."""
    async with database.connection() as connection:
        found, total = await store.of_account(connection, account_id, skip=skip, limit=limit)
    return Page(items=tuple(found), skip=skip, limit=limit, total=total)

"""How long an account keeps recordings and contacts' attributes, and removing what is older, a little at a time."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final

from outdial.services import dnc, recordings
from outdial.services.fields import require
from outdial.store import history
from outdial.store import retention as store
from outdial.store.database import Database
from outdial.store.retention import Retention

__all__ = ["Retention"]

MOST_DAYS: Final = 36_500

CONTACTS_AT_ONCE: Final = 2000
"""Looked through in one transaction; those that are to lose something are locked for some milliseconds."""

FILES_AT_ONCE: Final = 50

SWEEP_EVERY: Final = timedelta(hours=1)
"""How often an account's contacts are looked through."""

ACTOR: Final = "retention"


async def show(database: Database, *, account_id: str) -> Retention:
    """Return how long an account keeps what. Raises NotFoundError."""
    async with database.connection() as connection:
        await dnc.require_owner(connection, account_id)
        return await store.read(connection, account_id)


async def set_days(
    database: Database, *, account_id: str, recordings_days: int | None, attributes_days: int | None, actor: str
) -> Retention:
    """Set how many days an account keeps recordings and contacts' attributes (None: for ever); what is older goes
    within the hour. Raises InvalidInputError, NotFoundError."""
    require(
        [
            f"`{name}` must be from 1 to {MOST_DAYS} days, not {days}; leave it out to keep them for ever."
            for name, days in (("recordingsDays", recordings_days), ("attributesDays", attributes_days))
            if days is not None and not 1 <= days <= MOST_DAYS
        ]
    )
    async with database.transaction() as connection:
        await dnc.require_owner(connection, account_id)
        found = await store.write(
            connection, account_id, recordings_days=recordings_days, attributes_days=attributes_days, actor=actor
        )
        await history.append(
            connection,
            account_id,
            "retention",
            "set",
            actor=actor,
            recordings_days=recordings_days,
            attributes_days=attributes_days,
        )
    return found


async def sweep_contacts(database: Database) -> int:
    """Take the attributes off contacts that are older than their accounts keep them, of every account that is due;
    return how many. Contacts of live runs keep theirs until those are over."""
    async with database.connection() as connection:
        due = await store.claim_sweep(connection, every=SWEEP_EVERY)
    count = 0
    for account_id, days in due:
        async with database.connection() as connection:
            lists = await store.lists_at_rest(connection, account_id)
        for list_id in lists:
            count += await _sweep_list(database, account_id, list_id, days)
    return count


async def _sweep_list(database: Database, account_id: str, list_id: str, days: int) -> int:
    count, after = 0, 0
    while True:
        async with database.transaction() as connection:
            swept = await store.sweep(connection, list_id, days=days, after=after, limit=CONTACTS_AT_ONCE)
            if swept.removed:
                await history.append(
                    connection,
                    account_id,
                    "retention",
                    "removed",
                    actor=ACTOR,
                    kind="attributes",
                    list_id=list_id,
                    count=swept.removed,
                    days=days,
                )
        count += swept.removed
        if swept.reached is None:
            return count
        after = swept.reached


async def sweep_recordings(database: Database, folder: Path) -> int:
    """Remove the recordings made on this machine that are older than their accounts keep them; return how many. Raises
    FileError once all that can go are gone, when one could not be removed."""
    async with database.connection() as connection:
        accounts = await store.with_recordings(connection)
    count = 0
    for account_id, days in accounts:
        count += await recordings.remove_expired(
            database, folder, account_id=account_id, days=days, at_once=FILES_AT_ONCE, actor=ACTOR
        )
    return count

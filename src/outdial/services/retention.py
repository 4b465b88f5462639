"""How long an account keeps recordings, attempts and contacts' attributes, and removing what is older, a little at a
time (attempts: :mod:`outdial.services.old_attempts`)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from outdial.core.attempt_limits import LimitRule
from outdial.core.errors import AttemptsKeptTooBrieflyError
from outdial.services import dnc, recordings
from outdial.services.fields import require
from outdial.store import attempt_limits as limits_store
from outdial.store import history
from outdial.store import retention as store
from outdial.store.database import Database
from outdial.store.retention import Retention

__all__ = ["Retention"]

MOST_DAYS: Final = 36_500

LEAST_ATTEMPTS_DAYS: Final = 31
"""Dialing itself looks at the attempts of so many days (``store.old_attempts.NEAR``)."""

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
    database: Database,
    *,
    account_id: str,
    recordings_days: int | None,
    attributes_days: int | None,
    attempts_days: int | None,
    actor: str,
) -> Retention:
    """Set how many days an account keeps recordings, contacts' attributes and attempts (None: for ever); what is older
    goes by and by, of attempts by whole months of runs that ended a month ago. Raises InvalidInputError,
    AttemptsKeptTooBrieflyError where an attempt limit looks back further than attempts would be kept, and
    NotFoundError."""
    require(
        [
            f"`{name}` must be from {least} to {MOST_DAYS} days, not {days}; leave it out to keep them for ever."
            for name, least, days in (
                ("recordingsDays", 1, recordings_days),
                ("attributesDays", 1, attributes_days),
                ("attemptsDays", LEAST_ATTEMPTS_DAYS, attempts_days),
            )
            if days is not None and not least <= days <= MOST_DAYS
        ]
    )
    async with database.transaction() as connection:
        await dnc.require_owner(connection, account_id)
        # whoever adds a limit meanwhile waits, and sees the days
        await limits_store.lock(connection, account_id)
        limits = await limits_store.of_account(connection, account_id, None)
        if problem := too_short(attempts_days, [limit.rule for limit in limits]):
            raise AttemptsKeptTooBrieflyError(problem)
        found = await store.write(
            connection,
            account_id,
            recordings_days=recordings_days,
            attributes_days=attributes_days,
            attempts_days=attempts_days,
            actor=actor,
        )
        await history.append(
            connection,
            account_id,
            "retention",
            "set",
            actor=actor,
            recordings_days=recordings_days,
            attributes_days=attributes_days,
            attempts_days=attempts_days,
        )
    return found


def too_short(attempts_days: int | None, rules: Iterable[LimitRule]) -> str:
    """Return why attempts cannot be kept for so many days only (None: for ever) with such limits; empty when they
    can."""
    longest = max((rule.window_seconds for rule in rules), default=0)
    if attempts_days is None or longest <= attempts_days * 24 * 3600:
        return ""
    return (
        f"`attemptsDays` is {attempts_days}, and an attempt limit counts over {longest / 86400:g} days: it would count "
        "too few. Keep attempts for as long at least, or choose a limit over fewer days."
    )


def looks_too_far(kept: Retention, rules: Iterable[LimitRule], now: datetime) -> str:
    """Return why one of the limits would count too few, since attempts it would count were removed; empty when none
    would."""
    gone, longest = kept.attempts_gone_until, max((rule.window_seconds for rule in rules), default=0)
    if gone is None or now - timedelta(seconds=longest) >= gone:
        return ""
    return (
        f"An attempt limit over {longest / 86400:g} days would count too few: attempts from before {gone:%Y-%m-%d} "
        "(UTC) were removed. Choose a limit over fewer days, or wait until they lie further back."
    )


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

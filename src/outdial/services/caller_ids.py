"""Caller IDs: which trunk each selects, and how much may be called with it."""

from __future__ import annotations

from typing import Final

from outdial.core.errors import InvalidInputError, NotFoundError
from outdial.core.pacing import CallerCaps
from outdial.core.phone import parse_phone
from outdial.services.access import require_application
from outdial.services.fields import range_problems, require
from outdial.services.trunks import LEAST_CALLS_PER_SECOND, MOST_CALLS_PER_SECOND, MOST_CHANNELS
from outdial.store import caller_ids as store
from outdial.store import history
from outdial.store.caller_ids import CallerId
from outdial.store.database import Database

__all__ = ["CallerCaps", "CallerId", "list_caller_ids", "set_caps"]

MOST_CALLS_PER_DAY: Final = 100_000
"""Of one caller ID: they are counted, up to the cap, for each reservation."""


async def list_caller_ids(database: Database, iid: str | None) -> list[CallerId]:
    """Return the caller IDs of an application (None: of all), sorted by number."""
    async with database.connection() as connection:
        return await store.of_application(connection, iid)


async def set_caps(database: Database, *, iid: str, phone: str, caps: CallerCaps, actor: str) -> CallerId:
    """Give a caller ID these caps, in place of those it had; live runs heed them from their next reservation on.

    Raises InvalidInputError, and NotFoundError for a number that is no caller ID of the application.
    """
    require(_problems(caps))
    try:
        number = parse_phone(phone)
    except InvalidInputError:
        raise NotFoundError(f"There is no caller ID {phone[:60]}.") from None
    async with database.transaction() as connection:
        owner = await require_application(connection, iid)
        changed = await store.set_caps(connection, iid, number, caps)
        if changed is None:
            raise NotFoundError(f"There is no caller ID {number}.")
        await history.append(
            connection,
            owner.account_id,
            "trunk",
            "caller_id_caps",
            actor=actor,
            trunk_id=changed.trunk_id,
            caller_id=number,
            max_concurrent_calls=caps.max_concurrent_calls,
            calls_per_second=caps.calls_per_second,
            calls_per_day=caps.calls_per_day,
        )
    return changed


def _problems(caps: CallerCaps) -> list[str]:
    problems: list[str] = []
    for field, value, least, most in (
        ("maxConcurrentCalls", caps.max_concurrent_calls, 1, MOST_CHANNELS),
        ("callsPerSecond", caps.calls_per_second, LEAST_CALLS_PER_SECOND, MOST_CALLS_PER_SECOND),
        ("callsPerDay", caps.calls_per_day, 1, MOST_CALLS_PER_DAY),
    ):
        if value is not None:
            problems += range_problems(field, value, least=least, most=most)
    return problems

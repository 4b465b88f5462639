"""Call details: what became of each call of an application."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from outdial.store import call_details as store
from outdial.store.call_details import CallDetail
from outdial.store.database import Database

__all__ = ["LONGEST_WINDOW", "CallDetail", "CallWindow", "calls"]

LONGEST_WINDOW: Final = timedelta(days=7)
"""Between the first and the last instant asked for; the vendor's limit."""


@dataclass(frozen=True, slots=True)
class CallWindow:
    """When the calls were dialed that are asked for; aware."""

    start: datetime
    """Inclusive."""
    end: datetime
    """Exclusive."""


async def calls(
    database: Database, *, account_id: str, iid: str, window: CallWindow, skip: int, limit: int
) -> list[CallDetail]:
    """Return an application's calls of that window that are over, oldest first."""
    async with database.connection() as connection:
        return await store.page(
            connection,
            account_id=account_id,
            iid=iid,
            dialed_from=window.start,
            dialed_before=window.end,
            offset=skip,
            limit=limit,
        )

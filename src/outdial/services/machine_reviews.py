"""Verdicts about who has answered that were kept for review: listed, reviewed, and what the reviews come to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from outdial import clock
from outdial.core.errors import InvalidInputError, NotFoundError
from outdial.core.machine_review import Actual, ReviewTable, review_table
from outdial.services.campaigns import get_campaign
from outdial.services.fields import is_storable
from outdial.store import history
from outdial.store import machine_reviews as store
from outdial.store.database import Database
from outdial.store.machine_reviews import KeptVerdict

__all__ = ["KeptVerdict"]

USUAL_PERIOD: Final = timedelta(days=30)
"""Up to now, of which reviews are told unless something else is asked for."""

LONGEST_PERIOD: Final = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class PeriodReviews:
    """What the reviews of calls that were answered in a period come to."""

    campaign_id: str | None
    """None: all of the application's."""
    begin: datetime
    end: datetime
    """Not in it any more."""
    table: ReviewTable


async def list_kept(
    database: Database, *, iid: str, campaign_id: str | None, reviewed: bool | None, after: str | None, limit: int
) -> list[KeptVerdict]:
    """Return some verdicts of a campaign, or of all of the application's (None), that are kept for review: those that
    were answered latest first, from the one behind the attempt ``after`` on.

    ``reviewed``: those only that have been reviewed, or have not. Raises NotFoundError, also when the verdict of
    ``after`` is not kept, or not any more.
    """
    campaign_ids = await _campaign_ids(database, iid, campaign_id)
    async with database.connection() as connection:
        behind = None
        if after is not None:
            found = await store.one(connection, iid, after) if is_storable(after) else None
            if found is None:
                # an empty page would be taken for the end
                raise NotFoundError(
                    f"No verdict of an attempt {after[:64]} is kept for review, or none any more; begin anew without "
                    "`after`."
                )
            behind = found.answered_at, found.attempt_id
        return await store.page(connection, campaign_ids, reviewed=reviewed, after=behind, limit=limit)


async def get_kept(database: Database, *, iid: str, attempt_id: str) -> KeptVerdict:
    """Return one verdict that is kept for review. Raises NotFoundError, alike for other tenants' attempts."""
    async with database.connection() as connection:
        found = await store.one(connection, iid, attempt_id) if is_storable(attempt_id) else None
    if found is None:
        raise _none(attempt_id)
    return found


async def enter_review(database: Database, *, iid: str, attempt_id: str, actual: Actual, actor: str) -> KeptVerdict:
    """Write down who had really answered, in place of what was said before, and return the verdict with it.

    Raises NotFoundError where it is not kept for review, alike for other tenants' attempts.
    """
    async with database.transaction() as connection:
        found = await store.one(connection, iid, attempt_id, lock=True) if is_storable(attempt_id) else None
        if found is None:
            raise _none(attempt_id)
        at = await store.enter(connection, attempt_id, actual, actor=actor)
        await history.append(
            connection,
            found.account_id,
            "machine_review",
            "entered",
            actor=actor,
            campaign_id=found.campaign_id,
            attempt_id=attempt_id,
            verdict=found.detection.verdict,
            actual=actual,
            before=found.actual,
        )
    return replace(found, actual=actual, reviewed_by=actor, reviewed_at=at)


async def tabulate(
    database: Database,
    *,
    iid: str,
    campaign_id: str | None,
    begin: datetime | None,
    end: datetime | None,
) -> PeriodReviews:
    """Return what the reviews of a campaign, or of all of the application's (None), come to: of calls that were
    answered from ``begin`` to before ``end``, the last ``USUAL_PERIOD`` unless told.

    Raises NotFoundError, InvalidInputError.
    """
    end = clock.now() if end is None else end
    begin = end - USUAL_PERIOD if begin is None else begin
    if not timedelta(0) < end - begin <= LONGEST_PERIOD:
        raise InvalidInputError(
            [f"The period must end after it begins, and be no longer than {LONGEST_PERIOD.days} days."]
        )
    campaign_ids = await _campaign_ids(database, iid, campaign_id)
    async with database.connection() as connection:
        rows = await store.counts(connection, campaign_ids, begin=begin, end=end)
    return PeriodReviews(campaign_id, begin, end, review_table(rows))


async def _campaign_ids(database: Database, iid: str, campaign_id: str | None) -> list[str]:
    if campaign_id is not None:
        return [(await get_campaign(database, iid, campaign_id)).id]
    async with database.connection() as connection:
        return await store.campaign_ids(connection, iid)


def _none(attempt_id: str) -> NotFoundError:
    return NotFoundError(f"No verdict of an attempt {attempt_id} is kept for review.")

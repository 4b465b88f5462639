"""Calls that are over, each with its campaign, run and contact, in the order in which they were dialed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from outdial.core.model import Attempt
from outdial.store.attempts import attempt_of
from outdial.store.database import Connection

_CALLS: Final = """
           (SELECT t.*, r.instance_id, r.started_at AS run_started_at FROM {attempts} t JOIN runs r ON r.id = t.run_id
             WHERE t.account_id = $1 AND r.iid = $2 AND t.dialed_at >= $3 AND t.dialed_at < $4
               AND t.dialed_at IS NOT NULL AND t.ended_at IS NOT NULL
             ORDER BY t.dialed_at, t.id LIMIT $5::bigint + $6::bigint)"""

PAGE: Final = f"""
SELECT a.*, c.name AS campaign_name, p.attributes,
       ARRAY (SELECT l.name FROM campaign_lists cl JOIN contact_lists l ON l.id = cl.list_id
               WHERE cl.campaign_id = a.campaign_id ORDER BY cl.position) AS list_names
  FROM (SELECT * FROM (
           {_CALLS.format(attempts="attempts")}
           UNION ALL
           {_CALLS.format(attempts="old_attempts")}) t
         ORDER BY t.dialed_at, t.id OFFSET $5 LIMIT $6) a
  JOIN campaigns c ON c.id = a.campaign_id
  LEFT JOIN contacts p ON p.id = a.contact_id
 ORDER BY a.dialed_at, a.id
"""  # noqa: S608 - two names
"""Account, application, from, before, offset, limit. The inner queries walk the indexes ``attempts_calls`` and
``old_attempts_calls`` and stop at the end of the page."""


@dataclass(frozen=True, slots=True)
class CallDetail:
    """One call: an attempt that was dialed and has ended, or whose end will never be known."""

    attempt: Attempt
    dialed_at: datetime
    ended_at: datetime
    campaign_name: str
    list_names: tuple[str, ...]
    """Of the campaign as it is now."""
    instance_id: str
    run_started_at: datetime
    attributes: dict[str, Any]
    """Of the contact as it is now; empty when it was deleted."""


async def page(
    connection: Connection,
    *,
    account_id: str,
    iid: str,
    dialed_from: datetime,
    dialed_before: datetime,
    offset: int,
    limit: int,
) -> list[CallDetail]:
    """Return some of an application's calls, oldest first."""
    rows = await connection.fetch(
        PAGE,
        account_id,
        iid,
        dialed_from,
        dialed_before,
        offset,
        limit,
    )
    return [
        CallDetail(
            attempt=attempt_of(row),
            dialed_at=row["dialed_at"],
            ended_at=row["ended_at"],
            campaign_name=row["campaign_name"],
            list_names=tuple(row["list_names"]),
            instance_id=row["instance_id"],
            run_started_at=row["run_started_at"],
            attributes=row["attributes"] or {},
        )
        for row in rows
    ]

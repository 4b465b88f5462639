"""What an archive of evidence has beside the history: the rules of runs, and every attempt limit there was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from outdial.core.attempt_limits import AttemptLimit
from outdial.core.canonical import Json
from outdial.store.attempt_limits import limit_of
from outdial.store.database import Connection


@dataclass(frozen=True, slots=True)
class RunRules:
    """A run, and what it dials by as it is stored."""

    run_id: int
    instance_id: str
    campaign_id: str
    iid: str
    rules: Json


async def run_rules(connection: Connection, run_ids: Sequence[int]) -> list[RunRules]:
    """Return the rules of runs, oldest run first."""
    rows = await connection.fetch(
        "SELECT id, instance_id, campaign_id, iid, rules FROM runs WHERE id = ANY ($1::bigint[]) ORDER BY id", run_ids
    )
    return [RunRules(*row.values()) for row in rows]


async def every_limit(
    connection: Connection, account_id: str, campaign_id: str | None
) -> list[tuple[AttemptLimit, datetime | None]]:
    """Return every attempt limit of an account there ever was, by id, with when it was removed (None: it was not); of a
    campaign those that hold its calls, which are the account's, its application's and its own."""
    rows = await connection.fetch(
        """
        WITH every AS (
            SELECT to_jsonb(l) AS told, NULL::timestamptz AS removed_at FROM attempt_limits l WHERE account_id = $1
            UNION ALL
            SELECT detail, at FROM history WHERE account_id = $1 AND action = 'attempt_limit' AND to_state = 'removed')
        SELECT told, removed_at FROM every
         WHERE $2::text IS NULL
            OR ((told ->> 'iid' IS NULL OR told ->> 'iid' = (SELECT iid FROM campaigns WHERE id = $2))
                AND (told ->> 'campaign_id' IS NULL OR told ->> 'campaign_id' = $2))
        """,
        account_id,
        campaign_id,
    )
    found = [(limit_of(row["told"]), row["removed_at"]) for row in rows]
    return sorted(found, key=lambda one: one[0].id)

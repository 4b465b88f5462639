"""What a simulation reads: everybody on a campaign's lists, which numbers were called lately, how calls have ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from outdial.core.model import Disposition
from outdial.store.database import Connection

RUNS_LOOKED_AT: Final = 20
CALLS_OF_A_RUN: Final = 5_000
"""The latest of each: as many as say something, and few enough to read at once."""


class Listed(NamedTuple):
    """One contact of a list, as much of it as decides when it may be called. A tuple: there are a million of them."""

    id: int
    phone: str
    time_zone: str | None
    state: str | None
    priority: int
    on_account_dnc: bool
    on_campaign_dnc: bool
    matters: dict[str, str] | None


@dataclass(frozen=True, slots=True)
class Ended:
    """How often calls ended in one way, and how long they took on average."""

    disposition: Disposition
    count: int
    seconds: float
    """From being dialed to their end."""
    ring_seconds: float | None
    """Of answered ones: until the answer."""
    talk_seconds: float | None
    """Of answered ones: from the answer on."""


async def contacts(
    connection: Connection,
    list_id: str,
    *,
    account_dnc_list_id: str | None,
    dnc_list_id: str | None,
    matters: Sequence[str],
    after: int,
    limit: int,
) -> list[Listed]:
    """Return some contacts of a list by their id, from the first after ``after`` on.

    Whether a number is on a do-not-call list is as it is now; ``matters`` are attributes that limits name.
    """
    rows = await connection.fetch(
        """
        SELECT c.id, c.phone, c.time_zone, c.attributes ->> 'state', c.priority,
               EXISTS (SELECT FROM dnc_entries e
                        WHERE e.dnc_list_id = $2 AND e.phone = c.phone
                          AND (e.expires_at IS NULL OR e.expires_at > clock_timestamp())),
               EXISTS (SELECT FROM dnc_entries e
                        WHERE e.dnc_list_id = $3 AND e.phone = c.phone
                          AND (e.expires_at IS NULL OR e.expires_at > clock_timestamp())),
               CASE WHEN $4::text[] IS NOT NULL THEN outdial_matters(c.attributes, $4) END
          FROM contacts c WHERE c.list_id = $1 AND c.id > $5 ORDER BY c.id LIMIT $6
        """,
        list_id,
        account_dnc_list_id,
        dnc_list_id,
        list(matters) or None,
        after,
        limit,
    )
    return [Listed._make(row) for row in rows]


async def account_dnc_list_id(connection: Connection, account_id: str) -> str | None:
    """Return the id of the account's own do-not-call list, None while nothing was ever put on it."""
    found: str | None = await connection.fetchval(
        "SELECT id FROM dnc_lists WHERE account_id = $1 AND iid IS NULL", account_id
    )
    return found


async def allows_duplicates(connection: Connection, list_id: str) -> bool:
    """Whether one number may be in the list more than once."""
    answer: bool = await connection.fetchval("SELECT allow_duplicates FROM contact_lists WHERE id = $1", list_id)
    return answer


class Lately(NamedTuple):
    """A call of the account, as its limits see it."""

    phone: str
    ended_at: datetime
    id: str
    at: datetime
    """When it was dialed, or reserved where nobody knows."""
    disposition: str
    matters: dict[str, str] | None


async def called_lately(
    connection: Connection,
    account_id: str,
    phones: Sequence[str],
    *,
    seconds: int,
    after: tuple[str, datetime, str] | None,
    limit: int,
) -> list[Lately]:
    """Return some of what the account has called of the numbers within so many seconds, by number and the latest call
    first, from the first after ``after`` on (number, end and id of a call): calls that have ended and of which
    something may have left (``store.reserve.candidates`` reads the same)."""
    rows = await connection.fetch(
        """
        SELECT a.phone, a.ended_at, a.id, coalesce(a.dialed_at, a.reserved_at), a.disposition, a.matters
          FROM all_attempts a
         WHERE a.account_id = $1 AND a.phone = ANY ($2::text[]) AND a.ended_at > now() - $3 * interval '1 second'
           AND (a.dialed_at IS NOT NULL OR a.disposition <> 'cancelled')
           AND ($4::text IS NULL OR a.phone > $4 OR (a.phone = $4 AND (a.ended_at, a.id) < ($5::timestamptz, $6::text)))
         ORDER BY a.phone, a.ended_at DESC, a.id DESC LIMIT $7
        """,
        account_id,
        list(phones),
        float(seconds),
        *(after or (None, None, None)),
        limit,
    )
    return [Lately._make(row) for row in rows]


async def endings(connection: Connection, account_id: str) -> list[Ended]:
    """Return how the account's latest calls have ended, without those that we cancelled or know nothing of."""
    rows = await connection.fetch(
        """
        SELECT a.disposition, count(*) AS count,
               avg(extract(epoch FROM a.ended_at - a.dialed_at))::double precision AS seconds,
               avg(extract(epoch FROM a.answered_at - a.dialed_at))::double precision AS ring_seconds,
               avg(extract(epoch FROM a.ended_at - a.answered_at))::double precision AS talk_seconds
          FROM (SELECT id FROM runs WHERE account_id = $1 ORDER BY id DESC LIMIT $2) r
         CROSS JOIN LATERAL (
               SELECT disposition, dialed_at, answered_at, ended_at FROM all_attempts
                WHERE run_id = r.id AND ended_at >= dialed_at AND disposition NOT IN ('cancelled', 'unknown')
                ORDER BY reserved_at DESC LIMIT $3) a
         GROUP BY a.disposition ORDER BY a.disposition
        """,
        account_id,
        RUNS_LOOKED_AT,
        CALLS_OF_A_RUN,
    )
    return [Ended(**{**row, "disposition": Disposition(row["disposition"])}) for row in rows]


@dataclass(frozen=True, slots=True)
class PastVerdicts:
    """What an account's latest calls say of answering machines."""

    verdicts: int
    """Calls of which it was found out who had answered."""
    machines: int
    """Those that were taken for machines'."""
    alike: int
    """Of those, the ones that went as is asked: hung up on, or told something."""
    alike_seconds: float | None
    """How long those lasted on average from the answer on."""


async def verdicts(connection: Connection, account_id: str, *, message_left: bool) -> PastVerdicts:
    """Return what the account's latest calls say of machines; ``message_left``: asked about those that a message was
    left, else about those that were hung up on."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS verdicts, count(*) FILTER (WHERE machine) AS machines,
               count(*) FILTER (WHERE machine AND told = $4) AS alike,
               avg(seconds) FILTER (WHERE machine AND told = $4) AS alike_seconds
          FROM (SELECT id FROM runs WHERE account_id = $1 ORDER BY id DESC LIMIT $2) r
         CROSS JOIN LATERAL (
               SELECT a.disposition = 'answered_machine' AS machine,
                      extract(epoch FROM a.ended_at - a.answered_at)::double precision AS seconds,
                      EXISTS (SELECT FROM flow_outcomes f WHERE f.attempt_id = a.id) AS told
                 FROM all_attempts a
                WHERE a.run_id = r.id AND a.detection IS NOT NULL AND a.ended_at >= a.answered_at
                ORDER BY a.reserved_at DESC LIMIT $3) calls
        """,
        account_id,
        RUNS_LOOKED_AT,
        CALLS_OF_A_RUN,
        message_left,
    )
    assert row is not None  # noqa: S101 - an aggregate is one row
    return PastVerdicts(**row)

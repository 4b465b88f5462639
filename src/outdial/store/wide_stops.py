"""Stops of more than one campaign: what they were for, and which runs and schedules they ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg

from outdial.core.wide_stop import StopScope, StopTarget
from outdial.store.database import Connection


@dataclass(frozen=True, slots=True)
class WideStopRow:
    """One press, and how far it is."""

    id: str
    target: StopTarget
    requested_at: datetime
    requested_by: str
    number_report: dict[str, int] | None
    committed_at: datetime | None
    """When all its runs had been taken to ``stopping`` and noted, or its number was on the do-not-call list."""
    proven_at: datetime | None
    """Of a number's stop and of one that found nothing to stop; of others each run has its own instant."""
    options: Any
    """What it was asked for with; None of one from before that was kept."""


@dataclass(frozen=True, slots=True)
class WideStopRun:
    """One run of it."""

    run_id: int
    campaign_id: str
    instance_id: str
    state: str
    report: Any
    """Of its stop; None until that is proven."""


@dataclass(frozen=True, slots=True)
class ToStop:
    """A campaign with something to stop."""

    iid: str
    campaign_id: str
    keep_schedule: bool = False
    """Somebody has switched its schedule on since the stop was asked for."""


@dataclass(frozen=True, slots=True)
class NumberCall:
    """A live call to a number, or to another number of whoever has it."""

    attempt_id: str
    """Or the id of a transfer's second call."""
    engine_id: str
    state: str
    reserved_at: datetime


@dataclass(frozen=True, slots=True)
class CalledAs:
    """Which try of a contact in a run an attempt is."""

    run_id: int
    number: int
    """1 = the first."""


# a run dials the lists it was started with; a schedule will dial those the campaign has now. With an instant: what has
# been started or switched on by somebody since is not meant, and what a schedule has started since is
_IN_SCOPE: Final = """
SELECT c.iid, c.id AS campaign_id, later.enabled AS keep_schedule FROM campaigns c
 CROSS JOIN LATERAL (
       SELECT $5::timestamptz IS NOT NULL
              AND EXISTS (SELECT FROM history h WHERE h.campaign_id = c.id AND h.run_id IS NULL
                             AND h.action = 'schedule' AND h.reason = 'enable' AND h.at > $5) AS enabled) later
 WHERE ($1::text IS NULL OR c.account_id = $1) AND ($2::text IS NULL OR c.iid = $2)
   AND (EXISTS (SELECT FROM runs r WHERE r.campaign_id = c.id AND r.state IN ('active', 'paused', 'stopping')
                   AND ($5 IS NULL OR r.started_at <= $5
                        OR (NOT later.enabled
                            AND EXISTS (SELECT FROM schedule_occurrences o WHERE o.run_id = r.id)))
                   AND CASE $3 WHEN 'caller_id' THEN r.rules ->> 'caller_id' = $4
                               WHEN 'contact_list' THEN EXISTS (SELECT FROM run_lists l
                                                                 WHERE l.run_id = r.id AND l.list_id = $4)
                               ELSE true END)
        OR EXISTS (SELECT FROM schedules s WHERE s.campaign_id = c.id AND s.enabled AND NOT later.enabled
                      AND CASE $3 WHEN 'caller_id' THEN c.rules ->> 'caller_id' = $4
                                  WHEN 'contact_list' THEN EXISTS (SELECT FROM campaign_lists l
                                                                    WHERE l.campaign_id = c.id AND l.list_id = $4)
                                  ELSE true END))
 ORDER BY c.id
"""


async def insert(connection: Connection, stop_id: str, target: StopTarget, *, actor: str, options: Any = None) -> None:
    """Write down that somebody asks, and the history of it; that of everything is told by its emergency. With options
    it is gone on with when its process dies (:func:`unfinished`)."""
    await connection.execute(
        """
        WITH asked AS (
            INSERT INTO wide_stops (id, scope, value, account_id, iid, requested_by, options)
            VALUES ($1, $2, $3, $4, $5, $6, $7))
        INSERT INTO history (account_id, action, to_state, actor, detail)
        SELECT $4, 'wide_stop', 'asked', $6,
               jsonb_build_object('id', $1::text, 'scope', $2::text, 'value', $3::text)
         WHERE $4::text IS NOT NULL
        """,
        stop_id,
        target.scope,
        target.value,
        target.account_id,
        target.iid,
        actor,
        options,
    )


async def unfinished(connection: Connection, *, older_than: timedelta) -> list[WideStopRow]:
    """Return the stops that were asked for so long ago, and of which not all is shown yet that is to be; those of
    everything are their emergency's."""
    rows = await connection.fetch(
        """
        SELECT * FROM wide_stops
         WHERE proven_at IS NULL AND options IS NOT NULL AND scope <> 'everything'
           AND requested_at < clock_timestamp() - $1::interval
         ORDER BY requested_at
        """,
        older_than,
    )
    return [_row(row) for row in rows]


async def in_scope(connection: Connection, target: StopTarget, *, asked_at: datetime | None = None) -> list[ToStop]:
    """Return the campaigns with a live run or a schedule that the target reaches; with an instant only what somebody
    who asked then can have meant."""
    rows = await connection.fetch(_IN_SCOPE, target.account_id, target.iid, target.scope, target.value, asked_at)
    return [ToStop(**row) for row in rows]


async def add_run(connection: Connection, stop_id: str, run_id: int) -> None:
    """Note that the stop has taken a run to ``stopping``, or found it there."""
    await connection.execute(
        "INSERT INTO wide_stop_runs (wide_stop_id, run_id) VALUES ($1, $2) ON CONFLICT DO NOTHING", stop_id, run_id
    )


async def add_schedule(connection: Connection, stop_id: str, campaign_id: str) -> None:
    """Note that the stop has switched a campaign's schedule off."""
    await connection.execute(
        "INSERT INTO wide_stop_schedules (wide_stop_id, campaign_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        stop_id,
        campaign_id,
    )


async def committed(connection: Connection, stop_id: str) -> None:
    """Note that every run which is to be stopped is noted."""
    await connection.execute(
        "UPDATE wide_stops SET committed_at = coalesce(committed_at, clock_timestamp()) WHERE id = $1", stop_id
    )


async def proven(connection: Connection, stop_id: str, *, number_report: Any = None) -> None:
    """Note that everything has been shown that was to be."""
    await connection.execute(
        """
        UPDATE wide_stops SET proven_at = coalesce(proven_at, clock_timestamp()),
                              number_report = coalesce(number_report, $2) WHERE id = $1
        """,
        stop_id,
        number_report,
    )


async def by_id(connection: Connection, stop_id: str) -> WideStopRow | None:
    """Return a stop, None when there is none of that id."""
    row = await connection.fetchrow("SELECT * FROM wide_stops WHERE id = $1", stop_id)
    return None if row is None else _row(row)


async def of_account(
    connection: Connection, account_id: str, iid: str | None, *, skip: int, limit: int
) -> tuple[list[WideStopRow], int]:
    """Return some stops of an account, or of one of its applications, newest first, and how many there are."""
    rows = await connection.fetch(
        """
        SELECT * FROM wide_stops WHERE account_id = $1 AND ($2::text IS NULL OR iid = $2)
         ORDER BY requested_at DESC, id OFFSET $3 LIMIT $4
        """,
        account_id,
        iid,
        skip,
        limit,
    )
    total: int = await connection.fetchval(
        "SELECT count(*) FROM wide_stops WHERE account_id = $1 AND ($2::text IS NULL OR iid = $2)", account_id, iid
    )
    return [_row(row) for row in rows], total


async def runs_of(connection: Connection, stop_id: str) -> list[WideStopRun]:
    """Return the runs it has ended, or is about to."""
    rows = await connection.fetch(
        """
        SELECT r.id AS run_id, r.campaign_id, r.instance_id, r.state, r.stop_report AS report
          FROM wide_stop_runs w JOIN runs r ON r.id = w.run_id WHERE w.wide_stop_id = $1 ORDER BY r.id
        """,
        stop_id,
    )
    return [WideStopRun(**row) for row in rows]


async def schedules_of(connection: Connection, stop_id: str) -> list[str]:
    """Return the ids of the campaigns whose schedules it has switched off."""
    rows = await connection.fetch(
        "SELECT campaign_id FROM wide_stop_schedules WHERE wide_stop_id = $1 ORDER BY campaign_id", stop_id
    )
    return [row["campaign_id"] for row in rows]


async def calls_to(connection: Connection, account_id: str, phone: str, *, of_person: bool = False) -> list[NumberCall]:
    """Return the account's live calls to a number: at most one attempt, by a unique index, and the second calls of
    transfers, of which only the engine knows whether they are answered; ``of_person``: and those to other numbers of
    contacts that have it."""
    rows = await connection.fetch(
        """
        SELECT id AS attempt_id, engine_id, state, reserved_at FROM attempts
         WHERE account_id = $1 AND phone = $2 AND state IN ('reserved', 'dialing', 'ringing', 'answered')
         UNION ALL
        SELECT t.id, t.engine_id, CASE WHEN t.dialed_at IS NULL THEN 'reserved' ELSE 'dialing' END, t.reserved_at
          FROM transfers t JOIN runs r ON r.id = t.run_id
         WHERE r.account_id = $1 AND t.phone = $2 AND t.ended_at IS NULL
         UNION ALL
        SELECT a.id, a.engine_id, a.state, a.reserved_at FROM run_contacts rc
          JOIN attempts a ON a.run_id = rc.run_id AND a.contact_id = rc.contact_id
           AND a.state IN ('reserved', 'dialing', 'ringing', 'answered')
         WHERE $3 AND rc.phones @> ARRAY[$2] AND a.account_id = $1 AND a.phone <> $2
        """,
        account_id,
        phone,
        of_person,
    )
    return [NumberCall(**row) for row in rows]


async def numbers_with(connection: Connection, account_id: str, phones: Sequence[str]) -> list[str]:
    """Return the numbers, and all those of contacts in runs of the account that have any of them, in order."""
    found: list[str] = await connection.fetchval(
        """
        SELECT array_agg(phone ORDER BY phone) FROM (
            SELECT unnest($2::text[]) AS phone
             UNION
            SELECT unnest(rc.phones) FROM run_contacts rc JOIN runs r ON r.id = rc.run_id AND r.account_id = $1
             WHERE rc.phones && $2::text[]) AS n
        """,
        account_id,
        list(phones),
    )
    return found


async def attempt_of(connection: Connection, attempt_id: str) -> CalledAs | None:
    """Return which try of which run an attempt is; None when there is none of that id."""
    row = await connection.fetchrow("SELECT run_id, number FROM all_attempts WHERE id = $1", attempt_id)
    return None if row is None else CalledAs(**row)


async def may_wait_for_a_line(
    connection: Connection, account_id: str, phones: Sequence[str], *, seconds: float
) -> list[tuple[int, str]]:
    """Return run and engine of each call to one of the numbers, live or over, that was reserved within so many seconds
    over a trunk of TCP or TLS, and of which nobody has heard that it left; of a transfer's that is known by its answer
    alone."""
    rows = await connection.fetch(
        """
        SELECT a.run_id, a.engine_id FROM runs r
          JOIN trunks t ON t.id = r.trunk_id AND t.transport <> 'udp'
          JOIN attempts a ON a.run_id = r.id AND a.reserved_at > clock_timestamp() - $3 * interval '1 second'
          JOIN engines e ON e.id = a.engine_id AND e.retired_at IS NULL
         WHERE r.account_id = $1
           AND (r.ended_at IS NULL OR r.ended_at > clock_timestamp() - $3 * interval '1 second')
           AND a.phone = ANY ($2::text[]) AND a.dialed_at IS NOT NULL
           AND a.ringing_at IS NULL AND a.answered_at IS NULL AND a.sip_code IS NULL
         UNION
        SELECT s.run_id, s.engine_id FROM transfers s
          JOIN runs r ON r.id = s.run_id AND r.account_id = $1
          JOIN trunks t ON t.id = r.trunk_id AND t.transport <> 'udp'
          JOIN engines e ON e.id = s.engine_id AND e.retired_at IS NULL
         WHERE s.phone = ANY ($2::text[]) AND s.reserved_at > clock_timestamp() - $3 * interval '1 second'
           AND s.answered IS NOT TRUE
        """,
        account_id,
        list(phones),
        seconds,
    )
    return [(row["run_id"], row["engine_id"]) for row in rows]


async def remove_number(
    connection: Connection, account_id: str, phone: str, *, actor: str, of_person: bool = False
) -> int:
    """Take a number that is on the account's do-not-call list out of everything pending: its contacts in live runs of
    the account are done, but for those with another number that may be dialed, who are called there; with ``of_person``
    everybody who has it is done. Return how many are done."""
    if not of_person:
        await connection.execute(_TURN, account_id, phone, actor)
    rows = await connection.fetch(
        """
        UPDATE run_contacts rc
           SET state = 'done', done_reason = 'dnc', not_before = NULL, callback_at = NULL,
               -- what the gate would say of it when it comes due (core.screening)
               screening = jsonb_build_object('rule', 'account_dnc', 'inputs', jsonb_build_object('listed', true),
                                              'sentence', 'The number is on the account''s do-not-call list.'),
               updated_at = clock_timestamp(), changed_by = $3
          FROM runs r
         WHERE r.id = rc.run_id AND r.account_id = $1 AND r.state IN ('active', 'paused')
           AND (rc.phone = $2 OR ($4 AND rc.phones @> ARRAY[$2])) AND rc.state IN ('pending', 'waiting')
           -- who has turned to the number since is left to the gate, which turns them on
           AND ($4 OR rc.phones IS NULL OR outdial_uncallable(r.dnc_list_ids, rc.phones, clock_timestamp()))
        RETURNING 1
        """,
        account_id,
        phone,
        actor,
        of_person,
    )
    return len(rows)


_TURN: Final = """
UPDATE run_contacts rc
   SET phone = turned.phone, updated_at = clock_timestamp(), changed_by = $3
  FROM runs r
 CROSS JOIN LATERAL (
       SELECT c.contact_id,
              -- the first after it in the ring that no list has, and of which nobody knows that nobody has it
              (SELECT n.phone FROM unnest(c.phones) WITH ORDINALITY AS n (phone, place)
                WHERE n.phone <> $2 AND NOT outdial_uncallable(r.dnc_list_ids, ARRAY[n.phone], clock_timestamp())
                  AND NOT EXISTS (SELECT FROM attempts a WHERE a.run_id = c.run_id AND a.contact_id = c.contact_id
                                     AND a.phone = n.phone AND a.disposition = 'invalid_number')
                ORDER BY n.place < array_position(c.phones, c.phone), n.place LIMIT 1) AS phone
         FROM run_contacts c
        WHERE c.run_id = r.id AND c.phone = $2 AND c.phones @> ARRAY[$2] AND c.state IN ('pending', 'waiting')) turned
 WHERE r.account_id = $1 AND r.state IN ('active', 'paused') AND turned.phone IS NOT NULL
   AND rc.run_id = r.id AND rc.contact_id = turned.contact_id
   AND rc.phone = $2 AND rc.state IN ('pending', 'waiting')
"""
"""Has contacts that would be called at number $2 next called at another of theirs, where one may be dialed."""


def _row(row: asyncpg.Record) -> WideStopRow:
    return WideStopRow(
        id=row["id"],
        target=StopTarget(StopScope(row["scope"]), row["value"], row["account_id"], row["iid"]),
        requested_at=row["requested_at"],
        requested_by=row["requested_by"],
        number_report=row["number_report"],
        committed_at=row["committed_at"],
        proven_at=row["proven_at"],
        options=row["options"],
    )

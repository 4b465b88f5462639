"""Erasures: who was erased, and the statements by which a number and what is known of its person go.

What is found is found without a lock (:func:`find`); what goes, goes in one transaction (:func:`erase`), but for texts
that merely mention the number (``store.erased_texts``), each of which is mended by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg

from outdial.core.erasure import GONE, digits_of, pattern_of
from outdial.core.model import ConnectedCalls
from outdial.store.database import Connection

ROWS_AT_ONCE: Final = 50_000
"""Ids of history that are looked through by one statement, some tenths of a second."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """One person who was erased, or is about to be; the number is not in it."""

    id: str
    account_id: str
    number_hmac: bytes = field(repr=False)
    never_call: bool
    """Nobody of the account may call the number from then on, whether or not it was on a do-not-call list."""
    connected: ConnectedCalls
    requested_at: datetime
    requested_by: str
    counts: dict[str, int]
    """Rows that are gone, by what they were."""
    erased_at: datetime | None
    """Everything but recordings on other machines is gone."""
    done_at: datetime | None


@dataclass(frozen=True, slots=True)
class Found:
    """What there is of a person."""

    contact_ids: frozenset[int]
    attempt_ids: frozenset[str]
    history_ids: tuple[int, ...]
    alarm_ids: tuple[int, ...]
    report_run_ids: tuple[int, ...]
    """Runs whose signed reports name the number."""

    @property
    def any(self) -> bool:
        """Whether there is anything."""
        return bool(self.contact_ids or self.attempt_ids or self.history_ids or self.alarm_ids or self.report_run_ids)


class MovedError(Exception):
    """Something of the person has come since it was looked for; the transaction is lost, look again."""


class OnACallError(Exception):
    """A call to the number is live; the transaction is lost."""


def _erasure(row: asyncpg.Record) -> Erasure:
    known = dict(row)
    del known["number_encrypted"]
    return Erasure(**known | {"connected": ConnectedCalls(row["connected"])})


async def begin(
    connection: Connection,
    erasure_id: str,
    account_id: str,
    *,
    number_hmac: bytes,
    number_encrypted: bytes,
    never_call: bool,
    connected: ConnectedCalls,
    actor: str,
) -> Erasure:
    """Write down that a number is to be erased; return the one under way where there is one."""
    row = await connection.fetchrow(
        """
        INSERT INTO erasures AS e (id, account_id, number_hmac, number_encrypted, never_call, connected, requested_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
            ON CONFLICT (account_id, number_hmac) WHERE erased_at IS NULL
            DO UPDATE SET never_call = e.never_call OR excluded.never_call, connected = excluded.connected
        RETURNING *
        """,
        erasure_id,
        account_id,
        number_hmac,
        number_encrypted,
        never_call,
        connected,
        actor,
    )
    assert row is not None  # noqa: S101 - inserted or found
    return _erasure(row)


async def by_id(connection: Connection, account_id: str, erasure_id: str) -> Erasure | None:
    """Return one of the account's, None when it has none of that id."""
    row = await connection.fetchrow("SELECT * FROM erasures WHERE id = $1 AND account_id = $2", erasure_id, account_id)
    return None if row is None else _erasure(row)


async def of_account(connection: Connection, account_id: str, *, skip: int, limit: int) -> tuple[list[Erasure], int]:
    """Return some of an account, the newest first, and how many there are."""
    rows = await connection.fetch(
        "SELECT * FROM erasures WHERE account_id = $1 ORDER BY requested_at DESC, id OFFSET $2 LIMIT $3",
        account_id,
        skip,
        limit,
    )
    total: int = await connection.fetchval("SELECT count(*) FROM erasures WHERE account_id = $1", account_id)
    return [_erasure(row) for row in rows], total


async def unfinished(connection: Connection, *, older_than: timedelta) -> list[tuple[Erasure, bytes]]:
    """Return those that were asked for so long ago and are not through, each with its number, encrypted."""
    rows = await connection.fetch(
        """
        SELECT * FROM erasures WHERE erased_at IS NULL AND requested_at < clock_timestamp() - $1::interval
         ORDER BY requested_at
        """,
        older_than,
    )
    return [(_erasure(row), row["number_encrypted"]) for row in rows]


async def is_caller_id(connection: Connection, account_id: str, phone: str) -> bool:
    """Whether the account calls from the number."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM caller_ids c JOIN applications a USING (iid)
                        WHERE a.account_id = $1 AND c.phone = $2)
            OR EXISTS (SELECT FROM runs WHERE account_id = $1 AND rules ->> 'caller_id' = $2)
        """,
        account_id,
        phone,
    )
    return found


async def find(connection: Connection, account_id: str, phone: str) -> Found:
    """Look for everything that is the person's, but for texts that mention the number: whoever has it as one of several
    is the person, with what there is of calls to the others, but for those numbers themselves."""
    contacts = await connection.fetch(
        """
        SELECT c.id FROM contact_lists l JOIN contacts c ON c.list_id = l.id
         WHERE l.account_id = $1 AND (c.phone = $2 OR $2 = ANY (c.other_phones))
         UNION
        SELECT rc.contact_id FROM runs r JOIN run_contacts rc ON rc.run_id = r.id
         WHERE r.account_id = $1 AND rc.phone = $2
         UNION
        SELECT rc.contact_id FROM run_contacts rc JOIN runs r ON r.id = rc.run_id AND r.account_id = $1
         WHERE rc.phones @> ARRAY[$2]
         UNION
        SELECT contact_id FROM all_attempts WHERE account_id = $1 AND phone = $2
        """,
        account_id,
        phone,
    )
    contact_ids = frozenset(row["id"] for row in contacts)
    attempts = await connection.fetch(f"SELECT id {_THEIR_ATTEMPTS}", account_id, phone)
    attempt_ids = frozenset(row["id"] for row in attempts)
    # the number as it was sent may have the prefix of its trunk
    alarms = await connection.fetch(
        "SELECT id FROM watchdog_alarms WHERE account_id = $1 AND right(number, length($2)) = $2 ORDER BY id",
        account_id,
        digits_of(phone),
    )
    reports = await connection.fetch(
        """
        SELECT s.run_id FROM signed_reports s JOIN runs r ON r.id = s.run_id
         WHERE r.account_id = $1 AND position(convert_to($2, 'UTF8') IN s.document) > 0
           AND convert_from(s.document, 'UTF8') ~ $3
         ORDER BY s.run_id
        """,
        account_id,
        digits_of(phone),
        pattern_of(phone),
    )
    return Found(
        contact_ids=contact_ids,
        attempt_ids=attempt_ids,
        history_ids=tuple(await _history(connection, account_id, phone, contact_ids, attempt_ids)),
        alarm_ids=tuple(row["id"] for row in alarms),
        report_run_ids=tuple(row["run_id"] for row in reports),
    )


_THEIR_ATTEMPTS: Final = """
  FROM (SELECT id FROM all_attempts WHERE account_id = $1 AND phone = $2
         UNION
        SELECT a.id FROM run_contacts rc
          JOIN runs r ON r.id = rc.run_id AND r.account_id = $1
          JOIN all_attempts a ON a.run_id = rc.run_id AND a.contact_id = rc.contact_id
         WHERE rc.phones @> ARRAY[$2]) theirs
"""
"""Attempts to number $2 of account $1, and those to other numbers of contacts that have it; each part by its index."""


async def _history(
    connection: Connection, account_id: str, phone: str, contact_ids: frozenset[int], attempt_ids: frozenset[str]
) -> list[int]:
    """Return the rows that tell of a contact or an attempt of the person, or name the number."""
    found: list[int] = []
    after, last = 0, await connection.fetchval("SELECT coalesce(max(id), 0) FROM history")
    while after < last:
        rows = await connection.fetch(
            """
            SELECT h.id FROM history h LEFT JOIN runs r ON r.id = h.run_id
             CROSS JOIN LATERAL (SELECT concat_ws(' ', h.reason, h.actor, h.detail::text) AS text) said
             WHERE h.id > $5 AND h.id <= $6 AND h.erased_sha256 IS NULL AND h.action <> 'erasure'
               AND coalesce(h.account_id, r.account_id) = $1
               AND (h.attempt_id = ANY ($2::text[]) OR h.contact_id = ANY ($3::bigint[])
                    OR (position($4 IN said.text) > 0 AND said.text ~ $7))
             ORDER BY h.id
            """,
            account_id,
            list(attempt_ids),
            list(contact_ids),
            digits_of(phone),
            after,
            after + ROWS_AT_ONCE,
            pattern_of(phone),
        )
        found += [row["id"] for row in rows]
        # ids have gaps, a restore leaves one of thousands of millions
        beyond = await connection.fetchval("SELECT min(id) FROM history WHERE id > $1", after + ROWS_AT_ONCE)
        after = last if beyond is None else beyond - 1
    return found


async def seals_of(connection: Connection, account_id: str, ids: Sequence[int]) -> list[int]:
    """Return the numbers of the account's seals that hold the rows, each once, in order."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT s.number FROM unnest($2::bigint[]) AS g (id)
          JOIN history_seals s ON s.account_id = $1 AND s.to_id >= g.id AND s.from_id <= g.id AND g.id = ANY (s.ids)
         ORDER BY s.number
        """,
        account_id,
        list(ids),
    )
    return [row["number"] for row in rows]


async def hold(connection: Connection, account_id: str, phone: str) -> None:
    """Keep everybody until commit from adding contacts to the account, and from reading the person's lists into runs.
    Raises OnACallError when a call to the number is live."""
    await connection.execute("SELECT FROM account_usage WHERE account_id = $1 FOR NO KEY UPDATE", account_id)
    await connection.execute(
        """
        SELECT FROM run_lists WHERE list_id IN (
            SELECT c.list_id FROM contact_lists l JOIN contacts c ON c.list_id = l.id
             WHERE l.account_id = $1 AND (c.phone = $2 OR $2 = ANY (c.other_phones)))
         ORDER BY list_id FOR UPDATE
        """,
        account_id,
        phone,
    )
    live = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM attempts WHERE account_id = $1 AND phone = $2
                          AND state IN ('reserved', 'dialing', 'ringing', 'answered'))
            OR EXISTS (SELECT FROM transfers t JOIN runs r ON r.id = t.run_id
                        WHERE r.account_id = $1 AND t.phone = $2 AND t.ended_at IS NULL)
            OR EXISTS (SELECT FROM run_contacts rc JOIN runs r ON r.id = rc.run_id
                        WHERE r.account_id = $1 AND rc.phone = $2 AND rc.state IN ('claimed', 'dialing'))
            OR EXISTS (SELECT FROM run_contacts rc JOIN runs r ON r.id = rc.run_id
                        WHERE r.account_id = $1 AND rc.phones @> ARRAY[$2] AND rc.state IN ('claimed', 'dialing'))
        """,
        account_id,
        phone,
    )
    if live:
        raise OnACallError


async def erase(connection: Connection, erasure: Erasure, phone: str, found: Found) -> dict[str, int]:
    """Take everything of the person away but history; return how many rows of each kind that was.

    Contacts go. What runs need to add up stays without the number. A call to another number of theirs stays one to that
    number: it counts for the limits of whoever else has it. Raises MovedError.
    """
    counts: dict[str, int] = {}

    async def do(kind: str, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        rows = await connection.fetch(statement, *arguments)
        counts[kind] = counts.get(kind, 0) + len(rows)
        return rows

    contacts = await do(
        "contacts",
        """
        DELETE FROM contacts
         WHERE (phone = $2 OR $2 = ANY (other_phones))
           AND list_id IN (SELECT id FROM contact_lists WHERE account_id = $1)
        RETURNING id AS contact_id
        """,
        erasure.account_id,
        phone,
    )
    # before their contacts lose the numbers by which they are found; in this order, since what is moved meanwhile is
    # found by the second
    attempts = []
    for table in ("attempts", "old_attempts"):
        attempts += await do(
            "attempts",
            f"""
            UPDATE {table} t
               SET phone = CASE WHEN phone = $2 THEN $3 ELSE phone END, change_reason = '', pre_call = NULL,
                   screening = NULL, matters = CASE WHEN phone = $2 THEN NULL ELSE matters END
             WHERE t.id IN (SELECT id {_THEIR_ATTEMPTS})
            RETURNING id, contact_id
            """,  # noqa: S608 - constants of this module
            erasure.account_id,
            phone,
            GONE,
        )
    run_contacts = await do(
        "run_contacts",
        """
        WITH theirs AS (
            -- one that was read into a run after the stop of the number has been neither called nor taken out
            SELECT rc.run_id, rc.contact_id,
                   r.state IN ('active', 'paused') AND rc.state IN ('pending', 'waiting') AS is_due
              FROM run_contacts rc JOIN runs r ON r.id = rc.run_id
             WHERE r.account_id = $1 AND rc.phone = $2
             UNION
            SELECT rc.run_id, rc.contact_id, r.state IN ('active', 'paused') AND rc.state IN ('pending', 'waiting')
              FROM run_contacts rc JOIN runs r ON r.id = rc.run_id
             WHERE r.account_id = $1 AND rc.phones @> ARRAY[$2])
        UPDATE run_contacts rc
           SET phone = $3, phones = NULL, dedupe_key = 'erased:' || rc.contact_id, screening = NULL,
               state = CASE WHEN t.is_due THEN 'done' ELSE rc.state END,
               done_reason = CASE WHEN t.is_due THEN 'dnc' ELSE rc.done_reason END,
               not_before = CASE WHEN t.is_due THEN NULL ELSE rc.not_before END,
               callback_at = CASE WHEN t.is_due THEN NULL ELSE rc.callback_at END
          FROM theirs t WHERE rc.run_id = t.run_id AND rc.contact_id = t.contact_id
        RETURNING rc.contact_id
        """,
        erasure.account_id,
        phone,
        GONE,
    )
    if not {row["contact_id"] for row in (*contacts, *run_contacts, *attempts)} <= found.contact_ids:
        raise MovedError
    attempt_ids = [row["id"] for row in attempts]
    await do("flow_outcomes", "DELETE FROM flow_outcomes WHERE attempt_id = ANY ($1::text[]) RETURNING 1", attempt_ids)
    await do(
        "recordings",
        """
        UPDATE recordings SET erasure_id = $2
         WHERE attempt_id = ANY ($1::text[]) AND removed_at IS NULL AND erasure_id IS NULL RETURNING 1
        """,
        attempt_ids,
        erasure.id,
    )
    await do(
        "transfers",
        """
        UPDATE transfers t SET phone = NULL, dialed = $3
          FROM runs r WHERE r.id = t.run_id AND r.account_id = $1 AND t.phone = $2
        RETURNING 1
        """,
        erasure.account_id,
        phone,
        GONE,
    )
    await do(
        "stops",
        """
        UPDATE wide_stops
           SET value = $3, options = options - 'reason', proven_at = coalesce(proven_at, clock_timestamp())
         WHERE account_id = $1 AND scope = 'number' AND value = $2
        RETURNING 1
        """,
        erasure.account_id,
        phone,
        GONE,
    )
    await do(
        "dnc_entries",
        """
        DELETE FROM dnc_entries WHERE phone = $2 AND dnc_list_id IN (SELECT id FROM dnc_lists WHERE account_id = $1)
        RETURNING 1
        """,
        erasure.account_id,
        phone,
    )
    return counts


async def oldest_writer(connection: Connection) -> str:
    """Return the oldest transaction that may not be over yet: those before it have written what they do."""
    found: str = await connection.fetchval("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
    return found


async def check_sealed(connection: Connection, found: Found, digests: Collection[int], *, since: str) -> None:
    """Check that the history has no row of the contacts but those in ``digests``, once nobody writes of them any more
    (:func:`erase`): no later look would find one, since they have no number then. ``since`` is the oldest transaction
    whose rows may be in no seal. Raises MovedError."""
    new = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM history
                        WHERE xid >= $1::text::xid8 AND xid <> pg_current_xact_id() AND contact_id = ANY ($2::bigint[])
                          AND erased_sha256 IS NULL AND action <> 'erasure' AND id <> ALL ($3::bigint[]))
        """,
        since,
        list(found.contact_ids),
        list(digests),
    )
    if new:
        raise MovedError


async def erase_history(
    connection: Connection, erasure: Erasure, found: Found, digests: dict[int, bytes], counts: dict[str, int]
) -> dict[str, int]:
    """Append the row that tells of the erasure, and take away what the rows, alarms and reports it names say; return
    the counts with those. Rows that are not in ``digests`` stay."""
    # whoever reads on for a webhook does so before, and its messages are seen, or after, and none is made
    await connection.execute(
        "SELECT FROM webhooks WHERE account_id = $1 ORDER BY id FOR NO KEY UPDATE", erasure.account_id
    )
    ids = sorted(digests)
    messages = await connection.fetch(
        """
        DELETE FROM webhook_deliveries d USING webhooks w
         WHERE w.id = d.webhook_id AND w.account_id = $1 AND d.history_id = ANY ($2::bigint[]) RETURNING 1
        """,
        erasure.account_id,
        ids,
    )
    counts = counts | {
        "history": len(ids),
        "webhook_messages": len(messages),
        "alarms": len(found.alarm_ids),
        "signed_reports": len(found.report_run_ids),
    }
    await connection.execute(
        """
        INSERT INTO history (account_id, action, to_state, actor, detail) VALUES ($1, 'erasure', 'erased', $2, $3)
        """,
        erasure.account_id,
        erasure.requested_by,
        {
            "erasure_id": erasure.id,
            "number_hmac": erasure.number_hmac.hex(),
            "requested_at": erasure.requested_at,
            "never_call": erasure.never_call,
            "counts": counts,
            "rows": ids,
            "alarms": list(found.alarm_ids),
            "reports": list(found.report_run_ids),
        },
    )
    if ids:
        await connection.execute("SELECT outdial_erase_history($1, $2)", ids, [digests[row_id] for row_id in ids])
    if found.alarm_ids:
        await connection.execute(
            "UPDATE watchdog_alarms SET number = $2 WHERE id = ANY ($1::bigint[])", list(found.alarm_ids), GONE
        )
    if found.report_run_ids:
        await connection.execute(
            """
            UPDATE signed_reports SET document = '', erased_sha256 = sha256(document) WHERE run_id = ANY ($1::bigint[])
            """,
            list(found.report_run_ids),
        )
    return counts


async def add_counts(connection: Connection, erasure_id: str, counts: dict[str, int]) -> None:
    """Add to what an erasure has taken away."""
    await connection.execute(
        """
        UPDATE erasures e SET counts = (
            SELECT jsonb_object_agg(key, coalesce((e.counts ->> key)::bigint, 0) + coalesce(more.value::bigint, 0))
              FROM (SELECT key FROM jsonb_object_keys(e.counts || $2::jsonb) AS k (key)) keys
              LEFT JOIN jsonb_each_text($2::jsonb) more USING (key))
         WHERE id = $1 AND $2::jsonb <> '{}'
        """,
        erasure_id,
        counts,
    )


async def erased(connection: Connection, erasure_id: str) -> None:
    """Note that everything but recordings on other machines is gone, and forget the number."""
    await connection.execute(
        """
        UPDATE erasures SET erased_at = coalesce(erased_at, clock_timestamp()), number_encrypted = NULL WHERE id = $1
        """,
        erasure_id,
    )


async def finish(connection: Connection) -> list[str]:
    """Note which erasures have no recording left anywhere; return them."""
    rows = await connection.fetch(
        """
        UPDATE erasures e SET done_at = clock_timestamp()
         WHERE e.done_at IS NULL AND e.erased_at IS NOT NULL
           AND NOT EXISTS (SELECT FROM recordings c WHERE c.erasure_id = e.id AND c.removed_at IS NULL)
        RETURNING id
        """
    )
    return [row["id"] for row in rows]

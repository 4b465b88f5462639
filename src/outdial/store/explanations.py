"""What is known of a contact in a run beside what the gate looks at, and what was decided about it before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outdial.core.canonical import Json
from outdial.core.changes import ListedOn
from outdial.core.evidence import MANUAL_CALL
from outdial.core.explanation import MAY_RING, LiveCall
from outdial.core.model import AttemptState, DoneReason, Run, RunContactState
from outdial.core.waterfall import Counted, PutOff
from outdial.store.database import Connection


@dataclass(frozen=True, slots=True)
class ContactFacts:
    """Where a contact stands in a run."""

    state: RunContactState
    done_reason: DoneReason | None
    live_call: LiveCall | None
    listed: tuple[ListedOn, ...]


@dataclass(frozen=True, slots=True)
class PastStep:
    """A row of history about a contact: what was decided or happened."""

    at: datetime
    action: str
    """``run_contact``, ``attempt``, ``callback`` or ``manual_call``."""
    before: str | None
    after: str | None
    by: str
    reason: str
    attempt_id: str | None
    detail: Json


async def contact_ids(connection: Connection, run_id: int, phone: str, *, limit: int) -> list[int]:
    """Return the contacts of a run with that number, in dialing order; several where its lists allow duplicates, or it
    is another number of some. Who has it as their first number comes before those."""
    rows = await connection.fetch(
        """
        WITH found AS (
            SELECT contact_id, sort_key, false AS beside FROM run_contacts
             WHERE run_id = $1
               AND (dedupe_key = $2 OR (dedupe_key LIKE 'contact:%' AND phone = $2 AND phones IS NULL))
             UNION ALL
            SELECT contact_id, sort_key, phones[1] <> $2 FROM run_contacts
             WHERE run_id = $1 AND phones @> ARRAY[$2] AND dedupe_key <> $2)
        SELECT contact_id FROM found ORDER BY beside, sort_key LIMIT $3
        """,
        run_id,
        phone,
        limit,
    )
    return [row["contact_id"] for row in rows]


async def phone_of(connection: Connection, run_id: int, contact_id: int) -> str | None:
    """Return the number of a contact of a run; None when the run has no such contact."""
    phone: str | None = await connection.fetchval(
        "SELECT phone FROM run_contacts WHERE run_id = $1 AND contact_id = $2", run_id, contact_id
    )
    return phone


async def is_listed_for(connection: Connection, campaign_id: str, phone: str) -> bool:
    """Whether a contact list of the campaign has the number."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM campaign_lists l JOIN contacts c ON c.list_id = l.list_id
                        WHERE l.campaign_id = $1 AND (c.phone = $2 OR $2 = ANY (c.other_phones)))
        """,
        campaign_id,
        phone,
    )
    return found


async def last_move(connection: Connection, run_id: int) -> tuple[str, str]:
    """Return who brought a run to its state, and why."""
    row = await connection.fetchrow("SELECT changed_by, change_reason FROM runs WHERE id = $1", run_id)
    assert row is not None  # noqa: S101 - runs are never deleted
    return row["changed_by"], row["change_reason"]


async def contact_facts(
    connection: Connection, run: Run, contact_id: int, phone: str, *, at: datetime
) -> ContactFacts | None:
    """Return where a contact stands, with the do-not-call lists of the run that the number of its next call is on at an
    instant; None when the run has no such contact."""
    row = await connection.fetchrow(
        """
        SELECT rc.state, rc.done_reason,
               (SELECT jsonb_build_object(
                           -- of another application it is told that there is one, and not which
                           'attempt_id', CASE WHEN p.iid = r.iid THEN a.id END,
                           'campaign', CASE WHEN p.iid = r.iid THEN p.name END, 'state', a.state,
                           'of_contact', a.run_id = rc.run_id AND a.contact_id = rc.contact_id,
                           'ended_at', a.ended_at)
                  FROM (SELECT * FROM attempts
                         WHERE account_id = r.account_id AND phone = ANY (coalesce(rc.phones, ARRAY[rc.phone]))
                           AND state IN ('reserved', 'dialing', 'ringing', 'answered')
                        UNION ALL
                        SELECT * FROM attempts
                         WHERE account_id = r.account_id AND phone = ANY (coalesce(rc.phones, ARRAY[rc.phone]))
                           AND state = 'unknown' AND ended_at > clock_timestamp() - $5::interval) a
                  JOIN campaigns p ON p.id = a.campaign_id
                 ORDER BY a.state = 'unknown', a.run_id = rc.run_id AND a.contact_id = rc.contact_id DESC,
                          a.ended_at DESC LIMIT 1) AS live_call,
               (SELECT jsonb_agg(jsonb_build_object(
                           'list_id', l.id, 'name', l.name, 'of_account', l.iid IS NULL, 'source', e.source,
                           'reason', e.reason, 'added_by', e.added_by, 'added_at', e.added_at,
                           'expires_at', e.expires_at) ORDER BY l.iid NULLS FIRST, l.id)
                  FROM dnc_entries e JOIN dnc_lists l ON l.id = e.dnc_list_id
                 WHERE e.dnc_list_id = ANY (r.dnc_list_ids) AND e.phone = $4
                   AND (e.expires_at IS NULL OR e.expires_at > $3)) AS listed
          FROM run_contacts rc JOIN runs r ON r.id = rc.run_id
         WHERE rc.run_id = $1 AND rc.contact_id = $2
        """,
        run.id,
        contact_id,
        at,
        phone,
        MAY_RING,
    )
    if row is None:
        return None
    call = row["live_call"]
    return ContactFacts(
        state=RunContactState(row["state"]),
        done_reason=None if row["done_reason"] is None else DoneReason(row["done_reason"]),
        live_call=None if call is None else _live_call(call),
        listed=tuple(_listed(one) for one in row["listed"] or ()),
    )


def _live_call(row: dict[str, Any]) -> LiveCall:
    ended_at = row.pop("ended_at")
    return LiveCall(
        **{**row, "state": AttemptState(row["state"])},
        ended_at=None if ended_at is None else datetime.fromisoformat(ended_at),
    )


def _listed(row: dict[str, Any]) -> ListedOn:
    expires_at = row["expires_at"]
    return ListedOn(
        **{
            **row,
            "added_at": datetime.fromisoformat(row["added_at"]),
            "expires_at": None if expires_at is None else datetime.fromisoformat(expires_at),
        }
    )


async def past_steps(
    connection: Connection, run_id: int, contact_id: int, *, until: datetime, limit: int, refusals: int
) -> list[PastStep]:
    """Return what the history has of a contact in a run up to an instant, the last ``limit`` rows, oldest first; of
    refused calls by hand the last ``refusals`` among them: whoever asks again and again hides nothing else."""
    rows = await connection.fetch(
        """
        SELECT at, action, from_state, to_state, actor, reason, attempt_id, detail
          FROM (SELECT *, count(*) FILTER (WHERE action = $6 AND detail ? 'inputs') OVER (ORDER BY id DESC) AS refused
                  FROM history WHERE run_id = $1 AND contact_id = $2 AND at <= $3) h
         WHERE refused <= $5 OR (action = $6 AND detail ? 'inputs') IS NOT TRUE
         ORDER BY id DESC LIMIT $4
        """,
        run_id,
        contact_id,
        until,
        limit,
        refusals,
        MANUAL_CALL,
    )
    return [
        PastStep(
            at=row["at"],
            action=row["action"],
            before=row["from_state"],
            after=row["to_state"],
            by=row["actor"],
            reason=row["reason"],
            attempt_id=row["attempt_id"],
            detail=row["detail"],
        )
        for row in reversed(rows)
    ]


async def counted(connection: Connection, run: Run, *, at: datetime) -> Counted:
    """Count a run's contacts by where they stand at an instant; one scan of them."""
    rows = await connection.fetch(
        """
        -- materialized: each question is asked once of each contact
        WITH standing AS MATERIALIZED (
            SELECT rc.state, rc.done_reason, rc.not_before, rc.not_before > $2 AS later,
                   rc.screening ->> 'rule' AS rule, rc.state IN ('pending', 'waiting') AS open,
                   rc.state IN ('pending', 'waiting') AND CASE WHEN rc.phones IS NULL THEN EXISTS (
                       SELECT FROM dnc_entries e
                        WHERE e.dnc_list_id = ANY (r.dnc_list_ids) AND e.phone = rc.phone
                          AND (e.expires_at IS NULL OR e.expires_at > $2))
                   -- who may be called at another number is none of them
                   ELSE outdial_uncallable(r.dnc_list_ids, rc.phones, $2) END AS listed,
                   rc.phone IN (SELECT a.phone FROM attempts a WHERE a.account_id = $3
                                   AND a.state IN ('reserved', 'dialing', 'ringing', 'answered'))
                   OR (rc.phones IS NOT NULL
                       AND EXISTS (SELECT FROM attempts a WHERE a.account_id = $3 AND a.phone = ANY (rc.phones)
                                      AND a.state IN ('reserved', 'dialing', 'ringing', 'answered')))
                   OR rc.phone IN (SELECT unnest(outdial_may_ring($3)))
                   OR (rc.phones IS NOT NULL AND rc.phones && (SELECT outdial_may_ring($3))) AS called
              FROM run_contacts rc JOIN runs r ON r.id = rc.run_id
             WHERE rc.run_id = $1
        ), placed AS (
            SELECT state, done_reason, not_before, listed,
                   CASE WHEN NOT listed AND later THEN coalesce(rule, 'retry_period') END AS put_off_by,
                   open AND NOT listed AND later IS NOT TRUE AND called AS busy
              FROM standing)
        SELECT state, done_reason, listed, put_off_by, busy, count(*) AS count, min(not_before) AS first_at
          FROM placed GROUP BY state, done_reason, listed, put_off_by, busy
        """,
        run.id,
        at,
        run.account_id,
    )
    done: dict[DoneReason, int] = {}
    put_off: dict[str, PutOff] = {}
    in_calls = listed = busy = due = 0
    for row in rows:
        count = row["count"]
        if row["done_reason"] is not None:
            reason = DoneReason(row["done_reason"])
            done[reason] = done.get(reason, 0) + count
        elif row["state"] in {"claimed", "dialing"}:
            in_calls += count
        elif row["listed"]:
            listed += count
        elif row["put_off_by"] is not None:
            put_off[row["put_off_by"]] = PutOff(row["put_off_by"], count, row["first_at"])
        elif row["busy"]:
            busy += count
        else:
            due += count
    total = sum(row["count"] for row in rows)
    return Counted(total, done, in_calls, listed, tuple(put_off[rule] for rule in sorted(put_off)), busy, due)

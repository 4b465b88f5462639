"""Messages of webhooks: which rows of the history they are, in which order they are sent, by whom, and what came of it.

What is sealed of an account is read once by each of its webhooks, seal after seal, with the cursor in the webhook's own
row: a transaction that ends late is in a later seal, never in one that has been read. The messages of one run are one
*lane*; one process at a time sends a lane, by a lease that it loses when it does not come back. Results count only
with the lease under which they came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from outdial.core.breaker import ACTOR as BREAKER
from outdial.core.webhook import DeliveryState, Happening, WebhookEvent
from outdial.store.database import Connection

SEALS_AT_ONCE: Final = 10
"""Read in one transaction: at most 5,000 rows."""

NO_RUN: Final = 0
"""The lane of what belongs to no run, opt-outs among it."""

DEAD_COUNTED: Final = 10_000
"""Dead messages that are counted for ``/metrics``; more are not told apart, and would have to be read each time."""

_EVENT: Final = f"""
    CASE WHEN h.action = 'attempt' AND h.to_state IN ('ended', 'unknown') THEN '{WebhookEvent.ATTEMPT_ENDED}'
         WHEN h.action = 'opt_out' AND h.to_state = 'listed' THEN '{WebhookEvent.OPT_OUT_LISTED}'
         WHEN h.action <> 'run' OR h.from_state IS NOT DISTINCT FROM h.to_state THEN NULL
         WHEN h.to_state = 'paused' THEN '{WebhookEvent.RUN_PAUSED}'
         WHEN h.to_state = 'active' AND h.from_state = 'paused' THEN '{WebhookEvent.RUN_RESUMED}'
         WHEN h.to_state = 'active' THEN '{WebhookEvent.RUN_STARTED}'
         WHEN h.to_state = 'stopped' THEN '{WebhookEvent.RUN_STOPPED}'
         WHEN h.to_state = 'completed' THEN '{WebhookEvent.RUN_COMPLETED}' END
"""

_TRIPPED: Final = f"h.action = 'run' AND h.to_state = 'paused' AND h.from_state <> 'paused' AND h.actor = '{BREAKER}'"

_LISTED: Final = (
    "id, webhook_id, event, history_id, lane, state, tries, waiting_since, tried_at, status, problem, settled_at"
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one webhook."""

    id: int
    event: str
    history_id: int
    instance_id: str | None
    state: DeliveryState
    tries: int
    waiting_since: datetime
    """Since it came, or was replayed."""
    tried_at: datetime | None
    status: int | None
    """Of the last try; None: there was no answer."""
    problem: str
    """Why the last try failed; empty: it did not."""
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Lane:
    """What waits for one webhook of one run, and the lease of whoever sends it."""

    webhook_id: str
    lane: int
    lease: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """One message that is to be sent."""

    id: int
    tries: int
    """That have failed."""
    waiting_since: datetime
    happening: Happening


@dataclass(frozen=True, slots=True)
class Failure:
    """A try that did not deliver."""

    delivery_id: int
    status: int | None
    problem: str
    dead: bool
    """Given up; else the lane waits ``pause_seconds``."""
    pause_seconds: float


async def behind(connection: Connection) -> list[str]:
    """Return the webhooks whose account has seals that they have not read."""
    rows = await connection.fetch(
        """
        SELECT w.id FROM webhooks w
         WHERE w.enabled AND w.removed_at IS NULL
           AND EXISTS (SELECT FROM history_seals s WHERE s.account_id = w.account_id AND s.number > w.seal_number)
         ORDER BY w.id
        """
    )
    return [row["id"] for row in rows]


async def any_webhook(connection: Connection) -> bool:
    """Whether there is one that is on."""
    found: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM webhooks WHERE enabled AND removed_at IS NULL)")
    return found


async def spread(connection: Connection, webhook_id: str, *, most_waiting: int) -> int:
    """Read on for one webhook, within the caller's transaction: turn rows of the next seals into messages; return how
    many seals that were. 0: there are none, so much waits already, or another process does it right now."""
    row = await connection.fetchrow(
        """
        SELECT account_id, iid, events, seal_number FROM webhooks
         WHERE id = $1 AND enabled AND removed_at IS NULL FOR NO KEY UPDATE SKIP LOCKED
        """,
        webhook_id,
    )
    if row is None:
        return 0
    waiting: int = await connection.fetchval(
        """
        SELECT count(*) FROM (
            SELECT FROM webhook_deliveries WHERE webhook_id = $1 AND state = 'waiting' LIMIT $2) waiting
        """,
        webhook_id,
        most_waiting,
    )
    if waiting >= most_waiting:
        return 0
    lot = await connection.fetchrow(
        """
        SELECT max(number), count(*) FROM (
            SELECT number FROM history_seals WHERE account_id = $1 AND number > $2 ORDER BY number LIMIT $3) lot
        """,
        row["account_id"],
        row["seal_number"],
        SEALS_AT_ONCE,
    )
    assert lot is not None  # noqa: S101 - an aggregate has a row
    if not lot["count"]:
        return 0
    await connection.execute(
        f"""
        WITH rows AS MATERIALIZED (
            -- one by one through the primary key: OFFSET keeps the planner from reading all of the history
            SELECT s.number, place.turn, h.id, h.run_id, h.detail, {_EVENT} AS event, {_TRIPPED} AS tripped
              FROM history_seals s
             CROSS JOIN LATERAL unnest(s.ids) WITH ORDINALITY AS place (id, turn)
             CROSS JOIN LATERAL (SELECT * FROM history x WHERE x.id = place.id OFFSET 0) h
             WHERE s.account_id = $2 AND s.number > $3 AND s.number <= $4
               -- of whoever was erased nothing is told any more
               AND h.erased_sha256 IS NULL
        ), told AS MATERIALIZED (
            SELECT n.number, n.turn, n.id, coalesce(n.run_id, 0) AS lane, e.event
              FROM rows n
             CROSS JOIN LATERAL (VALUES (1, n.event), (2, CASE WHEN n.tripped THEN '{WebhookEvent.BREAKER_TRIPPED}' END)
                                ) AS e (place, event)
              LEFT JOIN runs r ON r.id = n.run_id
             WHERE e.event = ANY ($5::text[])
               AND ($6::text IS NULL OR r.iid = $6
                    OR (n.run_id IS NULL AND EXISTS (SELECT FROM dnc_lists l WHERE l.id = n.detail ->> 'dnc_list_id'
                                                        AND (l.iid IS NULL OR l.iid = $6))))
             ORDER BY n.number, n.turn, e.place
        ), lanes AS (
            -- an update that changes nothing: whoever finds the lane empty waits for this transaction, and looks again
            INSERT INTO webhook_lanes (webhook_id, lane) SELECT DISTINCT $1, lane FROM told ORDER BY lane
                ON CONFLICT (webhook_id, lane) DO UPDATE SET lane = excluded.lane
        )
        INSERT INTO webhook_deliveries (webhook_id, lane, history_id, event)
        SELECT $1, lane, id, event FROM told ORDER BY number, turn, event <> '{WebhookEvent.RUN_PAUSED}'
        """,  # noqa: S608 - constants
        webhook_id,
        row["account_id"],
        row["seal_number"],
        lot["max"],
        row["events"],
        row["iid"],
    )
    await connection.execute("UPDATE webhooks SET seal_number = $2 WHERE id = $1", webhook_id, lot["max"])
    return int(lot["count"])


async def claim(connection: Connection, busy: Mapping[str, int], *, most: int, lease: timedelta) -> list[Lane]:
    """Take lanes that are due and that nobody sends: of each webhook up to ``most`` runs, those counted that are
    ``busy`` here already, and the lane of no run besides, which no run can keep waiting."""
    rows = await connection.fetch(
        """
        UPDATE webhook_lanes l SET lease = gen_random_uuid()::text, lease_until = clock_timestamp() + $4::interval
          FROM (SELECT w.id AS webhook_id, due.lane
                  FROM webhooks w
                  LEFT JOIN unnest($1::text[], $2::integer[]) AS b (id, count) ON b.id = w.id
                 CROSS JOIN LATERAL (VALUES (false, greatest($3 - coalesce(b.count, 0), 0)), (true, 1)
                                    ) AS place (of_no_run, count)
                 CROSS JOIN LATERAL (
                       SELECT x.lane FROM webhook_lanes x
                        WHERE x.webhook_id = w.id AND (x.lane = $5) = place.of_no_run
                          AND x.next_try_at <= clock_timestamp()
                          AND (x.lease_until IS NULL OR x.lease_until <= clock_timestamp())
                        ORDER BY x.next_try_at, x.lane LIMIT place.count
                          FOR UPDATE SKIP LOCKED) due
                 WHERE w.enabled AND w.removed_at IS NULL) taken
         WHERE l.webhook_id = taken.webhook_id AND l.lane = taken.lane
        RETURNING l.webhook_id, l.lane, l.lease
        """,
        list(busy),
        list(busy.values()),
        most,
        lease,
        NO_RUN,
    )
    return [Lane(**row) for row in rows]


async def make_room(connection: Connection, lane: Lane, *, lease: timedelta) -> Lane | None:
    """Give a run's lane back, within the caller's transaction, for the lane of another run of the webhook that has been
    due for longest, and return that; None, and nothing is changed, when none is, or this lease is lost.

    What is given back is due at once, behind all that are due already. Of other lanes only those are looked at that
    nobody has locked: two that make room for each other must not wait for each other.
    """
    mine = await connection.fetchval(
        "SELECT true FROM webhook_lanes WHERE webhook_id = $1 AND lane = $2 AND lease = $3 FOR UPDATE",
        lane.webhook_id,
        lane.lane,
        lane.lease,
    )
    if mine is None:
        return None
    row = await connection.fetchrow(
        """
        UPDATE webhook_lanes l SET lease = gen_random_uuid()::text, lease_until = clock_timestamp() + $3::interval
          FROM (SELECT x.lane FROM webhook_lanes x
                 WHERE x.webhook_id = $1 AND x.lane NOT IN ($2, $4) AND x.next_try_at <= clock_timestamp()
                   AND (x.lease_until IS NULL OR x.lease_until <= clock_timestamp())
                 ORDER BY x.next_try_at, x.lane LIMIT 1 FOR UPDATE SKIP LOCKED) due
         WHERE l.webhook_id = $1 AND l.lane = due.lane
        RETURNING l.webhook_id, l.lane, l.lease
        """,
        lane.webhook_id,
        lane.lane,
        lease,
        NO_RUN,
    )
    if row is None:
        return None
    await release(connection, lane, pause_seconds=0)
    return Lane(**row)


async def renew(connection: Connection, lane: Lane, *, lease: timedelta) -> bool:
    """Hold the lane for so long from now; False when another has it."""
    mine = await connection.fetchval(
        """
        UPDATE webhook_lanes SET lease_until = clock_timestamp() + $4::interval
         WHERE webhook_id = $1 AND lane = $2 AND lease = $3 RETURNING true
        """,
        lane.webhook_id,
        lane.lane,
        lane.lease,
        lease,
    )
    return mine is not None


async def release(connection: Connection, lane: Lane, *, pause_seconds: float) -> None:
    """Give the lane back, to be taken by anybody after a pause."""
    await connection.execute(
        """
        UPDATE webhook_lanes
           SET lease = NULL, lease_until = NULL, next_try_at = clock_timestamp() + $4 * interval '1 second'
         WHERE webhook_id = $1 AND lane = $2 AND lease = $3
        """,
        lane.webhook_id,
        lane.lane,
        lane.lease,
        pause_seconds,
    )


async def next_ones(connection: Connection, lane: Lane, *, limit: int) -> list[Waiting]:
    """Return what is to be sent next of a lane, in order."""
    rows = await connection.fetch(
        """
        SELECT d.id AS delivery_id, d.event, d.tries, d.waiting_since, d.history_id, h.at, h.from_state, h.to_state,
               h.actor, h.reason, h.detail, h.attempt_id, r.iid, r.instance_id,
               coalesce(h.campaign_id, r.campaign_id) AS campaign_id, a.id, a.contact_id, a.phone, a.caller_id,
               a.number, a.disposition, a.cause, a.sip_code, a.reserved_at, a.dialed_at, a.ringing_at, a.answered_at,
               a.ended_at, a.detection
          FROM (SELECT * FROM webhook_deliveries
                 WHERE webhook_id = $1 AND lane = $2 AND state = 'waiting' ORDER BY id LIMIT $3) d
          JOIN history h ON h.id = d.history_id
          LEFT JOIN runs r ON r.id = h.run_id
          LEFT JOIN all_attempts a ON a.id = h.attempt_id
         ORDER BY d.id
        """,
        lane.webhook_id,
        lane.lane,
        limit,
    )
    return [_waiting_of(row) for row in rows]


def _waiting_of(row: asyncpg.Record) -> Waiting:
    happening = Happening(
        event=row["event"],
        history_id=row["history_id"],
        at=row["at"],
        iid=row["iid"],
        campaign_id=row["campaign_id"],
        instance_id=row["instance_id"],
        before=row["from_state"],
        after=row["to_state"],
        actor=row["actor"],
        reason=row["reason"],
        detail=row["detail"] or {},
        attempt={} if row["id"] is None else dict(row),
        attempt_id=row["attempt_id"],
    )
    return Waiting(row["delivery_id"], row["tries"], row["waiting_since"], happening)


async def settle(
    connection: Connection, lane: Lane, delivered: Sequence[tuple[int, int]], failure: Failure | None
) -> bool | None:
    """Write down, within the caller's transaction, what came of some tries: the ids that were delivered, each with its
    status, and the one that failed after them. Returns whether the lane is still to be sent by this lease; None when
    the lease is lost: nothing is written then, and whoever has it sends all of it again.

    An empty lane goes; after a failure it is given back, to be taken by anybody after the pause.
    """
    mine = await connection.fetchval(
        "SELECT true FROM webhook_lanes WHERE webhook_id = $1 AND lane = $2 AND lease = $3 FOR UPDATE",
        lane.webhook_id,
        lane.lane,
        lane.lease,
    )
    if mine is None:
        return None
    if delivered:
        await connection.execute(
            """
            UPDATE webhook_deliveries d
               SET state = 'delivered', tries = d.tries + 1, tried_at = clock_timestamp(),
                   settled_at = clock_timestamp(), status = n.status, problem = ''
              FROM unnest($1::bigint[], $2::smallint[]) AS n (id, status)
             WHERE d.id = n.id AND d.state <> 'delivered'
            """,
            [delivery_id for delivery_id, _ in delivered],
            [status for _, status in delivered],
        )
    if failure is not None:
        await connection.execute(
            """
            UPDATE webhook_deliveries
               SET tries = tries + 1, tried_at = clock_timestamp(), status = $2, problem = $3,
                   state = CASE WHEN $4 THEN 'dead' ELSE state END,
                   settled_at = CASE WHEN $4 THEN clock_timestamp() ELSE settled_at END
             WHERE id = $1 AND state = 'waiting'
            """,
            failure.delivery_id,
            failure.status,
            failure.problem,
            failure.dead,
        )
    # a statement of its own: one that has waited for the lane sees what was put into it meanwhile
    left: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM webhook_deliveries WHERE webhook_id = $1 AND lane = $2 AND state = 'waiting')",
        lane.webhook_id,
        lane.lane,
    )
    if not left:
        await connection.execute(
            "DELETE FROM webhook_lanes WHERE webhook_id = $1 AND lane = $2", lane.webhook_id, lane.lane
        )
        return False
    if failure is not None and not failure.dead:
        await release(connection, lane, pause_seconds=failure.pause_seconds)
        return False
    return True


async def page(
    connection: Connection, webhook_id: str, *, states: Sequence[str], before: int | None, limit: int
) -> list[Delivery]:
    """Return some messages of a webhook in one of the states, the newest first, from the first below an id on."""
    rows = await connection.fetch(
        f"""
        SELECT d.*, r.instance_id FROM unnest($2::text[]) AS s (state)
         CROSS JOIN LATERAL (
               SELECT {_LISTED} FROM webhook_deliveries
                WHERE webhook_id = $1 AND state = s.state AND ($3::bigint IS NULL OR id < $3)
                ORDER BY id DESC LIMIT $4) d
          LEFT JOIN runs r ON r.id = d.lane
         ORDER BY d.id DESC LIMIT $4
        """,  # noqa: S608 - constants
        webhook_id,
        list(states),
        before,
        limit,
    )
    return [_delivery_of(row) for row in rows]


async def exists(connection: Connection, webhook_id: str, delivery_id: int) -> bool:
    """Whether the webhook has that message; locks it."""
    found = await connection.fetchval(
        "SELECT true FROM webhook_deliveries WHERE id = $2 AND webhook_id = $1 FOR UPDATE", webhook_id, delivery_id
    )
    return found is not None


def _delivery_of(row: asyncpg.Record) -> Delivery:
    return Delivery(
        id=row["id"],
        event=row["event"],
        history_id=row["history_id"],
        instance_id=row["instance_id"],
        state=DeliveryState(row["state"]),
        tries=row["tries"],
        waiting_since=row["waiting_since"],
        tried_at=row["tried_at"],
        status=row["status"],
        problem=row["problem"],
        settled_at=row["settled_at"],
    )


async def replay(connection: Connection, webhook_id: str, *, limit: int, delivery_id: int | None = None) -> int:
    """Let up to so many dead messages of a webhook, or one that is dead or delivered, wait again as if new; return how
    many. They come before what came after them."""
    rows = await connection.fetch(
        """
        WITH lot AS MATERIALIZED (
            SELECT id, lane FROM webhook_deliveries
             WHERE webhook_id = $1 AND CASE WHEN $3::bigint IS NULL THEN state = 'dead'
                                            ELSE id = $3 AND state <> 'waiting' END
             ORDER BY id LIMIT $2 FOR UPDATE
        ), lanes AS (
            INSERT INTO webhook_lanes (webhook_id, lane) SELECT DISTINCT $1, lane FROM lot ORDER BY lane
                ON CONFLICT (webhook_id, lane) DO UPDATE SET next_try_at = excluded.next_try_at
        )
        UPDATE webhook_deliveries d
           SET state = 'waiting', settled_at = NULL, tries = 0, waiting_since = clock_timestamp(), problem = '',
               status = NULL
          FROM lot WHERE d.id = lot.id
        RETURNING d.id
        """,
        webhook_id,
        limit,
        delivery_id,
    )
    return len(rows)


async def expire(connection: Connection, *, older_than: timedelta, limit: int) -> list[str]:
    """Give up to so many messages up that have waited too long, tried or behind others; return their webhooks. What
    waits for a webhook that is switched off is kept, see ``webhooks.change``."""
    rows = await connection.fetch(
        """
        WITH lot AS MATERIALIZED (
            SELECT old.id FROM webhooks w
             CROSS JOIN LATERAL (
                   SELECT d.id FROM webhook_deliveries d
                    WHERE d.webhook_id = w.id AND d.state = 'waiting'
                      AND d.waiting_since < clock_timestamp() - $1::interval
                    ORDER BY d.id LIMIT $2 FOR UPDATE SKIP LOCKED) old
             WHERE w.enabled AND w.removed_at IS NULL
             LIMIT $2
        )
        UPDATE webhook_deliveries d
           SET state = 'dead', settled_at = clock_timestamp(),
               problem = CASE WHEN problem = '' THEN 'those before it were not taken' ELSE problem END
          FROM lot WHERE d.id = lot.id
        RETURNING d.webhook_id
        """,
        older_than,
        limit,
    )
    return [row["webhook_id"] for row in rows]


async def tidy(connection: Connection, *, delivered: timedelta, dead: timedelta, limit: int) -> int:
    """Delete up to so many messages that are kept no longer, and up to so many of webhooks that are removed, with their
    lanes; return how many messages. What another process deletes is left to it."""
    # arrays: of rows to join with, the planner expects the limit, and reads the whole table
    over = await connection.execute(
        """
        DELETE FROM webhook_deliveries WHERE id = ANY (ARRAY(
            SELECT old.id FROM webhooks w
             CROSS JOIN (VALUES ('delivered', $1::interval), ('dead', $2::interval)) AS kept (state, time)
             CROSS JOIN LATERAL (
                   SELECT x.id FROM webhook_deliveries x
                    WHERE x.webhook_id = w.id AND x.state = kept.state
                      -- not clock_timestamp(), by which no index is read
                      AND x.settled_at < statement_timestamp() - kept.time
                    ORDER BY x.settled_at LIMIT $3 FOR UPDATE SKIP LOCKED) old
             WHERE w.removed_at IS NULL
             LIMIT $3))
        """,
        delivered,
        dead,
        limit,
    )
    removed = await connection.execute(
        """
        DELETE FROM webhook_deliveries WHERE id = ANY (ARRAY(
            SELECT old.id FROM webhooks w
             CROSS JOIN LATERAL (
                   SELECT x.id FROM webhook_deliveries x WHERE x.webhook_id = w.id LIMIT $1 FOR UPDATE SKIP LOCKED) old
             WHERE w.removed_at IS NOT NULL
             LIMIT $1))
        """,
        limit,
    )
    await connection.execute(
        "DELETE FROM webhook_lanes l USING webhooks w WHERE w.id = l.webhook_id AND w.removed_at IS NOT NULL"
    )
    return sum(int(status.rpartition(" ")[2]) for status in (over, removed))


async def troubles(connection: Connection) -> tuple[int, float]:
    """Return, for ``/metrics``, how many messages are dead (``DEAD_COUNTED``: so many or more), and for how many
    seconds the oldest has been waiting."""
    row = await connection.fetchrow(
        """
        SELECT (SELECT count(*) FROM (
                    SELECT FROM webhooks w
                     CROSS JOIN LATERAL (SELECT FROM webhook_deliveries d
                                          WHERE d.webhook_id = w.id AND d.state = 'dead' LIMIT $1) one
                     WHERE w.removed_at IS NULL LIMIT $1) found) AS dead,
               (SELECT extract(epoch FROM clock_timestamp() - min(first.waiting_since))::double precision
                  FROM webhook_lanes l JOIN webhooks w ON w.id = l.webhook_id
                 CROSS JOIN LATERAL (SELECT d.waiting_since FROM webhook_deliveries d
                                      WHERE d.webhook_id = l.webhook_id AND d.lane = l.lane AND d.state = 'waiting'
                                      ORDER BY d.id LIMIT 1) first
                 WHERE w.removed_at IS NULL) AS oldest
        """,
        DEAD_COUNTED,
    )
    assert row is not None  # noqa: S101 - an aggregate has a row
    return row["dead"], row["oldest"] or 0.0

"""Reserving attempts: what a dialer node must know before, and the one call that takes contacts.

Reading and taking are two round trips on purpose: what is decided in between is pure (``core.screening``,
``core.pacing``), and the taking looks again at everything that may have changed meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, TypedDict

import asyncpg

from outdial.core.attempt_limits import AttemptLimit, PastAttempt
from outdial.core.canonical import Json
from outdial.core.model import Disposition, DoneReason, RetryOrder, Run
from outdial.core.numbers import Number
from outdial.core.pacing import BACKOFF_MEMORY, NO_CAPS, CallerCaps
from outdial.core.phone import zones_of
from outdial.core.screening import Candidate, at_number
from outdial.store.attempt_limits import limit_of
from outdial.store.database import Connection
from outdial.store.old_attempts import NEAR
from outdial.store.turns import ALONE, CHARGE, TURNS, WANTS_SECONDS, Stand, stands

MOST_ASKED: Final = 1000
"""Contacts that are wanted by hand at once and known to a claim; those that are being called are among them."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the database knew about a run at ``now``, its own clock."""

    now: datetime
    application_cap: int | None
    """Live calls the application may have over all its runs."""
    run_live: int
    trunk_live: int
    application_live: int
    """0 while the application has no cap."""
    run_next_at: datetime | None
    """Next instant at which the run's rate lets a call leave; None before the first."""
    trunk_next_at: datetime | None
    limits: tuple[AttemptLimit, ...] = ()
    """Those the run's calls are held back by."""
    refused_at: tuple[datetime, ...] = ()
    """When the trunk's carrier has lately refused calls for want of capacity."""
    caller: CallerCaps = NO_CAPS
    """Of the caller ID the run calls with."""
    caller_live: int = 0
    """Calls with it; 0 while it has no such cap."""
    caller_day: int = 0
    """Calls with it in the last 24 hours, counted up to its cap; 0 while it has none."""
    caller_next_at: datetime | None = None
    stand: Stand = ALONE
    """Among the runs of its trunk."""
    hashed: bool = False
    """A do-not-call list of the run has numbers as hashes (``store.dnc_hashes``)."""
    far: bool = False
    """One of the limits looks back to before the last attempt that was moved (``store.old_attempts``)."""
    asked: tuple[int, ...] = ()
    """Contacts of the run that somebody wants called now, in the order of asking."""

    def counts(self) -> _Counts:
        """Return what caps are held against, by the names of ``core.pacing.caps``."""
        return {
            "application_cap": self.application_cap,
            "run_live": self.run_live,
            "trunk_live": self.trunk_live,
            "application_live": self.application_live,
            "caller": self.caller,
            "caller_live": self.caller_live,
            "caller_day": self.caller_day,
        }


class _Counts(TypedDict):
    application_cap: int | None
    run_live: int
    trunk_live: int
    application_live: int
    caller: CallerCaps
    caller_live: int
    caller_day: int


class Verdict(StrEnum):
    """What became of a reservation."""

    RESERVED = "reserved"
    """Done, perhaps with fewer contacts than wanted: others may have been faster."""
    MOVED_ON = "moved_on"
    """The run is no longer active at that epoch."""
    NODE_ENDED = "node_ended"
    """Another node, believing this one dead, has taken over its calls."""
    CONFLICT = "conflict"
    """Another node was faster on a rate budget, or takes numbers of the same persons just now: look again."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A rate budget slots were taken from: the instant seen there, and the one to leave."""

    key: str
    seen: datetime | None
    next_at: datetime


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a node wants done in one step. ``wanted`` pairs contact ids with the ids of their attempts, in order."""

    denied: Sequence[tuple[int, DoneReason]]
    deferred: Sequence[tuple[int, datetime]]
    wanted: Sequence[tuple[int, str]]
    budgets: Sequence[Budget]
    run_cap: int
    trunk_cap: int
    application_cap: int | None
    decisions: Mapping[int, Json] = field(default_factory=dict)
    """By contact id: the decision it rests on, as it is stored (``core.screening``)."""
    shares: Sequence[float] = ()
    """The run's share (``core.shares``) after one call of it, after two, and so on: as many as are wanted; empty for a
    run that shares its trunk with nobody."""
    wants: bool = False
    """The run wants more lines than these."""
    hashes: Mapping[int, bytes] | None = None
    """By contact id: the hash of the number; None where no do-not-call list of the run has numbers as hashes."""
    phones: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    """Of contacts with several numbers, by their ids: the one that was to be dialed next, and the one that the gate was
    asked about. Who has turned to another since is neither taken nor denied nor put off."""


def run_budget(run_id: int) -> str:
    """Return the key of a run's rate budget."""
    return f"run:{run_id}"


def trunk_budget(trunk_id: str) -> str:
    """Return the key of a trunk's rate budget."""
    return f"trunk:{trunk_id}"


def caller_budget(iid: str, phone: str) -> str:
    """Return the key of a caller ID's rate budget."""
    return f"caller:{iid}:{phone}"


def application_budget(iid: str) -> str:
    """Return the key that orders the counting of an application's calls; no rate belongs to it."""
    return f"app:{iid}"


async def facts(connection: Connection, run: Run) -> Facts:
    """Read what pacing decides on."""
    row = await connection.fetchrow(
        f"""
        SELECT clock_timestamp() AS now, p.max_concurrent_calls AS application_cap,
               (SELECT count(*) FROM attempts a WHERE a.run_id = $1
                   AND a.state IN ('reserved', 'dialing', 'ringing', 'answered')) AS run_live,
               (SELECT count(*) FROM attempts a WHERE a.trunk_id = $2
                   AND a.state IN ('reserved', 'dialing', 'ringing', 'answered')) AS trunk_live,
               CASE WHEN p.max_concurrent_calls IS NULL THEN 0 ELSE
                   (SELECT count(*) FROM attempts a JOIN runs o ON o.id = a.run_id WHERE o.iid = p.iid
                       AND a.state IN ('reserved', 'dialing', 'ringing', 'answered')) END AS application_live,
               (SELECT next_at FROM rate_budgets WHERE key = $4) AS run_next_at,
               (SELECT next_at FROM rate_budgets WHERE key = $5) AS trunk_next_at,
               (SELECT jsonb_agg(l ORDER BY l.created_at, l.id) FROM attempt_limits l
                 WHERE l.account_id = p.account_id AND (l.iid IS NULL OR l.iid = p.iid)
                   AND (l.campaign_id IS NULL OR l.campaign_id = $6)) AS limits,
               EXISTS (SELECT FROM attempt_limits l, attempt_moves m
                        WHERE l.account_id = p.account_id AND (l.iid IS NULL OR l.iid = p.iid)
                          AND (l.campaign_id IS NULL OR l.campaign_id = $6)
                          AND now() - l.window_seconds * interval '1 second' < m.moved_until) AS far,
               ARRAY(SELECT a.ended_at FROM attempts a
                      WHERE a.trunk_id = $2 AND a.sip_code IN (429, 503) AND a.ended_at > now() - $7::interval
                      ORDER BY a.ended_at) AS refused_at,
               k.max_concurrent_calls AS caller_cap, k.calls_per_second AS caller_per_second,
               k.calls_per_day AS caller_per_day,
               CASE WHEN k.max_concurrent_calls IS NULL THEN 0 ELSE
                   (SELECT count(*) FROM attempts a WHERE a.trunk_id = $2 AND a.caller_id = $8
                       AND a.state IN ('reserved', 'dialing', 'ringing', 'answered')) END AS caller_live,
               CASE WHEN k.calls_per_day IS NULL THEN 0 ELSE
                   -- by their runs: attempts have no index of caller IDs, which every attempt would pay for
                   (SELECT count(*) FROM (
                       SELECT FROM runs o JOIN attempts a ON a.run_id = o.id
                        WHERE o.trunk_id = $2 AND (o.ended_at IS NULL OR o.ended_at > now() - interval '24 hours')
                          AND a.reserved_at > now() - interval '24 hours' AND a.caller_id = $8
                          AND (a.dialed_at IS NOT NULL OR a.disposition IS DISTINCT FROM 'cancelled')
                        LIMIT k.calls_per_day) day) END AS caller_day,
               (SELECT next_at FROM rate_budgets WHERE key = $9) AS caller_next_at,
               EXISTS (SELECT FROM runs r JOIN dnc_hashes d ON d.dnc_list_id = ANY (r.dnc_list_ids)
                        WHERE r.id = $1) AS hashed,
               ({TURNS}) AS turns,
               ARRAY(SELECT m.contact_id FROM run_contacts m WHERE m.run_id = $1 AND m.asked_at IS NOT NULL
                       ORDER BY m.asked_at LIMIT {MOST_ASKED}) AS asked
          FROM applications p LEFT JOIN caller_ids k ON k.iid = p.iid AND k.phone = $8
         WHERE p.iid = $3
        """,  # noqa: S608 - constants
        run.id,
        run.trunk_id,
        run.iid,
        run_budget(run.id),
        trunk_budget(run.trunk_id),
        run.campaign_id,
        BACKOFF_MEMORY,
        run.rules.caller_id,
        caller_budget(run.iid, run.rules.caller_id),
    )
    assert row is not None  # noqa: S101 - the run refers to the application
    known = dict(row)
    caps = CallerCaps(*(known.pop(name) for name in ("caller_cap", "caller_per_second", "caller_per_day")))
    known["limits"] = tuple(limit_of(one) for one in row["limits"] or ())
    known["refused_at"] = tuple(row["refused_at"])
    known["asked"] = tuple(row["asked"])
    stand = stands(known.pop("turns"), run.id, now=row["now"])
    return Facts(**known, caller=caps, stand=stand)


ELSEWHERE: Final = """rc.phone NOT IN (SELECT unnest(outdial_may_ring($2)))
        AND (rc.phones IS NULL OR (NOT rc.phones && (SELECT outdial_may_ring($2)) AND NOT EXISTS (
            SELECT FROM attempts a WHERE a.account_id = $2 AND a.phone = ANY (rc.phones)
               AND a.state IN ('reserved', 'dialing', 'ringing', 'answered'))))"""
"""No number of a contact ``rc`` may still ring for account $2 from a call whose end nobody knows, and where it has
several, none of them is in a live call. Beside what is asked about its next number alone, which an index answers for
thousands at once."""

_KINDS: Final = """
    (SELECT rc.contact_id, rc.phone, rc.phones, rc.attempts_count, rc.not_before, 0 AS kind,
            (extract(epoch FROM rc.not_before) * 1000000)::bigint AS place
       FROM run_contacts rc
      WHERE rc.run_id = $1 AND rc.state = 'waiting' AND rc.callback_at IS NOT NULL
        AND rc.not_before <= clock_timestamp()
        AND NOT EXISTS (SELECT FROM attempts a WHERE a.account_id = $2 AND a.phone = rc.phone
                           AND a.state IN ('reserved', 'dialing', 'ringing', 'answered'))
        AND {ELSEWHERE}
      ORDER BY rc.not_before LIMIT $3)
    UNION ALL
    (SELECT rc.contact_id, rc.phone, rc.phones, rc.attempts_count, rc.not_before, 2, rc.sort_key
       FROM run_contacts rc
      WHERE rc.run_id = $1 AND rc.state = 'pending'
        AND NOT EXISTS (SELECT FROM attempts a WHERE a.account_id = $2 AND a.phone = rc.phone
                           AND a.state IN ('reserved', 'dialing', 'ringing', 'answered'))
        AND {ELSEWHERE}
      ORDER BY rc.sort_key LIMIT $3)
    UNION ALL
    (SELECT rc.contact_id, rc.phone, rc.phones, rc.attempts_count, rc.not_before, 3,
            (extract(epoch FROM rc.not_before) * 1000000)::bigint
       FROM run_contacts rc
      WHERE rc.run_id = $1 AND rc.state = 'waiting' AND rc.callback_at IS NULL AND rc.attempts_count = 0
        AND rc.not_before <= clock_timestamp()
        AND NOT EXISTS (SELECT FROM attempts a WHERE a.account_id = $2 AND a.phone = rc.phone
                           AND a.state IN ('reserved', 'dialing', 'ringing', 'answered'))
        AND {ELSEWHERE}
      ORDER BY rc.not_before LIMIT $3)
    UNION ALL
    (SELECT rc.contact_id, rc.phone, rc.phones, rc.attempts_count, rc.not_before,
            CASE WHEN {when_due}::boolean THEN 1 ELSE 4 END,
            (extract(epoch FROM rc.not_before) * 1000000)::bigint
       FROM run_contacts rc
      WHERE rc.run_id = $1 AND rc.state = 'waiting' AND rc.callback_at IS NULL AND rc.attempts_count > 0
        AND rc.not_before <= clock_timestamp()
        AND NOT EXISTS (SELECT FROM attempts a WHERE a.account_id = $2 AND a.phone = rc.phone
                           AND a.state IN ('reserved', 'dialing', 'ringing', 'answered'))
        AND {ELSEWHERE}
      ORDER BY rc.not_before LIMIT $3)
""".replace("{ELSEWHERE}", ELSEWHERE)
"""Contacts of run $1, of account $2, that may be due, up to $3 of each kind: who comes first has the least ``kind`` and
``place``. Who is called by hand comes before them."""

_DUE: Final = f"""
WITH found AS (
    (SELECT rc.contact_id, rc.phone, rc.phones, rc.attempts_count, rc.not_before, -1 AS kind,
            (extract(epoch FROM rc.asked_at) * 1000000)::bigint AS place
       FROM run_contacts rc
      WHERE rc.run_id = $1 AND rc.asked_at IS NOT NULL AND rc.callback_at IS NULL
        AND (rc.state = 'pending' OR (rc.state = 'waiting' AND rc.not_before <= clock_timestamp()))
        AND NOT EXISTS (SELECT FROM attempts a WHERE a.account_id = $2 AND a.phone = rc.phone
                           AND a.state IN ('reserved', 'dialing', 'ringing', 'answered'))
        AND {ELSEWHERE}
      ORDER BY rc.asked_at LIMIT $3)
    UNION ALL {_KINDS}
), due AS (
    -- who is asked for is found once more as what it is beside
    SELECT * FROM found f
     WHERE f.kind = -1 OR NOT EXISTS (SELECT FROM found m WHERE m.kind = -1 AND m.contact_id = f.contact_id))
"""  # noqa: S608 - a constant of this module
"""Those, and who is called by hand. To ask for both at once would cost each claim more than a millisecond of planning:
it hears of who is called by hand with its facts, and asks about them where there is anybody (:data:`_BY_HAND`)."""

_BY_HAND: Final = f"""
WITH due AS (
    SELECT rc.contact_id, rc.phone, rc.phones, rc.attempts_count, rc.not_before, -1 AS kind, asked.turn AS place
      FROM unnest($3::bigint[]) WITH ORDINALITY AS asked (contact_id, turn)
     -- one by one through the primary key: of a run that was loaded a moment ago the statistics know nothing
     CROSS JOIN LATERAL (
           SELECT c.* FROM run_contacts c WHERE c.run_id = $1 AND c.contact_id = asked.contact_id OFFSET 0) rc
     WHERE rc.asked_at IS NOT NULL AND rc.callback_at IS NULL
       AND (rc.state = 'pending' OR (rc.state = 'waiting' AND rc.not_before <= clock_timestamp()))
       AND NOT EXISTS (SELECT FROM attempts a WHERE a.account_id = $2 AND a.phone = rc.phone
                          AND a.state IN ('reserved', 'dialing', 'ringing', 'answered'))
       AND {ELSEWHERE})
"""  # noqa: S608 - a constant of this module
"""Those of the contacts $3 of run $1, of account $2, that are called by hand and may be due, in their order."""

_CANDIDATES: Final = """
SELECT due.contact_id, due.phone, due.attempts_count, due.not_before, due.kind = 0 AS is_callback, c.time_zone,
       c.attributes ->> 'state' AS contact_state,
       CASE WHEN due.phones IS NOT NULL THEN
           (SELECT jsonb_agg(jsonb_build_array(
                       n.phone,
                       EXISTS (SELECT FROM dnc_entries e JOIN dnc_lists l ON l.id = e.dnc_list_id
                                WHERE e.dnc_list_id = ANY (r.dnc_list_ids) AND e.phone = n.phone AND l.iid IS NULL
                                  AND (e.expires_at IS NULL
                                       OR e.expires_at > coalesce($7::timestamptz, clock_timestamp()))),
                       EXISTS (SELECT FROM dnc_entries e JOIN dnc_lists l ON l.id = e.dnc_list_id
                                WHERE e.dnc_list_id = ANY (r.dnc_list_ids) AND e.phone = n.phone AND l.iid IS NOT NULL
                                  AND (e.expires_at IS NULL
                                       OR e.expires_at > coalesce($7::timestamptz, clock_timestamp()))),
                       EXISTS (SELECT FROM attempts a WHERE a.run_id = $1 AND a.contact_id = due.contact_id
                                  AND a.phone = n.phone AND a.disposition = 'invalid_number'),
                       outdial_person_listed(r.dnc_list_ids, ARRAY[n.phone],
                                             coalesce($7::timestamptz, clock_timestamp()))) ORDER BY n.place)
              FROM unnest(due.phones) WITH ORDINALITY AS n (phone, place)) END AS numbers,
       EXISTS (SELECT FROM dnc_entries e JOIN dnc_lists l ON l.id = e.dnc_list_id
                WHERE e.dnc_list_id = ANY (r.dnc_list_ids) AND e.phone = due.phone AND l.iid IS NULL
                  AND (e.expires_at IS NULL OR e.expires_at > coalesce($7::timestamptz, clock_timestamp()))
       ) AS on_account_dnc,
       EXISTS (SELECT FROM dnc_entries e JOIN dnc_lists l ON l.id = e.dnc_list_id
                WHERE e.dnc_list_id = ANY (r.dnc_list_ids) AND e.phone = due.phone AND l.iid IS NOT NULL
                  AND (e.expires_at IS NULL OR e.expires_at > coalesce($7::timestamptz, clock_timestamp()))
       ) AS on_campaign_dnc,
       CASE WHEN $4::double precision IS NOT NULL THEN
           (SELECT jsonb_agg(jsonb_build_array(coalesce(a.dialed_at, a.reserved_at), a.ended_at, a.disposition,
                                               a.matters))
              FROM attempts a
             WHERE a.account_id = $2 AND a.phone = ANY (coalesce(due.phones, ARRAY[due.phone]))
               AND a.ended_at IS NOT NULL
               AND a.ended_at > now() - $4 * interval '1 second'
               AND (a.dialed_at IS NOT NULL OR a.disposition <> 'cancelled')) END AS past,
       CASE WHEN $6::boolean THEN
           (SELECT jsonb_agg(jsonb_build_array(a.disposition, a.ended_at) ORDER BY a.ended_at)
              FROM attempts a
             WHERE a.run_id = $1 AND a.contact_id = due.contact_id AND a.ended_at IS NOT NULL
               AND (a.dialed_at IS NOT NULL OR a.disposition <> 'cancelled')) END AS tried,
       CASE WHEN $5::text[] IS NOT NULL THEN outdial_matters(c.attributes, $5) END AS matters
  FROM due
  JOIN runs r ON r.id = $1
  -- a contact deleted from its list meanwhile has no zone of its own any more
  LEFT JOIN contacts c ON c.id = due.contact_id
"""
"""What the rules ask about the contacts of ``due``; a listed number counts as listed at $7."""

_ALL: Final = _CANDIDATES.replace("FROM attempts a", "FROM all_attempts a")
"""The same, however long ago anything was: of a run that may be over."""

_FAR: Final = _CANDIDATES.replace(
    "FROM attempts a\n             WHERE a.account_id = $2", "FROM all_attempts a\n             WHERE a.account_id = $2"
)
"""The same of a run that is live, whose own attempts never are old, with limits that look back further than NEAR."""


def _known(limits: Sequence[AttemptLimit], *, far: bool) -> str:
    """Return what asks so that each of the limits has what it counts."""
    far = far or any(one.rule.window_seconds > NEAR.total_seconds() for one in limits)
    return _FAR if far else _CANDIDATES


async def candidates(
    connection: Connection,
    run: Run,
    limit: int,
    limits: Sequence[AttemptLimit] = (),
    asked: Sequence[int] = (),
    *,
    far: bool = False,
) -> list[Candidate]:
    """Return up to ``limit`` contacts that may be due: those of ``asked``, whom somebody wants called now, call-backs,
    then first tries, then retries, or retries before first tries where the run's rules say so.

    Numbers with a live call of the account are passed over, and contacts with one to another of their numbers: their
    turn comes when that call has ended. What has become of the others is read as far back as the attempt limits look;
    ``far`` is that of :func:`facts`.
    """
    first = []
    if asked:
        rows = await connection.fetch(
            f"{_BY_HAND}{_known(limits, far=far)} ORDER BY due.place LIMIT $8",
            *_asked(run, list(asked), limits),
            limit,
        )
        first = [_candidate(row) for row in rows]
    rows = await connection.fetch(
        f"WITH due AS ({_KINDS.format(when_due='$8')}) {_known(limits, far=far)} ORDER BY due.kind, due.place LIMIT $3",
        *_asked(run, limit, limits),
        run.rules.own.retry_order is RetryOrder.WHEN_DUE,
    )
    known = {one.contact_id for one in first}
    return [*first, *(one for row in rows if (one := _candidate(row)).contact_id not in known)][:limit]


async def candidate(
    connection: Connection, run: Run, contact_id: int, limits: Sequence[AttemptLimit], *, at: datetime
) -> Candidate | None:
    """Return what the rules ask about one contact of a run, due or not, as :func:`candidates` reads it, with the
    do-not-call lists as they will be at an instant; None when the run has no such contact."""
    row = await connection.fetchrow(
        f"""
        WITH due AS (
            SELECT rc.contact_id, rc.phone, rc.phones, rc.attempts_count, rc.not_before,
                   CASE WHEN rc.callback_at IS NOT NULL THEN 0 ELSE 2 END AS kind
              FROM run_contacts rc WHERE rc.run_id = $1 AND rc.contact_id = $3)
        {_ALL}
        """,  # noqa: S608 - a constant of this module
        *_asked(run, contact_id, limits, at=at),
    )
    return None if row is None else _candidate(row)


async def sample(
    connection: Connection, run: Run, one_in: int, limits: Sequence[AttemptLimit], *, at: datetime
) -> list[Candidate]:
    """Return every ``one_in``-th of the contacts that are due and in no call, as :func:`candidates` reads them, whoever
    they are: which ones is told by a hash of their ids. Numbers on a do-not-call list of the run are left out."""
    rows = await connection.fetch(
        f"""
        WITH due AS (
            SELECT rc.contact_id, rc.phone, rc.phones, rc.attempts_count, rc.not_before,
                   CASE WHEN rc.callback_at IS NOT NULL THEN 0 ELSE 2 END AS kind
              FROM run_contacts rc
             WHERE rc.run_id = $1 AND (rc.state = 'pending' OR (rc.state = 'waiting' AND rc.not_before <= $7))
               AND abs(hashint8(rc.contact_id)::bigint) % $3 = 0
               AND NOT EXISTS (SELECT FROM attempts a WHERE a.account_id = $2 AND a.phone = rc.phone
                                  AND a.state IN ('reserved', 'dialing', 'ringing', 'answered'))
               AND {ELSEWHERE})
        {_known(limits, far=True)}
        """,  # noqa: S608 - a constant of this module
        *_asked(run, one_in, limits, at=at),
    )
    found = [_candidate(row) for row in rows]
    return [one for one in found if not (one.on_account_dnc or one.on_campaign_dnc)]


async def ahead_of(connection: Connection, run: Run, contact_id: int, *, most: int) -> int | None:
    """Return how many contacts of a run come before one that is due, counted up to ``most`` of each kind; None when it
    is not among the first ``most``."""
    ahead: int | None = await connection.fetchval(
        f"""
        {_DUE.format(when_due="$5")}
        SELECT (SELECT count(*) FROM due d WHERE (d.kind, d.place) < (mine.kind, mine.place))
          FROM due mine WHERE mine.contact_id = $4
        """,  # noqa: S608 - a constant of this module
        run.id,
        run.account_id,
        most,
        contact_id,
        run.rules.own.retry_order is RetryOrder.WHEN_DUE,
    )
    return ahead


def _asked(
    run: Run, third: int | list[int], limits: Sequence[AttemptLimit], *, at: datetime | None = None
) -> tuple[object, ...]:
    """Return the parameters $1 to $7: those of :data:`_CANDIDATES`, and ``third`` for ``due``; ``at`` None: now."""
    matters = sorted({one.rule.matter for one in limits if one.rule.matter is not None})
    return (
        run.id,
        run.account_id,
        third,
        float(max(one.rule.window_seconds for one in limits)) if limits else None,
        matters or None,
        bool(run.rules.own.retry_rules),
        at,
    )


def _candidate(row: asyncpg.Record) -> Candidate:
    numbers = tuple(Number(*one) for one in row["numbers"] or ())
    found = Candidate(
        contact_id=row["contact_id"],
        phone=row["phone"],
        contact_zone=row["time_zone"],
        contact_state=row["contact_state"],
        number_zones=zones_of(row["phone"]),
        attempts_count=row["attempts_count"],
        not_before=row["not_before"],
        is_callback=row["is_callback"],
        on_account_dnc=row["on_account_dnc"],
        on_campaign_dnc=row["on_campaign_dnc"],
        tried=tuple((Disposition(how), datetime.fromisoformat(at)) for how, at in row["tried"] or ()),
        past=tuple(_past(*one) for one in row["past"] or ()),
        matters=row["matters"] or {},
    )
    return found if not numbers else at_number(found, numbers, row["phone"])


def _past(at: str, ended_at: str, disposition: str, matters: dict[str, str] | None) -> PastAttempt:
    return PastAttempt(
        datetime.fromisoformat(at), datetime.fromisoformat(ended_at), Disposition(disposition), matters or {}
    )


async def next_due(connection: Connection, run_id: int) -> datetime | None:
    """Return when the next waiting contact of the run is due; None when none waits."""
    at: datetime | None = await connection.fetchval(
        "SELECT min(not_before) FROM run_contacts WHERE run_id = $1 AND state = 'waiting'", run_id
    )
    return at


async def reserve(connection: Connection, run: Run, node_id: str, wish: Reservation) -> tuple[Verdict, frozenset[str]]:
    """Do it in one transaction, and write down the share a run takes thereby; return the verdict and the ids of the
    attempts that are reserved now.

    It is one statement, committed by itself: a node that falls silent after it holds no lock, so no stop, no addition
    to a do-not-call list and no other claim ever waits for it.
    """
    row = await connection.fetchrow(
        f"""
        WITH reserved AS MATERIALIZED (
            SELECT r.verdict, r.attempt_ids
              FROM outdial_not_ringing($1, $24, $10, $11, $12, $22) w,
                   outdial_reserve_hashed(w.hashes, $1, $2, $3, $4, $5, $6, $7, $8, $9, w.wanted, w.attempt_ids, w.why,
                                          $13, $14, $15, $16, $17, $18, $23) r
        ), charged AS ({CHARGE})
        SELECT verdict, outdial_unless_ringing($24, attempt_ids) AS attempt_ids FROM reserved
        """,  # noqa: S608 - a constant
        run.id,
        run.epoch,
        node_id,
        [contact_id for contact_id, _ in wish.denied],
        [str(reason) for _, reason in wish.denied],
        [wish.decisions.get(contact_id) for contact_id, _ in wish.denied],
        [contact_id for contact_id, _ in wish.deferred],
        [at for _, at in wish.deferred],
        [wish.decisions.get(contact_id) for contact_id, _ in wish.deferred],
        [contact_id for contact_id, _ in wish.wanted],
        [attempt_id for _, attempt_id in wish.wanted],
        [wish.decisions.get(contact_id) for contact_id, _ in wish.wanted],
        [budget.key for budget in wish.budgets],
        [budget.seen for budget in wish.budgets],
        [budget.next_at for budget in wish.budgets],
        wish.run_cap,
        wish.trunk_cap,
        wish.application_cap,
        wish.shares,
        wish.wants,
        WANTS_SECONDS,
        None if wish.hashes is None else [wish.hashes.get(contact_id) for contact_id, _ in wish.wanted],
        {str(contact_id): phones for contact_id, phones in wish.phones.items()},
        run.account_id,
    )
    assert row is not None  # noqa: S101 - the function always answers with one row
    return Verdict(row["verdict"]), frozenset(row["attempt_ids"])

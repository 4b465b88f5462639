"""What the watchdog reads, by statements of its own, and the alarms it writes.

Nothing is shared with the statements by which calls are reserved, permitted and stopped: two readings of the same rows
that agree are worth more than one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

import asyncpg

from outdial.core.model import NumberFormat, RunState
from outdial.core.watch import (
    LONGEST_WAY,
    REPEATS,
    AttemptFacts,
    Breach,
    DncFacts,
    Facts,
    Permission,
    RunFacts,
    Sighting,
    phone_of,
)
from outdial.secretbox import SecretBox
from outdial.store import history
from outdial.store.database import Connection

_LATER: Final = timedelta(minutes=1)
"""Attempts reserved so long after an INVITE are of no interest to it, whatever the clocks say."""


_Place: TypeAlias = tuple[int | None, str | None]
"""A run and a number."""


@dataclass(frozen=True, slots=True)
class WatchedEngine:
    """How an Asterisk is commanded."""

    id: str
    url: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm as it is kept."""

    id: int
    raised_at: datetime
    sent_at: datetime
    """When the INVITE left, by its engine's clock."""
    breaches: tuple[Breach, ...]
    """Gravest first."""
    account_id: str | None
    """None: the INVITE was nobody's."""
    campaign_id: str | None
    run_id: int | None
    attempt_id: str | None
    engine_name: str
    call_id: str
    number: str
    """As the INVITE had it."""
    caller: str
    permit: str | None
    source: str
    destination: str
    fence: dict[str, Any]
    """``removed``: permits by engine; ``problems``: what could not be done."""


def _alarm(row: asyncpg.Record) -> Alarm:
    return Alarm(**{**row, "breaches": tuple(map(Breach, row["breaches"]))})


async def facts(connection: Connection, sightings: Sequence[Sighting]) -> list[Facts]:
    """Return what is known where each INVITE is judged; the connection is a snapshot's, so that all of it is of one
    instant, which must be later than the last of them was seen."""
    permissions = [one.permission for one in sightings if one.permission is not None]
    read_at: datetime = await connection.fetchval("SELECT clock_timestamp()")
    runs = await _runs(connection, {one.run_id for one in permissions})
    known = await _known_permits(connection, permissions)
    places = [_place(seen, runs) for seen in sightings]
    phones = [phone for _, phone in places if phone is not None]
    attempts = await _attempts(connection, sightings, runs, phones)
    transfers = await _transfers(connection, sightings, runs)
    dnc = await _dnc(connection, list(runs), phones)
    return [
        Facts(
            read_at=read_at,
            run=None if place[0] is None else runs[place[0]],
            permit_known=seen.permission in known,
            phone=place[1],
            attempts=(*attempts[place], *transfers[place[0], seen.number]),
            dnc=tuple(dnc[place]),
        )
        for seen, place in zip(sightings, places, strict=True)
    ]


def _place(seen: Sighting, runs: dict[int, RunFacts]) -> _Place:
    """Return an INVITE's run, if there is one, and the number it calls, if it is one."""
    run = None if seen.permission is None else runs.get(seen.permission.run_id)
    return (None, None) if run is None else (run.id, phone_of(seen.number, run.number_format, run.number_prefix))


async def _runs(connection: Connection, run_ids: Iterable[int]) -> dict[int, RunFacts]:
    rows = await connection.fetch(
        """
        SELECT r.id, r.account_id, r.campaign_id, r.state, r.epoch, r.updated_at AS moved_at, r.ended_at,
               t.number_format, t.number_prefix,
               coalesce((SELECT max(n.ttl_seconds) FROM run_nodes rn JOIN nodes n ON n.id = rn.node_id
                          WHERE rn.run_id = r.id), 30) AS permit_life
          FROM runs r JOIN trunks t ON t.id = r.trunk_id WHERE r.id = ANY ($1::bigint[])
        """,
        list(run_ids),
    )
    return {
        row["id"]: RunFacts(
            **{
                **row,
                "state": RunState(row["state"]),
                "number_format": NumberFormat(row["number_format"]),
                "permit_life": timedelta(seconds=row["permit_life"]),
            }
        )
        for row in rows
    }


async def _known_permits(connection: Connection, permissions: Sequence[Permission]) -> frozenset[Permission]:
    rows = await connection.fetch(
        "SELECT run_id, epoch, key FROM run_engines WHERE key = ANY ($1::text[])", [one.key for one in permissions]
    )
    noted = {(row["run_id"], row["epoch"], row["key"]) for row in rows}
    return frozenset(one for one in permissions if (one.run_id, one.epoch, one.key) in noted)


async def _attempts(
    connection: Connection, sightings: Sequence[Sighting], runs: dict[int, RunFacts], phones: Sequence[str]
) -> defaultdict[_Place, list[AttemptFacts]]:
    """Return attempts of the runs to the numbers, by both, oldest first."""
    instants: defaultdict[int, list[datetime]] = defaultdict(list)
    for seen in sightings:
        if seen.permission is not None and seen.permission.run_id in runs:
            instants[seen.permission.run_id].append(seen.sent_at)
    rows = await connection.fetch(
        """
        SELECT a.run_id, a.phone, a.id, a.epoch, a.engine_id, a.reserved_at, a.ended_at
          FROM unnest($1::bigint[], $2::timestamptz[], $3::timestamptz[]) AS w (run_id, first_at, last_at)
          JOIN attempts a ON a.run_id = w.run_id AND a.reserved_at BETWEEN w.first_at AND w.last_at
         WHERE a.phone = ANY ($4::text[]) ORDER BY a.reserved_at, a.id
        """,
        list(instants),
        [min(each) - LONGEST_WAY - REPEATS for each in instants.values()],
        [max(each) + _LATER for each in instants.values()],
        phones,
    )
    found: defaultdict[_Place, list[AttemptFacts]] = defaultdict(list)
    for row in rows:
        values = dict(row)
        found[values.pop("run_id"), values.pop("phone")].append(AttemptFacts(**values))
    return found


async def _transfers(
    connection: Connection, sightings: Sequence[Sighting], runs: dict[int, RunFacts]
) -> defaultdict[_Place, list[AttemptFacts]]:
    """Return the second legs of the runs' calls that were written down, by run and what they call as the INVITE has it,
    oldest first: each is a call there was leave for, like an attempt."""
    found: defaultdict[_Place, list[AttemptFacts]] = defaultdict(list)
    if not runs:
        return found
    rows = await connection.fetch(
        """
        SELECT run_id, dialed, id, epoch, engine_id, reserved_at, ended_at FROM transfers
         WHERE run_id = ANY ($1::bigint[]) AND dialed = ANY ($2::text[]) AND reserved_at BETWEEN $3 AND $4
         ORDER BY reserved_at, id
        """,
        list(runs),
        [seen.number for seen in sightings],
        min(seen.sent_at for seen in sightings) - LONGEST_WAY - REPEATS,
        max(seen.sent_at for seen in sightings) + _LATER,
    )
    for row in rows:
        values = dict(row)
        found[values.pop("run_id"), values.pop("dialed")].append(AttemptFacts(**values))
    return found


async def _dnc(
    connection: Connection, run_ids: Sequence[int], phones: Sequence[str]
) -> defaultdict[_Place, list[DncFacts]]:
    """Return entries of the numbers on the lists of the runs, by both."""
    rows = await connection.fetch(
        """
        SELECT r.id AS run_id, e.phone, e.added_at, e.expires_at
          FROM runs r JOIN dnc_entries e ON e.dnc_list_id = ANY (r.dnc_list_ids) AND e.phone = ANY ($2::text[])
         WHERE r.id = ANY ($1::bigint[])
        """,
        run_ids,
        phones,
    )
    found: defaultdict[_Place, list[DncFacts]] = defaultdict(list)
    for row in rows:
        found[row["run_id"], row["phone"]].append(DncFacts(row["added_at"], row["expires_at"]))
    return found


async def engines(connection: Connection, secrets: SecretBox) -> list[WatchedEngine]:
    """Return every Asterisk that has not been retired. Raises StartupError when the box has another key."""
    rows = await connection.fetch(
        """
        SELECT id, url, username, password_encrypted FROM engines
         WHERE kind = 'asterisk' AND url IS NOT NULL AND retired_at IS NULL ORDER BY id
        """
    )
    return [
        WatchedEngine(
            id=row["id"],
            url=row["url"],
            username=row["username"] or "",
            password="" if row["password_encrypted"] is None else secrets.decrypt(row["password_encrypted"]),
        )
        for row in rows
    ]


async def engines_dialing(connection: Connection, *, since: timedelta) -> dict[str, int]:
    """Return how many calls of live runs each Asterisk has taken on within a time, by its id."""
    rows = await connection.fetch(
        """
        SELECT a.engine_id, count(*) AS calls
          FROM runs r JOIN attempts a ON a.run_id = r.id AND a.reserved_at > clock_timestamp() - $1::interval
          JOIN engines e ON e.id = a.engine_id AND e.kind = 'asterisk'
         WHERE r.state IN ('active', 'paused', 'stopping') AND a.state IN ('ringing', 'answered')
         GROUP BY a.engine_id
        """,
        since,
    )
    return {row["engine_id"]: row["calls"] for row in rows}


async def add_alarm(
    connection: Connection,
    seen: Sighting,
    breaches: Sequence[Breach],
    *,
    run: RunFacts | None,
    attempt_id: str | None,
    fence: dict[str, Any],
) -> Alarm | None:
    """Keep an alarm, and a row about it in the history of its account; None when this call has raised one already.
    The connection is a transaction's."""
    row = await connection.fetchrow(
        """
        INSERT INTO watchdog_alarms (sent_at, breaches, account_id, campaign_id, run_id, attempt_id, engine_name,
                                     call_id, number, caller, permit, source, destination, fence)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
            ON CONFLICT (engine_name, call_id) DO NOTHING
        RETURNING *
        """,
        seen.sent_at,
        list(breaches),
        None if run is None else run.account_id,
        None if run is None else run.campaign_id,
        None if run is None else run.id,
        attempt_id,
        *(seen.engine_name, seen.call_id, seen.number, seen.caller),
        None if seen.permission is None else seen.permission.name,
        *(seen.source, seen.destination),
        fence,
    )
    if row is None:
        return None
    alarm = _alarm(row)
    if run is not None:
        await history.append(
            connection,
            run.account_id,
            "watchdog_alarm",
            breaches[0],
            actor="watchdog",
            campaign_id=run.campaign_id,
            alarm=alarm.id,
            breaches=list(breaches),
            run_id=run.id,
            attempt_id=attempt_id,
            call_id=seen.call_id,
            number=seen.number,
            permit=alarm.permit,
            sent_at=seen.sent_at,
        )
    return alarm


async def alarms(connection: Connection, *, account_id: str | None, after: int, limit: int) -> list[Alarm]:
    """Return alarms in the order they were raised, from the one after ``after`` on: of one account, or all of them with
    those that are nobody's."""
    rows = await connection.fetch(
        """
        SELECT * FROM watchdog_alarms WHERE id > $2 AND ($1::text IS NULL OR account_id = $1) ORDER BY id LIMIT $3
        """,
        account_id,
        after,
        limit,
    )
    return [_alarm(row) for row in rows]


async def alarm_counts(connection: Connection) -> dict[Breach, int]:
    """Return how many alarms there are by their gravest breach."""
    rows = await connection.fetch("SELECT breaches[1] AS breach, count(*) AS alarms FROM watchdog_alarms GROUP BY 1")
    return {Breach(row["breach"]): row["alarms"] for row in rows}

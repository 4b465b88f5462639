"""Seals of history: which rows are in none yet, the chains of the accounts, and reading both back.

Whoever writes history takes no lock for it and waits for nobody, so ids are in the order of writing and not of
committing. What is new is told by transactions: a round of sealing takes the rows of exactly those transactions that
its snapshot sees and the snapshot of the round before did not. A transaction that is open over many rounds is in
none of them until it has ended, and then in the next one, with ids far below those already sealed; one that was rolled
back has left no rows. Sealers take turns by an advisory lock.

Snapshots mean something within one database cluster only. Where the rows come from another (a restored dump) or are
older than sealing, the first round goes by ids: while nobody writes, for a moment, it notes the highest id as the
floor; what is below and in no seal is sealed next, and from then on transactions count, for rows above the floor.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from outdial.core.history import HistoryRow, Seal
from outdial.store.database import Connection

_LOCK: Final = 0x6F75_7464_7365_616C  # "outdseal"

_FLOOR_WAIT: Final = "200ms"
"""How long the first round of a cluster waits for those who are writing, each of whom it holds up as long at most."""

_COLUMNS: Final = """
    h.id, h.at, h.account_id, h.campaign_id, h.run_id, h.contact_id, h.attempt_id, h.action, h.from_state, h.to_state,
    h.actor, h.reason, h.detail, h.salt, h.erased_sha256
"""

_CHAIN: Final = "coalesce(h.account_id, r.account_id)"
"""Whose chain a row is sealed in."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far sealing has come."""

    here: bool
    """It speaks of this cluster's transactions."""
    backlog: bool
    """Rows below the floor may be in no seal."""
    now: str
    """The snapshot of this look."""


def row_of(record: asyncpg.Record) -> HistoryRow:
    """Read one row of ``history``."""
    return HistoryRow(
        id=record["id"],
        at=record["at"],
        account_id=record["account_id"],
        campaign_id=record["campaign_id"],
        run_id=record["run_id"],
        contact_id=record["contact_id"],
        attempt_id=record["attempt_id"],
        action=record["action"],
        before=record["from_state"],
        after=record["to_state"],
        actor=record["actor"],
        reason=record["reason"],
        detail=record["detail"],
        salt=record["salt"],
        erased=record["erased_sha256"],
    )


def _seal_of(record: asyncpg.Record) -> Seal:
    return Seal(
        account_id=record["account_id"],
        number=record["number"],
        count=len(record["ids"]),
        from_id=record["from_id"],
        to_id=record["to_id"],
        rows=record["rows_sha256"],
        previous=record["previous_sha256"],
        sealed_at=record["sealed_at"],
        sha256=record["sha256"],
    )


async def take_turn(connection: Connection, *, wait: bool) -> bool:
    """Be the one who seals until the transaction ends; False when another is and ``wait`` is not wanted."""
    if wait:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        return True
    mine: bool = await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK)
    return mine


async def progress(connection: Connection) -> Progress:
    """Return how far sealing has come; for whoever has the turn, in a later statement than the one that took it."""
    row = await connection.fetchrow(
        """
        SELECT cluster IS NOT DISTINCT FROM (pg_control_system()).system_identifier AS here, backlog,
               pg_current_snapshot()::text AS now
          FROM history_sealing
        """
    )
    assert row is not None  # noqa: S101 - the schema has made it
    return Progress(**row)


async def begin_cluster(connection: Connection) -> bool:
    """Begin to count this cluster's transactions; False when somebody was writing, to be tried again.

    For whoever has the turn, in a transaction that ends at once: it keeps everybody from writing history.
    """
    try:
        # a savepoint, so that the transaction outlives a refusal
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{_FLOOR_WAIT}'")
            await connection.execute("LOCK TABLE history IN SHARE MODE")
    except asyncpg.LockNotAvailableError:
        return False
    await connection.execute(
        """
        UPDATE history_sealing
           SET cluster = (pg_control_system()).system_identifier, done = pg_current_snapshot(), backlog = true,
               floor_id = (SELECT coalesce(max(id), 0) FROM history)
        """
    )
    return True


async def unsealed(
    connection: Connection, found: Progress, *, lot: int
) -> AsyncIterator[Sequence[tuple[str, HistoryRow]]]:
    """Yield, lot by lot in the order of their ids, the rows that the round seals, each with its chain's account."""
    if found.backlog:
        # by ids: what is in no seal below the floor
        cursor = await connection.cursor(
            f"""
            SELECT {_COLUMNS}, {_CHAIN} AS chain FROM history h LEFT JOIN runs r ON r.id = h.run_id
             WHERE h.id <= (SELECT floor_id FROM history_sealing)
               AND NOT EXISTS (SELECT FROM (SELECT unnest(ids) AS id FROM history_seals) s WHERE s.id = h.id)
             ORDER BY h.id
            """  # noqa: S608 - constants
        )
    else:
        cursor = await connection.cursor(
            f"""
            SELECT {_COLUMNS}, {_CHAIN} AS chain FROM history h LEFT JOIN runs r ON r.id = h.run_id
             WHERE h.xid >= (SELECT pg_snapshot_xmin(done) FROM history_sealing)
               AND h.xid < pg_snapshot_xmax($1::text::pg_snapshot)
               AND pg_visible_in_snapshot(h.xid, $1::text::pg_snapshot)
               AND NOT pg_visible_in_snapshot(h.xid, (SELECT done FROM history_sealing))
               AND h.id > (SELECT floor_id FROM history_sealing)
             ORDER BY h.id
            """,  # noqa: S608 - constants
            found.now,
        )
    while records := await cursor.fetch(lot):
        yield [(record["chain"], row_of(record)) for record in records]


async def sealed(connection: Connection, found: Progress) -> None:
    """Note that everything :func:`unsealed` has yielded is in seals."""
    if found.backlog:
        await connection.execute("UPDATE history_sealing SET backlog = false")
    else:
        await connection.execute("UPDATE history_sealing SET done = $1::text::pg_snapshot", found.now)


async def head(connection: Connection, account_id: str) -> Seal | None:
    """Return the last seal of an account; None when nothing is sealed."""
    record = await connection.fetchrow(
        "SELECT * FROM history_seals WHERE account_id = $1 ORDER BY number DESC LIMIT 1", account_id
    )
    return None if record is None else _seal_of(record)


async def heads(connection: Connection, account_ids: Collection[str]) -> dict[str, Seal]:
    """Return the last seals of accounts, by account; of one that has none, nothing."""
    records = await connection.fetch(
        """
        SELECT last.* FROM unnest($1::text[]) AS asked (account_id)
         CROSS JOIN LATERAL (SELECT * FROM history_seals WHERE account_id = asked.account_id
                              ORDER BY number DESC LIMIT 1) AS last
        """,
        list(account_ids),
    )
    return {record["account_id"]: _seal_of(record) for record in records}


async def insert(connection: Connection, made: Sequence[tuple[Seal, Sequence[int]]]) -> None:
    """Store seals, each with the ids of its rows in their order."""
    await connection.executemany(
        """
        INSERT INTO history_seals (account_id, number, from_id, to_id, ids, rows_sha256, previous_sha256, sha256,
                                   sealed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        [
            (
                seal.account_id,
                seal.number,
                seal.from_id,
                seal.to_id,
                ids,
                seal.rows,
                seal.previous,
                seal.sha256,
                seal.sealed_at,
            )
            for seal, ids in made
        ],
    )


async def page(
    connection: Connection, account_id: str, *, number: int, through: int, limit: int
) -> list[tuple[Seal, list[int]]]:
    """Return some seals of an account from a number on, up to another at most, each with the ids of its rows."""
    records = await connection.fetch(
        """
        SELECT * FROM history_seals WHERE account_id = $1 AND number BETWEEN $2 AND $3 ORDER BY number LIMIT $4
        """,
        account_id,
        number,
        through,
        limit,
    )
    return [(_seal_of(record), record["ids"]) for record in records]


async def further(
    connection: Connection, through: Mapping[str, tuple[int, int]], *, after: tuple[str, int], limit: int
) -> list[tuple[Seal, list[int]]]:
    """Return some seals of several accounts, each from a number on up to another, as :func:`page` does; those after the
    seal ``after`` (account and number) in the order of accounts and numbers."""
    records = await connection.fetch(
        """
        SELECT s.* FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS asked (account_id, first, last)
          JOIN history_seals s ON s.account_id = asked.account_id AND s.number BETWEEN asked.first AND asked.last
         WHERE (s.account_id, s.number) > ($4, $5)
         ORDER BY s.account_id, s.number LIMIT $6
        """,
        list(through),
        [first for first, _ in through.values()],
        [last for _, last in through.values()],
        *after,
        limit,
    )
    return [(_seal_of(record), record["ids"]) for record in records]


async def first_number(connection: Connection, account_id: str, row_id: int) -> int | None:
    """Return the number of the first seal of an account that may hold a row or a later one; None when none does."""
    number: int | None = await connection.fetchval(
        "SELECT min(number) FROM history_seals WHERE account_id = $1 AND to_id >= $2", account_id, row_id
    )
    return number


async def numbers_of(connection: Connection, rows: Mapping[int, str]) -> dict[int, int]:
    """Return the numbers of the seals that hold rows, each row given with its account; of one in none, nothing."""
    records = await connection.fetch(
        """
        SELECT asked.row_id, s.number FROM unnest($1::bigint[], $2::text[]) AS asked (row_id, account_id)
         CROSS JOIN LATERAL (SELECT number FROM history_seals
                              WHERE account_id = asked.account_id AND from_id <= asked.row_id
                                AND to_id >= asked.row_id AND asked.row_id = ANY (ids)) AS s
        """,
        list(rows),
        list(rows.values()),
    )
    return {record["row_id"]: record["number"] for record in records}


async def rows(connection: Connection, ids: Sequence[int]) -> list[HistoryRow]:
    """Return the rows with those ids, in the order of the ids; those that are gone are missing."""
    records = await connection.fetch(
        f"SELECT {_COLUMNS} FROM history h WHERE h.id = ANY ($1::bigint[]) ORDER BY h.id",  # noqa: S608 - constants
        ids,
    )
    return [row_of(record) for record in records]


async def of_run(connection: Connection, ids: Sequence[int], run_id: int) -> frozenset[int]:
    """Return those of the rows that are of a run."""
    records = await connection.fetch(
        "SELECT id FROM history WHERE id = ANY ($1::bigint[]) AND run_id = $2", ids, run_id
    )
    return frozenset(record["id"] for record in records)


async def of_campaign(connection: Connection, ids: Sequence[int], campaign_id: str) -> frozenset[int]:
    """Return those of the rows that are of a campaign or one of its runs."""
    records = await connection.fetch(
        """
        SELECT id FROM history WHERE id = ANY ($1::bigint[])
           AND (campaign_id = $2 OR run_id IN (SELECT id FROM runs WHERE campaign_id = $2))
        """,
        ids,
        campaign_id,
    )
    return frozenset(record["id"] for record in records)


async def first_of_run(connection: Connection, run_id: int) -> int | None:
    """Return the id of a run's first row."""
    found: int | None = await connection.fetchval("SELECT min(id) FROM history WHERE run_id = $1", run_id)
    return found


async def first_of_campaign(connection: Connection, campaign_id: str) -> int | None:
    """Return the id of the first row of a campaign or its runs."""
    found: int | None = await connection.fetchval(
        """
        SELECT least((SELECT min(id) FROM history WHERE campaign_id = $1 AND run_id IS NULL),
                     (SELECT min(first.id) FROM runs r
                       CROSS JOIN LATERAL (SELECT min(id) AS id FROM history WHERE run_id = r.id) first
                       WHERE r.campaign_id = $1))
        """,
        campaign_id,
    )
    return found


async def strays(connection: Connection, account_id: str) -> list[int]:
    """Return the first ids of rows that should be in a seal by now and are in none: somebody has put them there past
    the sealer."""
    records = await connection.fetch(
        f"""
        SELECT h.id FROM history h LEFT JOIN runs r ON r.id = h.run_id CROSS JOIN history_sealing s
         WHERE {_CHAIN} = $1
           AND CASE WHEN h.id <= s.floor_id THEN NOT s.backlog
                    ELSE h.xid IS NULL OR pg_visible_in_snapshot(h.xid, s.done) END
           AND NOT EXISTS (SELECT FROM (SELECT unnest(ids) AS id FROM history_seals WHERE account_id = $1) sealed
                            WHERE sealed.id = h.id)
         ORDER BY h.id LIMIT 10
        """,  # noqa: S608 - constants
        account_id,
    )
    return [record["id"] for record in records]


async def signed_heads(connection: Connection, account_id: str) -> list[tuple[str, int, bytes]]:
    """Return what signed reports of the account say of its chain: the run, a seal's number and its hash."""
    records = await connection.fetch(
        """
        SELECT r.instance_id, s.head_number, s.head_sha256 FROM signed_reports s JOIN runs r ON r.id = s.run_id
         WHERE r.account_id = $1 ORDER BY s.head_number
        """,
        account_id,
    )
    return [tuple(record) for record in records]

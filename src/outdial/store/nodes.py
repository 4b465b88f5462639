"""Dialer nodes: their leases, the runs they serve, and which of them are gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from outdial.store.database import Connection


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One life of a dialer process."""

    id: str
    name: str
    host: str
    pid: int
    stasis_app: str
    engine_id: str


@dataclass(frozen=True, slots=True)
class Serving:
    """A node that has served a run, as a stop sees it."""

    node_id: str
    name: str
    engine_id: str
    epoch: int
    """Highest epoch it may have dialed the run at."""
    dropped_epoch: int
    """Up to this epoch it has dropped the run: nothing of it is in flight there any more."""
    lease_until: datetime
    lease_live: bool
    """Its lease has not run out and its life has not ended."""
    making: bool
    """Requests of it may be under way that put a permit."""
    ttl_seconds: float
    """How long its permits live."""
    ended: bool
    """It ended orderly, or another node took its calls over."""
    dropped_at: datetime | None
    """When it said so last."""
    ended_at: datetime | None


async def register(connection: Connection, node: NodeRow, *, ttl_seconds: float) -> None:
    """Begin a node's life, with a lease."""
    await connection.execute(
        """
        INSERT INTO nodes (id, name, host, pid, stasis_app, engine_id, lease_until, ttl_seconds)
        VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp() + $7, $8)
            -- asked again by a node that never heard the answer
            ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until WHERE nodes.ended_at IS NULL
        """,
        node.id,
        node.name,
        node.host,
        node.pid,
        node.stasis_app,
        node.engine_id,
        timedelta(seconds=ttl_seconds),
        ttl_seconds,
    )


async def renew(connection: Connection, node_id: str, *, ttl_seconds: float, engine_up: bool) -> bool:
    """Renew the lease, from now; False when the node's life has been ended by another node."""
    renewed = await connection.fetchval(
        """
        UPDATE nodes SET lease_renewed_at = clock_timestamp(), lease_until = clock_timestamp() + $2, engine_up = $3
         WHERE id = $1 AND ended_at IS NULL RETURNING true
        """,
        node_id,
        timedelta(seconds=ttl_seconds),
        engine_up,
    )
    return renewed is not None


async def end(connection: Connection, node_id: str) -> None:
    """End a node's life orderly."""
    await connection.execute(
        "UPDATE nodes SET ended_at = clock_timestamp(), engine_up = false WHERE id = $1 AND ended_at IS NULL", node_id
    )


async def take_over(connection: Connection, node_id: str, engine_id: str, *, foreign_grace: timedelta) -> list[NodeRow]:
    """End, in this node's name, the life of every node whose lease has run out, and inherit what dead adopters had.

    Nodes with another engine are left to those that share it for ``foreign_grace`` more. Returns the new ones.
    """
    rows = await connection.fetch(
        """
        UPDATE nodes n
           SET ended_at = coalesce(n.ended_at, clock_timestamp()), adopted_by = $1, engine_up = false
         WHERE n.id <> $1
           AND n.adopted_by IS DISTINCT FROM $1
           AND CASE WHEN n.ended_at IS NULL THEN
                   n.lease_until < clock_timestamp() - CASE WHEN n.engine_id = $2 THEN interval '0' ELSE $3 END
               ELSE
                   -- it ended, and whoever answers for what it left (itself, or its adopter) has ended too
                   (n.adopted_by IS NULL OR EXISTS (SELECT FROM nodes o WHERE o.id = n.adopted_by
                                                       AND (o.ended_at IS NOT NULL
                                                            -- or has another engine, and perhaps no way to this one
                                                            OR (n.engine_id = $2 AND o.engine_id <> $2))))
                   AND (EXISTS (SELECT FROM attempts a WHERE a.node_id = n.id
                                   AND a.state IN ('reserved', 'dialing', 'ringing', 'answered'))
                        OR EXISTS (SELECT FROM transfers t JOIN attempts a ON a.id = t.attempt_id
                                    WHERE t.ended_at IS NULL AND a.node_id = n.id))
               END
        RETURNING n.id, n.name, n.host, n.pid, n.stasis_app, n.engine_id
        """,
        node_id,
        engine_id,
        foreign_grace,
    )
    return [NodeRow(**row) for row in rows]


async def by_ids(connection: Connection, ids: Sequence[str]) -> dict[str, NodeRow]:
    """Return those nodes by id."""
    rows = await connection.fetch(
        "SELECT id, name, host, pid, stasis_app, engine_id FROM nodes WHERE id = ANY ($1::text[])", list(ids)
    )
    return {row["id"]: NodeRow(**row) for row in rows}


async def serve(connection: Connection, *, run_id: int, node_id: str, epoch: int) -> None:
    """Note that a node is about to dial a run at an epoch: a stop waits for exactly the nodes noted here."""
    await connection.execute(
        """
        INSERT INTO run_nodes (run_id, node_id, epoch) VALUES ($1, $2, $3)
            ON CONFLICT (run_id, node_id) DO UPDATE SET epoch = greatest(run_nodes.epoch, excluded.epoch)
        """,
        run_id,
        node_id,
        epoch,
    )


async def making(
    connection: Connection,
    *,
    run_id: int,
    node_id: str,
    engine_id: str,
    epoch: int,
    key: str,
    address: tuple[str, int],
    seconds: float,
) -> bool:
    """Note that a node, which serves the run, is about to put a permit of it; False when the node's life has ended.

    A stop fences exactly the permits noted here, and waits as long as the note holds: for ``seconds``, after which a
    permit whose life began before it has run out at any engine. ``address`` is where its calls go. What the node has
    put before is forgotten once nothing of it can be on its way any more.
    """
    life = timedelta(seconds=seconds)
    noted = await connection.fetchval(
        """
        UPDATE run_nodes rn SET making_until = clock_timestamp() + $3::interval, making_key = $4
          FROM nodes n
         WHERE rn.run_id = $1 AND rn.node_id = $2 AND n.id = $2 AND n.ended_at IS NULL
        RETURNING true
        """,
        run_id,
        node_id,
        life,
        key,
    )
    if noted is None:
        return False
    await connection.execute(
        """
        WITH old AS (
            DELETE FROM run_engines
             WHERE run_id = $1 AND node_id = $2
               AND superseded_at < clock_timestamp() - $3::interval - interval '1 minute')
        UPDATE run_engines SET superseded_at = clock_timestamp()
         WHERE run_id = $1 AND node_id = $2 AND superseded_at IS NULL
        """,
        run_id,
        node_id,
        life,
    )
    await connection.execute(
        """
        INSERT INTO run_engines (run_id, engine_id, epoch, node_id, key, host, port)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        run_id,
        engine_id,
        epoch,
        node_id,
        key,
        *address,
    )
    return True


async def made(connection: Connection, *, run_id: int, node_id: str, key: str) -> bool:
    """Note that a permit is put, every request of it answered; False when the note had run out, so that whoever stopped
    the run may not have waited: then the permit must not be used. Where this cannot be written the note runs out by
    itself."""
    done = await connection.fetchval(
        """
        UPDATE run_nodes SET making_until = NULL, making_key = NULL
         WHERE run_id = $1 AND node_id = $2 AND making_key = $3 AND making_until > clock_timestamp()
        RETURNING true
        """,
        run_id,
        node_id,
        key,
    )
    return done is not None


async def dropped(connection: Connection, *, run_id: int, node_id: str, epoch: int) -> None:
    """Note that a node has dropped a run up to an epoch: nothing of it is in flight there any more."""
    await connection.execute(
        """
        UPDATE run_nodes SET dropped_epoch = greatest(dropped_epoch, $3), dropped_at = clock_timestamp()
         WHERE run_id = $1 AND node_id = $2
        """,
        run_id,
        node_id,
        epoch,
    )


async def serving(connection: Connection, run_id: int) -> list[Serving]:
    """Return every node that has served the run."""
    rows = await connection.fetch(
        """
        SELECT rn.node_id, n.name, n.engine_id, rn.epoch, rn.dropped_epoch, n.lease_until,
               n.ended_at IS NULL AND n.lease_until > clock_timestamp() AS lease_live, n.ended_at IS NOT NULL AS ended,
               coalesce(rn.making_until > clock_timestamp(), false) AS making, n.ttl_seconds, rn.dropped_at, n.ended_at
          FROM run_nodes rn JOIN nodes n ON n.id = rn.node_id
         WHERE rn.run_id = $1 ORDER BY n.started_at, n.id
        """,
        run_id,
    )
    return [Serving(**row) for row in rows]


async def permits_of_run(connection: Connection, run_id: int) -> dict[str, list[tuple[int, str]]]:
    """Return the engines a permit of the run may ever have been put on, each with the epochs and keys of them."""
    rows = await connection.fetch(
        "SELECT engine_id, epoch, key FROM run_engines WHERE run_id = $1 ORDER BY engine_id, epoch, key", run_id
    )
    found: dict[str, list[tuple[int, str]]] = {}
    for row in rows:
        found.setdefault(row["engine_id"], []).append((row["epoch"], row["key"]))
    return found


async def addresses_of_run(connection: Connection, run_id: int) -> dict[str, list[tuple[str, int]]]:
    """Return the engines calls of the run may have been placed at lately, each with hosts and ports they went to."""
    rows = await connection.fetch(
        "SELECT DISTINCT engine_id, host, port FROM run_engines WHERE run_id = $1 ORDER BY 1, 2, 3",
        run_id,
    )
    found: dict[str, list[tuple[str, int]]] = {}
    for row in rows:
        found.setdefault(row["engine_id"], []).append((row["host"], row["port"]))
    return found


async def permits_of_nodes(connection: Connection, node_ids: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return ``(run_id, epoch, key)`` of every permit those nodes may have put, of runs that are live."""
    rows = await connection.fetch(
        """
        SELECT re.run_id, re.epoch, re.key FROM run_engines re JOIN runs r ON r.id = re.run_id
         WHERE re.node_id = ANY ($1::text[]) AND r.state IN ('active', 'paused', 'stopping')
         ORDER BY re.run_id, re.epoch, re.key
        """,
        list(node_ids),
    )
    return [(row["run_id"], row["epoch"], row["key"]) for row in rows]


async def permits_of_engine(connection: Connection, engine_id: str) -> frozenset[tuple[int, int, str]]:
    """Return ``(run_id, epoch, key)`` of every permit that may be wanted at the engine: put for a run that is active at
    that epoch, and not superseded by a later one."""
    rows = await connection.fetch(
        """
        SELECT re.run_id, re.epoch, re.key FROM run_engines re JOIN runs r ON r.id = re.run_id
         WHERE re.engine_id = $1 AND re.superseded_at IS NULL AND r.state = 'active' AND r.epoch = re.epoch
        """,
        engine_id,
    )
    return frozenset((row["run_id"], row["epoch"], row["key"]) for row in rows)


async def still_making(connection: Connection, node_ids: Sequence[str]) -> frozenset[str]:
    """Return those of the nodes of which requests that put a permit may be under way."""
    rows = await connection.fetch(
        "SELECT DISTINCT node_id FROM run_nodes WHERE node_id = ANY ($1::text[]) AND making_until > clock_timestamp()",
        list(node_ids),
    )
    return frozenset(row["node_id"] for row in rows)


async def ready(connection: Connection) -> bool:
    """Whether calls can be placed: some node with a live lease has its engine up."""
    answer: bool = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM nodes
                        WHERE ended_at IS NULL AND lease_until > clock_timestamp() AND engine_up)
        """
    )
    return answer


async def is_unused(connection: Connection, engine_id: str) -> bool:
    """Whether no node that has not ended uses the engine."""
    answer: bool = await connection.fetchval(
        "SELECT NOT EXISTS (SELECT FROM nodes WHERE engine_id = $1 AND ended_at IS NULL)", engine_id
    )
    return answer


async def runs_of_engine(connection: Connection, engine_id: str) -> dict[int, list[tuple[int, str]]]:
    """Return the live runs the engine may hold permits of, each with the epochs and keys of them."""
    rows = await connection.fetch(
        """
        SELECT re.run_id, re.epoch, re.key
          FROM run_engines re JOIN runs r ON r.id = re.run_id
         WHERE re.engine_id = $1 AND r.state IN ('active', 'paused', 'stopping')
         ORDER BY re.run_id, re.epoch, re.key
        """,
        engine_id,
    )
    found: dict[int, list[tuple[int, str]]] = {}
    for row in rows:
        found.setdefault(row["run_id"], []).append((row["epoch"], row["key"]))
    return found


async def forget_engine(connection: Connection, run_id: int, engine_id: str, keys: Sequence[str]) -> None:
    """Note that an engine which is silent and unused need not be fenced for permits of a run, those of ``keys``; a node
    that begins to use it for the run meanwhile is seen here, or has left permits of its own, for which it does."""
    await connection.execute("SELECT pg_advisory_xact_lock(outdial_run_lock_key($1))", run_id)
    await connection.execute(
        """
        DELETE FROM run_engines WHERE run_id = $1 AND engine_id = $2 AND key = ANY ($3::text[])
           AND NOT EXISTS (SELECT FROM nodes WHERE engine_id = $2 AND ended_at IS NULL)
        """,
        run_id,
        engine_id,
        list(keys),
    )

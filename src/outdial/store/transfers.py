"""Transfers: the calls that were placed to connect somebody on the line with somebody else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from outdial.core.model import RunState
from outdial.secretbox import SecretBox
from outdial.store import dnc, dnc_hashes
from outdial.store.database import Connection

LISTING: Final = "numbers are being put on a do-not-call list"
"""Why a leg may not be placed for a moment."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """A second leg that is about to be placed."""

    id: str
    """The engine's channel id."""
    attempt_id: str
    run_id: int
    account_id: str
    epoch: int
    engine_id: str
    dialed: str
    """As the INVITE has it."""
    phone: str | None
    """E.164; None: a SIP address."""


async def reserve(connection: Connection, transfer: Transfer, secrets: SecretBox | None = None) -> str:
    """Write down that a leg is about to be placed; return why it may not be, empty when it may.

    The connection is a transaction's that shares the run's lock: what is noted here a stop that comes later waits for.
    Whoever adds numbers to a do-not-call list has either done so, or waits for what is noted here. :data:`LISTING`:
    they are at it; ask again. ``secrets`` recognizes erased numbers; without it none may be called where one is on a
    list.
    """
    # by a statement before the one that reads the lists
    if not await dnc.try_hold(connection, transfer.account_id):
        return LISTING
    row = await connection.fetchrow(
        """
        SELECT r.state, r.epoch,
               EXISTS (SELECT FROM dnc_entries e WHERE e.dnc_list_id = ANY (r.dnc_list_ids) AND e.phone = $2
                          AND (e.expires_at IS NULL OR e.expires_at > clock_timestamp())) AS listed
          FROM runs r WHERE r.id = $1
        """,
        transfer.run_id,
        transfer.phone,
    )
    if row is None or RunState(row["state"]) is not RunState.ACTIVE or row["epoch"] != transfer.epoch:
        return "its run is not dialed any more"
    if row["listed"] or await dnc_hashes.is_listed(
        connection, secrets, transfer.run_id, transfer.account_id, transfer.phone
    ):
        return "its number is on a do-not-call list"
    await connection.execute(
        """
        INSERT INTO transfers (id, attempt_id, run_id, epoch, engine_id, dialed, phone)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        transfer.id,
        transfer.attempt_id,
        transfer.run_id,
        transfer.epoch,
        transfer.engine_id,
        transfer.dialed,
        transfer.phone,
    )
    return ""


async def dialed(connection: Connection, transfer_id: str) -> None:
    """Write down that the engine has taken it."""
    await connection.execute(
        "UPDATE transfers SET dialed_at = clock_timestamp() WHERE id = $1 AND dialed_at IS NULL", transfer_id
    )


@dataclass(frozen=True, slots=True)
class Left:
    """A leg that has not ended although the life of its call's node has."""

    id: str
    engine_id: str
    node_id: str


async def open_of_nodes_adopted_by(connection: Connection, node_id: str, limit: int) -> list[Left]:
    """Return legs of dead nodes which this node must settle."""
    rows = await connection.fetch(
        """
        SELECT t.id, t.engine_id, a.node_id
          FROM transfers t JOIN attempts a ON a.id = t.attempt_id JOIN nodes n ON n.id = a.node_id
         WHERE t.ended_at IS NULL AND n.adopted_by = $1
         ORDER BY t.reserved_at LIMIT $2
        """,
        node_id,
        limit,
    )
    return [Left(**row) for row in rows]


async def end_all(connection: Connection, ids: Sequence[str], *, outcome: str) -> None:
    """Write down that those of them which are open are over; nobody knows whether any was answered."""
    await connection.execute(
        """
        UPDATE transfers SET ended_at = clock_timestamp(), outcome = $2
         WHERE id = ANY ($1::text[]) AND ended_at IS NULL
        """,
        list(ids),
        outcome,
    )


async def end(connection: Connection, transfer_id: str, *, answered: bool, outcome: str) -> None:
    """Write down that it is over; ``outcome``: how, where nobody answered."""
    await connection.execute(
        """
        UPDATE transfers SET ended_at = clock_timestamp(), answered = $2, outcome = $3
         WHERE id = $1 AND ended_at IS NULL
        """,
        transfer_id,
        answered,
        outcome,
    )

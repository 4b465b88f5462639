"""The audit trail of what people change; runs, attempts and schedules write theirs by trigger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from outdial.core.model import RunState
from outdial.store.database import Connection


@dataclass(frozen=True, slots=True)
class RunMove:
    """One change of a run's state or epoch."""

    at: datetime
    before: RunState | None
    """None: it began."""
    after: RunState
    epoch: int
    actor: str
    reason: str


async def append(
    connection: Connection,
    account_id: str,
    action: str,
    to_state: str,
    *,
    actor: str,
    campaign_id: str | None = None,
    **detail: Any,
) -> None:
    """Write down, in the transaction that does it, what somebody did; ``action`` is the kind of thing."""
    await connection.execute(
        """
        INSERT INTO history (account_id, campaign_id, action, to_state, actor, detail) VALUES ($1, $2, $3, $4, $5, $6)
        """,
        account_id,
        campaign_id,
        action,
        to_state,
        actor,
        detail,
    )


async def moves_of_run(connection: Connection, run_id: int, *, limit: int) -> list[RunMove]:
    """Return what happened to a run as a whole, oldest first."""
    rows = await connection.fetch(
        """
        SELECT at, from_state, to_state, (detail ->> 'epoch')::integer AS epoch, actor, reason FROM history
         WHERE run_id = $1 AND action = 'run' AND erased_sha256 IS NULL ORDER BY id LIMIT $2
        """,
        run_id,
        limit,
    )
    return [
        RunMove(
            at=row["at"],
            before=None if row["from_state"] is None else RunState(row["from_state"]),
            after=RunState(row["to_state"]),
            epoch=row["epoch"],
            actor=row["actor"],
            reason=row["reason"],
        )
        for row in rows
    ]

"""Call-backs: the instants contacts of a run have asked to be called at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from outdial.core.callback import CallbackContact
from outdial.core.model import RunContactState
from outdial.store.database import Connection


async def now(connection: Connection) -> datetime:
    """Return the database's clock, by which call-backs come due."""
    at: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return at


async def contacts(connection: Connection, run_id: int, contact_ids: Sequence[int]) -> dict[int, CallbackContact]:
    """Return those that are contacts of the run, by their id."""
    rows = await connection.fetch(
        """
        SELECT rc.contact_id,
               -- of whoever was erased there is nobody to call
               rc.phone = '' OR outdial_uncallable(r.dnc_list_ids, coalesce(rc.phones, ARRAY[rc.phone]),
                                                   clock_timestamp()) AS on_dnc
          FROM run_contacts rc JOIN runs r ON r.id = rc.run_id
         WHERE rc.run_id = $1 AND rc.contact_id = ANY ($2::bigint[])
        """,
        run_id,
        list(contact_ids),
    )
    return {row["contact_id"]: CallbackContact(**row) for row in rows}


async def ask(connection: Connection, run_id: int, contact_id: int, at: datetime, *, actor: str) -> RunContactState:
    """Promise the contact a call at that instant, instead of one promised before, and write down who asked; return its
    state from now on.

    A contact in a call keeps its state and waits once the call has been booked. The caller holds the run's lock alone:
    a booking under way would not see what is written here.
    """
    state: str = await connection.fetchval(
        """
        WITH asked AS (
            UPDATE run_contacts
               SET callback_at = $3::timestamptz,
                   state = CASE WHEN state IN ('claimed', 'dialing') THEN state ELSE 'waiting' END,
                   not_before = CASE WHEN state IN ('claimed', 'dialing') THEN NULL ELSE $3::timestamptz END,
                   done_reason = NULL, updated_at = clock_timestamp(), changed_by = $4::text
             WHERE run_id = $1 AND contact_id = $2
            RETURNING state, contact_id)
        INSERT INTO history (account_id, campaign_id, run_id, contact_id, action, to_state, actor, detail)
        SELECT r.account_id, r.campaign_id, r.id, asked.contact_id, 'callback', asked.state, $4::text,
               jsonb_build_object('at', $3::timestamptz)
          FROM asked JOIN runs r ON r.id = $1
        RETURNING to_state
        """,
        run_id,
        contact_id,
        at,
        actor,
    )
    return RunContactState(state)

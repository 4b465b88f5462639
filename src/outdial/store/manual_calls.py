"""Calls by hand: contacts of a run that somebody wants called before all others."""

from __future__ import annotations

from outdial.store.database import Connection


async def ask(connection: Connection, run_id: int, contact_id: int, *, actor: str) -> bool:
    """Let a contact that waits for its first or next attempt come first, and write down who asked; return whether it
    waits for one. Who has been asked for before keeps its place.

    The caller holds the run's lock alone: nobody claims the contact meanwhile.
    """
    asked = await connection.fetchval(
        """
        WITH asked AS (
            UPDATE run_contacts
               SET asked_at = coalesce(asked_at, clock_timestamp()), asked_by = coalesce(asked_by, $3::text),
                   updated_at = clock_timestamp(), changed_by = $3::text
             WHERE run_id = $1 AND contact_id = $2 AND state IN ('pending', 'waiting')
            RETURNING state, contact_id, asked_at)
        INSERT INTO history (account_id, campaign_id, run_id, contact_id, action, to_state, actor, detail)
        SELECT r.account_id, r.campaign_id, r.id, asked.contact_id, 'manual_call', asked.state, $3::text,
               jsonb_build_object('at', asked.asked_at)
          FROM asked JOIN runs r ON r.id = $1
        RETURNING true
        """,
        run_id,
        contact_id,
        actor,
    )
    return asked is True

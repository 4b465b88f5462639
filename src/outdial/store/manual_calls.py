"""Calls by hand: contacts of a run that somebody wants called before all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from outdial.core.canonical import Json
from outdial.core.evidence import MANUAL_CALL
from outdial.store.database import Connection

_LOOKED_BACK: Final = 1000
"""Rows of a run's history among which a refusal is looked for: the last ones, some milliseconds. A large run has
millions, and no index of contacts."""


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
        SELECT r.account_id, r.campaign_id, r.id, asked.contact_id, $4, asked.state, $3::text,
               jsonb_build_object('at', asked.asked_at)
          FROM asked JOIN runs r ON r.id = $1
        RETURNING true
        """,
        run_id,
        contact_id,
        actor,
        MANUAL_CALL,
    )
    return asked is True


@dataclass(frozen=True, slots=True)
class Seen:
    """A contact that was looked at, as it was then."""

    run_id: int
    contact_id: int
    version: str | None
    """Of its row in the run; None: it is in a contact list of the campaign, and not in the run."""


async def seen(connection: Connection, run_id: int, contact_id: int | None, *, phone: str) -> Seen:
    """Return a contact as it is in the snapshot in which it was found; one that is not in the run, by its number in the
    lists of the campaign."""
    if contact_id is not None:
        version: str | None = await connection.fetchval(
            "SELECT xmin::text FROM run_contacts WHERE run_id = $1 AND contact_id = $2", run_id, contact_id
        )
        assert version is not None  # noqa: S101 - it was found in the same snapshot
        return Seen(run_id, contact_id, version)
    listed: int = await connection.fetchval(
        """
        SELECT c.id FROM runs r JOIN campaign_lists l ON l.campaign_id = r.campaign_id
          JOIN contacts c ON c.list_id = l.list_id
         WHERE r.id = $1 AND (c.phone = $2 OR $2 = ANY (c.other_phones)) ORDER BY c.id LIMIT 1
        """,
        run_id,
        phone,
    )
    return Seen(run_id, listed, None)


async def was_told(connection: Connection, one: Seen, *, answer: str, rule: str, actor: str, within: timedelta) -> bool:
    """Whether the history has it that somebody was refused that contact by that rule a short while ago."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM (SELECT * FROM history WHERE run_id = $1 ORDER BY id DESC LIMIT $7) h
             WHERE h.action = $8 AND h.contact_id = $2 AND h.to_state = $3 AND h.detail ->> 'rule' = $4
               AND h.actor = $5 AND h.at > clock_timestamp() - $6::interval)
        """,
        one.run_id,
        one.contact_id,
        answer,
        rule,
        actor,
        within,
        _LOOKED_BACK,
        MANUAL_CALL,
    )
    return found


async def refused(connection: Connection, one: Seen, *, answer: str, actor: str, decision: Mapping[str, Json]) -> bool:
    """Write down that a contact of an active run was refused a call by hand, and by what; return whether that is so
    still: it is not written where anything of the contact or the run's state has changed since the look.

    Beside other writers of the contact it comes before or after, and holds its row for this one statement: what the
    history has of its attempts up to here is what the decision was made by.
    """
    written = await connection.fetchval(
        """
        WITH in_run AS (
            SELECT contact_id FROM run_contacts
             WHERE $3::text IS NOT NULL AND run_id = $1 AND contact_id = $2 AND xmin::text = $3
               FOR NO KEY UPDATE
        ), listed AS (
            SELECT id FROM contacts WHERE $3::text IS NULL AND id = $2 FOR KEY SHARE
        )
        INSERT INTO history (account_id, campaign_id, run_id, contact_id, action, to_state, actor, detail)
        SELECT r.account_id, r.campaign_id, r.id, $2, $7, $4::text, $5::text, $6::jsonb
          FROM runs r
         WHERE r.id = $1 AND r.state = 'active'
           AND (EXISTS (SELECT FROM in_run) OR EXISTS (SELECT FROM listed))
        RETURNING true
        """,
        one.run_id,
        one.contact_id,
        one.version,
        answer,
        actor,
        decision,
        MANUAL_CALL,
    )
    return written is True

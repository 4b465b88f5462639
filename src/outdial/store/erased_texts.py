"""Texts and JSON values that may mention a number beside those that are its person's own, and how they lose it.

Each is mended by a statement of its own, and may be again: what does not mention the number stays untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from outdial.core.erasure import digits_of, pattern_of, without
from outdial.store.database import Connection

ERASED: Final = "[erased]"
"""Stands in texts where the number stood."""

_ACCOUNT: Final = "t.account_id = $1"
_LIST: Final = "t.list_id IN (SELECT id FROM contact_lists WHERE account_id = $1)"
_RUN: Final = "t.run_id IN (SELECT id FROM runs WHERE account_id = $1)"
_ATTEMPT: Final = "t.attempt_id IN (SELECT id FROM all_attempts WHERE account_id = $1)"
_CAMPAIGN: Final = "t.campaign_id IN (SELECT id FROM campaigns WHERE account_id = $1)"


@dataclass(frozen=True, slots=True)
class Mention:
    """One column that may mention a number."""

    table: str
    column: str
    whose: str
    """Which rows are an account's, $1."""
    key: str = ""
    """Of a JSON value: the columns of the primary key."""


TEXTS: Final = (
    Mention("contacts", "unique_id", _LIST),
    Mention("dnc_entries", "reason", "t.dnc_list_id IN (SELECT id FROM dnc_lists WHERE account_id = $1)"),
    Mention("runs", "change_reason", _ACCOUNT),
    Mention("attempts", "change_reason", _ACCOUNT),
    # after the other: what is moved meanwhile is here by then
    Mention("old_attempts", "change_reason", _ACCOUNT),
    Mention("schedules", "change_reason", _ACCOUNT),
    Mention("schedule_occurrences", "reason", _CAMPAIGN),
    Mention("imports", "file_name", _ACCOUNT),
    Mention("imports", "failure", _ACCOUNT),
    Mention("imports", "change_reason", _ACCOUNT),
    Mention("import_errors", "reason", "t.import_id IN (SELECT id FROM imports WHERE account_id = $1)"),
    Mention("flow_outcomes", "result", _ATTEMPT),
    Mention("webhook_deliveries", "problem", "t.webhook_id IN (SELECT id FROM webhooks WHERE account_id = $1)"),
)

VALUES: Final = (
    Mention("contacts", "attributes", _LIST, "id"),
    Mention("attempts", "pre_call", _ACCOUNT, "id"),
    Mention("attempts", "matters", _ACCOUNT, "id"),
    Mention("attempts", "screening", _ACCOUNT, "id"),
    Mention("old_attempts", "pre_call", _ACCOUNT, "id, ended_at"),
    Mention("old_attempts", "matters", _ACCOUNT, "id, ended_at"),
    Mention("old_attempts", "screening", _ACCOUNT, "id, ended_at"),
    Mention("run_contacts", "screening", _RUN, "run_id, contact_id"),
    Mention("runs", "stop_options", _ACCOUNT, "id"),
    Mention("imports", "mapping", _ACCOUNT, "id"),
    Mention("imports", "columns", _ACCOUNT, "id"),
    Mention("wide_stops", "options", _ACCOUNT, "id"),
)


async def mend_text(connection: Connection, mention: Mention, account_id: str, phone: str) -> int:
    """Take the number out of an account's texts of a column; return how many had it."""
    rows = await connection.fetch(
        f"""
        UPDATE {mention.table} t SET {mention.column} = regexp_replace(t.{mention.column}, $3, $4, 'g')
         WHERE {mention.whose} AND position($2 IN t.{mention.column}) > 0 AND t.{mention.column} ~ $3
        RETURNING 1
        """,  # noqa: S608 - constants of this module
        account_id,
        digits_of(phone),
        pattern_of(phone),
        ERASED,
    )
    return len(rows)


async def mend_values(connection: Connection, mention: Mention, account_id: str, phone: str) -> int:
    """Take what names the number out of an account's JSON values of a column; return how many had it."""
    rows = await connection.fetch(
        f"""
        SELECT {mention.key}, t.{mention.column} AS value FROM {mention.table} t
         WHERE {mention.whose} AND position($2 IN t.{mention.column}::text) > 0 AND t.{mention.column}::text ~ $3
        """,  # noqa: S608 - constants of this module
        account_id,
        digits_of(phone),
        pattern_of(phone),
    )
    names = mention.key.split(", ")
    where = " AND ".join(f"{name} = ${place}" for place, name in enumerate(names, 3))
    for row in rows:
        await connection.execute(
            # only what it is still: somebody may have written it anew
            f"UPDATE {mention.table} SET {mention.column} = $2 WHERE {mention.column} = $1 AND {where}",  # noqa: S608
            row["value"],
            without(row["value"], phone),
            *(row[name] for name in names),
        )
    return len(rows)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is kept for a repeated request."""

    client_id: str
    key: str
    body_encrypted: bytes


async def replies(connection: Connection, account_id: str, *, after: tuple[str, str], limit: int) -> Sequence[Reply]:
    """Return some of the answers kept for an account's clients, from the first after a client and key on."""
    rows = await connection.fetch(
        """
        SELECT k.client_id, k.key, k.body_encrypted FROM idempotency_keys k JOIN clients c ON c.id = k.client_id
         WHERE c.account_id = $1 AND k.body_encrypted IS NOT NULL AND (k.client_id, k.key) > ($2, $3)
         ORDER BY k.client_id, k.key LIMIT $4
        """,
        account_id,
        *after,
        limit,
    )
    return [Reply(**row) for row in rows]


async def forget_reply(connection: Connection, reply: Reply) -> None:
    """Forget an answer; the request counts as carried out, and whoever repeats it is told that its answer is lost."""
    await connection.execute(
        """
        UPDATE idempotency_keys SET carried_out_at = coalesce(carried_out_at, clock_timestamp()), status = NULL,
                                    headers = NULL, body_encrypted = NULL
         WHERE client_id = $1 AND key = $2
        """,
        reply.client_id,
        reply.key,
    )

"""Runs as CSV files, written while they are read: memory stays flat, and a slow reader holds no transaction open.

Rows are read in lots, so a file of a run that goes on is no picture of one instant. UTF-8, RFC 4180, a line of names
first; no cell can be taken for a formula.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from outdial.core import ids
from outdial.core.cells import safe_cell
from outdial.core.model import Attempt, Run
from outdial.store import attempts as attempts_store
from outdial.store import run_contacts as contacts_store
from outdial.store.database import Database
from outdial.store.run_contacts import RunContactExport

LOT: Final = 250
"""Rows that are in memory at a time; writing them takes some milliseconds, in which the process does nothing else."""

CONTACT_COLUMNS: Final = (
    "contactId",
    "phoneNumber",
    "uniqueId",
    "state",
    "doneReason",
    "lastDisposition",
    "attemptsCount",
    "lastAttemptId",
    "attributes",
    "otherPhoneNumbers",
)
ATTEMPT_COLUMNS: Final = (
    "attemptId",
    "contactId",
    "phoneNumber",
    "callerId",
    "number",
    "state",
    "disposition",
    "cause",
    "sipCode",
    "reservedAt",
    "dialedAt",
    "ringingAt",
    "answeredAt",
    "endedAt",
    "verdict",
    "verdictCause",
    "verdictSeconds",
)


async def contacts_csv(database: Database, run: Run, *, never_reached: bool = False) -> AsyncIterator[bytes]:
    """Yield the contacts of a run, each with its progress, or only those that were never attempted; raise
    DatabaseUnavailableError."""
    yield _lines([CONTACT_COLUMNS])
    after = 0
    while True:
        async with database.connection() as connection:
            lot = await contacts_store.lot(connection, run.id, after=after, limit=LOT, never_reached=never_reached)
        if lot:
            yield _lines(_contact(one) for one in lot)
        if len(lot) < LOT:
            return
        after = lot[-1].contact.contact_id


async def attempts_csv(database: Database, run: Run) -> AsyncIterator[bytes]:
    """Yield the attempts of a run in the order they were made; raise DatabaseUnavailableError."""
    yield _lines([ATTEMPT_COLUMNS])
    after: attempts_store.Place | None = None
    while True:
        async with database.connection() as connection:
            lot = await attempts_store.page(connection, run, after=after, limit=LOT)
        if lot:
            yield _lines(_attempt(one) for one in lot)
        if len(lot) < LOT:
            return
        after = attempts_store.place(lot[-1])


def _contact(one: RunContactExport) -> tuple[Any, ...]:
    contact = one.contact
    return (
        ids.contact_id(contact.contact_id),
        contact.phone,
        contact.unique_id,
        contact.state,
        contact.done_reason,
        contact.last_disposition,
        contact.attempts_count,
        contact.last_attempt_id,
        msgspec.json.encode(one.attributes).decode() if one.attributes else None,
        " ".join(phone for phone in one.phones if phone != contact.phone) or None,
    )


def _attempt(one: Attempt) -> tuple[Any, ...]:
    found = one.detection
    return (
        one.id,
        ids.contact_id(one.contact_id),
        one.phone,
        one.caller_id,
        one.number,
        one.state,
        one.disposition,
        one.cause,
        one.sip_code,
        one.reserved_at,
        one.dialed_at,
        one.ringing_at,
        one.answered_at,
        one.ended_at,
        *((None, None, None) if found is None else (found.verdict, found.cause, found.seconds)),
    )


def _lines(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return safe_cell(str(value))

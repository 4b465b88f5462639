"""Calls by hand: a supervisor wants one contact of an active run called now.

Nothing is dialed here and nothing is let through that would not be let through otherwise: the contact comes first in
the queue of its run, and whoever claims it asks the gate as for any other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from outdial.core.errors import BusyError, ConflictError
from outdial.core.explanation import Explanation, Step
from outdial.core.manual_call import ManualAnswer, manual_answer, refusal
from outdial.core.model import Run, RunState
from outdial.services import explanations
from outdial.services.run_views import get_run
from outdial.store import callbacks as clock_store
from outdial.store import manual_calls as store
from outdial.store import runs as runs_store
from outdial.store.database import Connection, Database
from outdial.store.reserve import ahead_of

COUNT_SECONDS: Final = 2.0
"""How long those who come before a contact are counted at most."""

IDLE_SECONDS: Final = 2.0
"""How long the asking process may fall silent while it holds the run."""

REPEATED: Final = timedelta(minutes=1)
"""Who is refused the same contact by the same rule again within that time is told so, and the history has it once: as
with put-offs by the dialer, the second row would say what the first does."""

MOST_LOOKS: Final = 5
"""How often a contact is looked at that changes between the look and what is written of it."""


@dataclass(frozen=True, slots=True)
class ManualCall:
    """What became of such a wish."""

    run: Run
    contact_id: int | None
    """None: it is in a contact list of the campaign, and not in the run."""
    phone: str
    answer: ManualAnswer
    explanation: Explanation
    """Of the instant of the answer."""
    decided_by: Step | None
    """What does not allow it; None where it is allowed."""
    ahead_count: int | None
    """Contacts that come before it, asked for earlier; None where it is not allowed, or could not be told
    in time, or where it is being called already."""


async def call_now(database: Database, *, iid: str, instance_id: str, contact: str, actor: str) -> ManualCall:
    """Have a contact of an active run called before all others, where the gate lets it through now; say what does not
    where it does not.

    ``contact`` is its number or its dialing list id. It is no further attempt: whoever asks twice has one call. A stop,
    a denial, and whatever puts the contact off end the wish. A refusal is in the history when this returns, with what
    decided it. Raises NotFoundError, ConflictError when the run is not active, several of its contacts have the number,
    or the contact keeps changing meanwhile, InvalidInputError for what is no number, and DatabaseUnavailableError.
    """
    run = await get_run(database, iid=iid, instance_id=instance_id)
    await explanations.prepare(run)
    for _ in range(MOST_LOOKS):
        # a refusal does not hold the run up; and what was computed for it need not be while the run is held
        refused = await _refused(database, run.id, contact, actor)
        if refused is not None:
            return refused
        allowed = await _allowed(database, run.id, contact, actor)
        if allowed is not None:
            return allowed
    raise ConflictError("The contact keeps changing: ask again.")


async def _refused(database: Database, run_id: int, contact: str, actor: str) -> ManualCall | None:
    """Refuse the call and write that down, where anything refuses it; None where nothing does, or does not any more."""
    async with database.snapshot() as connection:
        found = await _look(connection, run_id, contact)
        step = found.decided_by
        if step is None:
            return None
        seen = await store.seen(connection, run_id, found.contact_id, phone=found.phone)
        told = {"answer": found.answer.value, "actor": actor}
        if await store.was_told(connection, seen, **told, rule=str(step.code), within=REPEATED):
            return found
    # a statement by itself: who asks may fall silent meanwhile, and holds nobody up
    async with database.connection() as connection:
        written = await store.refused(connection, seen, **told, decision=refusal(found.explanation, step))
    return found if written else None


async def _allowed(database: Database, run_id: int, contact: str, actor: str) -> ManualCall | None:
    """Let the contact come first, where nothing refuses that; None where something does."""
    async with database.transaction() as connection:
        await runs_store.limit_idle(connection, IDLE_SECONDS)
        # alone: what is looked at below is what whoever claims next finds, and a stop comes before this or after it
        await runs_store.lock_run(connection, run_id)
        found = await _look(connection, run_id, contact)
        if found.answer is not ManualAnswer.ALLOWED or found.contact_id is None:
            return None
        if not await store.ask(connection, run_id, found.contact_id, actor=actor):
            raise ConflictError("The contact has just changed: ask again.")
    # counted once the run is free again: in a large one it takes its time, and claims and stops would wait for it
    try:
        async with database.snapshot(statement_seconds=COUNT_SECONDS) as connection:
            ahead = await ahead_of(connection, found.run, found.contact_id, most=explanations.MOST_AHEAD)
    except BusyError:
        ahead = None
    return replace(found, ahead_count=ahead)


async def _look(connection: Connection, run_id: int, contact: str) -> ManualCall:
    """Return what is answered now, with nothing done yet. Raises as :func:`call_now`."""
    run = await runs_store.by_id(connection, run_id)
    if run.state is not RunState.ACTIVE:
        raise ConflictError(f"The run {run.instance_id} is {run.state}: only contacts of an active run can be called.")
    now = await clock_store.now(connection)
    contact_id, phone, told = await explanations.look(connection, run, contact, at=now)
    answer, decided_by = manual_answer(told)
    return ManualCall(run, contact_id, phone, answer, told, decided_by, None)

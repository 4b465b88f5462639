"""Call-backs: contacts of a live run who are to be called at an instant of their choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from outdial.core.callback import CallbackRefusal, callback_refusal
from outdial.core.errors import ConflictError, NotFoundError
from outdial.core.ids import read_dialing_list_id
from outdial.core.model import RunState
from outdial.store import callbacks as store
from outdial.store import runs as runs_store
from outdial.store.database import Database

LARGEST_BATCH: Final = 100
"""Call-backs in one request: the run does not dial while they are written."""

IDLE_SECONDS: Final = 2.0
"""How long the asking process may fall silent while it holds the run."""


@dataclass(frozen=True, slots=True)
class CallbackWish:
    """Who is to be called, and when."""

    dialing_list_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CallbackAnswer:
    """What became of a wish."""

    wish: CallbackWish
    refusal: CallbackRefusal | None
    """None: promised."""


async def call_contacts_at(
    database: Database, *, iid: str, instance_id: str, wishes: Sequence[CallbackWish], actor: str
) -> list[CallbackAnswer]:
    """Promise the contacts a call each, where that can be; return an answer to each wish, in their order.

    The call is one attempt beyond those the campaign allows, made at the instant or as soon after as calling hours,
    rates and the number of calls allow; before other contacts. Contacts that were done wait again. A later wish for the
    same contact replaces the earlier. What is promised is written down when this returns; a stop drops it.

    Raises NotFoundError for a run the application has not, ConflictError when the run is not live.
    """
    contact_ids = [read_dialing_list_id(wish.dialing_list_id, instance_id) for wish in wishes]
    async with database.transaction() as connection:
        run = await runs_store.by_instance(connection, iid, instance_id)
        if run is None:
            raise NotFoundError(f"There is no run with the id {instance_id}.")
        await runs_store.limit_idle(connection, IDLE_SECONDS)
        # alone: bookings and reservations under way would not see what is written, and write over it
        await runs_store.lock_run(connection, run.id)
        run = await runs_store.by_id(connection, run.id)
        if run.state not in {RunState.ACTIVE, RunState.PAUSED}:
            raise ConflictError(
                f"The run {instance_id} is {run.state}: only contacts of a live run can be called back."
            )
        now = await store.now(connection)
        known = await store.contacts(connection, run.id, [each for each in contact_ids if each is not None])
        answers = []
        for wish, contact_id in zip(wishes, contact_ids, strict=True):
            contact = None if contact_id is None else known.get(contact_id)
            refusal = callback_refusal(contact, at=wish.at, now=now)
            if refusal is None and contact is not None:
                await store.ask(connection, run.id, contact.contact_id, wish.at, actor=actor)
            answers.append(CallbackAnswer(wish, refusal))
    return answers

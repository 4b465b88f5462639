"""Opt-outs: a called person says, by a key or to an agent, that they want no further call."""

from __future__ import annotations

from collections.abc import Sequence

from outdial.core.model import DncSource
from outdial.core.phone import parse_phone
from outdial.services import dnc, wide_stops
from outdial.services.engines import Engines
from outdial.store.database import Database

__all__ = ["opt_out"]


async def opt_out(
    database: Database,
    engines: Engines,
    *,
    account_id: str,
    phone: str,
    others: Sequence[str] = (),
    source: DncSource,
    actor: str,
    reason: str = "",
    iid: str | None = None,
    list_name: str | None = None,
    default_region: str | None = None,
) -> None:
    """Let no campaign call the number again, or none that names this list of the application.

    It is on the list, and in the history, before anything else is done: whatever fails afterwards, nothing more is
    reserved for it. So are ``others``, further numbers of the same person, in the same transaction. By a key the person
    is meant: nobody who has one of them is called at another number either. Account-wide (no list) it is also taken out
    of all that is pending, and a call to it that had been claimed and rings already is cancelled; the conversation in
    which somebody says so goes on. Of a named list, calls that had been claimed have left or been given back when this
    returns.

    Raises InvalidInputError for what is no number, NotFoundError for an unknown account or another account's
    application, StopNotProvenError while a call to it may still ring: call again.
    """
    numbers = [parse_phone(one, default_region) for one in (phone, *others)]
    if list_name is None:
        await wide_stops.stop_number(
            database,
            engines,
            account_id=account_id,
            phone=numbers[0],
            others=numbers[1:],
            actor=actor,
            reason=reason,
            source=source,
        )
        return
    change = await dnc.add_numbers(
        database,
        account_id=account_id,
        iid=iid,
        list_name=list_name,
        phones=numbers,
        as_stored=True,
        reason=reason,
        source=source,
        actor=actor,
    )
    wide_stops.require_left(numbers[0], change)

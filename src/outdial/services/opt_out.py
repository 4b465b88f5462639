"""Opt-outs: a called person says, by a key or to an agent, that they want no further call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from outdial.core.errors import InvalidInputError, StopNotProvenError
from outdial.core.model import DncSource
from outdial.core.numbers import MOST_NUMBERS
from outdial.core.phone import parse_phone
from outdial.services import dnc, wide_stops
from outdial.services.dnc import DncChange, Listed
from outdial.services.engines import Engines
from outdial.store.database import Database

__all__ = ["opt_out", "told_by_agent", "told_of_list"]

GOES_ON: Final = " outdial goes on with that by itself: there is nothing to ask again."
"""Of the account's list: the stop of the number is written down, and finished by whoever lives."""


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
    listed: Listed | None = None,
) -> None:
    """Let no campaign call the number again, or none that names this list of the application.

    It is on the list, and in the history, before anything else is done: whatever fails afterwards, nothing more is
    reserved for it. So are ``others``, further numbers of the same person, in the same transaction. By a key or an
    agent the person is meant: nobody who has one of them is called at another number either. Account-wide (no list) it
    is also taken out of all that is pending, and a call to it that had been claimed and rings already is cancelled; the
    conversation in which somebody says so goes on. Of a named list, calls that had been claimed have left or been given
    back when this returns.

    Raises InvalidInputError for what is no number, NotFoundError for an unknown account or another account's
    application, StopNotProvenError while a call to it may still ring: account-wide that stop goes on by itself.
    """
    numbers = [parse_phone(one, default_region) for one in (phone, *others)]
    change = await _opt_out(
        database,
        engines,
        numbers,
        account_id=account_id,
        source=source,
        actor=actor,
        reason=reason,
        iid=iid,
        list_name=list_name,
        listed=listed,
    )
    if change.problems:
        raise StopNotProvenError(" ".join(change.problems))


async def told_by_agent(
    database: Database,
    engines: Engines,
    *,
    account_id: str,
    phones: Sequence[str],
    actor: str,
    reason: str = "",
    iid: str | None = None,
    list_name: str | None = None,
    default_region: str | None = None,
) -> DncChange:
    """Take the word of an agent, a person or a program, that somebody with these numbers wants no further call, on the
    account-wide list or on a named one of the application, made on first use: as :func:`opt_out`, source ``agent``.

    In ``problems``, and no error: numbers that cannot be read, while the others are listed; and calls to them that may
    still ring. Raises InvalidInputError for more numbers than one contact has, NotFoundError for an unknown account or
    another account's application.
    """
    if len(phones) > MOST_NUMBERS:
        problem = (
            f"{len(phones)} numbers are given; with the source agent at most {MOST_NUMBERS} are allowed, those of one "
            "person. Ask for each person by itself."
        )
        raise InvalidInputError([problem])
    problems: list[str] = []
    numbers = list(dnc.read_numbers(phones, default_region, problems))
    distinct = list(dict.fromkeys(numbers))
    if not distinct:
        return DncChange(changed=0, unchanged=0, problems=tuple(problems))
    change = await _opt_out(
        database,
        engines,
        distinct,
        account_id=account_id,
        source=DncSource.AGENT,
        actor=actor,
        reason=reason,
        iid=iid,
        list_name=list_name,
    )
    return DncChange(
        changed=change.changed,
        unchanged=len(numbers) - change.changed,
        problems=(*problems, *(f"{problem}{'' if list_name else GOES_ON}" for problem in change.problems)),
    )


async def told_of_list(
    database: Database,
    engines: Engines,
    *,
    account_id: str,
    iid: str,
    list_id: str,
    phones: Sequence[str],
    actor: str,
    reason: str = "",
    default_region: str | None = None,
) -> DncChange:
    """As :func:`told_by_agent`, for a list of the account or of the application by its id. Raises NotFoundError, alike
    for everybody else's."""
    found = await dnc.get_list(database, account_id=account_id, iid=iid, list_id=list_id)
    return await told_by_agent(
        database,
        engines,
        account_id=account_id,
        phones=phones,
        actor=actor,
        reason=reason,
        iid=found.iid,
        list_name=None if found.iid is None else found.name,
        default_region=default_region,
    )


async def _opt_out(
    database: Database,
    engines: Engines,
    numbers: Sequence[str],
    *,
    account_id: str,
    source: DncSource,
    actor: str,
    reason: str,
    iid: str | None,
    list_name: str | None,
    listed: Listed | None = None,
) -> DncChange:
    """Put a person's numbers in E.164 on the list; tell in ``problems`` which calls to them may still ring."""
    if list_name is None:
        _, change = await wide_stops.stop_numbers(
            database,
            engines,
            account_id=account_id,
            numbers=numbers,
            actor=actor,
            reason=reason,
            source=source,
            listed=listed,
        )
        return change
    return await dnc.add_numbers(
        database,
        account_id=account_id,
        iid=iid,
        list_name=list_name,
        phones=numbers,
        as_stored=True,
        reason=reason,
        source=source,
        actor=actor,
        engines=engines,
        listed=listed,
    )

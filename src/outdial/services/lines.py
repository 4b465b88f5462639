"""Calls to numbers that must not be called any more, and that wait for the broken connection of a TCP or TLS trunk.

Such a call leaves when the connection comes up, cancelled or not, until its INVITE is given up (RFC 3261 timer B).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from outdial.core.errors import EngineUnavailableError
from outdial.core.model import Run
from outdial.services import barrier
from outdial.services.engines import Engines
from outdial.store import runs as runs_store
from outdial.store import wide_stops as store
from outdial.store.database import Database

RESERVED_SECONDS: Final = 5.0
"""Longest time between a reservation and its call, beyond which it is put back."""


async def waited_for(database: Database, engines: Engines | None, account_id: str, phones: Sequence[str]) -> str:
    """Return why a call to one of the numbers may leave yet, once that has been asked for some seconds; empty when none
    can, which costs a look when none was placed lately over such a trunk. Without ``engines`` nobody is asked."""
    seconds = barrier.INVITE_SECONDS + RESERVED_SECONDS
    async with database.connection() as connection:
        found = await store.may_wait_for_a_line(connection, account_id, phones, seconds=seconds)
        asked = [(await runs_store.by_id(connection, run_id), engine_id) for run_id, engine_id in found]
    problems = await asyncio.gather(*(_problem(database, engines, run, engine_id) for run, engine_id in asked))
    return "; ".join(sorted({problem for problem in problems if problem}))


async def _problem(database: Database, engines: Engines | None, run: Run, engine_id: str) -> str:
    if engines is None:
        return f"whether the line of the trunk is up at the engine {engine_id} was not asked"
    try:
        if await barrier.nothing_waits_for_the_line(engines, database, run, engine_id):
            return ""
    except EngineUnavailableError as error:
        return error.message
    return f"the line of the trunk is down at the engine {engine_id}"

"""Trying again for a moment what the database has broken off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from outdial import clock
from outdial.core.errors import DatabaseUnavailableError

INSIST_SECONDS: Final = 1.5
PAUSE_SECONDS: Final = 0.05
"""For how long, and how often: a server is restarted, a connection is lost, or this process got no processor time for
so long that its transaction was ended (``limit_idle``)."""

_log = structlog.get_logger()

Result = TypeVar("Result")


async def insisting(work: Callable[[], Awaitable[Result]]) -> Result:
    """Do ``work``, and do it again while the database breaks it off, for a moment.

    Only for what may be done twice, since a commit whose answer was lost may have happened. Raises
    DatabaseUnavailableError.
    """
    until = clock.boottime() + INSIST_SECONDS
    while True:
        try:
            return await work()
        except DatabaseUnavailableError as error:
            if clock.boottime() >= until:
                raise
            _log.warning("tried_again", reason=error.message)
        await asyncio.sleep(PAUSE_SECONDS)

"""Work in a thread that is waited for to its end, since what it has open may be closed then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


async def in_thread(work: Callable[[], Result]) -> Result:
    """Do what blocks in a thread; when this is over, the thread is done with it, also where it was cancelled."""
    return await finished(asyncio.create_task(asyncio.to_thread(work)))


async def finished(working: asyncio.Task[Result]) -> Result:
    """Wait for the task to its end even when cancelled meanwhile, and return or raise what comes of it."""
    while not working.done():
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            await asyncio.wait([working])
            raise
    return working.result()

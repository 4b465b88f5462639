"""Places for what costs seconds of a processor or of the database: some requests at a time, the others wait or are told
to ask again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from outdial.core.errors import BusyError


class Places:
    """How many requests of a kind this process answers at a time."""

    def __init__(self, most: int, *, what: str, wait_seconds: float) -> None:
        self._most = most
        self._what = what
        self._wait_seconds = wait_seconds
        self._free = asyncio.Semaphore(most)

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Take a place, waiting for one a while. Raises BusyError when none becomes free."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._free.acquire()
        except TimeoutError as error:
            sentence = f"This server makes {self._most} {self._what} at a time, for others now; ask again."
            raise BusyError(sentence) from error
        try:
            yield
        finally:
            self._free.release()

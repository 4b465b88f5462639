"""Stops under way: each goes on to its end whatever becomes of the request that asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import structlog

from outdial.core.errors import OutdialError

GRACE_SECONDS: Final = 5.0
"""How long the closing API waits for stops to end. One cut off stays ``stopping`` and is taken up at the next start."""

Result = TypeVar("Result")

_log = structlog.get_logger()


class Stops:
    """Holds on to every stop until it is over: a client that hangs up must not leave phones ringing."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, stop: Coroutine[Any, Any, Result], *, campaign_id: str) -> Result:
        """Run a stop; when the caller is cancelled, the stop is not."""
        task = self.begin(stop, name=f"stop {campaign_id}")
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                _log.info("stop_goes_on_without_its_client", campaign_id=campaign_id)
                task.add_done_callback(lambda task: _tell(task, campaign_id))
            raise

    def begin(self, work: Coroutine[Any, Any, Result], *, name: str) -> asyncio.Task[Result]:
        """Begin what goes on like a stop, and return its task; whoever wants to know how it ended waits for that."""
        # the loop itself keeps only weak references to tasks
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Wait for the stops under way, for five seconds; cut those that take longer."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GRACE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _tell(task: asyncio.Task[Any], campaign_id: str) -> None:
    """Say how a stop ended that nobody waits for any more."""
    if task.cancelled():
        _log.warning("stop_cut_off", campaign_id=campaign_id)
    elif isinstance(error := task.exception(), OutdialError):
        _log.warning("stop_failed", campaign_id=campaign_id, reason=error.message)
    elif error is not None:
        _log.error("stop_failed", campaign_id=campaign_id, exc_info=error)
    else:
        _log.info("stop_ended", campaign_id=campaign_id)

"""File locks: the kernel takes them back from a killed process, so nothing here ever needs cleaning up."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path
from typing import Final

POLL_SECONDS: Final = 0.01
"""Pause between two tries to get a lock; flock cannot be awaited without a thread that cannot be cancelled."""


class FileLock:
    """``flock`` on a file of its own; another handle is another party even within one process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @property
    def descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError(f"{self.path} is closed")
        return self._descriptor

    def try_exclusive(self) -> bool:
        """Take it alone if nobody else has it."""
        return self._try(fcntl.LOCK_EX)

    def try_shared(self) -> bool:
        """Take it beside others if nobody has it alone."""
        return self._try(fcntl.LOCK_SH)

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self.descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    async def exclusive(self, seconds: float) -> bool:
        """Wait until it can be taken alone; False when that took longer than ``seconds``."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not self.try_exclusive():
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True

    def close(self) -> None:
        """Let go, unless a child process has inherited the descriptor: then it holds on."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_held(path: Path) -> bool:
    """Whether somebody else holds the lock of that name now, alone or with others."""
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        return not lock.try_exclusive()
    finally:
        lock.close()

"""The server's processes, found through /proc and never mistaken for others that got their number."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_READY_LINE: Final = 7
_SOCKETS_LINE: Final = 4
_LEAST_LINES: Final = 8


@dataclass(frozen=True, slots=True)
class PidFile:
    """What a postmaster says about itself in ``postmaster.pid``."""

    pid: int
    sockets: Path
    ready: bool
    """It accepts connections; before that it starts or recovers."""


def read_pid_file(cluster: Path) -> PidFile | None:
    """Return what the file says, None when it is missing or not yet written to its end."""
    try:
        lines = (cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    if len(lines) < _LEAST_LINES or not lines[0].isdigit():
        return None
    return PidFile(int(lines[0]), Path(lines[_SOCKETS_LINE]), lines[_READY_LINE].strip() == "ready")


class Process:
    """A process of the cluster, held by a descriptor: its number cannot pass to another one meanwhile."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when it has ended."""
        try:
            signal.pidfd_send_signal(self._descriptor, number)
        except ProcessLookupError:
            return

    async def ended(self) -> None:
        """Return once it has ended."""
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        # a process descriptor becomes readable when the process ends
        loop.add_reader(self._descriptor, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def postmaster(cluster: Path) -> Process | None:
    """Return the running postmaster; None when there is none or it lives in another container."""
    file = read_pid_file(cluster)
    return _open(file.pid, lambda pid: _serves(pid, cluster)) if file is not None else None


def all_of(cluster: Path) -> list[Process]:
    """Return every process of the cluster that this one may look into."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - names suffice
    found = (_open(pid, lambda pid: _works_in(pid, cluster)) for pid in pids)
    return [process for process in found if process is not None]


def _open(pid: int, is_ours: Callable[[int], bool]) -> Process | None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    # looked at after it was opened: what is seen now is what the descriptor holds, or that has ended already
    try:
        if is_ours(pid):
            return Process(pid, descriptor)
    except (FileNotFoundError, ProcessLookupError):
        pass  # ended meanwhile
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _serves(pid: int, cluster: Path) -> bool:
    """Whether the process was started with ``-D cluster``; everybody may read that, even in a bare container."""
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return b"-D" in arguments and os.fsencode(cluster) in arguments


def _works_in(pid: int, cluster: Path) -> bool:
    """Whether the process is PostgreSQL and its working folder is the cluster, as with all of its processes."""
    if Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() != "postgres":
        return False
    try:
        return Path(f"/proc/{pid}/cwd").samefile(cluster)
    except PermissionError:
        # of another account, and this one lacks CAP_SYS_PTRACE: not known to be ours
        return False

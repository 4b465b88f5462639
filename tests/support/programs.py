"""outdial as a process of its own, as people run it."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

COMMAND = (sys.executable, "-m", "outdial")


def environment(**settings: object) -> dict[str, str]:
    """The machine's environment without its own outdial settings, with these."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("OUTDIAL_")}
    given = {name if name.isupper() else f"OUTDIAL_{name.upper()}": value for name, value in settings.items()}
    return {**kept, "PYTHONPATH": os.pathsep.join(sys.path), **{name: str(value) for name, value in given.items()}}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Program:
    """A running ``outdial …``; its outputs are gathered while it runs, or go to the end of the file ``log``.
    ``terminal`` gives it one of its own, ``command`` is run in place of outdial's own."""

    def __init__(
        self,
        *words: object,
        terminal: bool = False,
        folder: Path | None = None,
        log: Path | None = None,
        command: Sequence[str] = COMMAND,
        **settings: object,
    ) -> None:
        self.stdout = ""
        self.stderr = ""
        self.terminal: int | None = None
        self._readers: list[threading.Thread] = []
        command = [*command, *map(str, words)]
        env = environment(**settings)
        if terminal:
            self.terminal, inner = pty.openpty()
            termios.tcsetwinsize(self.terminal, (40, 120))
            self.process = subprocess.Popen(
                # its own session, with the terminal as the controlling one: Ctrl-C reaches it as from a keyboard
                [sys.executable, "-c", _TAKE_TERMINAL, *command],
                stdin=inner,
                stdout=inner,
                stderr=inner,
                env=env,
                cwd=folder,
                start_new_session=True,
            )
            os.close(inner)
            self._readers = [threading.Thread(target=self._gather_terminal, daemon=True)]
        elif log is not None:
            with log.open("ab") as output:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=env,
                    cwd=folder,
                    start_new_session=True,
                )
        else:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=env,
                cwd=folder,
                start_new_session=True,
            )
            self._readers = [
                threading.Thread(target=self._gather, args=("stdout", self.process.stdout), daemon=True),
                threading.Thread(target=self._gather, args=("stderr", self.process.stderr), daemon=True),
            ]
        for reader in self._readers:
            reader.start()

    def _gather(self, name: str, stream: IO[str]) -> None:
        for line in stream:
            setattr(self, name, getattr(self, name) + line)

    def _gather_terminal(self) -> None:
        with contextlib.suppress(OSError):
            while text := os.read(self.terminal, 4096):
                self.stdout += text.decode(errors="replace")

    def type(self, text: bytes) -> None:
        """Press keys."""
        os.write(self.terminal, text)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def end(self, seconds: float = 40) -> int:
        """Wait until it has ended by itself, and return its exit code."""
        code = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(5)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.process.kill()
        self.end()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        if self.terminal is not None:
            os.close(self.terminal)


_TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def processes_of(folder: Path) -> list[str]:
    """Command lines of the living processes that name the folder or work in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            where = str((entry / "cwd").readlink()) if os.geteuid() == 0 else ""
            if str(folder) in line or where.startswith(str(folder)):
                found.append(line)
    return found


def end_all_of(folder: Path) -> None:
    """Kill what a failed test has left."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if str(folder).encode() in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)

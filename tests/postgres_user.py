"""A process that uses the embedded PostgreSQL of a folder, told what to do line by line; for tests that kill it.

``python postgres_user.py FOLDER``: prints the address once the server answers, then obeys ``leave``, or ends by signal.
A StartupError is printed after ``refused: ``.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from outdial.core.errors import StartupError
from outdial.embedded_postgres import EmbeddedPostgres, launcher


def launched(way: str, uid: int, *command: str) -> list[str]:
    """The command, run as that account by the server's own launcher."""
    return [*(sys.executable, "-I", "-S", launcher.__file__), *(way, str(uid), str(uid), "0", "/"), *command]


@functools.cache
def possible_ways() -> tuple[str, ...]:
    """What this machine lets root do to run a program under another account, plainest first."""
    tried = {way: subprocess.run(launched(way, 65534, "/bin/true"), check=False) for way in launcher.ACCOUNT_WAYS}
    return tuple(way for way, done in tried.items() if done.returncode == 0)


class PostgresUser:
    """The process as its parent sees it."""

    def __init__(self, folder: Path, *, uid: int | None = None, before: tuple[str, ...] = ()) -> None:
        command = [sys.executable, __file__, str(folder)]
        if uid is not None:
            # the interpreter may lie where only root may look: a capability lets the other account read it
            way = "read-search" if "read-search" in possible_ways() else possible_ways()[-1]
            command = launched(way, uid, *command)
        self.process = subprocess.Popen(
            [*before, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def answer(self) -> str:
        """What it printed: the address, or ``refused: `` and the sentence."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the process ended with {self.process.wait()}"
        return json.loads(line)

    def leave(self) -> None:
        self.process.communicate("leave\n", timeout=30)
        assert self.process.returncode == 0

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it the hard way; fine when it has ended already."""
        self.process.kill()
        self.process.communicate(timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


async def _main(folder: Path) -> None:
    try:
        server = await EmbeddedPostgres.start(folder)
    except StartupError as error:
        print(json.dumps(f"refused: {error.message}"), flush=True)
        return
    print(json.dumps(server.dsn), flush=True)
    # a thread that reads would outlive Ctrl-C
    told = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    await told.readline()
    await server.stop()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))

"""Enter on a real (pseudo) terminal: heard, not echoed, and the terminal given back as it was."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import pty
import signal
import subprocess
import sys
import termios

import pytest

from outdial.demo.keyboard import enter_pressed
from waiting import until

ECHO = 3

PROGRAM = """
import asyncio
from outdial.demo.keyboard import enter_pressed

async def main():
    with enter_pressed() as pressed:
        print("no terminal" if pressed is None else "listening", flush=True)
        if pressed is not None:
            await pressed.wait()
            print("heard", flush=True)

asyncio.run(main())
"""


class Terminal:
    """A program in the foreground of a terminal of its own."""

    def __init__(self) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
            os.execv(sys.executable, [sys.executable, "-c", PROGRAM])
        os.set_blocking(self.descriptor, False)
        self.text = ""

    def read(self) -> str:
        with contextlib.suppress(OSError):
            self.text += os.read(self.descriptor, 4096).decode()
        return self.text

    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.descriptor)[ECHO] & termios.ECHO)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.close(self.descriptor)
        os.waitpid(self.pid, 0)


@pytest.fixture
def terminal():
    opened = Terminal()
    yield opened
    opened.close()


async def test_enter_is_heard_and_not_echoed(terminal):
    assert terminal.echoes()
    await until(lambda: "listening" in terminal.read())
    assert not terminal.echoes()
    os.write(terminal.descriptor, b"not yet")
    os.write(terminal.descriptor, b"\n")
    await until(lambda: "heard" in terminal.read())
    await until(terminal.echoes)
    assert "not yet" not in terminal.text


async def test_ctrl_c_leaves_the_terminal_as_it_was(terminal):
    await until(lambda: "listening" in terminal.read())
    os.write(terminal.descriptor, b"\x03")
    await until(lambda: "KeyboardInterrupt" in terminal.read())
    await until(terminal.echoes)


def test_without_a_terminal_there_is_nothing_to_hear():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "no terminal\n"


async def test_a_closed_standard_input_is_no_terminal(monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdin", closed)
    with enter_pressed() as pressed:
        assert pressed is None
        await asyncio.sleep(0)

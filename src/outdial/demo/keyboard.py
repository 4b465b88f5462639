"""Enter, heard without stopping anything else."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

_LFLAG = 3
"""Where ``tcgetattr`` keeps the local modes."""


@contextmanager
def enter_pressed() -> Iterator[asyncio.Event | None]:
    """Give an event that is set when somebody presses Enter; None where nobody sits at a terminal."""
    if not _is_ours():
        yield None
        return
    descriptor, pressed, loop = sys.stdin.fileno(), asyncio.Event(), asyncio.get_running_loop()

    def heard() -> None:
        typed = os.read(descriptor, 1024)
        if b"\n" in typed:
            pressed.set()
        if not typed:
            # Ctrl-D: nothing more will come
            loop.remove_reader(descriptor)

    before = termios.tcgetattr(descriptor)
    # the line feed that a terminal echoes would tear the picture
    silent = [*before[:_LFLAG], before[_LFLAG] & ~termios.ECHO, *before[_LFLAG + 1 :]]
    termios.tcsetattr(descriptor, termios.TCSADRAIN, silent)
    loop.add_reader(descriptor, heard)
    try:
        yield pressed
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _is_ours() -> bool:
    """Whether standard input is a terminal and this process in its foreground: touching it from behind stops us."""
    try:
        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False

"""Wall clocks of single processes, to be stepped while they run; the machine's own is never touched.

``shifted_clock.c`` is compiled here and loaded before the C library. libfaketime was looked at: its 0.9.10 lets
``time.sleep`` of Python 3.11 fail with EINVAL, reads a file at each look at the clock or notices a step a second late,
and stretches waits that are none of the wall clock's.
"""

from __future__ import annotations

import mmap
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from outdial.telephony.program import AsteriskProgram

SOURCE = Path(__file__).with_name("shifted_clock.c")
BYTES = 8


class Clock:
    """One, shared by all processes that are started with :attr:`environment`."""

    def __init__(self, library: Path, path: Path) -> None:
        path.write_bytes(bytes(BYTES))
        # accounts of their own read it
        path.chmod(0o644)
        self.environment = {"LD_PRELOAD": str(library), "OUTDIAL_TEST_CLOCK": str(path)}
        with path.open("r+b") as file:
            self._offset = mmap.mmap(file.fileno(), BYTES)

    def set(self, seconds: float) -> None:
        """Let it be so far ahead of the machine's clock, at once; 0 = right."""
        self._offset[:] = round(seconds * 1e9).to_bytes(BYTES, "little", signed=True)

    def wrap(self, script: Path, command: Sequence[object]) -> Path:
        """Write a program that is this command, with this clock."""
        script.parent.mkdir(parents=True, exist_ok=True)
        given = "".join(f"export {name}='{value}'\n" for name, value in self.environment.items())
        words = " ".join(f"'{word}'" for word in command)
        script.write_text(f'#!/bin/sh\n{given}exec {words} "$@"\n')
        script.chmod(0o755)
        return script

    def wrap_asterisk(self, prefix: Path, program: AsteriskProgram) -> Path:
        """Make ``prefix`` an installation of this Asterisk, with this clock, and return its program."""
        for link, to in (("lib/asterisk/modules", program.modules), ("share/asterisk", program.data)):
            (prefix / link).parent.mkdir(parents=True)
            (prefix / link).symlink_to(to.resolve())
        return self.wrap(prefix / "sbin" / "asterisk", program.command)


def compiler() -> str | None:
    """Return a C compiler, None where there is none."""
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name)) is not None), None)


def build(folder: Path) -> Path | None:
    """Compile what lets processes have clocks of their own; None without a C compiler."""
    found = compiler()
    if found is None:
        return None
    library = folder / "shifted_clock.so"
    subprocess.run([found, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl", "-lpthread"], check=True)
    library.chmod(0o755)
    return library

"""Speech from text, by a program of the operator's: it reads the text on its input and writes a WAV to its output.

``espeak-ng`` is the usual one; any other that can be told so serves. What was said once is kept as a file and not made
again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shlex
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from outdial.core.audio import Message, message_from_wav
from outdial.core.errors import InvalidInputError, SpeechUnavailableError

SAY_SECONDS: Final = 10.0
"""How long a text may take, waiting for its turn included: somebody listens to silence meanwhile."""

END_SECONDS: Final = 1.0
"""How long the end of a program that was killed is waited for."""

LARGEST_SPEECH: Final = 32 * 1024 * 1024
"""Bytes of a WAV that are taken."""

MOST_AT_ONCE: Final = 2
"""Programs that run at once: they take whole processors."""

MOST_KNOWN: Final = 1000
"""Texts whose file and length are remembered."""

KEPT_SECONDS: Final = 24 * 3600.0
"""How long a file that nobody uses is kept."""

SWEEP_SECONDS: Final = 3600.0

_PREFIX: Final = "say-"

LANGUAGE_MARK: Final = "{language}"
"""Stands in the command for the language of the text."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A text, spoken, where the engine reads it."""

    path: Path
    seconds: float


class Voice:
    """Speaks texts by a command; ``""`` = there is no voice."""

    def __init__(self, command: str, folder: Path) -> None:
        self._command = shlex.split(command)
        self._folder = folder
        self._turn = asyncio.Semaphore(MOST_AT_ONCE)
        self._known: dict[str, Spoken] = {}
        self._swept = 0.0

    async def say(self, text: str, language: str) -> Spoken:
        """Return the text as a file, 8 kHz mono, within :data:`SAY_SECONDS`. Raises SpeechUnavailableError."""
        if not self._command:
            raise SpeechUnavailableError("There is no voice: set OUTDIAL_SPEECH_COMMAND, or play recordings instead.")
        name = hashlib.sha256("\0".join([*self._command, language, text]).encode()).hexdigest()
        try:
            async with asyncio.timeout(SAY_SECONDS):
                spoken = await self._kept(name)
                if spoken is None:
                    async with self._turn:
                        # whoever was before us in the queue may have said the same
                        spoken = await self._kept(name) or await self._made(name, text, language)
        except TimeoutError:
            raise SpeechUnavailableError(f"{self._command[0]} did not speak within {SAY_SECONDS:.0f} s.") from None
        return spoken

    async def _kept(self, name: str) -> Spoken | None:
        spoken = self._known.get(name)
        if spoken is None or not await asyncio.to_thread(_used, spoken.path):
            return None
        return spoken

    async def _made(self, name: str, text: str, language: str) -> Spoken:
        message = await self._spoken(text, language)
        path = self._folder / f"{_PREFIX}{name}.wav"
        try:
            await asyncio.to_thread(write_whole, path, message.wav)
            if time.time() - self._swept > SWEEP_SECONDS:
                self._swept = time.time()
                await asyncio.to_thread(_sweep, self._folder, older_than=self._swept - KEPT_SECONDS)
        except OSError as error:
            raise SpeechUnavailableError(f"What was said cannot be kept in {path} ({error.strerror}).") from error
        if len(self._known) >= MOST_KNOWN:
            del self._known[next(iter(self._known))]
        spoken = self._known[name] = Spoken(path, message.duration_seconds)
        return spoken

    async def _spoken(self, text: str, language: str) -> Message:
        program = self._command[0]
        try:
            process = await asyncio.create_subprocess_exec(
                *(word.replace(LANGUAGE_MARK, language) for word in self._command),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                # a group of its own, so that what it starts ends with it
                start_new_session=True,
            )
        except OSError as error:
            raise SpeechUnavailableError(
                f"{program} cannot be run ({error.strerror}): install it, or set OUTDIAL_SPEECH_COMMAND."
            ) from error
        try:
            said = await _exchange(process, text)
        finally:
            if process.returncode is None:
                await _end(process)
        if process.returncode:
            raise SpeechUnavailableError(f"{program} ended with code {process.returncode} when it was to speak.")
        try:
            # seconds of computing for a long text: not in the way of everybody else
            return await asyncio.to_thread(message_from_wav, said)
        except InvalidInputError as error:
            raise SpeechUnavailableError(f"{program} wrote no WAV that can be played: {error}") from error


def _used(path: Path) -> bool:
    """Note that a file is used; False when it is not there."""
    try:
        os.utime(path)
    except OSError:
        return False
    return True


def _sweep(folder: Path, *, older_than: float) -> None:
    """Remove what was said and not used since then: names of people are spoken in it."""
    for path in folder.glob(f"{_PREFIX}*.wav"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < older_than:
                path.unlink()


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a program and all it has started, and read the rest of its output; whatever got away is not waited for."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_SECONDS):
            await process.communicate()


async def _exchange(process: asyncio.subprocess.Process, text: str) -> bytes:
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(text.encode())
    process.stdin.close()
    said = bytearray()
    while chunk := await process.stdout.read(64 * 1024):
        said += chunk
        if len(said) > LARGEST_SPEECH:
            raise SpeechUnavailableError(f"What was said is larger than {LARGEST_SPEECH // 1024 // 1024} MB.")
    await process.wait()
    return bytes(said)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that engines read, so that nobody ever sees half of it, neither after a crash. Raises OSError."""
    if not path.parent.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # whatever the umask: the engine may run as another account
        path.parent.chmod(0o755)
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        with draft.open("xb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)

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
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from outdial.core.audio import Message, message_from_wav
from outdial.core.errors import InvalidInputError, SpeechUnavailableError

SAY_SECONDS: Final = 10.0
"""How long the program may take for one text."""

LARGEST_SPEECH: Final = 32 * 1024 * 1024
"""Bytes of a WAV that are taken."""

MOST_AT_ONCE: Final = 2
"""Programs that run at once: they take whole processors."""

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

    async def say(self, text: str, language: str) -> Spoken:
        """Return the text as a file, 8 kHz mono. Raises SpeechUnavailableError."""
        name = hashlib.sha256("\0".join([*self._command, language, text]).encode()).hexdigest()
        spoken = self._known.get(name)
        if spoken is None or not await asyncio.to_thread(spoken.path.exists):
            async with self._turn:
                message = await self._spoken(text, language)
                path = self._folder / f"say-{name}.wav"
                try:
                    await asyncio.to_thread(write_whole, path, message.wav)
                except OSError as error:
                    raise SpeechUnavailableError(
                        f"What was said cannot be kept in {path} ({error.strerror})."
                    ) from error
            spoken = self._known[name] = Spoken(path, message.duration_seconds)
        return spoken

    async def _spoken(self, text: str, language: str) -> Message:
        if not self._command:
            raise SpeechUnavailableError("There is no voice: set OUTDIAL_SPEECH_COMMAND, or play recordings instead.")
        program = self._command[0]
        try:
            process = await asyncio.create_subprocess_exec(
                *(word.replace(LANGUAGE_MARK, language) for word in self._command),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            raise SpeechUnavailableError(
                f"{program} cannot be run ({error.strerror}): install it, or set OUTDIAL_SPEECH_COMMAND."
            ) from error
        try:
            async with asyncio.timeout(SAY_SECONDS):
                said = await _exchange(process, text)
        except TimeoutError:
            raise SpeechUnavailableError(f"{program} did not speak within {SAY_SECONDS:.0f} s.") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            raise SpeechUnavailableError(f"{program} ended with code {process.returncode} when it was to speak.")
        try:
            # seconds of computing for a long text: not in the way of everybody else
            return await asyncio.to_thread(message_from_wav, said)
        except InvalidInputError as error:
            raise SpeechUnavailableError(f"{program} wrote no WAV that can be played: {error}") from error


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

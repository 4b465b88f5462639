"""How a command runs: its settings and log, its context opened for a moment, its failures told in a sentence."""

from __future__ import annotations

import asyncio
import errno
import getpass
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from outdial import logs
from outdial.config import Settings
from outdial.context import Context, open_context
from outdial.core.errors import InvalidInputError, OutdialError

FAILED: Final = 1
"""Exit code of a command that could not do what was asked."""

TERMINATED: Final = 128 + signal.SIGTERM

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

Result = TypeVar("Result")


class Commands(TyperGroup):
    """The root of all commands: tells every named failure in its own sentences, on standard error."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except OutdialError as error:
            sentences = error.messages
        except OSError as error:
            if error.errno not in _FULL:
                raise
            sentences = (f"The disk is full ({error.filename or 'no file named'}): free some space, then try again.",)
        for sentence in sentences:
            typer.echo(sentence, err=True)
        raise typer.Exit(FAILED)


def load_settings() -> Settings:
    """Read the settings. Raises InvalidInputError that names every wrong one."""
    try:
        return Settings()
    except ValidationError as error:
        raise InvalidInputError(
            [
                # without the value: it may be a secret
                f"The setting {variable(str(problem['loc'][0]))} is wrong: {problem['msg']}."
                for problem in error.errors(include_input=False, include_url=False)
            ]
        ) from None


def variable(field: str) -> str:
    """Return the environment variable of a setting."""
    return f"{Settings.model_config['env_prefix']}{field}".upper()


def prepare(*, quiet: bool) -> Settings:
    """Read the settings and set the log up.

    ``quiet`` is for commands that answer and end: they log warnings only, unless a level was asked for.
    """
    settings = load_settings()
    if quiet and "log_level" not in settings.model_fields_set:
        settings = settings.model_copy(update={"log_level": "warning"})
    logs.configure(settings)
    return settings


def in_context(work: Callable[[Context], Awaitable[Result]], *, migrate: bool = False) -> Result:
    """Open the context, do the work, close it: joins a running server's database, else runs it meanwhile."""

    async def opened() -> Result:
        async with open_context(settings, migrate=migrate) as context:
            return await work(context)

    settings = prepare(quiet=True)
    return run(opened())


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end; Ctrl-C and SIGTERM cancel it, so that it closes what it has opened."""
    return asyncio.run(_terminable(work))


async def _terminable(work: Coroutine[Any, Any, Result]) -> Result:
    task, terminated = asyncio.current_task(), asyncio.Event()

    def terminate() -> None:
        if task is not None and not terminated.is_set():
            terminated.set()
            task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await work
    except asyncio.CancelledError:
        if terminated.is_set():
            raise typer.Exit(TERMINATED) from None
        raise


def actor() -> str:
    """Return who does it, for the history: the account that runs the command."""
    return f"cli:{getpass.getuser()}"

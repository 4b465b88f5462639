"""The demo from its opening to its end, before somebody's eyes or unattended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import outdial
from outdial.config import Settings
from outdial.core.errors import ConflictError
from outdial.demo.people import MOST
from outdial.demo.performance import Audience, Performance
from outdial.demo.screen import Screen
from outdial.demo.stage import stage
from outdial.serve import until_signal

DEFAULT_CONTACTS: Final = 300
MOST_CONTACTS: Final = MOST


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an unattended demo found."""

    placed: int
    answered: int
    stop_ms: float
    """Wall time of the HTTP request that stopped it."""
    new_calls_after_stop: int
    """Calls that began after the stop's answer, by the engine's own records."""
    watched_seconds: float
    """How long after the answer they were looked for."""
    engine: str
    version: str = outdial.__version__


async def attended(settings: Settings, *, contacts: int, stop_after_seconds: float | None) -> bool | None:
    """Dial and show it; stop on Enter, or after a time; then serve until a signal.

    Returns whether no call left after the stop, None when nothing was stopped. Raises OutdialError.
    """
    silent: bool | None = None
    with until_signal():
        screen = Screen()
        screen.opening()
        async with stage(settings, contacts) as set_stage:
            screen.staged(set_stage, contacts)
            performance = Performance(set_stage, screen)
            async with performance.ends_with_us(kept="data_dir" in settings.model_fields_set):
                await performance.begin()
                with screen.live():
                    stopped = await performance.dial(stop_after_seconds=stop_after_seconds, listen=True)
                if stopped is not None:
                    screen.stopped(stopped)
                    silent = await performance.new_calls(stopped) == 0
                else:
                    screen.completed()
                screen.goes_on(set_stage)
                await set_stage.serving.until_failed()
    return silent


async def unattended(settings: Settings, *, contacts: int, stop_after_seconds: float) -> Outcome | None:
    """Dial, stop after a time, count what left afterwards. None when a signal ended it before. Raises OutdialError."""
    with until_signal():
        async with stage(settings, contacts) as set_stage:
            performance = Performance(set_stage, Audience())
            async with performance.ends_with_us(kept="data_dir" in settings.model_fields_set):
                await performance.begin()
                stopped = await performance.dial(stop_after_seconds=stop_after_seconds, listen=False)
                if stopped is None:
                    raise ConflictError(
                        "The campaign completed before it could be stopped: dial more --contacts or --stop-after fewer "
                        "seconds."
                    )
                new_calls = await performance.new_calls(stopped)
                final = await performance.progress()
                return Outcome(
                    placed=final.placed,
                    answered=final.answered,
                    stop_ms=round(stopped.stop_ms, 1),
                    new_calls_after_stop=new_calls,
                    watched_seconds=performance.watch_seconds,
                    engine=set_stage.label,
                )
    return None

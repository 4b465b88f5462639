"""What the demo shows while it dials: one picture, drawn from one snapshot."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from outdial.core.model import AttemptState, Disposition, RunContactState, RunState
from outdial.services.runs import RunProgress

RATE_SECONDS: Final = 3.0
"""Calls per second are taken over this long: shorter jumps about, longer shows a stop too late."""

_BAR_WIDTH: Final = 44

_STATE_WORDS: Final[Mapping[RunState, str]] = {
    RunState.ACTIVE: "[bold green]active[/]",
    RunState.PAUSED: "[yellow]paused[/]",
    RunState.STOPPING: "[bold yellow]stopping[/]",
    RunState.STOPPED: "[bold red]stopped[/]",
    RunState.COMPLETED: "[bold]completed[/]",
}


class Meter:
    """Calls per second over the last few seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def rate(self, at: float, placed: int) -> float:
        """Take a sample (seconds of any clock, calls placed so far) and return the rate."""
        self._samples.append((at, placed))
        while at - self._samples[0][0] > RATE_SECONDS:
            self._samples.popleft()
        begin, before = self._samples[0]
        return (placed - before) / (at - begin) if at > begin else 0.0


def counts(progress: RunProgress) -> dict[str, int]:
    """Return the numbers shown, by their names; every call that has ended is in exactly one of the last four."""
    ended = progress.dispositions
    named = (Disposition.BUSY, Disposition.NO_ANSWER, Disposition.CANCELLED)
    reached = (Disposition.ANSWERED_HUMAN, Disposition.ANSWERED_MACHINE)
    return {
        "placed": progress.placed,
        "ringing": progress.live.get(AttemptState.DIALING, 0) + progress.live.get(AttemptState.RINGING, 0),
        "answered": progress.answered,
        "busy": ended.get(Disposition.BUSY, 0),
        "no answer": ended.get(Disposition.NO_ANSWER, 0),
        "cancelled": ended.get(Disposition.CANCELLED, 0),
        "other": sum(count for kind, count in ended.items() if kind not in {*named, *reached}),
    }


def picture(progress: RunProgress, rate: float, hint: str) -> RenderableType:
    """Draw a snapshot; ``hint`` says what one can do now."""
    done, total = progress.contacts.get(RunContactState.DONE, 0), sum(progress.contacts.values())
    line = Table.grid(padding=(0, 2))
    line.add_row(
        Text.from_markup(_STATE_WORDS[progress.run.state]),
        ProgressBar(total=max(total, 1), completed=done, width=_BAR_WIDTH),
        Text(f"{done} of {total} contacts done{_waiting(progress)}"),
    )
    numbers = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    values = {**counts(progress), "calls/s": f"{rate:.1f}"}
    for name in values:
        numbers.add_column(name, justify="right", min_width=8)
    numbers.add_row(*(str(value) for value in values.values()))
    return Group(Text(), line, Text(), numbers, Text(), Text(hint, style="bold"))


def _waiting(progress: RunProgress) -> str:
    waiting = progress.contacts.get(RunContactState.WAITING, 0)
    return f", {waiting} wait for another try" if waiting else ""


def plain_line(progress: RunProgress, rate: float) -> str:
    """Return a snapshot as one line, for outputs that are no terminal."""
    parts = (f"{name} {value}" for name, value in counts(progress).items())
    return f"{progress.run.state}: {', '.join(parts)}, {rate:.1f} calls/s"

"""The demo on a terminal; where output is no terminal, the same in plain lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

import outdial
from outdial import clock
from outdial.core.model import EngineKind, RunState
from outdial.demo.performance import Audience, Stopped
from outdial.demo.stage import CALLS_PER_SECOND, MAX_CHANNELS, Stage
from outdial.demo.view import picture, plain_line
from outdial.services.runs import RunProgress

LINE_SECONDS: Final = 2.0
"""Between two lines where output is no terminal."""


class Screen(Audience):
    """Shows the demo to a person."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._live: Live | None = None
        self._hint = ""
        self._line_at = float("-inf")

    def opening(self) -> None:
        """Say what is about to begin."""
        self._say(f"[bold]outdial {outdial.__version__}[/]: a campaign over phones that do not exist.")
        self._say("Starting PostgreSQL, the telephony engine and the API …")

    def staged(self, stage: Stage, contacts: int) -> None:
        """Say what stands ready, and loudly when its calls are not real."""
        if stage.kind is EngineKind.SIMULATED:
            why = stage.missing or "OUTDIAL_ENGINE=simulated asks for it."
            self._console.print(
                Panel(
                    Text(f"{why}\n\nUntil then calls are simulated in this process: no SIP, no sound."),
                    title="CALLS ARE SIMULATED",
                    border_style="bold red",
                    width=min(100, self._console.width),
                )
            )
        self._say(
            f"Calls by [bold]{stage.label}[/], {contacts} contacts, at most {CALLS_PER_SECOND:.0f} calls/s and "
            f"{MAX_CHANNELS} at once. API: {stage.url}/docs"
        )

    @contextmanager
    def live(self) -> Iterator[None]:
        """Keep one picture up to date while the block runs."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, auto_refresh=False) as self._live:
            yield
        self._live = None

    def dialing(self, curl: str, *, can_press: bool) -> None:
        self._hint = "Press Enter to stop now." if can_press else ""
        self._say("\nStop it from another terminal with:\n")
        # one line however long: broken ones cannot be pasted
        self._console.print(Text(curl, style="cyan"), soft_wrap=True)

    def picture(self, progress: RunProgress, rate: float) -> None:
        hint = self._hint if progress.run.state is RunState.ACTIVE else ""
        if self._live is not None:
            self._live.update(picture(progress, rate, hint), refresh=True)
        elif clock.boottime() - self._line_at >= LINE_SECONDS or progress.run.state is not RunState.ACTIVE:
            self._line_at = clock.boottime()
            self._console.print(plain_line(progress, rate), soft_wrap=True)

    def stopped(self, stopped: Stopped) -> None:
        """Show a stop's report."""
        report = stopped.report
        table = Table(title=f"Stopped in {stopped.stop_ms:.0f} ms", title_justify="left", show_header=False)
        rows = {
            "ringing calls cancelled": report.cancelled_count,
            "connected calls that go on": report.connected_count,
            "tries that were due later, dropped": report.retries_cancelled_count,
            "contacts never called": report.never_reached_count,
            "engines that refuse this run's calls now": len(report.engines),
            "dialer nodes that have dropped it": len(report.nodes),
        }
        for name, count in rows.items():
            table.add_row(name, str(count))
        self._console.print(table)

    def watching(self, source: str, seconds: float) -> None:
        self._say(f"Watching {source} for {seconds:.1f} s …")

    def counted(self, source: str, seconds: float, new_calls: int) -> None:
        style = "bold green" if new_calls == 0 else "bold red"
        self._say(f"[{style}]{new_calls} new calls[/] in the {seconds:.1f} s after the stop, by {source}.")

    def completed(self) -> None:
        """Say that nothing is left to stop."""
        self._say("Every contact is done; nothing is left to stop.")

    def goes_on(self, stage: Stage) -> None:
        """Say how to go on, and how to end."""
        self._say(f"\nThe server goes on: {stage.url}/docs. Ctrl-C ends it and takes everything away.")

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

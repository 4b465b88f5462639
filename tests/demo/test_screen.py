"""What a person reads: the curl unbroken, simulated calls told loudly, the report, plain lines where no terminal is."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from outdial.core.model import EngineKind, RunState
from outdial.demo import screen
from outdial.demo.screen import Screen
from support.progress import PROGRESS, RUN


@dataclass
class Shown:
    screen: Screen
    file: io.StringIO

    @property
    def text(self) -> str:
        return self.file.getvalue()


@pytest.fixture
def shown() -> Shown:
    file = io.StringIO()
    return Shown(Screen(Console(file=file, width=80, highlight=False)), file)


@pytest.fixture
def terminal() -> Shown:
    file = io.StringIO()
    return Shown(Screen(Console(file=file, width=80, highlight=False, force_terminal=True)), file)


def a_stage(kind: EngineKind, missing: str | None = None):
    return SimpleNamespace(kind=kind, missing=missing, label="Asterisk 22", url="http://127.0.0.1:8080")


def test_the_curl_stays_one_line_however_long(shown):
    curl = "curl -X POST 'http://127.0.0.1:8080/" + "x" * 600 + "' -d '{}'"
    shown.screen.dialing(curl, can_press=True)
    assert curl in shown.text.splitlines()


def test_simulated_calls_are_told_loudly_with_what_is_missing(shown):
    shown.screen.staged(a_stage(EngineKind.SIMULATED, "No Asterisk to start. Run `make install`."), 300)
    assert "CALLS ARE SIMULATED" in shown.text
    assert "No Asterisk to start. Run `make install`." in shown.text
    assert "no SIP, no sound" in shown.text


def test_real_calls_are_not(shown):
    shown.screen.staged(a_stage(EngineKind.ASTERISK), 300)
    assert "SIMULATED" not in shown.text
    assert "Asterisk 22" in shown.text
    assert "http://127.0.0.1:8080/docs" in shown.text


def test_where_there_is_no_terminal_a_line_comes_now_and_then(shown, monkeypatch):
    at = [100.0]
    monkeypatch.setattr(screen.clock, "boottime", lambda: at[0])
    with shown.screen.live():
        for _ in range(11):
            shown.screen.picture(PROGRESS, 20.0)
            at[0] += 0.2
    assert shown.text.count("active: placed 61") == 2


def test_a_change_of_state_is_told_at_once(shown, monkeypatch):
    monkeypatch.setattr(screen.clock, "boottime", lambda: 100.0)
    shown.screen.picture(PROGRESS, 20.0)
    shown.screen.picture(replace(PROGRESS, run=replace(RUN, state=RunState.STOPPING)), 20.0)
    assert "stopping: placed 61" in shown.text


def test_on_a_terminal_one_picture_is_drawn_over_the_last(terminal):
    terminal.screen.dialing("curl", can_press=True)
    with terminal.screen.live():
        terminal.screen.picture(PROGRESS, 20.0)
        terminal.screen.picture(replace(PROGRESS, run=replace(RUN, state=RunState.STOPPED)), 0.0)
    assert "Press Enter to stop now." in terminal.text
    assert "stopped" in terminal.text
    assert "\x1b[1A" in terminal.text, "the cursor goes back up"


def test_enter_is_offered_only_to_those_who_can_press_it(terminal):
    terminal.screen.dialing("curl", can_press=False)
    with terminal.screen.live():
        terminal.screen.picture(PROGRESS, 20.0)
    assert "Enter" not in terminal.text


@pytest.mark.parametrize("count", [0, 3])
def test_the_verdict_names_its_source(shown, count):
    shown.screen.counted("Asterisk's call records", 3.5, count)
    assert shown.text == f"{count} new calls in the 3.5 s after the stop, by Asterisk's call records.\n"

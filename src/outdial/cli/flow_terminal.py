"""A flow in the terminal: what would be heard is written, what would be pressed is typed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import assert_never

from outdial.cli import output
from outdial.core.flow import FlowPlan
from outdial.core.flow_play import (
    Action,
    Answered,
    Ask,
    Done,
    End,
    Failed,
    FlowState,
    Happened,
    Heard,
    Hush,
    Key,
    PlayMeanwhile,
    PlaySound,
    Recorded,
    Refuse,
    Speak,
    StartAgent,
    StartRecording,
    StartTransfer,
    TimeUp,
    Wait,
    advance,
    begin,
)


def play(plan: FlowPlan, variables: Mapping[str, str], *, machine: bool, quiet: bool) -> FlowState:
    """Play a flow to its end, asking for keys on standard input; an empty line, or none, is a key that nobody presses.

    What is asked of others goes well where the next line says ``y``, and fails else; after the ``y`` of a webhook may
    follow what it answers, ``status=sent``. ``quiet``: write nothing.
    """
    turn = begin(plan, variables, machine=machine)
    while not turn.state.ended:
        happened: list[Happened] = []
        for action in turn.actions:
            if not quiet:
                output.say(_told(action))
            happened = _follows(action) or happened
        for each in happened:
            turn = advance(plan, turn.state, each)
            if not isinstance(each, Key) or any(not isinstance(action, Wait | Hush) for action in turn.actions):
                break
        else:
            # no key, or not enough of them
            turn = advance(plan, turn.state, TimeUp(turn.state.turn))
    if not quiet:
        for action in turn.actions:
            output.say(_told(action))
    return turn.state


def _line() -> str:
    return sys.stdin.readline().strip()


def _follows(action: Action) -> list[Happened]:
    """Return what happens after an action, as whoever sits here types it."""
    match action:
        case PlaySound(turn=turn) | Speak(turn=turn):
            return [Heard(turn)]
        case Wait():
            return [Key(key) for key in _line()]
        case StartRecording(turn=turn, longest_seconds=seconds):
            return [Recorded(turn, seconds)]
        case StartTransfer(turn=turn) | StartAgent(turn=turn):
            return [Done(turn) if _line() == "y" else Failed(turn, "said so")]
        case Ask(turn=turn):
            yes, *fields = _line().split() or [""]
            answered = Answered(turn, dict(_pair(field) for field in fields))
            return [answered if yes == "y" else Failed(turn, "said so")]
        case PlayMeanwhile() | Hush() | Refuse() | End():
            return []
        case _:
            assert_never(action)


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _told(action: Action) -> str:
    match action:
        case PlayMeanwhile(file=file):
            told = f"♪ {file}, until the answer is there"
        case PlaySound(file=file):
            told = f"♪ {file}"
        case Speak(text=text, language=language):
            told = f"“{text}” ({language})"
        case Hush():
            told = "  (broken off)"
        case Wait(seconds=seconds):
            told = f"  waits {seconds:g} s for keys; type them, or an empty line for none:"
        case Refuse(scope=scope):
            told = f"  puts the number on the {scope}'s do-not-call list"
        case End(unheard=unheard):
            told = f"  hangs up{f': {unheard}' if unheard else ''}"
        case StartRecording() | StartTransfer() | StartAgent() | Ask():
            told = _asked(action)
        case _:
            assert_never(action)
    return told


def _asked(action: StartRecording | StartTransfer | StartAgent | Ask) -> str:
    match action:
        case StartRecording(longest_seconds=seconds):
            return f"  records, {seconds:g} s at most"
        case StartTransfer(to=to):
            return f"  connects with {to}; type y if they talk:"
        case StartAgent(url=url):
            return f"  connects with the agent at {url}; type y if it ends in good order:"
        case Ask(url=url, body=body):
            return f"  asks {url} with {dict(body)}; type y if it answers, and what, like y status=sent:"

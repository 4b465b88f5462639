"""Flows for tests of what plays them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from outdial.core.flow import OptOutScope
from outdial.core.flow_document import read_flow
from outdial.core.model import DncSource
from outdial.dialer.flow_player import PlayableFlow, PlayableSound
from outdial.dialer.legs import Leg
from outdial.dialer.opt_outs import OptOuts
from outdial.dialer.recordings import Recordings
from outdial.services.flows import MESSAGE, MESSAGE_FILE
from outdial.store.database import Database
from outdial.telephony.engine import Engine
from outdial.telephony.speech import Voice


def message(path: Path, seconds: float) -> PlayableFlow:
    """The flow of one recording."""
    return PlayableFlow("cf-1", read_flow(MESSAGE), {MESSAGE_FILE: PlayableSound(path, seconds)})


def lasting(flow: PlayableFlow, seconds: float) -> PlayableFlow:
    """The same recording, as if it lasted that long."""
    return message(flow.sounds[MESSAGE_FILE].path, seconds)


def silent() -> Voice:
    """A voice that says nothing."""
    return Voice("", Path("/nowhere"))


class OptOutsAsked(OptOuts):
    """Only notes what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, OptOutScope, DncSource]] = []

    def put(self, attempt_id: str, scope: OptOutScope, source: DncSource = DncSource.KEY) -> bool:
        self.asked.append((attempt_id, scope, source))
        return True


nobody_opts_out = OptOutsAsked


def kept_in(folder: Path, engine: Engine) -> Recordings:
    """What keeps recordings in a folder and tells no database."""
    return Recordings(cast(Database, None), engine, folder)


def steps(steps: dict[str, Any], files: dict[str, tuple[Path, float]] | None = None, **more: Any) -> PlayableFlow:
    """A flow of those steps, its recordings by the names of their files."""
    plan = read_flow({"start": next(iter(steps)), "steps": steps, **more})
    return PlayableFlow("cf-1", plan, {file: PlayableSound(*sound) for file, sound in (files or {}).items()})


class _Unnoted:
    """What became of a transfer is told to no database."""

    async def dialed(self, _leg: Leg) -> None: ...

    async def end(self, _leg: Leg, _outcome: str) -> None: ...


unnoted = _Unnoted()

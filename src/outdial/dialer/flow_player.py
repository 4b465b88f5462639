"""Plays a flow on one call: does what ``core.flow_play`` says, and tells it what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, assert_never

import structlog

from outdial.core import flow_play
from outdial.core.errors import OutdialError
from outdial.core.flow import FlowPlan, OptOutScope, message_of, variables_of
from outdial.core.flow_play import (
    Action,
    Answered,
    Ask,
    Done,
    End,
    Failed,
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
    Turn,
    Unheard,
    Wait,
)
from outdial.core.model import DncSource
from outdial.core.recording import NoRecordingError, name_of
from outdial.store.attempts import FlowOutcome
from outdial.telephony.engine import Engine
from outdial.telephony.speech import Voice

PLAYBACK_GRACE_SECONDS: Final = 5.0
"""What should have ended this long ago has: the event that says so was lost."""

RECORDING_GRACE_SECONDS: Final = 5.0
"""As above, of a recording: an engine counts whole seconds."""

LONGEST_CALL_SECONDS: Final = 3600.0
"""A call is ended after so long whatever its flow says: a phone that was laid aside answers no question."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PlayableSound:
    """A recording where the engine reads it."""

    path: Path
    seconds: float


@dataclass(frozen=True, slots=True)
class PlayableFlow:
    """A flow, and its recordings where the engine reads them."""

    id: str
    plan: FlowPlan
    sounds: Mapping[str, PlayableSound]
    """By the names of the files in the flow."""

    @property
    def wants(self) -> frozenset[str]:
        """What it wants to know of each contact."""
        return variables_of(self.plan)

    @property
    def message_seconds(self) -> float:
        """How long it lasts when it is one message and nothing else; 0 for any other, which nobody can take over in
        the middle."""
        file = message_of(self.plan)
        return 0.0 if file is None else self.sounds[file].seconds


@dataclass(frozen=True, slots=True)
class Desk:
    """What a player does through others."""

    engine: Engine
    voice: Voice
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    opt_out: Callable[[OptOutScope, DncSource], bool]
    """The person wants no more calls, by a key or by what an agent says: make that true, whatever becomes of this
    one; return whether that is on disk."""
    ask: Callable[[Ask, str], Awaitable[Answered | Failed]]
    """Ask another system, for the step of that name."""
    keep: Callable[[str], Awaitable[float]]
    """Have a recording that has ended, by its name, on disk; return its seconds. Raises where there is none."""
    talk: Callable[[StartAgent, str, Callable[[OptOutScope], bool]], Awaitable[Done | Failed]]
    """Let an agent talk, for the step of that name, and hear from it who opts out."""
    transfer: Callable[[StartTransfer], Awaitable[Done | Failed]]
    """Connect whoever is on the line with somebody else; return when they have talked, or could not."""
    end: Callable[[str], None]
    """End the call; the text says why the person heard nothing, empty when they did."""


class FlowPlayer:
    """One call in its flow, from its answer to its end."""

    def __init__(
        self, attempt_id: str, flow: PlayableFlow, variables: Mapping[str, str], desk: Desk, *, machine: bool = False
    ) -> None:
        """``machine``: an answering machine is to be told, not a person."""
        self._attempt_id = attempt_id
        self._flow = flow
        self._desk = desk
        self._timer: asyncio.TimerHandle | None = None
        self._longest: asyncio.TimerHandle | None = None
        self._turn = flow_play.begin(flow.plan, variables, machine=machine)
        self._closed = False
        self._recording = ""
        """Name of what is being recorded; empty: nothing."""

    def begin(self) -> None:
        """Begin, once the call is answered."""
        self._longest = asyncio.get_running_loop().call_later(LONGEST_CALL_SECONDS, self._desk.end, "")
        self._take(self._turn)

    def playback_ended(self, playback_id: str, *, failed: bool) -> None:
        """Hear that a playback has ended; one that is over already changes nothing."""
        attempt_id, _, turn = playback_id.partition("-")
        if attempt_id == self._attempt_id and turn.isdigit():
            self.tell(Unheard(int(turn), "the flow could not be played") if failed else Heard(int(turn)))

    def recording_ended(self, name: str) -> None:
        """Hear that a recording has ended, if it is this one, and keep it, also when the call ends in this instant."""
        if name and name == self._recording:
            self._recording = ""
            self._disarm()
            self._desk.spawn(self._keep(self._turn.state.turn, name))

    def tell(self, happened: Happened) -> None:
        """Go on after something has happened; after the end of the call, nothing has."""
        if self._closed:
            return
        self._take(flow_play.advance(self._flow.plan, self._turn.state, happened))

    def key(self, key: str) -> None:
        """Hear that a key was pressed."""
        self.tell(Key(key))

    def close(self) -> FlowOutcome:
        """The call is over: do nothing any more; return what came of the flow."""
        self._closed = True
        self._disarm()
        if self._longest is not None:
            self._longest.cancel()
        state = self._turn.state
        return FlowOutcome(
            flow_id=self._flow.id,
            result=state.result,
            opted_out=state.opted_out,
            path=state.path,
            finished=state.ended,
        )

    def _take(self, turn: Turn) -> None:
        self._turn = turn
        for action in turn.actions:
            self._do(action)

    def _do(self, action: Action) -> None:
        match action:
            case PlaySound(turn=turn, file=file):
                self._play(turn, self._flow.sounds[file])
            case PlayMeanwhile(turn=turn, file=file):
                self._desk.spawn(self._play_meanwhile(turn, self._flow.sounds[file]))
            case Speak():
                self._desk.spawn(self._speak(action))
            case Hush(turn=turn):
                self._disarm()
                self._desk.spawn(self._hush(turn))
            case Wait(turn=turn, seconds=seconds):
                self._after(seconds, TimeUp(turn))
            case Refuse(scope=scope):
                self._desk.opt_out(scope, DncSource.KEY)
            case End(unheard=unheard):
                self._disarm()
                self._desk.end(unheard)
            case StartRecording() | StartTransfer() | StartAgent() | Ask():
                self._do_with_others(action, self._turn.state.step)
            case _:
                assert_never(action)

    def _do_with_others(self, action: StartRecording | StartTransfer | StartAgent | Ask, step: str) -> None:
        match action:
            case StartRecording():
                self._desk.spawn(self._record(action, step))
            case Ask():
                self._desk.spawn(self._ask(action, step))
            case StartTransfer():
                self._desk.spawn(self._transfer(action))
            case StartAgent():
                self._desk.spawn(self._talk(action, step))
            case _:
                assert_never(action)

    def _play(self, turn: int, sound: PlayableSound) -> None:
        self._after(sound.seconds + PLAYBACK_GRACE_SECONDS, Heard(turn))
        self._desk.spawn(self._request(turn, sound))

    async def _request(self, turn: int, sound: PlayableSound) -> None:
        if turn != self._turn.state.turn:
            # a key was faster
            return
        try:
            await self._desk.engine.play(self._attempt_id, sound.path, self._playback_id(turn))
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody is kept waiting for it
            if not isinstance(error, OutdialError | OSError):
                _log.exception("flow_step_failed", attempt_id=self._attempt_id)
            self.tell(Unheard(turn, f"the flow could not be played: {error}"))

    async def _play_meanwhile(self, turn: int, sound: PlayableSound) -> None:
        if turn != self._turn.state.meanwhile:
            # what it was to play for is over
            return
        try:
            await self._desk.engine.play(self._attempt_id, sound.path, self._playback_id(turn))
        except (OutdialError, OSError) as error:
            # silence then
            _log.warning("sound_not_played", attempt_id=self._attempt_id, reason=str(error))

    async def _ask(self, action: Ask, step: str) -> None:
        try:
            happened = await self._desk.ask(action, step)
        except Exception as error:  # noqa: BLE001 - as above
            _log.exception("flow_step_failed", attempt_id=self._attempt_id)
            happened = Failed(action.turn, f"the webhook failed: {error}")
        self.tell(happened)

    async def _transfer(self, action: StartTransfer) -> None:
        happened: Done | Failed
        try:
            happened = await self._desk.transfer(action)
        except Exception as error:  # noqa: BLE001 - as above
            _log.exception("flow_step_failed", attempt_id=self._attempt_id)
            happened = Failed(action.turn, f"the transfer failed: {error}")
        if isinstance(happened, Failed):
            _log.info("transfer_failed", attempt_id=self._attempt_id, reason=happened.reason)
        self.tell(happened)

    async def _talk(self, action: StartAgent, step: str) -> None:
        happened: Done | Failed
        try:
            happened = await self._desk.talk(action, step, self._opted_out)
        except Exception as error:  # noqa: BLE001 - as above
            _log.exception("flow_step_failed", attempt_id=self._attempt_id)
            happened = Failed(action.turn, f"the agent failed: {error}")
        self.tell(happened)

    def _opted_out(self, scope: OptOutScope) -> bool:
        """An agent says that the person wants no more calls; that counts after the end of the call too. Return whether
        it is on disk."""
        self._turn = replace(self._turn, state=replace(self._turn.state, opted_out=True))
        return self._desk.opt_out(scope, DncSource.AGENT)

    async def _record(self, action: StartRecording, step: str) -> None:
        name = name_of(self._attempt_id, action.turn, step)
        self._recording = name
        # should the event that says so be lost
        seconds = action.longest_seconds + RECORDING_GRACE_SECONDS
        self._timer = asyncio.get_running_loop().call_later(seconds, self.recording_ended, name)
        try:
            await self._desk.engine.start_recording(
                self._attempt_id,
                name,
                longest_seconds=action.longest_seconds,
                silence_seconds=action.silence_seconds,
            )
        except Exception as error:  # noqa: BLE001 - as above
            if not isinstance(error, OutdialError | OSError):
                _log.exception("flow_step_failed", attempt_id=self._attempt_id)
            self._recording = ""
            self._disarm()
            self._lost(action.turn, error)

    async def _keep(self, turn: int, name: str) -> None:
        try:
            seconds = await self._desk.keep(name)
        except Exception as error:  # noqa: BLE001 - as above
            if not isinstance(error, OutdialError | OSError | NoRecordingError):
                _log.exception("flow_step_failed", attempt_id=self._attempt_id)
            self._lost(turn, error)
        else:
            self.tell(Recorded(turn, seconds))

    def _lost(self, turn: int, error: Exception) -> None:
        _log.warning("recording_failed", attempt_id=self._attempt_id, reason=str(error))
        self.tell(Failed(turn, f"the recording failed: {error}"))

    async def _speak(self, action: Speak) -> None:
        try:
            sound = await self._desk.voice.say(action.text, action.language)
        except Exception as error:  # noqa: BLE001 - as above
            if not isinstance(error, OutdialError):
                _log.exception("flow_step_failed", attempt_id=self._attempt_id)
            self.tell(Unheard(action.turn, f"the text could not be spoken: {error}"))
            return
        if action.turn == self._turn.state.turn:
            self._play(action.turn, PlayableSound(sound.path, sound.seconds))

    async def _hush(self, turn: int) -> None:
        try:
            await self._desk.engine.stop_playing(self._playback_id(turn))
        except OutdialError as error:
            # it is heard to its end then, beside what comes next
            _log.warning("playback_not_stopped", attempt_id=self._attempt_id, reason=error.message)

    def _playback_id(self, turn: int) -> str:
        return f"{self._attempt_id}-{turn}"

    def _after(self, seconds: float, happened: Happened) -> None:
        self._disarm()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.tell, happened)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

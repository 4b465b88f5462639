"""An engine inside this process: no SIP, no sound, the loopback carrier's table for phones.

For trying outdial where no Asterisk can be had, and for tests that need faults on demand: ``disconnect`` and
``reconnect`` the event stream, ``freeze`` and ``thaw`` the engine as a stopped process would be.
"""

from __future__ import annotations

import asyncio
import io
import random
import wave
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from outdial import clock
from outdial.core.errors import EngineUnavailableError
from outdial.core.machine import DetectionTimings
from outdial.core.model import EngineKind, Trunk
from outdial.telephony import loopback, simulated_speech
from outdial.telephony.engine import (
    CallAnswered,
    CallClassified,
    CallEnded,
    CallRecord,
    CallRinging,
    CallState,
    CancelResult,
    EngineDown,
    EngineEvent,
    EngineUp,
    GreetingEnded,
    KeyPressed,
    LiveCall,
    MediaStream,
    OriginateResult,
    OutgoingCall,
    Permit,
    PlaybackEnded,
    RecordingEnded,
    TrunkAddress,
)

NORMAL_CLEARING: Final = 16
NO_ANSWER: Final = 19
NO_ANSWER_SIP_CODE: Final = 480
"""What Asterisk reports when its own ring timer ends a call (cause 19, a synthetic 480)."""

_RATE: Final = 8000
FRAMES_PER_SECOND: Final = 50


@dataclass(frozen=True, slots=True)
class SentCall:
    """A call that left for the imaginary trunk: what would have been an INVITE with a new Call-ID."""

    call_id: str
    run_id: int
    epoch: int
    number: str
    at: datetime


class _Call:
    def __init__(self, call: OutgoingCall) -> None:
        self.id = call.id
        self.run_id = call.run_id
        self.epoch = call.epoch
        self.number = call.number
        self.state = CallState.DIALING
        self.started_at = clock.now()
        self.answered_at: datetime | None = None
        self.timers: list[asyncio.TimerHandle] = []
        self.playback: asyncio.TimerHandle | None = None
        self.playback_id = ""
        self.recording: asyncio.TimerHandle | None = None
        self.recording_id = ""
        self.recording_since = 0.0
        self.sample: asyncio.TimerHandle | None = None
        self.sample_id = ""
        self.sample_since = 0.0
        self.answered_since = 0.0
        self.away = False
        """Somebody listens to who has answered, and nothing else can be done with it."""

    @property
    def here(self) -> bool:
        """Whether it can be played to."""
        return self.state is CallState.ANSWERED and not self.away


class SimulatedStream:
    """A person who says nothing, twenty milliseconds at a time, and listens."""

    def __init__(self, goes_on: Callable[[], bool], rate: int, speed: float) -> None:
        self._goes_on = goes_on
        self._silence = bytes(2 * rate // FRAMES_PER_SECOND)
        self._speed = speed
        self._closed = False
        self.heard = bytearray()

    async def receive(self) -> bytes | None:
        """Return silence; None once the call is over."""
        await asyncio.sleep(1 / FRAMES_PER_SECOND / self._speed)
        return self._silence if self._goes_on() and not self._closed else None

    async def send(self, samples: bytes) -> None:
        """Have the person hear that."""
        self.heard += samples

    async def clear(self) -> None:
        """Have the person hear nothing more of it."""
        self.heard.clear()

    async def close(self) -> None:
        """End it."""
        self._closed = True


class SimulatedEngine:
    """The whole engine port, in process. ``speed`` shortens every wait of the phones (2.0 = twice as fast)."""

    kind: Final = EngineKind.SIMULATED

    def __init__(
        self,
        *,
        engine_id: str,
        seed: int,
        timeout_seconds: float = 1.0,
        speed: float = 1.0,
        rule_of: Callable[[str], loopback.Rule] = loopback.rule_of,
    ) -> None:
        self._id = engine_id
        self._random = random.Random(seed)  # noqa: S311 - scatter of ring times, not a secret
        self._timeout_seconds = timeout_seconds
        self._speed = speed
        self._rule_of = rule_of
        self._permits: dict[tuple[int, int, str], datetime] = {}
        self._calls: dict[str, _Call] = {}
        self._waiting: list[OutgoingCall] = []
        self._events: asyncio.Queue[EngineEvent] = asyncio.Queue()
        self._connected = False
        self._frozen = False
        self._records: dict[str, CallRecord] = {}
        self._recordings: dict[str, float] = {}
        self.streams: dict[str, SimulatedStream] = {}
        """What was opened to hear and tell people, by its id."""
        self.connected: dict[str, str] = {}
        """Who hears whom: second call → first."""
        self.sent: list[SentCall] = []
        """Every call that left, in order."""

    @property
    def id(self) -> str:
        """Stable id of the engine."""
        return self._id

    async def start(self) -> None:
        """Connect the event stream."""
        self.reconnect()

    async def close(self) -> None:
        """End every call without a word."""
        for call in self._calls.values():
            _cancel(call)
        self._calls.clear()
        self._connected = False

    async def probe(self) -> str:
        """Return what stands for a version."""
        await self._reachable()
        return "simulated"

    @property
    def up(self) -> bool:
        """Whether originating is allowed."""
        return self._connected and not self._frozen

    @property
    def clock_offset_seconds(self) -> float | None:
        """Zero: the engine's clock is ours."""
        return 0.0

    @property
    def keeps_records(self) -> bool:
        """True: they live as long as the engine."""
        return True

    async def events(self) -> AsyncIterator[EngineEvent]:
        """Yield events in order, for ever."""
        while True:
            yield await self._events.get()

    # Permits

    async def put_permit(self, permit: Permit) -> None:
        """Create or extend a permit."""
        await self._reachable()
        self._permits[_key(permit)] = permit.expires_at

    async def renew_permit(self, permit: Permit) -> bool:
        """Extend a permit that is there."""
        await self._reachable()
        if _key(permit) not in self._permits:
            return False
        self._permits[_key(permit)] = permit.expires_at
        return True

    async def fence(self, run_id: int, known: Iterable[tuple[int, str]] = ()) -> None:
        """Remove every permit of the run; ``known`` adds nothing, the list here is never late."""
        del known
        await self._reachable()
        for found in [permit for permit in self._permits if permit[0] == run_id]:
            del self._permits[found]

    async def permits(self) -> Sequence[tuple[int, int, str]]:
        """Return every permit, expired or not."""
        await self._reachable()
        return list(self._permits)

    async def remove_permit(self, run_id: int, epoch: int, key: str) -> None:
        """Remove one permit."""
        await self._reachable()
        self._permits.pop((run_id, epoch, key), None)

    async def trunk_up(self, trunk: Trunk, address: TrunkAddress) -> bool:
        """Return True: there is no line that could be down."""
        del trunk, address
        return True

    async def line_up(self, trunk_id: str, address: TrunkAddress) -> bool:
        """Return True, for the same reason."""
        del trunk_id, address
        await self._reachable()
        return True

    async def ask_line(self, trunk: Trunk, address: TrunkAddress) -> None:
        """Do nothing, for the same reason."""
        del trunk, address
        await self._reachable()

    # Calls

    async def originate(self, call: OutgoingCall) -> OriginateResult:
        """Place one call, if a permit that has not expired says so."""
        if not self._connected:
            return OriginateResult.REFUSED
        if self._frozen:
            self._waiting.append(call)
            await asyncio.sleep(self._timeout_seconds)
            return OriginateResult.UNKNOWN
        result = self._place(call)
        await asyncio.sleep(0)
        return result

    def _place(self, call: OutgoingCall) -> OriginateResult:
        expires_at = self._permits.get((call.run_id, call.epoch, call.key))
        if expires_at is None or expires_at <= clock.now():
            return OriginateResult.REFUSED
        if call.id in self._calls:
            return OriginateResult.UNKNOWN
        placed = _Call(call)
        self._calls[call.id] = placed
        self.sent.append(SentCall(call.id, call.run_id, call.epoch, call.number, clock.now()))
        rule = self._rule_of(call.number)
        self._later(placed, float(call.ring_seconds), lambda: self._end(placed, NO_ANSWER, NO_ANSWER_SIP_CODE))
        if rule.phone in {loopback.Phone.BUSY, loopback.Phone.NOT_FOUND}:
            self._later(placed, 0.005, lambda: self._end(placed, rule.cause, rule.sip_code))
            return OriginateResult.ACCEPTED
        self._later(placed, self._scattered(0.05), lambda: self._ring(placed))
        rings = self._scattered(loopback.ring_seconds(call.number))
        if rule.phone is loopback.Phone.REJECTS:
            self._later(placed, rings, lambda: self._end(placed, rule.cause, rule.sip_code))
        elif rule.phone is not loopback.Phone.RINGS:
            self._later(placed, rings, lambda: self._answer(placed, rule))
        return OriginateResult.ACCEPTED

    def _scattered(self, seconds: float) -> float:
        return seconds * self._random.uniform(0.9, 1.1)

    def _later(self, call: _Call, seconds: float, action: Callable[[], None]) -> None:
        call.timers.append(asyncio.get_running_loop().call_later(seconds / self._speed, action))

    def _ring(self, call: _Call) -> None:
        call.state = CallState.RINGING
        self._tell(CallRinging(call.id, clock.now()))

    def _answer(self, call: _Call, rule: loopback.Rule) -> None:
        _cancel(call)
        if not self._connected:
            # Asterisk ends a call that is answered while its application has no event stream
            call.answered_at = clock.now()
            self._end(call, NORMAL_CLEARING, None)
            return
        call.state, call.answered_at, call.answered_since = CallState.ANSWERED, clock.now(), clock.boottime()
        self._tell(CallAnswered(call.id, clock.now()))
        if rule.phone is loopback.Phone.PRESSES:
            key = loopback.key_of(call.number)
            self._later(call, loopback.PRESS_SECONDS, lambda: self._tell(KeyPressed(call.id, clock.now(), key)))
        if rule.phone is loopback.Phone.HANGS_UP:
            self._later(call, loopback.HANG_UP_SECONDS, lambda: self._end(call, NORMAL_CLEARING, None))

    def _end(self, call: _Call, cause: int | None, sip_code: int | None) -> None:
        if self._calls.pop(call.id, None) is None:
            return
        self._records[call.id] = CallRecord(call.id, call.started_at, call.answered_at, clock.now(), cause)
        _cancel(call)
        if call.playback is not None:
            call.playback.cancel()
            self._tell(PlaybackEnded(call.id, call.playback_id, clock.now(), failed=False))
        if call.recording is not None:
            self._recorded(call)
        if call.sample is not None:
            self._sampled(call)
        self._tell(CallEnded(call.id, clock.now(), cause, sip_code, by_carrier=sip_code is not None))

    def _tell(self, event: EngineEvent) -> None:
        """Deliver an event; one that happens while nobody is connected is lost, as it is with Asterisk."""
        if self._connected:
            self._events.put_nowait(event)

    async def calls(self, run_id: int | None = None) -> Sequence[LiveCall]:
        """Return live calls."""
        await self._reachable()
        return [
            LiveCall(call.id, call.run_id, call.epoch, call.state)
            for call in self._calls.values()
            if run_id in (None, call.run_id)
        ]

    async def hang_up(self, call_id: str) -> bool:
        """End one call."""
        await self._reachable()
        call = self._calls.get(call_id)
        if call is None:
            return False
        self._end(call, NORMAL_CLEARING, None)
        return True

    async def cancel(self, call_id: str) -> CancelResult:
        """End one call unless it is answered."""
        await self._reachable()
        call = self._calls.get(call_id)
        if call is None:
            return CancelResult.GONE
        if call.state is CallState.ANSWERED:
            return CancelResult.ANSWERED
        self._end(call, NORMAL_CLEARING, None)
        return CancelResult.CANCELLED

    async def play(self, call_id: str, audio: Path, playback_id: str) -> None:
        """Stay silent for as long as the WAV would sound."""
        await self._reachable()
        call = self._calls.get(call_id)
        if call is None or not call.here:
            return
        seconds = await asyncio.to_thread(_duration, audio)
        loop = asyncio.get_running_loop()
        call.playback_id = playback_id
        call.playback = loop.call_later(
            0.0 if seconds is None else seconds / self._speed, lambda: self._played(call, failed=seconds is None)
        )

    def _played(self, call: _Call, *, failed: bool) -> None:
        call.playback = None
        self._tell(PlaybackEnded(call.id, call.playback_id, clock.now(), failed))

    async def stop_playing(self, playback_id: str) -> None:
        """End a playback."""
        await self._reachable()
        for call in self._calls.values():
            if call.playback is not None and call.playback_id == playback_id:
                call.playback.cancel()
                self._played(call, failed=False)

    async def detect(self, call_id: str, timings: DetectionTimings) -> None:
        """Find what the phone's kind is found to be."""
        await self._reachable()
        call = self._calls.get(call_id)
        if call is None or not call.here:
            return
        finding = simulated_speech.found(self._rule_of(call.number).phone, timings)
        call.away = True
        self._later(
            call,
            finding.seconds,
            lambda: self._back(call, CallClassified(call.id, clock.now(), finding.verdict, finding.cause)),
        )

    async def await_beep(self, call_id: str, *, silence_seconds: float, longest_seconds: float) -> None:
        """Wait until the phone has spoken and beeped, and then for the silence."""
        await self._reachable()
        call = self._calls.get(call_id)
        if call is None or not call.here:
            return
        heard = (clock.boottime() - call.answered_since) * self._speed
        speaks = max(0.0, simulated_speech.speech_seconds(self._rule_of(call.number).phone) - heard)
        seconds = speaks + silence_seconds
        call.away = True
        self._later(
            call,
            min(seconds, longest_seconds),
            lambda: self._back(call, GreetingEnded(call.id, clock.now(), in_time=seconds <= longest_seconds)),
        )

    def _back(self, call: _Call, event: CallClassified | GreetingEnded) -> None:
        if not self._connected:
            # as in _answer
            self._end(call, NORMAL_CLEARING, None)
            return
        call.away = False
        self._tell(event)

    async def connect(self, call_id: str, other_id: str) -> None:
        """Note that two who say nothing hear each other."""
        await self._reachable()
        ends = [self._calls.get(each) for each in (call_id, other_id)]
        if any(call is None or not call.here for call in ends):
            raise EngineUnavailableError("One of the calls to be connected is gone.")
        self.connected[other_id] = call_id

    async def part(self, other_id: str) -> None:
        """Forget it."""
        await self._reachable()
        self.connected.pop(other_id, None)

    async def open_media(self, call_id: str, media_id: str, rate: int) -> MediaStream:
        """Hear a person who says nothing, and count what that person is told."""
        await self._reachable()
        call = self._calls.get(call_id)
        if call is None or not call.here:
            raise EngineUnavailableError("The call that an agent was to talk on is gone.")
        stream = SimulatedStream(lambda: self._calls.get(call_id) is call, rate, self._speed)
        self.streams[media_id] = stream
        return stream

    async def start_recording(
        self, call_id: str, recording_id: str, *, longest_seconds: float, silence_seconds: float
    ) -> None:
        """Record a person who says nothing."""
        await self._reachable()
        call = self._calls.get(call_id)
        if call is None or not call.here:
            return
        call.recording_id, call.recording_since = recording_id, clock.boottime()
        call.recording = asyncio.get_running_loop().call_later(
            min(longest_seconds, silence_seconds) / self._speed, self._recorded, call
        )

    def _recorded(self, call: _Call) -> None:
        assert call.recording is not None  # noqa: S101 - it is what ends
        call.recording.cancel()
        call.recording = None
        self._recordings[call.recording_id] = (clock.boottime() - call.recording_since) * self._speed
        self._tell(RecordingEnded(call.id, call.recording_id, clock.now()))

    async def sample(self, call_id: str, recording_id: str, *, seconds: float) -> None:
        """Record a person who says nothing, beside whatever else is done."""
        await self._reachable()
        call = self._calls.get(call_id)
        if call is None or call.state is not CallState.ANSWERED:
            return
        call.sample_id, call.sample_since = recording_id, clock.boottime()
        call.sample = asyncio.get_running_loop().call_later(seconds / self._speed, self._sampled, call)

    def _sampled(self, call: _Call) -> None:
        assert call.sample is not None  # noqa: S101 - it is what ends
        call.sample.cancel()
        call.sample = None
        self._recordings[call.sample_id] = (clock.boottime() - call.sample_since) * self._speed
        self._tell(RecordingEnded(call.id, call.sample_id, clock.now()))

    async def drop_sample(self, call_id: str, recording_id: str) -> None:
        """Forget it."""
        await self._reachable()
        call = self._calls.get(call_id)
        if call is not None and call.sample is not None and call.sample_id == recording_id:
            call.sample.cancel()
            call.sample = None
        self._recordings.pop(recording_id, None)

    async def recording(self, recording_id: str) -> bytes | None:
        """Return as much silence as there was."""
        await self._reachable()
        seconds = self._recordings.get(recording_id)
        return None if seconds is None else _silence(seconds)

    async def recordings(self) -> Sequence[str]:
        """Return the ids of all."""
        await self._reachable()
        return list(self._recordings)

    async def forget_recording(self, recording_id: str) -> None:
        """Remove one."""
        await self._reachable()
        self._recordings.pop(recording_id, None)

    async def adopt(self, stasis_app: str) -> Sequence[LiveCall]:
        """Return nothing: a node of this kind takes its calls along when it dies."""
        del stasis_app
        await self._reachable()
        return []

    async def record(self, call_id: str) -> CallRecord | None:
        """Return what became of a call; one that lives has no end yet."""
        live = self._calls.get(call_id)
        if live is not None:
            return CallRecord(live.id, live.started_at, live.answered_at, None, None)
        return self._records.get(call_id)

    # Faults

    def disconnect(self, reason: str = "event stream closed") -> None:
        """Lose the event stream; calls live on and what happens to them is not told."""
        if self._connected:
            self._tell(EngineDown(reason))
            self._connected = False

    def reconnect(self) -> None:
        """Get the event stream back; nothing is replayed."""
        if not self._connected:
            self._connected = True
            self._tell(EngineUp())

    def freeze(self) -> None:
        """Stop as a process does on SIGSTOP: requests wait unanswered, permits run out meanwhile."""
        if not self._frozen:
            self._frozen = True
            self._tell(EngineDown("does not answer"))

    def thaw(self) -> None:
        """Go on: what waited is carried out now, as far as a permit still lets it."""
        if self._frozen:
            self._frozen = False
            waiting, self._waiting = self._waiting, []
            for call in waiting:
                self._place(call)
            self._tell(EngineUp())

    async def _reachable(self) -> None:
        await asyncio.sleep(0)
        if self._frozen:
            await asyncio.sleep(self._timeout_seconds)
            raise EngineUnavailableError("The simulated engine does not answer.")


def _key(permit: Permit) -> tuple[int, int, str]:
    return permit.run_id, permit.epoch, permit.key


def _cancel(call: _Call) -> None:
    for timer in call.timers:
        timer.cancel()
    call.timers.clear()


def _silence(seconds: float) -> bytes:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        file.writeframes(bytes(2 * round(seconds * _RATE)))
    return data.getvalue()


def _duration(audio: Path) -> float | None:
    try:
        with wave.open(str(audio), "rb") as file:
            return file.getnframes() / file.getframerate()
    except (OSError, wave.Error, EOFError):
        return None

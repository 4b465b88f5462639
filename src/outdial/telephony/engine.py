"""The engine port: exactly what the dialer and the stop barrier need from telephony, and nothing else.

Two adapters implement it, ``asterisk`` and ``simulated``, under one contract suite (``tests/telephony``).

The port has two halves. ``EngineControl`` is what a stop needs and works from any process that can reach the
engine: make, renew and remove permits, list calls, hang up. ``Engine`` adds what only the node that owns the
event stream may do: originate, play, hear events.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from outdial.core.machine import DetectionTimings, MachineVerdict
from outdial.core.model import EngineKind, Trunk

LINE_SECONDS: Final = 3.0
"""How old what a True of ``EngineControl.line_up`` says may be, in seconds the engine itself was running: two intervals
of its OPTIONS (1 s) and its patience with one (1 s). Measured on Asterisk 22.10.1: 1.98 s at most."""


@dataclass(frozen=True, slots=True)
class TrunkAddress:
    """Where a trunk's calls go, as an address: names are resolved by outdial, never by the engine (an engine that
    waits for DNS sends INVITEs seconds after fence and quiesce; measured)."""

    host: str
    """IPv4 or IPv6 address literal."""
    port: int


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to dial for one run at one epoch on one engine, which ends by itself at ``expires_at``."""

    run_id: int
    epoch: int
    key: str
    """32 lower-case hex digits, drawn each time a permit is put: what another node, or this one later, puts or renews
    lets nothing through that was sent under this one."""
    trunk: Trunk
    address: TrunkAddress
    expires_at: datetime
    """Aware UTC in *this process's* wall clock: the instant of the database read that found the run active (``t0``)
    plus TTL, never the instant of sending. The adapter adds the engine's measured clock offset."""


class CallState(StrEnum):
    """What an engine says about a call it still has."""

    DIALING = "dialing"
    RINGING = "ringing"
    ANSWERED = "answered"


@dataclass(frozen=True, slots=True)
class LiveCall:
    """A call the engine has now."""

    id: str
    """The attempt id."""
    run_id: int
    epoch: int
    state: CallState


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What the engine wrote down about a call, for asking after one that has ended. Times are the engine's."""

    call_id: str
    started_at: datetime
    answered_at: datetime | None
    ended_at: datetime | None
    """None: the call lives, or the engine was killed while it did."""
    cause: int | None
    """Q.850 cause; the SIP status is not kept."""


class CancelResult(StrEnum):
    """What became of a call that was to be cancelled."""

    CANCELLED = "cancelled"
    """The engine has given it up. Where the 200 OK crosses the CANCEL it acknowledges that and hangs up by itself, and
    tells nobody (measured): its channel is gone."""
    ANSWERED = "answered"
    """It is a conversation, and was left alone."""
    GONE = "gone"
    """The engine does not have it."""


class OriginateResult(StrEnum):
    """What became of one originate request."""

    ACCEPTED = "accepted"
    """The engine has a channel with our id; events tell the rest."""
    REFUSED = "refused"
    """No valid permit at the engine; nothing was sent to the trunk. The contact may be dialed again later."""
    FAILED = "failed"
    """The engine answered with another error; nothing was sent to the trunk."""
    UNKNOWN = "unknown"
    """No answer (timeout, connection lost). Never send it again: look for the call, else the attempt is unknown."""


@dataclass(frozen=True, slots=True)
class OutgoingCall:
    """One originate request."""

    id: str
    """Attempt id; becomes the channel id."""
    run_id: int
    epoch: int
    key: str
    """Of the permit it is placed under."""
    number: str
    """Called number as the trunk wants it written (``core.phone.written_for``), or the user part of a SIP address at
    the trunk."""
    caller_id: str
    ring_seconds: int


@dataclass(frozen=True, slots=True)
class CallRinging:
    """The called phone rings (180 or 183)."""

    call_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CallAnswered:
    """The call is up and under this node's control: play and hang up work from here."""

    call_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The engine has given the call up. An INVITE may still leave up to 3 ms after this event (measured)."""

    call_id: str
    at: datetime
    cause: int | None
    """Q.850 cause (ITU-T Q.850), None when the engine did not say."""
    sip_code: int | None
    """Final SIP status (``tech_cause``), None when there was none."""
    by_carrier: bool | None = None
    """Whether the carrier has said so itself; None: the engine did not tell. Where it has not, the connection to it may
    be what broke, and the carrier may go on with the call."""


@dataclass(frozen=True, slots=True)
class PlaybackEnded:
    """What was played was heard to its end, or to the end of its call, or was stopped, or could not be played
    (``failed``)."""

    call_id: str
    playback_id: str
    at: datetime
    failed: bool


@dataclass(frozen=True, slots=True)
class RecordingEnded:
    """A recording is over, or came to nothing: what there is of it is what ``Engine.recording`` returns. Comes before
    the ``CallEnded`` of a call that was put down meanwhile (measured)."""

    call_id: str
    recording_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CallClassified:
    """Who has answered a call is known, as far as it will be; it is under this node's control again."""

    call_id: str
    at: datetime
    verdict: MachineVerdict
    cause: str
    """In the detector's own words."""


@dataclass(frozen=True, slots=True)
class GreetingEnded:
    """A machine's greeting is over, or was not in time; the call is under this node's control again."""

    call_id: str
    at: datetime
    in_time: bool


@dataclass(frozen=True, slots=True)
class KeyPressed:
    """The called person pressed a key (RFC 4733)."""

    call_id: str
    at: datetime
    key: str
    """One of ``0``–``9``, ``*``, ``#``, ``A``–``D``."""


@dataclass(frozen=True, slots=True)
class EngineUp:
    """Event stream (re)connected; nothing was replayed, so the node must reconcile with ``calls()``."""


@dataclass(frozen=True, slots=True)
class EngineDown:
    """Event stream lost: no originate until ``EngineUp``."""

    reason: str


EngineEvent = (
    CallRinging
    | CallAnswered
    | CallEnded
    | CallClassified
    | GreetingEnded
    | PlaybackEnded
    | RecordingEnded
    | KeyPressed
    | EngineUp
    | EngineDown
)


class MediaStream(Protocol):
    """The sound of one call, both ways: 16-bit little-endian samples, mono."""

    async def receive(self) -> bytes | None:
        """Return the next 20 ms of what the person says; None: the call, or the engine's side of this, is over."""
        ...

    async def send(self, samples: bytes) -> None:
        """Have the person hear that, after what was sent before; waits while the engine has enough of it."""
        ...

    async def clear(self) -> None:
        """Have the person hear nothing of what was sent and not heard yet."""
        ...

    async def close(self) -> None:
        """End it; what the person hears is the flow's again."""
        ...


class EngineControl(Protocol):
    """What a stop needs of an engine; safe from any process, any number of them at once.

    Every method raises ``EngineUnavailableError`` when the engine cannot be reached or does not answer within the
    adapter's timeout (default 1 s).
    """

    @property
    def id(self) -> str:
        """Stable id of the engine (row in ``engines``)."""
        ...

    @property
    def kind(self) -> EngineKind: ...

    async def fence(self, run_id: int, known: Iterable[tuple[int, str]] = ()) -> None:
        """Remove every permit of the run, all epochs and nodes. After it returns each later originate for them is
        refused.

        ``known`` names those that may have been put there, ``(epoch, key)``: they are removed by name, whatever the
        engine's own list of permits says (Asterisk fills that list a moment later). Idempotent: fencing what is not
        there succeeds.
        """
        ...

    async def permits(self) -> Sequence[tuple[int, int, str]]:
        """Return ``(run_id, epoch, key)`` of every permit object present, expired or not (for the reaper)."""
        ...

    async def remove_permit(self, run_id: int, epoch: int, key: str) -> None:
        """Remove one permit; idempotent."""
        ...

    async def calls(self, run_id: int | None = None) -> Sequence[LiveCall]:
        """Return the calls the engine has, of one run or of all runs."""
        ...

    async def hang_up(self, call_id: str) -> bool:
        """End one call: CANCEL when unanswered, BYE when answered. False when the engine does not have it."""
        ...

    async def cancel(self, call_id: str) -> CancelResult:
        """End one call unless it is answered, by the engine's word at that moment and not by a listing's.

        Asterisk cannot do both in one step: who answers between its look and its hang-up, one request apart, is hung up
        at once.
        """
        ...

    async def line_up(self, trunk_id: str, address: TrunkAddress) -> bool:
        """Whether the connection of a TCP or TLS trunk to one of its addresses is up, as of the engine's last OPTIONS
        there, at most ``LINE_SECONDS`` ago.

        False also when nobody has asked this engine for ``trunk_up`` or ``ask_line`` there since it started, so always
        for UDP where calls are real; and for an instant when another node asks for the first time. Measured over 84
        failures (mute, connection cut, new ones refused or their SYNs swallowed): False after 1.98 s at most, and True
        again 1.54 s at most after the carrier was back.
        """
        ...

    async def ask_line(self, trunk: Trunk, address: TrunkAddress) -> None:
        """Begin to ask for the line over TCP or TLS, where nobody has since the engine started."""
        ...

    async def close(self) -> None:
        """Release connections; the engine itself goes on."""
        ...


class Engine(EngineControl, Protocol):
    """A node's own engine, with its event stream."""

    @property
    def up(self) -> bool:
        """Event stream connected and the clock offset known and ≤ 0.5 s: originating is allowed."""
        ...

    @property
    def clock_offset_seconds(self) -> float | None:
        """Engine clock minus this process's wall clock, None while unknown."""
        ...

    @property
    def keeps_records(self) -> bool:
        """Whether ``record()`` knows every call of an engine that has not been killed since: only then does its None
        say that a call was never placed."""
        ...

    def events(self) -> AsyncIterator[EngineEvent]:
        """Yield events in order; reconnects by itself. One consumer. Starts with ``EngineUp``.

        Ends only when another node has adopted this node's calls, believing it dead: the node must then begin a new
        life under a new name. Timestamps are the engine's, in this process's wall clock.
        """
        ...

    async def put_permit(self, permit: Permit) -> None:
        """Create the permit, whole, with its expiry; idempotent. Only for a caller that has noted that it does, where a
        stop looks: a permit put after a fence undoes it.

        An ``expires_at`` already past makes a permit that serves nothing. Raises ``EngineUnavailableError``.
        """
        ...

    async def renew_permit(self, permit: Permit) -> bool:
        """Extend a permit that this object put to ``permit.expires_at``, by its contact alone: after a fence that
        revives nothing, so no lock is needed. False when it must be put anew (never put, engine restarted, refused).
        Raises ``EngineUnavailableError``.
        """
        ...

    async def trunk_up(self, trunk: Trunk, address: TrunkAddress) -> bool:
        """Whether the trunk may be dialed now: always for UDP; for TCP and TLS only while its connection is known
        to be up (a contact that connects late sends its INVITE after its channel is gone; measured +0.47 s)."""
        ...

    async def originate(self, call: OutgoingCall) -> OriginateResult:
        """Place one call. The request is written to the engine's socket before this first suspends, so a caller
        that checks its gate and then awaits this lets nothing run in between. The caller sends an id once, ever: an
        engine only notices while the first call lives."""
        ...

    async def play(self, call_id: str, audio: Path, playback_id: str) -> None:
        """Play a WAV (8 kHz 16-bit mono) on an answered call, under an id that nothing else was played under;
        ``PlaybackEnded`` follows. Raises ``EngineUnavailableError``; a call that is gone meanwhile is no error (its
        ``CallEnded`` is on its way)."""
        ...

    async def stop_playing(self, playback_id: str) -> None:
        """End what is played under that id; what is over already is no error. Raises ``EngineUnavailableError``."""
        ...

    async def detect(self, call_id: str, timings: DetectionTimings) -> None:
        """Listen to who has answered a call: ``CallClassified`` follows, unless the call ends before.

        Until then nothing can be played, recorded or connected there; it can be hung up, by anybody, and is listed as
        answered. Whoever hears nothing for longer than ``decision_seconds`` plays what is to be played: the event was
        lost. Raises ``EngineUnavailableError``, also when the engine has not what that takes: then nothing has changed.
        A call that is gone meanwhile is no error.
        """
        ...

    async def await_beep(self, call_id: str, *, silence_seconds: float, longest_seconds: float) -> None:
        """Wait for the end of a machine's greeting, which is so much silence: ``GreetingEnded`` follows, under the
        terms of :meth:`detect`."""
        ...

    async def connect(self, call_id: str, other_id: str) -> None:
        """Let the people at two answered calls hear each other, until one of them ends or :meth:`part`.

        Raises ``EngineUnavailableError``, also when one of the calls is gone.
        """
        ...

    async def part(self, other_id: str) -> None:
        """Undo :meth:`connect`, by the second call's id, whether or not that lives: what the first hears is the flow's
        again. Idempotent. Raises ``EngineUnavailableError``."""
        ...

    async def open_media(self, call_id: str, media_id: str, rate: int) -> MediaStream:
        """Take over what an answered call hears and says, at 8,000 or 16,000 samples a second, under an id that nothing
        was opened under before.

        Raises ``EngineUnavailableError``, also when the call is gone or the engine cannot do that.
        """
        ...

    async def start_recording(
        self, call_id: str, recording_id: str, *, longest_seconds: float, silence_seconds: float
    ) -> None:
        """Record what the person at an answered call says, until ``longest_seconds`` have passed, ``silence_seconds``
        of silence, ``#``, or the end of the call; ``RecordingEnded`` follows. The id is a file's name of letters,
        digits, ``_`` and ``-`` under which nothing was recorded before.

        Raises ``EngineUnavailableError``; a call that is gone meanwhile is no error.
        """
        ...

    async def sample(self, call_id: str, recording_id: str, *, seconds: float) -> None:
        """Record what is said at an answered call from now on, whatever else is done with it meanwhile: it may be
        listened to (:meth:`detect`), played to and recorded at the same time, and none of that is changed by this.

        Ends after so many seconds or with the call; ``RecordingEnded`` follows, perhaps after the ``CallEnded``. No
        call is made by it. Raises ``EngineUnavailableError``; a call that is gone meanwhile is no error.
        """
        ...

    async def drop_sample(self, call_id: str, recording_id: str) -> None:
        """End what :meth:`sample` has begun, or not begun yet, and forget it; idempotent. Raises
        ``EngineUnavailableError``."""
        ...

    async def recording(self, recording_id: str) -> bytes | None:
        """Return a recording that has ended, a WAV of 8 kHz 16-bit mono, perhaps without any sound; None when there is
        none. It stays at the engine until it is forgotten. Raises ``EngineUnavailableError``."""
        ...

    async def recordings(self) -> Sequence[str]:
        """Return the ids of all recordings at the engine, whoever made them. Raises ``EngineUnavailableError``."""
        ...

    async def forget_recording(self, recording_id: str) -> None:
        """Remove a recording from the engine; idempotent. Raises ``EngineUnavailableError``."""
        ...

    async def adopt(self, stasis_app: str) -> Sequence[LiveCall]:
        """Take over the event stream of a dead node; its calls' events arrive in ``events()`` from then on.
        Returns the dead node's calls that still live."""
        ...

    async def record(self, call_id: str) -> CallRecord | None:
        """Return what the engine wrote down about a call. None = nothing is known, which proves nothing: an engine
        run by somebody else or on another machine keeps records we cannot read, a killed one may lose the last few
        milliseconds, and after some 300,000 calls old ones go."""
        ...

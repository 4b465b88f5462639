"""The calls of one node: hears the engine's events, plays the flow, hangs up, and tells the book."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeAlias

import structlog

from outdial import clock
from outdial.core.errors import EngineUnavailableError
from outdial.core.flow import texts
from outdial.core.ids import permit_name
from outdial.core.machine import Detection, MachineDetection
from outdial.core.model import AttemptState
from outdial.core.pre_call import PreCallAnswer
from outdial.core.recording import is_sample
from outdial.dialer import outcomes
from outdial.dialer.agents import Agents
from outdial.dialer.book import Book
from outdial.dialer.detection import CheckDesk, MachineCheck
from outdial.dialer.flow_player import PLAYBACK_GRACE_SECONDS, Desk, FlowPlayer, PlayableFlow
from outdial.dialer.flow_webhooks import FlowWebhooks
from outdial.dialer.legs import Legs, Notes, Place
from outdial.dialer.opt_outs import OptOuts
from outdial.dialer.outcomes import Known
from outdial.dialer.recordings import Recordings
from outdial.dialer.samples import Samples
from outdial.store.attempts import AttemptNews
from outdial.telephony.engine import (
    CallAnswered,
    CallClassified,
    CallEnded,
    CallRinging,
    CallState,
    CancelResult,
    Engine,
    EngineDown,
    EngineEvent,
    EngineUp,
    GreetingEnded,
    KeyPressed,
    OriginateResult,
    OutgoingCall,
    PlaybackEnded,
    RecordingEnded,
)
from outdial.telephony.speech import Voice

HANG_UP_RETRY_SECONDS: Final = 0.5
"""Before a call that should end is hung up again, when the engine did not answer or may not have it yet."""

_Listened: TypeAlias = CallClassified | GreetingEnded
_Played: TypeAlias = PlaybackEnded | RecordingEnded | KeyPressed

_STATES: Final = {
    CallState.DIALING: AttemptState.DIALING,
    CallState.RINGING: AttemptState.RINGING,
    CallState.ANSWERED: AttemptState.ANSWERED,
}

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Messages:
    """What whoever answers a call of a run hears."""

    flow: PlayableFlow | None
    courtesy: PlayableFlow | None = None
    """If we have cancelled it; None: nothing, and the call is ended at once."""


class _Call:
    """One attempt of this node between its reservation and its end."""

    def __init__(self, known: Known, messages: Messages, on_end: Callable[[], None]) -> None:
        self.known = known
        self.messages = messages
        self.on_end = on_end
        self.run_id: int | None = None
        """Its run, once it was placed."""
        self.variables: Mapping[str, str] = {}
        """What its flow may say of the contact."""
        self.player: FlowPlayer | None = None
        """Once it is answered."""
        self.check: MachineCheck | None = None
        """While it is found out who has answered, and afterwards."""
        self.in_flight = False
        """Its originate has not returned yet, or its outcome is unknown."""
        self.since: float | None = None
        """Boot time at which its originate was sent."""
        self.timer: asyncio.TimerHandle | None = None


class Calls:
    """Every attempt this node answers for."""

    def __init__(
        self,
        engine: Engine,
        book: Book,
        voice: Voice,
        opt_outs: OptOuts,
        *,
        ttl_seconds: float,
        recordings: Recordings,
        transfer_notes: Notes,
        private_hosts: Iterable[str] = (),
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``private_hosts``: hosts that webhooks and agents of flows may be at although their addresses are private;
        ``chance``: draws which verdicts are kept for review, a number from 0 to 1, never 1."""
        self._engine = engine
        self._book = book
        self._voice = voice
        self._opt_outs = opt_outs
        self._recordings = recordings
        self._samples = Samples(engine, recordings.keep, self._spawn, chance)
        self._legs = Legs(engine, transfer_notes, self._spawn, ttl_seconds=ttl_seconds)
        self._placing: dict[int, Place] = {}
        """Run id → what places second legs for it, while its gate may be open here."""
        self._agents = Agents(engine, private_hosts)
        self._webhooks = FlowWebhooks(private_hosts)
        self._ttl_seconds = ttl_seconds
        self._calls: dict[str, _Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._hanging_up: set[str] = set()
        self._cancelling: set[str] = set()
        self._missing: set[str] = set()
        """Attempts whose call was not at the engine at the last look."""
        self.up_since: float | None = None
        """Boot time since which the event stream is up without a gap; None while it is down."""

    # What the node does

    def reserve(self, known: Known, messages: Messages, on_end: Callable[[], None]) -> None:
        """Take an attempt that is reserved in the database; ``on_end`` is called once when it is over."""
        self._calls[known.attempt_id] = _Call(known, messages, on_end)

    def adopt(self, known: Known, flow: PlayableFlow | None) -> None:
        """Take an attempt of a dead node whose call lives: what rings is cancelled, a conversation is ended once its
        message must be over. Where a flow of several steps stood, nobody knows: that is ended at once."""
        self.reserve(known, Messages(flow), _nobody)
        call = self._calls[known.attempt_id]
        call.since = clock.boottime()
        if known.answered_at is None:
            self.hang_up(known.attempt_id)
            return
        heard = (clock.now() - known.answered_at).total_seconds()
        if known.detection is not None:
            heard -= known.detection.seconds
        seconds = 0.0 if flow is None else flow.message_seconds
        if seconds == 0.0 or known.is_machine or known.undecided:
            self.hang_up(known.attempt_id)
            return
        self._end_after(call, max(0.0, seconds - heard))

    def put_back(self, attempt_id: str, reason: str) -> None:
        """End an attempt of which nothing was ever sent."""
        call = self._calls.get(attempt_id)
        if call is not None:
            self._finish(call, outcomes.never_sent(call.known, at=clock.now(), reason=reason))

    def tell(self, attempt_id: str, answer: PreCallAnswer) -> bool:
        """Note what the pre-call fetch said of a reserved attempt, and end it when that is to skip the contact; return
        whether it may be placed."""
        call = self._calls.get(attempt_id)
        if call is None:
            return False
        call.known = replace(call.known, pre_call=answer)
        call.variables = {**texts(answer.data), **call.variables}
        if not answer.call:
            self._finish(call, outcomes.skipped(call.known, at=clock.now()))
        return answer.call

    def inform(self, attempt_id: str, variables: Mapping[str, str]) -> None:
        """Take what the flow of a reserved attempt may say of its contact."""
        call = self._calls.get(attempt_id)
        if call is not None:
            call.variables = variables

    async def originate(self, outgoing: OutgoingCall) -> OriginateResult:
        """Place a reserved call. The request is written before this first suspends."""
        call = self._calls[outgoing.id]
        call.in_flight = True
        call.run_id = outgoing.run_id
        call.since = clock.boottime()
        permit = permit_name(outgoing.run_id, outgoing.epoch, outgoing.key)
        call.known = replace(call.known, dialed_at=clock.now(), permit=permit)
        result = await self._engine.originate(outgoing)
        if self._calls.get(outgoing.id) is not call:
            # its end was told before the answer came
            return result
        match result:
            case OriginateResult.ACCEPTED:
                call.in_flight = False
                self._advance(call, AttemptState.DIALING)
            case OriginateResult.REFUSED:
                self._finish(call, outcomes.never_sent(call.known, at=clock.now(), reason="no permit at the engine"))
            case OriginateResult.FAILED:
                self._finish(call, outcomes.failed(call.known, at=clock.now()))
            case OriginateResult.UNKNOWN:
                _log.warning("originate_outcome_unknown", attempt_id=outgoing.id)
                self._spawn(self._find_out(call))
        return result

    def hang_up(self, attempt_id: str) -> None:
        """End a call, trying until the engine has answered or the call is over. Asked twice at once it tries once."""
        if attempt_id not in self._hanging_up:
            self._hanging_up.add(attempt_id)
            self._spawn(self._hang_up(attempt_id))

    def hang_up_unanswered(self, reason: str = "") -> None:
        """Cancel every call that is not answered. With a reason that is written down, and whoever answers one all the
        same hears the courtesy message, if there is one and the engine can be heard. Second legs that ring are calls
        too."""
        self._legs.end_unanswered()
        for call in list(self._calls.values()):
            if call.known.answered_at is None and call.since is not None:
                call.known = replace(call.known, cancelled=call.known.cancelled or reason)
                if call.messages.courtesy is None or not self._engine.up:
                    self.hang_up(call.known.attempt_id)
                elif call.known.attempt_id not in self._cancelling:
                    self._cancelling.add(call.known.attempt_id)
                    self._spawn(self._cancel(call, call.messages.courtesy))

    def with_courtesy(self) -> frozenset[int]:
        """Return the runs of calls that are not answered and that nobody has cancelled yet, and that would hear a
        courtesy message then."""
        return frozenset(call.run_id for call in self._open_to_courtesy() if call.run_id is not None)

    def cancelled_elsewhere(self, run_id: int, reason: str) -> None:
        """Hear that a stop cancels the run's calls that are not answered: who answers all the same hears the courtesy
        message."""
        for call in self._open_to_courtesy():
            if call.run_id == run_id:
                call.known = replace(call.known, cancelled=reason)

    def _open_to_courtesy(self) -> list[_Call]:
        return [
            call
            for call in self._calls.values()
            if call.messages.courtesy is not None and call.known.answered_at is None and not call.known.cancelled
        ]

    def let_transfer(self, run_id: int, place: Place) -> None:
        """Have second legs of the run's calls placed so, until :meth:`let_transfer_no_more`."""
        self._placing[run_id] = place

    def let_transfer_no_more(self, run_id: int, place: Place) -> None:
        """The run is not dialed any more by whoever placed them so."""
        if self._placing.get(run_id) == place:
            del self._placing[run_id]

    def hang_up_all(self) -> None:
        """End every call."""
        self._legs.end_all()
        for call in list(self._calls.values()):
            if call.since is not None:
                self.hang_up(call.known.attempt_id)

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def legs(self) -> int:
        """How many second legs are not over, or not written down as over."""
        return len(self._legs)

    def __contains__(self, attempt_id: str) -> bool:
        return attempt_id in self._calls

    def ids(self) -> list[str]:
        """Return the attempts that are followed."""
        return list(self._calls)

    async def close(self) -> None:
        """Stop following: what is left is for whoever takes this node's calls over."""
        for call in self._calls.values():
            _disarm(call)
            if call.check is not None:
                call.check.close()
            if call.player is not None:
                call.player.close()
        while self._tasks:
            # what is cancelled may have somebody's end to begin yet
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._webhooks.close()
        await self._agents.close()

    # What the engine says

    async def run(self) -> None:
        """Follow the engine's events; return when another node has taken this node's calls over."""
        async for event in self._engine.events():
            self._on(event)

    def _on(self, event: EngineEvent) -> None:
        match event:
            case EngineUp():
                self.up_since = clock.boottime()
                self._samples.reconnected()
                _log.info("engine_up", engine_id=self._engine.id)
                self._spawn(self._reconcile())
            case EngineDown(reason=reason):
                self.up_since = None
                _log.error("engine_down", engine_id=self._engine.id, reason=reason)
                # a call that is answered now would hear nothing and be ended: rather let nobody pick it up
                self.hang_up_unanswered()
            case _:
                call = self._calls.get(event.call_id)
                if isinstance(event, CallAnswered | CallEnded) and event.call_id in self._legs:
                    self._legs.hear(event)
                elif isinstance(event, RecordingEnded) and is_sample(event.recording_id):
                    self._samples.ended(event)
                elif call is not None:
                    self._tell(call, event)
                elif isinstance(event, CallAnswered | CallClassified | GreetingEnded):
                    _log.error("unknown_call_answered", attempt_id=event.call_id)
                    self._spawn(self._end_stranger(event.call_id))

    def _tell(
        self,
        call: _Call,
        event: CallRinging | CallAnswered | CallEnded | _Listened | _Played,
    ) -> None:
        match event:
            case CallRinging(at=at):
                call.known = replace(call.known, ringing_at=at)
                self._advance(call, AttemptState.RINGING)
            case CallAnswered(at=at):
                self._answered(call, at)
            case CallEnded():
                self._ended(call, event)
            case CallClassified() | GreetingEnded():
                if call.check is not None:
                    call.check.hear(event)
            case _:
                self._tell_player(call, event)

    def _tell_player(self, call: _Call, event: _Played) -> None:
        match event:
            case PlaybackEnded() if call.player is None:
                # taken over from another node: it has heard its message
                self.hang_up(call.known.attempt_id)
            case _ if call.player is None:
                return
            case PlaybackEnded(playback_id=playback_id, failed=failed):
                call.player.playback_ended(playback_id, failed=failed)
            case RecordingEnded(recording_id=recording_id):
                call.player.recording_ended(recording_id)
            case KeyPressed(key=key):
                call.player.key(key)

    def _answered(self, call: _Call, at: datetime) -> None:
        if call.known.answered_at is not None:
            return
        flow = call.messages.flow
        if call.known.cancelled:
            flow = call.messages.courtesy
            seconds = None if flow is None else flow.message_seconds
            call.known = outcomes.crossed(call.known, at=at, courtesy_seconds=seconds)
        else:
            call.known = replace(call.known, answered_at=at)
        self._advance(call, AttemptState.ANSWERED)
        if flow is None:
            self.hang_up(call.known.attempt_id)
            return
        # from here on the flow's own end ends the call
        _disarm(call)
        if call.known.cancelled or call.known.rules.machine_detection is MachineDetection.NO:
            self._play(call, flow)
            return
        call.check = MachineCheck(
            call.known.attempt_id,
            at,
            call.known.rules,
            CheckDesk(
                engine=self._engine,
                spawn=self._spawn,
                sample=self._samples.of(call.known.attempt_id, call.known.rules.own.review),
                found=lambda detection: self._found(call, detection),
                play=lambda: self._play(call, flow),
                hang_up=lambda reason: self._flow_over(call, reason),
            ),
            has_machine_start=flow.plan.machine_start is not None,
        )
        call.check.begin()

    def _found(self, call: _Call, detection: Detection) -> None:
        call.known = replace(call.known, detection=detection)
        self._book.put(outcomes.progress(call.known))

    def _play(self, call: _Call, flow: PlayableFlow) -> None:
        machine = call.known.is_machine
        call.known = replace(call.known, message_left=machine)
        desk = Desk(
            engine=self._engine,
            voice=self._voice,
            spawn=self._spawn,
            opt_out=lambda scope, source: self._opt_outs.put(call.known.attempt_id, scope, source),
            ask=lambda action, step: self._webhooks.ask(
                action, attempt_id=call.known.attempt_id, flow_id=flow.id, step=step
            ),
            keep=self._recordings.keep,
            talk=lambda action, step, opts_out: self._agents.talk(
                action,
                attempt_id=call.known.attempt_id,
                about={"attempt_id": call.known.attempt_id, "flow_id": flow.id, "step": step},
                opts_out=opts_out,
            ),
            transfer=lambda action: self._legs.transfer(
                call.known.attempt_id, action, self._placing.get(call.run_id or 0)
            ),
            end=lambda unheard: self._flow_over(call, unheard),
        )
        call.player = FlowPlayer(call.known.attempt_id, flow, call.variables, desk, machine=machine)
        call.player.begin()

    def _flow_over(self, call: _Call, unheard: str) -> None:
        if unheard == outcomes.HUNG_UP_ON:
            call.known = replace(call.known, unheard=unheard)
        elif unheard:
            _log.error("flow_not_played", attempt_id=call.known.attempt_id, reason=unheard)
            call.known = replace(call.known, unheard=unheard)
        self.hang_up(call.known.attempt_id)

    def _ended(self, call: _Call, event: CallEnded) -> None:
        ours = event.sip_code is None and event.cause in (None, outcomes.NORMAL_CLEARING)
        self._finish(
            call,
            outcomes.ended(
                call.known,
                at=event.at,
                cause=event.cause,
                sip_code=event.sip_code,
                by_carrier=event.by_carrier,
                cancelled_by_us=ours,
            ),
        )

    def _advance(self, call: _Call, state: AttemptState) -> None:
        """Move forward only: the answer to an originate may come after the first events."""
        if _ORDER[state] > _ORDER[call.known.state]:
            call.known = replace(call.known, state=state)
        self._book.put(outcomes.progress(call.known))

    def _finish(self, call: _Call, news: AttemptNews) -> None:
        if self._calls.pop(call.known.attempt_id, None) is None:
            return
        _disarm(call)
        if call.check is not None:
            call.check.close()
        self._legs.end_of(call.known.attempt_id)
        self._agents.end_of(call.known.attempt_id)
        self._book.put(news if call.player is None else replace(news, flow=call.player.close()))
        call.on_end()

    def _end_after(self, call: _Call, seconds: float) -> None:
        _disarm(call)
        call.timer = asyncio.get_running_loop().call_later(
            seconds + PLAYBACK_GRACE_SECONDS, self.hang_up, call.known.attempt_id
        )

    # What takes time

    async def _hang_up(self, attempt_id: str) -> None:
        try:
            while (call := self._calls.get(attempt_id)) is not None:
                # asked before: an originate that returns while the engine looks may have been carried out after it
                in_flight = call.in_flight
                with contextlib.suppress(EngineUnavailableError):
                    if await self._engine.hang_up(attempt_id) or not in_flight:
                        return
                await asyncio.sleep(HANG_UP_RETRY_SECONDS)
        finally:
            self._hanging_up.discard(attempt_id)

    async def _cancel(self, call: _Call, courtesy: PlayableFlow) -> None:
        """Cancel a call until the engine has done it, or says that it is answered: what it hears then is on its way."""
        attempt_id = call.known.attempt_id
        try:
            while attempt_id in self._calls and call.known.answered_at is None:
                in_flight = call.in_flight
                with contextlib.suppress(EngineUnavailableError):
                    result = await self._engine.cancel(attempt_id)
                    if result is CancelResult.ANSWERED and call.player is None and call.timer is None:
                        # should the event that says so be lost, nobody is kept on the line
                        self._end_after(call, courtesy.message_seconds)
                    if result is not CancelResult.GONE or not in_flight:
                        return
                await asyncio.sleep(HANG_UP_RETRY_SECONDS)
        finally:
            self._cancelling.discard(attempt_id)

    async def _end_stranger(self, call_id: str) -> None:
        """End a call nobody here asked for: placed by a node that was frozen, and thawed after it was given up."""
        while True:
            try:
                await self._engine.hang_up(call_id)
            except EngineUnavailableError as error:
                _log.error("unknown_call_not_ended", attempt_id=call_id, reason=error.message)
                await asyncio.sleep(HANG_UP_RETRY_SECONDS)
            else:
                return

    async def _find_out(self, call: _Call) -> None:
        """Learn what became of an originate without an answer, once no permit can let it through any more."""
        attempt_id = call.known.attempt_id
        await asyncio.sleep(self._ttl_seconds)
        while attempt_id in self._calls:
            up_since = self.up_since
            try:
                alive = {live.id: live.state for live in await self._engine.calls()}
                if attempt_id in alive:
                    call.in_flight = False
                    heard = call.known.state is not AttemptState.RESERVED
                    self._advance(call, _STATES[alive[attempt_id]])
                    if not heard:
                        # it lives and tells nothing: its events are lost, so do not let anybody pick up
                        self.hang_up(attempt_id)
                    return
                if up_since is None or up_since != self.up_since:
                    # asked another way than the originate went, the engine may not have come to it yet
                    await asyncio.sleep(HANG_UP_RETRY_SECONDS)
                    continue
                record = await self._engine.record(attempt_id)
            except EngineUnavailableError:
                await asyncio.sleep(HANG_UP_RETRY_SECONDS)
                continue
            self._finish(call, outcomes.from_record(call.known, record, at=clock.now(), placed=True))

    async def reconcile(self) -> None:
        """Find calls whose end nobody told: those that are missing at the engine now and were at the last look.

        One look alone would be ahead of the events that are on their way.
        """
        if self._engine.up:
            await self._reconcile(twice=True)

    async def _reconcile(self, *, twice: bool = False) -> None:
        """After a gap in the events: find the end of calls that are gone, and the state of those that live."""
        # before asking: a call that is placed meanwhile must not be missed in the answer
        before = [call for call in self._calls.values() if call.since is not None and not call.in_flight]
        legs_before = self._legs.placed()
        missing, self._missing = self._missing, set()
        try:
            alive = {live.id: live.state for live in await self._engine.calls()}
            self._legs.reconcile(legs_before, alive, twice=twice)
            for call in before:
                attempt_id = call.known.attempt_id
                if attempt_id not in self._calls:
                    continue
                if attempt_id not in alive:
                    if twice and attempt_id not in missing:
                        self._missing.add(attempt_id)
                        continue
                    record = await self._engine.record(attempt_id)
                    self._finish(call, outcomes.from_record(call.known, record, at=clock.now(), placed=True))
                elif alive[attempt_id] is CallState.ANSWERED and call.known.answered_at is None and not twice:
                    self._answered(call, clock.now())
        except EngineUnavailableError as error:
            # the next look asks again
            _log.warning("reconcile_interrupted", engine_id=self._engine.id, reason=error.message)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("call_task_failed", exc_info=error)


_ORDER: Final = {state: place for place, state in enumerate(AttemptState)}


def _disarm(call: _Call) -> None:
    if call.timer is not None:
        call.timer.cancel()


def _nobody() -> None:
    return

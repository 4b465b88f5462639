"""Finds out who has answered one call, and when a machine's greeting is over, before the call's flow begins.

Whatever goes wrong on the way, the call is a person's: its flow begins, and what went wrong is written down with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, assert_never

import structlog

from outdial import clock
from outdial.core.errors import OutdialError
from outdial.core.machine import AfterVerdict, Detection, MachineVerdict, after_verdict
from outdial.core.model import DialingRules
from outdial.dialer.outcomes import HUNG_UP_ON
from outdial.dialer.samples import CallSample
from outdial.telephony.engine import CallClassified, Engine, GreetingEnded

GRACE_SECONDS: Final = 2.0
"""How much longer than it may take a verdict, or the end of a greeting, is waited for: then the event was lost."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CheckDesk:
    """What a check does through others."""

    engine: Engine
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    sample: CallSample
    """What of the call may be kept for review."""
    found: Callable[[Detection], None]
    """Write the verdict down."""
    play: Callable[[], None]
    """Begin the call's flow."""
    hang_up: Callable[[str], None]
    """End the call, which has heard nothing for that reason."""


class MachineCheck:
    """One call between its answer and its flow."""

    def __init__(
        self,
        attempt_id: str,
        answered_at: datetime,
        rules: DialingRules,
        desk: CheckDesk,
        *,
        has_machine_start: bool,
    ) -> None:
        self._attempt_id = attempt_id
        self._answered_at = answered_at
        self._mode = rules.machine_detection
        self._timings = rules.own.detection
        self._desk = desk
        self._has_machine_start = has_machine_start
        self._timer: asyncio.TimerHandle | None = None
        self._waits_for: type[CallClassified | GreetingEnded] | None = CallClassified

    def begin(self) -> None:
        """Begin, once the call is answered."""
        self._desk.spawn(self._detect())

    def hear(self, event: CallClassified | GreetingEnded) -> None:
        """Hear who has answered, or that a machine records now, or speaks on for longer than is waited for; what comes
        late changes nothing."""
        if self._waits_for is not type(event):
            return
        match event:
            case CallClassified(verdict=verdict, cause=cause, at=at):
                self._decide(verdict, cause, at)
            case GreetingEnded(in_time=in_time):
                if not in_time:
                    _log.info("greeting_not_over", attempt_id=self._attempt_id)
                self._play()

    def close(self) -> None:
        """The call is over: do nothing any more."""
        self._waits_for = None
        self._disarm()
        self._desk.sample.close()

    async def _detect(self) -> None:
        # before it is listened to: what the detector hears is what is reviewed
        await self._desk.sample.begin()
        if self._waits_for is None:
            return
        try:
            # whoever answers too slowly to be asked is not sent away later, in the middle of the flow
            async with asyncio.timeout(self._timings.decision_seconds + GRACE_SECONDS):
                await self._desk.engine.detect(self._attempt_id, self._timings)
            if self._waits_for is CallClassified:
                self._after(self._timings.decision_seconds, lambda: self._failed("no verdict came in time"))
        except TimeoutError:
            self._failed("the engine did not begin in time")
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody is kept waiting for it
            if not isinstance(error, OutdialError):
                _log.exception("detection_failed", attempt_id=self._attempt_id)
            self._failed(str(error))

    def _failed(self, reason: str) -> None:
        if self._waits_for is CallClassified:
            _log.warning("detection_failed", attempt_id=self._attempt_id, reason=reason)
            self._decide(MachineVerdict.FAILED, reason, clock.now())

    def _decide(self, verdict: MachineVerdict, cause: str, at: datetime) -> None:
        self._disarm()
        seconds = max(0.0, (at - self._answered_at).total_seconds())
        sample = self._desk.sample.decide(verdict)
        self._desk.found(Detection(verdict, cause, round(seconds, 3), self._timings, sample))
        match after_verdict(self._mode, verdict, has_machine_start=self._has_machine_start):
            case AfterVerdict.PLAY:
                self._play()
            case AfterVerdict.HANG_UP:
                self.close()
                self._desk.hang_up(HUNG_UP_ON)
            case AfterVerdict.AWAIT_BEEP:
                self._waits_for = GreetingEnded
                self._desk.spawn(self._await_beep())
            case following:
                assert_never(following)

    async def _await_beep(self) -> None:
        if self._waits_for is None:
            return
        try:
            async with asyncio.timeout(self._timings.tone_seconds + GRACE_SECONDS):
                await self._desk.engine.await_beep(
                    self._attempt_id,
                    silence_seconds=self._timings.greeting_seconds,
                    longest_seconds=self._timings.tone_seconds,
                )
            if self._waits_for is GreetingEnded:
                self._after(self._timings.tone_seconds, self._play)
        except TimeoutError:
            _log.warning("greeting_not_awaited", attempt_id=self._attempt_id, reason="the engine did not begin in time")
            self._play()
        except Exception as error:  # noqa: BLE001 - as above
            if not isinstance(error, OutdialError):
                _log.exception("greeting_not_awaited", attempt_id=self._attempt_id)
            _log.warning("greeting_not_awaited", attempt_id=self._attempt_id, reason=str(error))
            self._play()

    def _play(self) -> None:
        if self._waits_for is not None:
            self.close()
            self._desk.play()

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._disarm()
        self._timer = asyncio.get_running_loop().call_later(seconds + GRACE_SECONDS, action)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

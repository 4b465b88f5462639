"""Who has answered a call at an Asterisk: its AMD() and WaitForSilence() are dialplan applications, so the call leaves
our application for them, and comes back with what they found.

Sending a call to a context that is not there would end it (measured): whether it is there is asked before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog

from outdial.core.errors import EngineUnavailableError
from outdial.core.machine import DetectionTimings, MachineVerdict, verdict_of_amd
from outdial.telephony import detection_context
from outdial.telephony.asterisk_media import AsteriskMedia
from outdial.telephony.dialplan_needs import GONE, detecting, lacking
from outdial.telephony.engine import CallClassified, GreetingEnded

WORD_MS: Final = 100
"""Shorter sounds are no words; Asterisk's own default."""
GAP_MS: Final = 50
"""Silence between two words, at least; Asterisk's own default."""

_SILENCE: Final = "SILENCE"

_log = structlog.get_logger()


class AsteriskDetection(AsteriskMedia):
    """Adds listening to who has answered."""

    def __init__(
        self,
        *,
        engine_id: str,
        url: str,
        username: str,
        password: str,
        timeout_seconds: float,
        media_dir: Path | None,
        stasis_app: str,
    ) -> None:
        super().__init__(
            engine_id=engine_id,
            url=url,
            username=username,
            password=password,
            timeout_seconds=timeout_seconds,
            media_dir=media_dir,
        )
        self._app = stasis_app
        self._detects = False

    async def detect(self, call_id: str, timings: DetectionTimings) -> None:
        """Send the call to AMD()."""
        await self._send(call_id, detection_context.WHO, amd_arguments(timings))

    async def await_beep(self, call_id: str, *, silence_seconds: float, longest_seconds: float) -> None:
        """Send the call to WaitForSilence(), whose time limit is in whole seconds."""
        arguments = f"{_ms(silence_seconds)},1,{math.ceil(longest_seconds)}"
        await self._send(call_id, detection_context.BEEP, arguments)

    async def _send(self, call_id: str, extension: str, arguments: str) -> None:
        # what was there once stays there as long as nobody changes the configuration; what is missing may be put there
        if not self._detects:
            missing = await lacking(self._request, self._http.url, call_id, detecting())
            if missing is None:
                # a call that is over tells nothing of its engine, and there is nobody left to listen to
                return
            if missing:
                raise EngineUnavailableError(f"{missing}: see docs/how-to/answering-machines.md.")
            self._detects = True
        variables = {
            detection_context.APP_VARIABLE: self._app,
            detection_context.ARGUMENTS_VARIABLE: arguments,
        }
        for name, value in variables.items():
            query = {"variable": name, "value": value}
            self._expect(await self._request("POST", f"channels/{call_id}/variable", query), *GONE)
        to = {"context": detection_context.CONTEXT, "extension": extension, "priority": "1"}
        try:
            reply = await self._request("POST", f"channels/{call_id}/continue", to)
        except EngineUnavailableError as error:
            # it may have been carried out: the call's return tells, or the time in which it would have come
            _log.warning("detection_not_confirmed", attempt_id=call_id, reason=error.message)
            return
        self._expect(reply, *GONE)

    def forget_dialplan(self) -> None:
        """Look again for what telling machines from people needs: the engine may be another one by now."""
        self._detects = False


def amd_arguments(timings: DetectionTimings) -> str:
    """Return the arguments of AMD()."""
    return ",".join(
        str(number)
        for number in (
            _ms(timings.no_speech_seconds),
            _ms(timings.speech_seconds),
            _ms(timings.pause_seconds),
            _ms(timings.decision_seconds),
            WORD_MS,
            GAP_MS,
            timings.words,
            timings.silence_level,
            # one sound without any pause, a tone say, is judged as speech is
            _ms(timings.decision_seconds),
        )
    )


def returned(call_id: str, at: datetime, arguments: Sequence[str]) -> CallClassified | GreetingEnded:
    """Return what a call says that has come back from there."""
    what, status, cause = (*arguments, "", "")[:3]
    if what == detection_context.BEEP:
        return GreetingEnded(call_id, at, in_time=status == _SILENCE)
    if what == detection_context.WHO:
        return CallClassified(call_id, at, verdict_of_amd(status, cause), cause)
    return CallClassified(call_id, at, MachineVerdict.FAILED, f"the dialplan handed over {what[:40]!r}")


def _ms(seconds: float) -> int:
    return round(seconds * 1000)

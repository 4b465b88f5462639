"""Recording what is said at an Asterisk's call beside whatever else is done with it: a snoop channel hears the call,
also while it is in the dialplan, and is what is recorded.

It sends nothing, is in no listing of calls, changes nothing of what AMD() hears or when, and ends with the call that it
hears, whoever ends that (measured).
"""

from __future__ import annotations

import asyncio
import math
from abc import abstractmethod
from collections.abc import Coroutine
from typing import Any, Final

import structlog

from outdial.core.errors import EngineUnavailableError
from outdial.telephony.ari import NOT_FOUND, ChannelInfo, Message
from outdial.telephony.asterisk_detection import AsteriskDetection
from outdial.telephony.dialplan_needs import GONE

_SNOOP: Final = "sample-"
"""Ids of snoop channels begin so, and those of the calls they hear follow."""

_log = structlog.get_logger()


class AsteriskSamples(AsteriskDetection):
    """Adds recording a call beside what it is used for."""

    def __init__(self, **known: Any) -> None:
        super().__init__(**known)
        self._arriving: dict[str, asyncio.Event] = {}
        """Snoop channels that were asked for: only once they have come they can be recorded."""

    async def sample(self, call_id: str, recording_id: str, *, seconds: float) -> None:
        """Have a snoop channel hear the person, and record that. Asterisk counts whole seconds."""
        snoop = f"{_SNOOP}{call_id}"
        arrived = self._arriving[snoop] = asyncio.Event()
        try:
            query = {"app": self._app, "spy": "in"}
            reply = await self._request("POST", f"channels/{call_id}/snoop/{snoop}", query)
            if not self._expect(reply, NOT_FOUND).ok:
                return
            async with asyncio.timeout(self._http.timeout_seconds):
                await arrived.wait()
        except TimeoutError:
            raise EngineUnavailableError(f"Asterisk at {self._http.url} handed no snoop channel over.") from None
        finally:
            del self._arriving[snoop]
        query = {
            "name": recording_id,
            "format": "wav",
            "maxDurationSeconds": str(math.ceil(seconds)),
            "ifExists": "fail",
        }
        self._expect(await self._request("POST", f"channels/{snoop}/record", query), *GONE)

    async def drop_sample(self, call_id: str, recording_id: str) -> None:
        """End the recording, the snoop channel, and what there is of a file."""
        self._expect(await self._request("DELETE", f"recordings/live/{recording_id}"), NOT_FOUND)
        await self.hang_up(f"{_SNOOP}{call_id}")
        await self.forget_recording(recording_id)

    def _hears_snoop(self, message: Message, channel: ChannelInfo) -> bool:
        """Hear what is told of a channel; return whether it is a snoop channel, which is nobody's call."""
        if not channel.id.startswith(_SNOOP):
            return False
        if message.type == "StasisStart" and (arrived := self._arriving.get(channel.id)) is not None:
            arrived.set()
        return True

    def _recorded_call(self, target_uri: str) -> str:
        """Return the call of which a recording has ended; a snoop channel that was recorded is ended too."""
        recorded = target_uri.removeprefix("channel:")
        if not recorded.startswith(_SNOOP):
            return recorded
        self._spawn(self._end_snoop(recorded))
        return recorded.removeprefix(_SNOOP)

    async def _end_snoop(self, snoop: str) -> None:
        try:
            await self.hang_up(snoop)
        except EngineUnavailableError as error:
            # it ends with its call
            _log.warning("snoop_not_ended", channel_id=snoop, reason=error.message)

    @abstractmethod
    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have that done beside."""

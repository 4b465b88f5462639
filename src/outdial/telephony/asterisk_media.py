"""What is played and recorded on an Asterisk's calls."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from outdial.telephony.ari import CONFLICT, NOT_FOUND
from outdial.telephony.asterisk_control import AsteriskControl

_GONE: Final = (NOT_FOUND, CONFLICT, 412)
"""What Asterisk answers of a call that is not there, or not in the application any more."""

FETCH_SECONDS: Final = 30.0
"""For a recording to arrive: ten minutes of it are 10 MB."""


class _Stored(msgspec.Struct):
    name: str


class AsteriskMedia(AsteriskControl):
    """Adds sound to what can be done with calls."""

    def __init__(
        self,
        *,
        engine_id: str,
        url: str,
        username: str,
        password: str,
        timeout_seconds: float,
        media_dir: Path | None,
    ) -> None:
        super().__init__(
            engine_id=engine_id, url=url, username=username, password=password, timeout_seconds=timeout_seconds
        )
        self._media_dir = media_dir

    async def play(self, call_id: str, audio: Path, playback_id: str) -> None:
        """Play a WAV to its end."""
        path = self._readable(audio)
        media = {"media": f"sound:{path.with_suffix('')}"}
        reply = await self._request("POST", f"channels/{call_id}/play/{playback_id}", media)
        self._expect(reply, *_GONE)

    async def stop_playing(self, playback_id: str) -> None:
        """End a playback."""
        self._expect(await self._request("DELETE", f"playbacks/{playback_id}"), NOT_FOUND)

    def _readable(self, audio: Path) -> Path:
        """Return where the engine finds the file: in the folder it shares with us, when there is one."""
        if self._media_dir is None or audio.is_relative_to(self._media_dir):
            return audio
        copy = self._media_dir / audio.name
        if not copy.exists() or copy.stat().st_size != audio.stat().st_size:
            draft = copy.with_suffix(".part")
            shutil.copyfile(audio, draft)
            draft.replace(copy)
        return copy

    async def connect(self, call_id: str, other_id: str) -> None:
        """Put both into a bridge of their own."""
        bridge = _bridge(other_id)
        self._expect(await self._request("POST", f"bridges/{bridge}", {"type": "mixing"}))
        channels = {"channel": f"{call_id},{other_id}"}
        reply = await self._request("POST", f"bridges/{bridge}/addChannel", channels)
        if not reply.ok:
            await self.part(other_id)
            self._expect(reply)

    async def part(self, other_id: str) -> None:
        """Remove the bridge; who was in it is the application's again."""
        # of one that was removed a moment ago Asterisk says for a while that it is no application's (409)
        self._expect(await self._request("DELETE", f"bridges/{_bridge(other_id)}"), NOT_FOUND, CONFLICT)

    async def start_recording(
        self, call_id: str, recording_id: str, *, longest_seconds: float, silence_seconds: float
    ) -> None:
        """Record what the called person says; ``#`` ends it too. Asterisk counts whole seconds."""
        query = {
            "name": recording_id,
            "format": "wav",
            "maxDurationSeconds": str(math.ceil(longest_seconds)),
            "maxSilenceSeconds": str(math.ceil(silence_seconds)),
            "ifExists": "fail",
            "terminateOn": "#",
        }
        self._expect(await self._request("POST", f"channels/{call_id}/record", query), *_GONE)

    async def recording(self, recording_id: str) -> bytes | None:
        """Return the file, whatever Asterisk said of it: ``done`` it says also of what it could not write."""
        path = f"recordings/stored/{recording_id}/file"
        reply = self._expect(await self._http.request("GET", path, seconds=FETCH_SECONDS), NOT_FOUND)
        if not reply.ok:
            return None
        return reply.body if isinstance(reply.body, bytes) else reply.body.encode()

    async def recordings(self) -> Sequence[str]:
        """Return the ids of what is stored."""
        reply = self._expect(await self._request("GET", "recordings/stored"))
        return [stored.name for stored in reply.decode(list[_Stored])]

    async def forget_recording(self, recording_id: str) -> None:
        """Remove the file."""
        self._expect(await self._request("DELETE", f"recordings/stored/{recording_id}"), NOT_FOUND)


def _bridge(other_id: str) -> str:
    return f"bridge-{other_id}"

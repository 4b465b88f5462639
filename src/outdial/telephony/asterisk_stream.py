"""The sound of an Asterisk channel over a websocket (chan_websocket, Asterisk 22.8 or newer), both ways."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import aiohttp

from outdial.core.errors import EngineUnavailableError
from outdial.telephony.ari import AriHttp

FORMATS: Final = {8000: "slin", 16_000: "slin16"}
"""Samples a second → what Asterisk calls 16-bit samples of that rate."""

FRAMES_PER_SECOND: Final = 50


class AsteriskStream:
    """One channel's sound. Asterisk sends a frame every 20 ms and plays what it is sent, one after the other."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse[bool], rate: int) -> None:
        self._websocket = websocket
        self._frame_bytes = 2 * rate // FRAMES_PER_SECOND
        self._rest = bytearray()
        self._room = asyncio.Event()
        self._room.set()

    @classmethod
    async def connect(cls, http: AriHttp, connection_id: str, rate: int) -> AsteriskStream:
        """Open the websocket of a channel that waits for one. Raises EngineUnavailableError."""
        try:
            async with asyncio.timeout(http.timeout_seconds):
                websocket = await http.sockets().ws_connect(f"{http.url}/media/{connection_id}", protocols=("media",))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise EngineUnavailableError(f"Asterisk at {http.url} opens no media stream ({error!r}).") from error
        return cls(websocket, rate)

    async def receive(self) -> bytes | None:
        """Return the next frame of what the person says; None: the channel is gone."""
        while True:
            message = await self._websocket.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                data: bytes = message.data
                return data
            if message.type is not aiohttp.WSMsgType.TEXT:
                # nobody waits for room any more
                self._room.set()
                return None
            # it has a second's worth of twenty waiting, and would throw away more
            if message.data.startswith("MEDIA_XOFF"):
                self._room.clear()
            elif message.data.startswith("MEDIA_XON"):
                self._room.set()

    async def send(self, samples: bytes) -> None:
        """Have the person hear that, after what was sent before; waits while Asterisk has enough."""
        self._rest += samples
        while len(self._rest) >= self._frame_bytes:
            await self._room.wait()
            frame = bytes(self._rest[: self._frame_bytes])
            del self._rest[: self._frame_bytes]
            with contextlib.suppress(ConnectionError):
                # gone: ``receive`` says so
                await self._websocket.send_bytes(frame)

    async def clear(self) -> None:
        """Have the person hear nothing of what was sent and not heard yet."""
        self._rest.clear()
        with contextlib.suppress(ConnectionError):
            await self._websocket.send_str("FLUSH_MEDIA")
        self._room.set()

    async def close(self) -> None:
        """Close the websocket; its channel ends."""
        self._room.set()
        await self._websocket.close()

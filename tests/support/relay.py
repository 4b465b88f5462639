"""A network between outdial and what it talks to that can fail: connections that stall, are slow, or are cut."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

MOST_PIECES = 4
TROUBLE_SECONDS = 0.5
POLL_SECONDS = 0.02


class Relay:
    """Hands bytes on, both ways, connection by connection."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._links: dict[asyncio.Task[None], tuple[asyncio.Event, asyncio.StreamWriter, asyncio.StreamWriter]] = {}
        self.shut = False
        """Cut every new connection at once."""
        self.held = False
        """Let new connections say nothing either, until :meth:`go_on`."""
        self.delay_seconds = 0.0
        """How late everything is handed on, each way."""
        self.trouble = ""
        """``lossy``: each way by itself, what is said arrives in pieces and clumps, late; ``mute``: nothing arrives
        there; ``deaf``: nothing comes back."""

    @property
    def url(self) -> str:
        """Where it is reached, in place of what it hands on to."""
        return f"http://{self.host}:{self.port}"

    @property
    def host(self) -> str:
        """The address on which it listens."""
        return self._address()[0]

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return self._address()[1]

    def _address(self) -> tuple[str, int]:
        assert self._server is not None
        return self._server.sockets[0].getsockname()[:2]

    def stall(self) -> None:
        """From now on keep what the connections there are have to say; new ones are not touched."""
        for flowing, *_ in self._links.values():
            flowing.clear()

    def go_on(self) -> None:
        """Hand on what was kept, and all that follows."""
        self.held = False
        for flowing, *_ in self._links.values():
            flowing.set()

    def cut(self) -> None:
        """Cut every connection there is, and every new one while ``shut``."""
        self.shut = True
        for _, *writers in self._links.values():
            for writer in writers:
                writer.close()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.shut:
            writer.close()
            return
        try:
            there, to_there = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:
            # nobody listens there: whoever connected sees the same
            writer.close()
            return
        flowing = asyncio.Event()
        if not self.held:
            flowing.set()
        task = asyncio.current_task()
        assert task is not None
        self._links[task] = (flowing, writer, to_there)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pour(reader, to_there, flowing, blocked_by="mute"))
                group.create_task(self._pour(there, writer, flowing, blocked_by="deaf"))
        finally:
            del self._links[task]

    async def _pour(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event, *, blocked_by: str
    ) -> None:
        try:
            while data := await reader.read(65536):
                await flowing.wait()
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                while self.trouble == blocked_by:  # noqa: ASYNC110 - it ends within seconds, and nobody counts them
                    await asyncio.sleep(POLL_SECONDS)
                if self.trouble == "lossy":
                    data = await self._in_pieces(data, writer)
                writer.write(data)
                await writer.drain()
        except (OSError, RuntimeError):
            # uvloop says the latter of a connection that was cut meanwhile
            pass
        finally:
            writer.close()

    async def _in_pieces(self, data: bytes, writer: asyncio.StreamWriter) -> bytes:
        """Hand on a part, in pieces at odd times, and return the rest after a while: more has gathered behind it."""
        for _ in range(random.randrange(MOST_PIECES)):
            piece = random.randint(0, len(data))
            writer.write(data[:piece])
            data = data[piece:]
            await asyncio.sleep(random.random() ** 2 * TROUBLE_SECONDS)
        return data

    async def open(self, listening: socket.socket | None = None) -> None:
        """Begin to listen: there, or on a port of the loopback address."""
        if listening is not None:
            self._server = await asyncio.start_server(self._link, sock=listening)
        else:
            self._server = await asyncio.start_server(self._link, "127.0.0.1", 0)

    async def close(self) -> None:
        """Cut everything and listen no more."""
        assert self._server is not None
        self.cut()
        self.go_on()
        links = list(self._links)
        self._server.close()
        await asyncio.gather(*links, return_exceptions=True)


@contextlib.asynccontextmanager
async def relay_to(url: str) -> AsyncIterator[Relay]:
    """A relay to ``url`` while the block runs."""
    relay = Relay(url)
    await relay.open()
    try:
        yield relay
    finally:
        await relay.close()

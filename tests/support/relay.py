"""A network between outdial and what it talks to that can fail: connections that stall, are slow, or are cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit


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

    @property
    def url(self) -> str:
        """Where it is reached, in place of what it hands on to."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """Where it listens, on the loopback address."""
        assert self._server is not None
        return self._server.sockets[0].getsockname()[1]

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
                group.create_task(self._pour(reader, to_there, flowing))
                group.create_task(self._pour(there, writer, flowing))
        finally:
            del self._links[task]

    async def _pour(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
        try:
            while data := await reader.read(65536):
                await flowing.wait()
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                writer.write(data)
                await writer.drain()
        except (OSError, RuntimeError):
            # uvloop says the latter of a connection that was cut meanwhile
            pass
        finally:
            writer.close()

    async def open(self) -> None:
        """Begin to listen."""
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

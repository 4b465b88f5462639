"""Servers for the client that do what a test tells them: real sockets, and whatever bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

ACCESS = {"iid": "st-1", "client_id": "cs-1", "client_secret": "s" * 40}
Behaviour = Callable[[int, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Reads each request whole, then does what it is told."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests: list[bytes] = []
        self.connections = 0
        self.ended = 0
        """Connections that are over."""
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
                )
                self.requests.append(head + await reader.readexactly(length))
                await self.behaviour(len(self.requests), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # its client has had enough
        finally:
            self.ended += 1
            writer.close()


@asynccontextmanager
async def running(behaviour: Behaviour) -> AsyncIterator[Server]:
    server = Server(behaviour)
    tasks: set[asyncio.Task] = set()

    async def accept(reader, writer) -> None:
        tasks.add(asyncio.current_task())
        await server.serve(reader, writer)

    listening = await asyncio.start_server(accept, "127.0.0.1")
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def answer(body: object, status: str = "200 OK", *headers: str) -> bytes:
    content = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content


async def hang(_number, _writer) -> None:
    await asyncio.Event().wait()


async def hang_up(_number, writer) -> None:
    writer.transport.abort()


async def trickle(_number, writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)

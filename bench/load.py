"""A client of many connections, a process of its own: reads what to ask from a file, prints what it measured as JSON.

Each connection is kept alive and asks again as soon as it is answered; as many requests are under way as there are
connections, never more. Any answer but 200 ends it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop


class Client(asyncio.Protocol):
    """One connection; answers have a Content-Length."""

    def __init__(self, requests: Iterator[bytes], took: list[float], ended: asyncio.Future[None]) -> None:
        self._requests = requests
        self._took = took
        self._ended = ended
        self._received = b""
        self._began = 0.0

    def connection_made(self, transport) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        request = next(self._requests, None)
        if request is None:
            if not self._ended.done():
                self._ended.set_result(None)
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if len(body) < int(length):
            return
        self._took.append(time.perf_counter() - self._began)
        if not head.startswith(b"HTTP/1.1 200 "):
            self._ended.set_exception(RuntimeError(self._received.decode()))
            self._transport.abort()
            return
        self._received = b""
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_exception(error or RuntimeError("the server hung up"))


async def load(port: int, requests: list[str], *, count: int, connections: int) -> dict[str, float]:
    written = [request.encode() for request in requests]
    took: list[float] = []
    remaining = (written[number % len(written)] for number in range(count))
    loop = asyncio.get_running_loop()
    ends = [loop.create_future() for _ in range(connections)]
    began = time.perf_counter()
    for ended in ends:
        await loop.create_connection(lambda ended=ended: Client(remaining, took, ended), "127.0.0.1", port)
    await asyncio.gather(*ends)
    seconds = time.perf_counter() - began
    ordered = sorted(took)
    assert len(ordered) == count, len(ordered)
    return {
        "per_second": count / seconds,
        "p50": ordered[count // 2],
        "p99": ordered[min(count - 1, round(0.99 * count))],
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(load(**json.loads(Path(sys.argv[1]).read_text())))))

"""A system that is asked about contacts: a small web server of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

CALL: dict[str, Any] = {"contactHandling": {"handle": "CALL"}}


def skip(reason: str) -> dict[str, Any]:
    return {"contactHandling": {"handle": "SKIP", "reason": reason}}


@dataclass
class Crm:
    """Answers as ``answer`` says, and keeps what it was asked."""

    url: str = ""
    answer: Callable[[dict[str, Any]], Any] = lambda _asked: CALL
    """Of a question: the reply's document, or an awaitable web response."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: questions are answered; clear: they wait."""


@contextlib.asynccontextmanager
async def crm() -> AsyncIterator[Crm]:
    """Serve on a free port of this machine."""
    server = Crm()
    server.hold.set()

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        server.asked.append(asked)
        server.headers.append(dict(request.headers))
        await server.hold.wait()
        reply = server.answer(asked)
        if isinstance(reply, Awaitable):
            return await reply
        return reply if isinstance(reply, web.StreamResponse) else web.json_response(reply)

    application = web.Application()
    application.router.add_post("/ask", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}/ask"
    try:
        yield server
    finally:
        server.hold.set()
        await runner.cleanup()

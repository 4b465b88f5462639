"""One watchdog, wired: the ear, the judge, the alarms, and what machines ask it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import structlog
from aiohttp import web

from outdial.clock import boottime
from outdial.config import Settings
from outdial.context import Context
from outdial.core.errors import DatabaseUnavailableError, StartupError
from outdial.core.watch import REPEATS
from outdial.secretbox import hep_key
from outdial.store import watch as store
from outdial.store.database import server_time
from outdial.store.watch import Alarm
from outdial.watchdog.alarms import Alarms
from outdial.watchdog.counts import Counts
from outdial.watchdog.ear import Ear, bind_problem, listen
from outdial.watchdog.judging import Judge
from outdial.watchdog.webhook import Webhook

LOOK_SECONDS: Final = 5.0
"""Between two looks at whether what is dialed is also heard, and at the clocks."""

HEARD_SECONDS: Final = 60.0
"""An engine that has placed calls lately, and of which no INVITE was heard for so long, is not heard at all."""

DIALED: Final = timedelta(seconds=30)

CLOCK_SECONDS: Final = 0.05
"""Clocks that differ by less than this beyond the tolerance are not spoken of: so exactly they are measured."""

LAST_SECONDS: Final = 5.0
"""How long the watchdog, asked to end, goes on with what it has heard."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Watchdog:
    """What runs while the block does."""

    host: str
    port: int
    """UDP for HEP, TCP for HTTP."""
    counts: Counts
    judge: Judge
    parts: tuple[asyncio.Task[None], ...]

    async def until_failed(self) -> None:
        """Wait, for ever if all is well; raise what a part of it failed with."""
        ended, _ = await asyncio.wait(self.parts, return_when=asyncio.FIRST_COMPLETED)
        for part in ended:
            part.result()
        raise RuntimeError(f"{', '.join(part.get_name() for part in ended)} ended by itself")


def required_port(settings: Settings) -> int:
    """Return the port to listen on. Raises StartupError when none is set: the engines would not know it."""
    if settings.watchdog_port is None:
        raise StartupError(
            "Nothing says where the engines tell what they send: set OUTDIAL_WATCHDOG_PORT to a free port, e.g. 9060, "
            "for the watchdog and for `outdial serve` or `outdial dialer`, whose Asterisk then sends it there."
        )
    return settings.watchdog_port


@asynccontextmanager
async def watching(
    context: Context, *, on_alarm: Callable[[Alarm], None], may_repeat: timedelta = REPEATS
) -> AsyncIterator[Watchdog]:
    """Watch while the block runs; then finish, for some seconds at most, what has been heard. Raises StartupError."""
    settings, database = context.settings, context.database
    counts = Counts()
    webhook = Webhook.of(settings, counts)
    port = required_port(settings)
    async with AsyncExitStack() as stack:
        opened = listen(settings.watchdog_host, port)
        stack.callback(opened.close)
        parts = []
        if webhook is not None:
            parts.append(await stack.enter_async_context(_beside(webhook.run(), name="webhook")))
        alarms = Alarms(database, context.secrets, counts, webhook=webhook, on_alarm=on_alarm)
        stack.push_async_callback(alarms.close)
        parts.append(await stack.enter_async_context(_beside(alarms.run(), name="alarms")))
        tolerance = timedelta(seconds=settings.watchdog_tolerance_seconds)
        judge = Judge(database, counts, tolerance=tolerance, on_breach=alarms.raise_alarm)
        parts.append(await stack.enter_async_context(_beside(judge.run(), name="judge")))
        looks = _Looks(context, counts, judge)
        parts.append(await stack.enter_async_context(_beside(looks.run(), name="looks")))
        await stack.enter_async_context(_answering(settings.watchdog_host, port, counts, looks))
        stack.push_async_callback(_finish, judge, alarms)
        key = hep_key(settings, context.secrets)
        ear = Ear(opened, key=key, counts=counts, on_invite=judge.take, may_repeat=may_repeat)
        ear.open()
        stack.callback(ear.close)
        yield Watchdog(settings.watchdog_host, port, counts, judge, tuple(parts))


async def _finish(judge: Judge, alarms: Alarms) -> None:
    try:
        async with asyncio.timeout(LAST_SECONDS):
            await judge.until_idle()
            await alarms.until_idle()
    except TimeoutError:
        _log.error("watchdog_ends_unfinished", unjudged=judge.waiting)


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None], *, name: str) -> AsyncIterator[asyncio.Task[None]]:
    """Run the coroutine beside the block, and cancel it at the block's end."""
    task = asyncio.create_task(work, name=name)
    try:
        yield task
    finally:
        task.cancel()
        # a failure of its own has been raised by until_failed
        await asyncio.gather(task, return_exceptions=True)


class _Looks:
    """Looks now and then whether the watchdog can do what it is for."""

    def __init__(self, context: Context, counts: Counts, judge: Judge) -> None:
        self._database = context.database
        self._tolerance = context.settings.watchdog_tolerance_seconds
        self._counts = counts
        self._judge = judge
        self._since = boottime()
        self._deaf: frozenset[str] = frozenset()
        self._clocks_differ = False

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self._look()
            except DatabaseUnavailableError as error:
                self._judge.database_answered(problem=error.message)
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        async with self._database.connection() as connection:
            sent = time.time()
            at = await server_time(connection)
            received = time.time()
            dialing = await store.engines_dialing(connection, since=DIALED)
        self._judge.database_answered(problem=None)
        self._compare_clocks(at.timestamp() - (sent + received) / 2, (received - sent) / 2)
        now = boottime()
        deaf = frozenset(
            engine for engine in dialing if now - self._judge.seen_at.get(engine, self._since) > HEARD_SECONDS
        )
        if deaf != self._deaf:
            self._deaf = deaf
            if deaf:
                _log.error("watchdog_deaf", engines=sorted(deaf), remedy="docs/how-to/watch-the-wire.md")
            else:
                _log.info("watchdog_hears_all")
        self._counts.deaf_engines.set(len(deaf))

    def _compare_clocks(self, offset: float, uncertainty: float) -> None:
        self._counts.clock_seconds.set(offset)
        differ = abs(offset) - uncertainty > self._tolerance + CLOCK_SECONDS
        if differ and not self._clocks_differ:
            _log.warning(
                "watchdog_clocks_differ",
                database_ahead_seconds=round(offset, 3),
                remedy="synchronise the clocks (NTP); OUTDIAL_WATCHDOG_TOLERANCE_SECONDS says what they may differ",
            )
        self._clocks_differ = differ

    def problems(self) -> list[str]:
        """Return what keeps the watchdog from watching, in sentences."""
        found = [] if self._judge.problem is None else [self._judge.problem]
        found += [
            f"The engine {engine} places calls and nothing is heard of them: its Asterisk sends no HEP here."
            for engine in sorted(self._deaf)
        ]
        return found


@asynccontextmanager
async def _answering(host: str, port: int, counts: Counts, looks: _Looks) -> AsyncIterator[None]:
    """Answer /health, /ready and /metrics while the block runs. Raises StartupError."""

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def ready(_: web.Request) -> web.Response:
        problems = looks.problems()
        if problems:
            return web.json_response({"status": "not_ready", "problems": problems}, status=503)
        return web.json_response({"status": "ready"})

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=counts.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.router.add_get("/health", health)
    app.router.add_get("/ready", ready)
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise bind_problem(error, host, port, "TCP") from error
        yield
    finally:
        await runner.cleanup()

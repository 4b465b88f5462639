"""One process, one event loop: API, dialer, engine and database, opened in order and closed in the opposite one."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from uuid import uuid4

import structlog
import uvicorn
from fastapi import FastAPI

from outdial.api.app import ApiParts, create_app
from outdial.config import Settings
from outdial.context import Context, open_context
from outdial.dialer import Dialer
from outdial.listening import listen, url_of
from outdial.services import (
    emergency,
    evidence_keeper,
    import_keeper,
    imports,
    personal_data_keeper,
    recordings,
    schedules,
    webhook_keeper,
    wide_stop_keeper,
)
from outdial.services.emergency import EmergencySwitch
from outdial.services.engines import Engines
from outdial.services.stop import resume_stops
from outdial.services.webhook_keeper import WebhookCounts
from outdial.services.webhook_post import WebhookPost
from outdial.telephony.local import LocalEngine, open_engine
from outdial.telephony.managed import ManagedAsterisk

GRACE_SECONDS: Final = 10
"""How long requests under way, stops above all, may take to end when the process is asked to end."""

COLLECTED: Final = (20_000, 20, 20)
"""Objects made and not freed until the youngest are looked through (700 by default, several times a request), and how
often that is until the next older are."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Serving:
    """What runs in this process."""

    url: str | None
    """Address of the API; None where there is none."""
    context: Context
    engines: Engines
    local: LocalEngine | None
    """The engine of this process's dialer node; None where there is none."""
    parts: tuple[asyncio.Task[None], ...]
    """What must go on as long as the process does."""

    @property
    def engine_label(self) -> str | None:
        """The engine's name, for people."""
        return None if self.local is None else self.local.label

    @property
    def managed(self) -> ManagedAsterisk | None:
        """The Asterisk of our own, where that is the engine."""
        return None if self.local is None else self.local.managed

    async def until_failed(self) -> NoReturn:
        """Wait, for ever if all is well; raise what a part of it failed with."""
        ended, _ = await asyncio.wait(self.parts, return_when=asyncio.FIRST_COMPLETED)
        for part in ended:
            part.result()
        raise RuntimeError(f"{', '.join(part.get_name() for part in ended)} ended by itself")


async def serve(
    settings: Settings, *, dialer: bool, api: bool, on_ready: Callable[[Serving], None] | None = None
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, then end in order.

    First the API takes no more requests and finishes those under way, while dialer and engine still answer to their
    stops; then the dialer leaves, and last the engine and the database. Raises StartupError.
    """
    with until_signal():
        async with serving(settings, dialer=dialer, api=api) as running:
            # what there is now stays for good: the collector need not look through all of it again and again, nor look
            # for rings in what one request after the other leaves behind: they are rare, and found a little later
            gc.freeze()
            gc.set_threshold(*COLLECTED)
            if on_ready is not None:
                on_ready(running)
            await running.until_failed()


@asynccontextmanager
async def serving(settings: Settings, *, dialer: bool, api: bool) -> AsyncIterator[Serving]:
    """Run what was asked for while the block runs. Raises StartupError."""
    async with AsyncExitStack() as stack:
        # before anything takes time: a taken port is said at once
        listener = stack.enter_context(closing(listen(settings.http_host, settings.http_port))) if api else None
        context = await stack.enter_async_context(open_context(settings))
        engines = Engines(context.database, context.secrets, ttl_seconds=settings.permit_ttl_seconds)
        stack.push_async_callback(engines.close)
        parts: list[asyncio.Task[None]] = []
        local: LocalEngine | None = None
        if dialer:
            node_id = uuid4().hex
            local = await stack.enter_async_context(open_engine(settings, node_id=node_id))
            lives = _dial(settings, context, engines, local, node_id)
            parts.append(await stack.enter_async_context(_beside(lives, name="dialer")))
        resuming = resume_stops(context.database, engines)
        parts.append(await stack.enter_async_context(_beside(resuming, name="resume stops")))
        going_on = wide_stop_keeper.keep(context.database, engines)
        parts.append(await stack.enter_async_context(_beside(going_on, name="wide stops")))
        watching = emergency.keep(context.database, engines, EmergencySwitch.of(settings))
        parts.append(await stack.enter_async_context(_beside(watching, name="emergency")))
        scheduling = schedules.keep(context.database, context.secrets, ttl_seconds=settings.permit_ttl_seconds)
        parts.append(await stack.enter_async_context(_beside(scheduling, name="schedules")))
        importing = import_keeper.keep(context.database, settings.data_dir.resolve() / imports.FOLDER, context.secrets)
        parts.append(await stack.enter_async_context(_beside(importing, name="imports")))
        forgetting = personal_data_keeper.keep(
            context.database, context.secrets, engines, settings.data_dir.resolve() / recordings.FOLDER
        )
        parts.append(await stack.enter_async_context(_beside(forgetting, name="personal data")))
        keeping = evidence_keeper.keep(context.database, context.secrets)
        parts.append(await stack.enter_async_context(_beside(keeping, name="evidence")))
        if listener is not None:
            counts, post = WebhookCounts(), WebhookPost(settings.hosts_of_webhooks)
            telling = webhook_keeper.keep(context.database, context.secrets, post, counts)
            parts.append(await stack.enter_async_context(_beside(telling, name="webhooks")))
            app = create_app(ApiParts(settings, context.database, context.secrets, engines, counts))
            parts.append(await stack.enter_async_context(answering(app, listener)))
        yield Serving(
            url=None if listener is None else url_of(listener),
            context=context,
            engines=engines,
            local=local,
            parts=tuple(parts),
        )


async def _dial(settings: Settings, context: Context, engines: Engines, first: LocalEngine, node_id: str) -> None:
    """Dial, one life of the node after the other: one ends when another node, believing it dead, has taken its calls
    over, as happens to a process that was frozen for longer than its lease."""
    local = first
    async with AsyncExitStack() as stack:
        while True:
            await Dialer(
                settings=settings,
                database=context.database,
                secrets=context.secrets,
                engines=engines,
                engine=local.engine,
                address=local.address,
                node_id=node_id,
            ).run()
            # or it would take the event stream of its calls back from the node that has adopted them
            await local.engine.close()
            node_id = uuid4().hex
            _log.warning("node_begins_a_new_life", node_id=node_id)
            await stack.aclose()
            local = await stack.enter_async_context(open_engine(settings, node_id=node_id))


@contextmanager
def until_signal() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP cancel the block, once; it then counts as left, not as failed.

    A signal that the process was told to ignore (``nohup``) stays ignored.
    """
    loop, owner, asked = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()

    def end(number: signal.Signals) -> None:
        _log.info("ending", signal=number.name, again=asked.is_set())
        if owner is not None and not asked.is_set():
            asked.set()
            owner.cancel()

    heard = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    for number in heard:
        loop.add_signal_handler(number, end, number)
    try:
        yield
    except asyncio.CancelledError:
        if owner is None or not asked.is_set() or owner.uncancel() > 0:
            raise
    finally:
        for number in heard:
            loop.remove_signal_handler(number)


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


class _Server(uvicorn.Server):
    """uvicorn, told by ``should_exit`` alone when to end, and saying when it answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answers = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answers.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process: its other parts have to end after this one, not with it."""
        yield


@asynccontextmanager
async def answering(app: FastAPI, listener: socket.socket) -> AsyncIterator[asyncio.Task[None]]:
    """Answer requests while the block runs; then take no more, and finish those under way."""
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listener]), name="api")
    answers = asyncio.create_task(server.answers.wait())
    try:
        await asyncio.wait({task, answers}, return_when=asyncio.FIRST_COMPLETED)
        yield task
    finally:
        answers.cancel()
        server.should_exit = True
        await asyncio.gather(task, answers, return_exceptions=True)

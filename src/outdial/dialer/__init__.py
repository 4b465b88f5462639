"""Dialer nodes: the only floor that originates calls."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Sequence
from typing import Any, Final

import structlog

from outdial import clock
from outdial.config import Settings
from outdial.core import ids
from outdial.core.errors import DatabaseUnavailableError, EngineUnavailableError
from outdial.dialer import outcomes
from outdial.dialer.adoption import Adoption, this_host
from outdial.dialer.book import Book
from outdial.dialer.breaker import CircuitBreaker
from outdial.dialer.calls import Calls
from outdial.dialer.chores import Chores
from outdial.dialer.lease import LeaseKeeper
from outdial.dialer.legs import TransferNotes
from outdial.dialer.node import Node
from outdial.dialer.opt_outs import OptOuts
from outdial.dialer.recordings import Recordings
from outdial.secretbox import SecretBox
from outdial.services import barrier
from outdial.services.emergency import EmergencySwitch
from outdial.services.engines import Engines
from outdial.store import engines as engines_store
from outdial.store import nodes as nodes_store
from outdial.store import runs as runs_store
from outdial.store.database import Database
from outdial.store.nodes import NodeRow
from outdial.telephony.engine import Engine
from outdial.telephony.managed import EngineAddress
from outdial.telephony.resolver import TrunkResolver
from outdial.telephony.speech import Voice

GOODBYE_SECONDS: Final = 5.0
"""How long conversations may go on when the process is asked to end."""

LAST_WORDS_SECONDS: Final = 2.0
"""How long the ends of hung-up calls, and the database, are waited for after that."""

LINES_SECONDS: Final = 6.0
"""How long a node that leaves looks whether anything of its runs is left at the engine. Of UDP that is told at once, of
TCP and TLS after some four seconds."""

RETRY_SECONDS: Final = 0.5

_LOOK_SECONDS: Final = 0.01

_LEFT_AT_ONCE: Final = 4
"""Runs of which a node that leaves looks at once for what is left of them."""

_log = structlog.get_logger()


class Dialer:
    """One life of a dialer node: registers, dials, takes over what dead nodes left, and leaves in order."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        secrets: SecretBox,
        engines: Engines,
        engine: Engine,
        address: EngineAddress | None,
        node_id: str,
    ) -> None:
        """``address`` is how other processes reach the engine, None when they cannot."""
        self._settings = settings
        self._engines = engines
        self._address = address
        self._resolver = TrunkResolver()
        ttl = settings.permit_ttl_seconds
        book, opt_outs = Book(database), OptOuts(database, engines, settings.data_dir.resolve() / "opt-outs")
        recordings = Recordings(database, engine, settings.data_dir.resolve())
        audio_dir = settings.data_dir.resolve() / "audio"
        voice = Voice(settings.speech_command, audio_dir)
        self._node = Node(
            id=node_id,
            database=database,
            secrets=secrets,
            engine=engine,
            calls=Calls(
                engine,
                book,
                voice,
                opt_outs,
                ttl_seconds=ttl,
                recordings=recordings,
                transfer_notes=TransferNotes(database),
                private_hosts=settings.private_hosts,
            ),
            recordings=recordings,
            book=book,
            opt_outs=opt_outs,
            voice=voice,
            resolver=self._resolver,
            ttl_seconds=ttl,
            audio_dir=audio_dir,
            switch=EmergencySwitch.of(settings),
            private_hosts=settings.private_hosts,
        )

    async def run(self) -> None:
        """Dial until cancelled, or until another node, believing this one dead, has taken its calls over: then return,
        and whoever runs this begins a new life under a new node id.

        A database or an engine that is away is waited for. Any other error ends the life in order and is raised.
        """
        node = self._node
        await self._register()
        keeper = LeaseKeeper(node)
        work: dict[str, Any] = {
            "calls": node.calls.run(),
            "lease": keeper.run(),
            "chores": Chores(node, keeper).run(),
            "breaker": CircuitBreaker(node, keeper, self._engines).run(),
            "adoption": Adoption(node, self._engines).run(),
        }
        loop = asyncio.get_running_loop()
        book = loop.create_task(node.book.run(), name="book")
        opt_outs = loop.create_task(node.opt_outs.run(), name="opt-outs")
        recordings = loop.create_task(node.recordings.run(), name="recordings")
        tasks = {name: loop.create_task(coroutine, name=name) for name, coroutine in work.items()}
        over = loop.create_task(node.over.wait(), name="life over")
        try:
            with self._engines.own(node.engine):
                try:
                    await asyncio.wait(
                        {book, opt_outs, recordings, over, *tasks.values()}, return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    # also when the events have ended: another node has our calls now
                    if tasks["calls"].done():
                        node.over.set()
                    await self._leave(keeper, tasks)
        finally:
            every = (book, opt_outs, recordings, over, *tasks.values())
            for task in every:
                task.cancel()
            results = await asyncio.gather(*every, return_exceptions=True)
            await node.calls.close()
            await self._resolver.close()
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _register(self) -> None:
        node, address = self._node, self._address
        name = self._settings.node_name or f"{platform.node()}-{os.getpid()}"
        row = NodeRow(node.id, name, this_host(), os.getpid(), ids.stasis_app(node.id), node.engine.id)
        while True:
            try:
                async with node.database.transaction() as connection:
                    await engines_store.put(
                        connection,
                        node.secrets,
                        engine_id=node.engine.id,
                        kind=node.engine.kind,
                        url=None if address is None else address.url,
                        username=None if address is None else address.username,
                        password=None if address is None else address.password,
                    )
                    await nodes_store.register(connection, row, ttl_seconds=node.ttl_seconds)
            except DatabaseUnavailableError as error:
                _log.warning("node_waits_for_database", reason=error.message)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                _log.info("node_registered", node_id=node.id, name=name, engine_id=node.engine.id)
                return

    async def _leave(self, keeper: LeaseKeeper, tasks: dict[str, asyncio.Task[None]]) -> None:
        """Place nothing more; cancel what rings, let conversations end for a moment, book everything, say goodbye."""
        for name in ("chores", "breaker", "adoption"):
            tasks[name].cancel()
        await keeper.close()
        node = self._node
        if node.over.is_set():
            # the calls are another node's now, and so is the word about them
            tasks["lease"].cancel()
            return
        node.calls.hang_up_unanswered(outcomes.LEAVING)
        await self._until_quiet(GOODBYE_SECONDS)
        node.calls.hang_up_all()
        await self._until_quiet(LAST_WORDS_SECONDS)
        tasks["lease"].cancel()
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await node.opt_outs.flush()
                await node.recordings.flush()
                while len(node.book):
                    await node.book.flush()
            await self._say_goodbye()
        except (TimeoutError, DatabaseUnavailableError, EngineUnavailableError) as error:
            _log.warning(
                "node_left_without_goodbye",
                calls=len(node.calls),
                opt_outs=len(node.opt_outs),
                reason=str(error) or "no answer in time",
            )

    async def _until_quiet(self, seconds: float) -> None:
        until = clock.boottime() + seconds
        while (  # noqa: ASYNC110 - four conditions, one of them a time
            (len(self._node.calls) or self._node.calls.legs) and self._node.engine.up and clock.boottime() < until
        ):
            await asyncio.sleep(_LOOK_SECONDS)

    async def _say_goodbye(self) -> None:
        """End the node's row; the last node of an engine leaves no permit behind there, and nothing to fence."""
        node = self._node
        async with asyncio.timeout(LAST_WORDS_SECONDS), node.database.connection() as connection:
            await nodes_store.end(connection, node.id)
            alone = await nodes_store.is_unused(connection, node.engine.id)
            runs = await nodes_store.runs_of_engine(connection, node.engine.id) if alone else {}
        places = asyncio.Semaphore(_LEFT_AT_ONCE)
        await asyncio.gather(*(self._leave_nothing(run_id, permits, places) for run_id, permits in runs.items()))
        _log.info("node_left", node_id=node.id)

    async def _leave_nothing(self, run_id: int, permits: Sequence[tuple[int, str]], places: asyncio.Semaphore) -> None:
        """Take the permits of a run away; note that nothing of it is left at the engine where that shows. Over TCP and
        TLS a call that was hung up may leave yet: whoever stops the run has to ask then, and finds that it has to."""
        node = self._node
        reason = "calls of it still show"
        try:
            async with asyncio.timeout(LINES_SECONDS):
                async with places:
                    await node.engine.fence(run_id, permits)
                    calls = await barrier.calls_let_through(node.engine, run_id)
                    async with node.database.connection() as connection:
                        run = await runs_store.by_id(connection, run_id)
                if not calls:
                    if await barrier.nothing_waits_for_the_line(self._engines, node.database, run, node.engine.id):
                        keys = [key for _, key in permits]
                        async with node.database.transaction() as connection:
                            await nodes_store.forget_engine(connection, run_id, node.engine.id, keys)
                        return
                    reason = "the line of its trunk is down, and calls may wait for it"
        except TimeoutError:
            reason = "no answer in time"
        except (DatabaseUnavailableError, EngineUnavailableError) as error:
            reason = error.message
        _log.warning("engine_not_forgotten", run_id=run_id, engine_id=node.engine.id, reason=reason)

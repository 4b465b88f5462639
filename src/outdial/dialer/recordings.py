"""What people said on this node's calls: fetched from the engine, kept in the data folder, made known to the database.

A recording counts once it is on disk here. It is a file of the folder from then on, so that neither the end of a node's
life nor a database that is away loses it. What nobody has fetched, since its node died or its events were lost, is
found at the engine.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from outdial.core import recording as core
from outdial.core.errors import DatabaseUnavailableError, EngineUnavailableError
from outdial.core.recording import NoRecordingError
from outdial.services import recordings as service
from outdial.store import machine_reviews
from outdial.store import recordings as store
from outdial.store.database import Database
from outdial.telephony.engine import Engine

PAUSE_SECONDS: Final = 0.2
"""Before the next try while the database is away."""

LOOK_SECONDS: Final = 60.0
"""Between two looks for what was left at the engine."""

LEFT_AFTER: Final = timedelta(seconds=30)
"""Its call is over for so long: whoever was to fetch it would have."""

DRAFTS_END: Final = timedelta(hours=1)
"""A file that was not written to its end in that time never will be."""

_log = structlog.get_logger()


class Recordings:
    """Keeps them for one node."""

    def __init__(self, database: Database, engine: Engine, folder: Path) -> None:
        """``folder`` is the data folder's."""
        self._database = database
        self._engine = engine
        self._folder = folder / service.FOLDER
        self._saved: dict[str, None] = {}
        self._told: set[str] = set()
        """Names of those whose trouble was told."""
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    async def keep(self, name: str) -> float:
        """Fetch a recording that has ended; return its seconds once it is on disk here.

        Raises NoRecordingError when there is no sound in it, EngineUnavailableError, OSError.
        """
        audio = await self._engine.recording(name)
        if audio is None:
            raise NoRecordingError("nothing was recorded: the engine has no such file")
        try:
            seconds = core.seconds_of(audio)
        except NoRecordingError:
            await self._forget(name)
            raise
        await asyncio.to_thread(service.save, self._folder, name, audio)
        self._take(name)
        await self._forget(name)
        return seconds

    async def flush(self) -> None:
        """Return once the database knows of all."""
        await self._idle.wait()

    async def run(self) -> None:
        """Let the database know of them, and look for what was left in the folder and at the engine, until cancelled. A
        database that is away is waited for."""
        looking = asyncio.get_running_loop().create_task(self._look())
        try:
            while True:
                await self._wake.wait()
                await self._list(next(iter(self._saved)))
        finally:
            looking.cancel()
            await asyncio.wait({looking})

    async def _list(self, name: str) -> None:
        try:
            await service.list_one(self._database, self._folder, name)
        except DatabaseUnavailableError as error:
            _log.warning("recording_waits_for_database", waiting=len(self._saved), reason=error.message)
            await asyncio.sleep(PAUSE_SECONDS)
            return
        except Exception as error:  # noqa: BLE001 - one recording must not end a node's life: told, and tried again
            if name not in self._told:
                self._told.add(name)
                _log.error("recording_not_listed", name=name, reason=str(error) or repr(error))
        del self._saved[name]
        if not self._saved:
            self._wake.clear()
            self._idle.set()

    async def _look(self) -> None:
        while True:
            try:
                for name in await asyncio.to_thread(self._left):
                    self._take(name)
                await self.fetch_left()
            except (EngineUnavailableError, DatabaseUnavailableError, OSError) as error:
                _log.warning("recordings_not_looked_for", reason=str(error))
            except Exception:  # noqa: BLE001 - told with its traceback; what was left must still be looked for later
                _log.exception("recordings_not_looked_for")
            await asyncio.sleep(LOOK_SECONDS)

    def _left(self) -> list[str]:
        """Return what is in the folder and not listed: left behind by another life, or by trouble that may be over."""
        service.tidy(self._folder, older_than=DRAFTS_END)
        return list(service.left(self._folder))

    async def fetch_left(self) -> None:
        """Fetch what is at the engine of calls that are over; what was recorded for a review that there is none of is
        forgotten, unheard. Raises EngineUnavailableError, DatabaseUnavailableError, OSError."""
        named = {name: parsed for name in await self._engine.recordings() if (parsed := core.parse_name(name))}
        if not named:
            return
        async with self._database.connection() as connection:
            over = await store.over(connection, [attempt_id for attempt_id, _ in named.values()], since=LEFT_AFTER)
            kept = await machine_reviews.sampled(connection, sorted(over))
        for name, (attempt_id, _) in named.items():
            if attempt_id not in over:
                continue
            if core.is_sample(name) and attempt_id not in kept:
                await self._engine.forget_recording(name)
            else:
                try:
                    await self.keep(name)
                except NoRecordingError as error:
                    _log.warning("recording_is_empty", name=name, reason=str(error))

    def _take(self, name: str) -> None:
        self._saved[name] = None
        self._idle.clear()
        self._wake.set()

    async def _forget(self, name: str) -> None:
        try:
            await self._engine.forget_recording(name)
        except EngineUnavailableError as error:
            # found there again later, it is the same recording
            _log.warning("recording_left_at_engine", name=name, reason=error.message)

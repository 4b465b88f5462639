"""People who asked, on a call, never to be called again: put on the do-not-call list whatever happens to the call.

Each is a file of the data folder, from the key or the agent's word on until it is on its list, so that neither the end
of a node's life, nor a kill, nor a database that is away loses it: whoever begins next with this folder finds it.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from outdial.core.errors import DatabaseUnavailableError, NotFoundError, OutdialError, StopNotProvenError
from outdial.core.flow import OptOutScope
from outdial.core.model import OPT_OUTS, DncSource
from outdial.services.dnc import Listed
from outdial.services.engines import Engines
from outdial.services.opt_out import opt_out
from outdial.store import dnc as store
from outdial.store.database import Database

PAUSE_SECONDS: Final = 0.2
"""Before the next try while the database is away."""

PROVEN_AT_ONCE: Final = 16
"""Opt-outs whose calls are ended at the same time; however many wait for that, all are on their lists before."""

REASON: Final = "asked for on a call"

_log = structlog.get_logger()


class _Asked(NamedTuple):
    """One that is not on a list yet."""

    attempt_id: str
    scope: OptOutScope
    source: DncSource

    @property
    def name(self) -> str:
        """Of its file."""
        return ".".join((self.attempt_id, self.scope, *(() if self.source is DncSource.KEY else (self.source,))))


_ENDINGS: Final = {
    _Asked("", scope, source).name: (scope, source) for scope in OptOutScope for source in sorted(OPT_OUTS)
}
"""What follows the attempt in the names of files."""


class OptOuts:
    """What was asked for and is not done yet: put on the lists in order, the calls ended side by side."""

    def __init__(self, database: Database, engines: Engines, folder: Path) -> None:
        self._database = database
        self._engines = engines
        self._folder = folder
        self._asked = set[_Asked]()
        self._waiting = asyncio.Queue[_Asked]()
        """Those that are not on their lists, in order."""
        self._turns = asyncio.Semaphore(PROVEN_AT_ONCE)
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, attempt_id: str, scope: OptOutScope, source: DncSource = DncSource.KEY) -> bool:
        """Take one; it is on the list a moment later. Return whether it is on disk by now."""
        asked = _Asked(attempt_id, scope, source)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file(asked).touch()
        except OSError as error:
            _log.error("opt_out_not_on_disk", attempt_id=attempt_id, reason=str(error))
            kept = False
        else:
            kept = True
        self._take(asked)
        return kept

    def _take(self, asked: _Asked) -> None:
        if asked not in self._asked:
            self._asked.add(asked)
            self._idle.clear()
            self._waiting.put_nowait(asked)

    def _file(self, asked: _Asked) -> Path:
        return self._folder / asked.name

    def _left(self) -> list[_Asked]:
        """Return those that somebody has left behind here."""
        names = [path.name for path in self._folder.glob("*")] if self._folder.is_dir() else []
        parts = [name.partition(".") for name in names]
        return [_Asked(name, *_ENDINGS[dot + ending]) for name, dot, ending in parts if dot + ending in _ENDINGS]

    def __len__(self) -> int:
        return len(self._asked)

    async def flush(self) -> None:
        """Return once all are on their lists, and the calls to them over or left to their stops."""
        await self._idle.wait()

    async def run(self) -> None:
        """Put them on the lists, until cancelled, those that were left behind first. A database that is away is waited
        for; a call that is slow to end keeps nobody else off their list."""
        for left in await asyncio.to_thread(self._left):
            self._take(left)
        async with asyncio.TaskGroup() as beside:
            while True:
                asked, on_list = await self._waiting.get(), asyncio.Event()
                beside.create_task(self._see_to(asked, on_list))
                await on_list.wait()

    async def _see_to(self, asked: _Asked, on_list: asyncio.Event) -> None:
        while True:
            try:
                await self._write(asked, on_list)
            except DatabaseUnavailableError as error:
                _log.warning("opt_out_waits_for_database", waiting=len(self._asked), reason=error.message)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            except OutdialError as error:
                # nobody may be called because of a list that is gone: the account's own always exists
                _log.error("opt_out_not_on_its_list", attempt_id=asked.attempt_id, reason=error.message)
                if asked.scope is OptOutScope.CAMPAIGN:
                    self.put(asked.attempt_id, OptOutScope.ACCOUNT, asked.source)
            break
        self._asked.remove(asked)
        self._file(asked).unlink(missing_ok=True)
        on_list.set()
        if not self._asked:
            self._idle.set()

    async def _write(self, asked: _Asked, on_list: asyncio.Event) -> None:
        attempt_id, scope, source = asked
        async with contextlib.AsyncExitStack() as turn:

            async def listed() -> None:
                on_list.set()
                await turn.enter_async_context(self._turns)

            await self._opt_out(attempt_id, scope, source, listed)

    async def _opt_out(self, attempt_id: str, scope: OptOutScope, source: DncSource, listed: Listed) -> None:
        async with self._database.connection() as connection:
            person = await store.person_of(connection, attempt_id)
        if person is None:
            raise NotFoundError(f"There is no attempt {attempt_id}: its file is of another database.")
        of_campaign = scope is OptOutScope.CAMPAIGN and person.list_name is not None
        try:
            await opt_out(
                self._database,
                self._engines,
                account_id=person.account_id,
                iid=person.iid if of_campaign else None,
                list_name=person.list_name if of_campaign else None,
                phone=person.phones[0],
                # it is the person who asks, and not the telephone
                others=person.phones[1:],
                source=source,
                reason=REASON,
                actor=f"attempt {attempt_id}",
                listed=listed,
            )
        except StopNotProvenError as error:
            # it is on the list; what is still open is another call to the number, and that stop goes on by itself
            _log.warning("opted_out_while_called", attempt_id=attempt_id, scope=str(scope), reason=error.message)
        else:
            _log.info("opted_out", attempt_id=attempt_id, scope=str(scope))

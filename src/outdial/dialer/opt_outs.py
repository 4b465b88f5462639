"""People who asked, on a call, never to be called again: put on the do-not-call list whatever happens to the call.

Each is a file of the data folder from the key on until it is on its list, so that neither the end of a node's life, nor
a kill, nor a database that is away loses it: whoever begins next with this folder finds it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import structlog

from outdial.core.errors import DatabaseUnavailableError, NotFoundError, OutdialError, StopNotProvenError
from outdial.core.flow import OptOutScope
from outdial.core.model import DncSource
from outdial.services.engines import Engines
from outdial.services.opt_out import opt_out
from outdial.store import dnc as store
from outdial.store.database import Database

PAUSE_SECONDS: Final = 0.2
"""Before the next try while the database is away."""

_SCOPES: Final = frozenset(scope.value for scope in OptOutScope)

REASON: Final = "asked for on a call"

_log = structlog.get_logger()


class OptOuts:
    """What was asked for and is not on a list yet, in order."""

    def __init__(self, database: Database, engines: Engines, folder: Path) -> None:
        self._database = database
        self._engines = engines
        self._folder = folder
        self._asked: dict[tuple[str, OptOutScope], None] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, attempt_id: str, scope: OptOutScope) -> None:
        """Take one; it is on the list a moment later, and on disk when this returns."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file(attempt_id, scope).touch()
        except OSError as error:
            _log.error("opt_out_not_on_disk", attempt_id=attempt_id, reason=str(error))
        self._take(attempt_id, scope)

    def _take(self, attempt_id: str, scope: OptOutScope) -> None:
        self._asked[attempt_id, scope] = None
        self._idle.clear()
        self._wake.set()

    def _file(self, attempt_id: str, scope: OptOutScope) -> Path:
        return self._folder / f"{attempt_id}.{scope}"

    def _left(self) -> list[tuple[str, OptOutScope]]:
        """Return those that somebody has left behind here."""
        names = [path.name for path in self._folder.glob("*")] if self._folder.is_dir() else []
        parts = [name.partition(".") for name in names]
        return [(name, OptOutScope(scope)) for name, _, scope in parts if scope in _SCOPES]

    def __len__(self) -> int:
        return len(self._asked)

    async def flush(self) -> None:
        """Return once all are on their lists."""
        await self._idle.wait()

    async def run(self) -> None:
        """Put them on the lists, until cancelled, those that were left behind first. A database that is away is waited
        for."""
        for attempt_id, scope in await asyncio.to_thread(self._left):
            self._take(attempt_id, scope)
        while True:
            await self._wake.wait()
            attempt_id, scope = next(iter(self._asked))
            try:
                await self._write(attempt_id, scope)
            except DatabaseUnavailableError as error:
                _log.warning("opt_out_waits_for_database", waiting=len(self._asked), reason=error.message)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            except OutdialError as error:
                # nobody may be called because of a list that is gone: the account's own always exists
                _log.error("opt_out_not_on_its_list", attempt_id=attempt_id, reason=error.message)
                if scope is OptOutScope.CAMPAIGN:
                    self.put(attempt_id, OptOutScope.ACCOUNT)
            del self._asked[attempt_id, scope]
            self._file(attempt_id, scope).unlink(missing_ok=True)
            if not self._asked:
                self._wake.clear()
                self._idle.set()

    async def _write(self, attempt_id: str, scope: OptOutScope) -> None:
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
                source=DncSource.KEY,
                reason=REASON,
                actor=f"attempt {attempt_id}",
            )
        except StopNotProvenError as error:
            # it is on the list; what is still open is another call to the number, and that stop goes on by itself
            _log.warning("opted_out_while_called", attempt_id=attempt_id, scope=str(scope), reason=error.message)
        else:
            _log.info("opted_out", attempt_id=attempt_id, scope=str(scope))

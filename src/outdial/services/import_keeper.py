"""Runs imports whose file has arrived, in whichever process has it, and clears away uploads that were given up."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from outdial.core.errors import (
    DatabaseUnavailableError,
    IllegalMoveError,
    ImportBusyError,
    NotFoundError,
    OutdialError,
)
from outdial.secretbox import SecretBox
from outdial.services import imports
from outdial.store import imports as store
from outdial.store.database import Database

ACTOR: Final = "outdial"

LOOK_SECONDS: Final = 1.0
"""Between two looks for something to run."""

SETTLED: Final = timedelta(seconds=2)
"""How long an import has been waiting before it is run here: whoever completes a file at the command line runs it
there, with its progress shown."""

UNKNOWN: Final = (
    "outdial met what it does not know while it added the rows; those added before stay. Its log says more at "
    "import_failed, with the id of this import: whoever runs outdial can look there. Import the file again afterwards."
)
"""Why an import failed that should not have: nothing of the error itself, which is the operator's to read."""

GIVEN_UP: Final = timedelta(hours=24)
"""An upload to which nothing has been added for so long is cancelled."""

_log = structlog.get_logger()


async def keep(database: Database, folder: Path, secrets: SecretBox | None = None) -> None:
    """Run what waits and whose file is in ``folder``, one import at a time, for ever; ends by cancel. Any number of
    processes may do so: one that is cut off leaves the import to the next."""
    keeper = ImportKeeper(database, folder, secrets)
    while True:
        try:
            await keeper.look()
        except DatabaseUnavailableError as error:
            _log.warning("imports_wait_for_database", reason=error.message)
        await asyncio.sleep(LOOK_SECONDS)


class ImportKeeper:
    """Looks after imports."""

    def __init__(self, database: Database, folder: Path, secrets: SecretBox | None = None) -> None:
        self._database = database
        self._secrets = secrets
        self._folder = folder

    async def look(self) -> None:
        """Run everything that waits here, then clear away."""
        async with self._database.connection() as connection:
            waiting = await store.waiting(connection, settled=SETTLED)
            given_up = await store.given_up(connection, since=GIVEN_UP)
        for iid, import_id in waiting:
            if await asyncio.to_thread((self._folder / import_id).is_file):
                await self._run(iid, import_id)
        for iid, import_id in given_up:
            await self._clear(iid, import_id)

    async def _run(self, iid: str, import_id: str) -> None:
        try:
            ended = await imports.run(self._database, self._folder, iid, import_id, actor=ACTOR, secrets=self._secrets)
        except (ImportBusyError, IllegalMoveError):
            # somebody else was faster, or has cancelled it
            return
        except DatabaseUnavailableError:
            raise
        except OutdialError as error:
            # what its owner has to know is in its state; what can be mended here is tried again
            _log.warning("import_not_run", import_id=import_id, reason=error.message)
        except Exception:  # noqa: BLE001 - told with its traceback; one file must not keep others from being imported
            _log.exception("import_failed", import_id=import_id)
            await self._fail(iid, import_id)
        else:
            _log.info("import_ended", import_id=import_id, state=ended.state, rows=ended.rows, added=ended.added)

    async def _fail(self, iid: str, import_id: str) -> None:
        """End it for good: run again it would come here again, each second."""
        try:
            await imports.fail(self._database, self._folder, iid, import_id, actor=ACTOR, failure=UNKNOWN)
        except (ImportBusyError, IllegalMoveError):
            # somebody else runs it by now, or has cancelled it
            return

    async def _clear(self, iid: str, import_id: str) -> None:
        try:
            await imports.cancel(self._database, self._folder, iid, import_id, actor=ACTOR)
        except (IllegalMoveError, NotFoundError):
            # it went on after all, or somebody has ended it or removed its application
            return
        except OSError as error:
            # it is cancelled by now, so nobody comes here for it again: whoever runs outdial has to remove the file
            _log.warning("import_file_left", import_id=import_id, reason=str(error))
            return
        _log.info("upload_given_up", import_id=import_id)

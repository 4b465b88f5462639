"""Goes on with erasures that were broken off, removes files here of persons who were erased, and what accounts do not
keep any longer."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from outdial import clock
from outdial.core.errors import DatabaseUnavailableError, OutdialError
from outdial.secretbox import SecretBox
from outdial.services import erasures, old_attempts, retention
from outdial.services.engines import Engines
from outdial.store.database import Database

LOOK_SECONDS: Final = 10.0
"""Between two looks."""

BROKEN_OFF: Final = timedelta(seconds=60)
"""How old an erasure is that is gone on with here: one that is being carried out is through before."""

OLD_ATTEMPTS_SECONDS: Final = 600.0
"""Between two looks for old attempts when the one before has found no more."""

_log = structlog.get_logger()


async def keep(database: Database, secrets: SecretBox, engines: Engines, folder: Path) -> None:
    """Do so for ever; ends by cancel. Any number of processes may: each thing is done once, files where they are."""
    keeper = PersonalDataKeeper(database, secrets, engines, folder)
    while True:
        await keeper.look()
        await asyncio.sleep(LOOK_SECONDS)


class PersonalDataKeeper:
    """Looks after what is to go; tells each trouble once."""

    def __init__(self, database: Database, secrets: SecretBox, engines: Engines, folder: Path) -> None:
        self._database = database
        self._secrets = secrets
        self._engines = engines
        self._folder = folder
        self._troubles: dict[str, str] = {}
        self._old_attempts_at = 0.0

    async def look(self) -> None:
        """Do what there is to do. What goes wrong is logged, holds up nothing else, and is tried again next time."""
        database, folder = self._database, self._folder
        for name, work in (
            ("erasures", self._erasures),
            ("erased_recordings", partial(erasures.clear_files, database, folder)),
            ("recordings", partial(retention.sweep_recordings, database, folder)),
            ("attributes", partial(retention.sweep_contacts, database)),
            ("attempts", self._old_attempts),
        ):
            try:
                count = await work()
            except DatabaseUnavailableError as error:
                self._tell(name, "personal_data_waits_for_database", error.message)
            except OutdialError as error:
                self._tell(name, "personal_data_not_removed", error.message)
            else:
                self._troubles.pop(name, None)
                if count:
                    _log.info("personal_data_removed", what=name, count=count)

    async def _erasures(self) -> int:
        through = await erasures.go_on(
            self._database, self._secrets, self._engines, self._folder, older_than=BROKEN_OFF
        )
        return len(through)

    async def _old_attempts(self) -> int:
        if clock.boottime() < self._old_attempts_at:
            return 0
        # also when this one fails
        self._old_attempts_at = clock.boottime() + OLD_ATTEMPTS_SECONDS
        looked = await old_attempts.look(self._database)
        if looked.waiting:
            self._tell("attempts_of", "old_attempts_wait_for_a_webhook", ", ".join(looked.waiting))
        else:
            self._troubles.pop("attempts_of", None)
        if looked.more:
            self._old_attempts_at = 0.0
        return looked.removed

    def _tell(self, what: str, event: str, reason: str) -> None:
        if reason != self._troubles.get(what):
            self._troubles[what] = reason
            _log.warning(event, what=what, reason=reason)

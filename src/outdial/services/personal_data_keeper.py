"""Goes on with erasures that were broken off, removes files here of persons who were erased, and what accounts do not
keep any longer."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

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

_Trouble: TypeAlias = tuple[str, str]
"""The log's event, and the reason."""

_WAITS: Final = "personal_data_waits_for_database"
"""It passes."""

_REFUSED: Final = "personal_data_not_removed"
"""It needs somebody."""

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
        self._told: dict[tuple[str, str], list[_Trouble]] = {}
        """What was wrong with each thing when it was last looked at; of old attempts by kind, since a look may say
        nothing of one."""
        self._old_attempts_at = 0.0

    async def look(self) -> None:
        """Do what there is to do. What goes wrong is logged, holds up nothing else, and is tried again next time."""
        database, folder = self._database, self._folder
        for name, work in (
            ("erasures", self._erasures),
            ("erased_recordings", partial(erasures.clear_files, database, folder)),
            ("recordings", partial(retention.sweep_recordings, database, folder)),
            ("attributes", partial(retention.sweep_contacts, database)),
        ):
            try:
                count = await work()
            except OutdialError as error:
                self._tell(name, [_trouble(error)])
            else:
                self._tell(name, [])
                self._log_removed(name, count)
        if clock.boottime() >= self._old_attempts_at:
            await self._old_attempts()

    async def _erasures(self) -> int:
        through = await erasures.go_on(
            self._database, self._secrets, self._engines, self._folder, older_than=BROKEN_OFF
        )
        return len(through)

    async def _old_attempts(self) -> None:
        # also when this one fails
        self._old_attempts_at = clock.boottime() + OLD_ATTEMPTS_SECONDS
        try:
            looked = await old_attempts.look(self._database)
        except OutdialError as error:
            # of what the database refuses it says nothing
            self._tell("attempts", [_trouble(error)], kind="waits")
            return
        found = [_trouble(error) for error in looked.troubles]
        self._tell("attempts", [one for one in found if one[0] == _WAITS], kind="waits")
        refused = [one for one in found if one[0] != _WAITS]
        if not looked.whole:
            # it says nothing of where it did not get
            refused += [one for one in self._told.get(("attempts", "refused"), []) if one not in refused]
        self._tell("attempts", refused, kind="refused")
        webhooks = [("old_attempts_wait_for_a_webhook", ", ".join(looked.waiting))] if looked.waiting else []
        self._tell("attempts", webhooks, kind="webhooks")
        if looked.trusted_from is not None:
            # the last alone: another leap has another instant, and one that was waited for does not come back
            reason = (
                f"The database's clock leapt, or is watched since lately; trusted from {looked.trusted_from:%FT%RZ}."
            )
            self._tell("attempts", [("old_attempts_wait_for_the_clock", reason)], kind="clock")
        self._log_removed("attempts", looked.removed)
        if looked.more:
            self._old_attempts_at = 0.0

    def _log_removed(self, what: str, count: int) -> None:
        if count:
            _log.info("personal_data_removed", what=what, count=count)

    def _tell(self, what: str, found: list[_Trouble], *, kind: str = "") -> None:
        """Log what is wrong with something and was not when it was last looked at."""
        for event, reason in found:
            if (event, reason) not in self._told.get((what, kind), []):
                _log.warning(event, what=what, reason=reason)
        self._told[what, kind] = found


def _trouble(error: OutdialError) -> _Trouble:
    return _WAITS if isinstance(error, DatabaseUnavailableError) else _REFUSED, error.message

"""Keeps the evidence up: seals what has happened, signs reports nobody has asked for, makes the first signing key."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from outdial.core.errors import DatabaseUnavailableError, OutdialError
from outdial.secretbox import SecretBox
from outdial.services import signed_reports, signing_keys
from outdial.store.database import Database

LOOK_SECONDS: Final = 2.0
"""Between two looks: the longest that something is written and not sealed, while all goes well."""

_log = structlog.get_logger()


async def keep(database: Database, secrets: SecretBox) -> None:
    """Do so for ever; ends by cancel. Any number of processes may: each thing is done once."""
    keeper = EvidenceKeeper(database, secrets)
    while True:
        await keeper.look()
        await asyncio.sleep(LOOK_SECONDS)


class EvidenceKeeper:
    """Looks after seals and signatures; tells each trouble once."""

    def __init__(self, database: Database, secrets: SecretBox) -> None:
        self._database = database
        self._secrets = secrets
        self._trouble = ""
        self._not_signed: set[int] = set()

    async def look(self) -> None:
        """Seal and sign what there is. What goes wrong is logged and tried again at the next look: neither dialing nor
        stopping depends on it."""
        try:
            for run_id in await signed_reports.sign_missing(self._database, self._secrets, on_failure=self._not_made):
                _log.info("stop_report_signed", run_id=run_id)
            await signing_keys.in_use(self._database, self._secrets)
        except DatabaseUnavailableError as error:
            self._tell("evidence_waits_for_database", error.message)
        except OutdialError as error:
            self._tell("evidence_not_kept", error.message)
        else:
            self._trouble = ""

    def _not_made(self, run_id: int, error: Exception) -> None:
        if run_id not in self._not_signed:
            self._not_signed.add(run_id)
            _log.error("stop_report_not_signed", run_id=run_id, exc_info=error)

    def _tell(self, event: str, reason: str) -> None:
        if reason != self._trouble:
            self._trouble = reason
            _log.warning(event, reason=reason)

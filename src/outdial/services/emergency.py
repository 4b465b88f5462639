"""The emergency stop: everything of everybody stops, and nothing starts until somebody lifts it.

Three ways lead to it: a command, an API call, and a file. The file works when neither answers: every process that dials
looks for it, places nothing while it is there, and cancels what rings, whether or not the database can be reached.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from outdial.config import Settings
from outdial.core.errors import ConflictError, DatabaseUnavailableError, NotFoundError, StopNotProvenError
from outdial.core.wide_stop import StopScope, StopTarget
from outdial.services.engines import Engines
from outdial.services.fields import LONGEST_DESCRIPTION, line_problems, require
from outdial.services.stop import StopOptions
from outdial.services.wide_stops import WideStop, new_id, stop_target, wide_stop
from outdial.store import emergencies as store
from outdial.store import runs as runs_store
from outdial.store import wide_stops as wide_stops_store
from outdial.store.database import Database
from outdial.store.emergencies import Emergency

__all__ = ["Emergency", "EmergencySwitch", "declare", "emergencies", "in_force", "keep", "lift"]

LOOK_SECONDS: Final = 0.5
"""Between two looks at the file and at the database."""

FILE_ACTOR: Final = "file"
"""Who declares an emergency stop that the file asks for."""

_EVERYTHING: Final = StopTarget(StopScope.EVERYTHING)

_log = structlog.get_logger()


class EmergencySwitch:
    """The file: there is an emergency as long as it exists."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, settings: Settings) -> EmergencySwitch:
        """Return the switch of an installation."""
        return cls(settings.emergency_stop_file or settings.data_dir.resolve() / "emergency-stop")

    @property
    def on(self) -> bool:
        """Whether the file is there. A folder that cannot be read counts as off: it says nothing."""
        try:
            self.path.stat()
        except (OSError, ValueError):
            return False
        return True

    def pull(self, reason: str) -> None:
        """Write the file. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(f"{reason}\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Declared:
    """An emergency stop, and the stop of everything that came with it."""

    emergency: Emergency
    stop: WideStop


async def declare(
    database: Database,
    engines: Engines,
    *,
    reason: str,
    actor: str,
    options: StopOptions = StopOptions(),  # noqa: B008 - frozen
) -> Declared:
    """Declare an emergency stop and return when no further call can leave. One that is in force is joined.

    Schedules stay as they are: nothing of them starts before it is lifted. Raises InvalidInputError, StopNotProvenError
    (it is in force, but an engine could not be shown to be silent in time: ask again), DatabaseUnavailableError.
    """
    require(line_problems("reason", reason, longest=LONGEST_DESCRIPTION))
    async with database.transaction() as connection:
        await runs_store.limit_idle(connection, engines.ttl_seconds)
        # alone: a run that is being started is committed before, and found below, or sees this
        await store.freeze(connection)
        emergency = await store.in_force(connection)
        if emergency is None:
            stop_id = new_id()
            await wide_stops_store.insert(connection, stop_id, _EVERYTHING, actor=actor)
            emergency = await store.declare(connection, stop_id, reason=reason, actor=actor)
            _log.error("emergency_stop_declared", by=actor, reason=reason)
    return Declared(emergency, await _stop_everything(database, engines, emergency, actor=actor, options=options))


async def _stop_everything(
    database: Database, engines: Engines, emergency: Emergency, *, actor: str, options: StopOptions
) -> WideStop:
    return await stop_target(
        database,
        engines,
        _EVERYTHING,
        actor=actor,
        options=options,
        stop_id=emergency.wide_stop_id,
        keep_schedules=True,
    )


async def lift(database: Database, switch: EmergencySwitch, *, reason: str, actor: str) -> Emergency:
    """Lift the emergency stop: campaigns may be started again, none starts by that alone but what a schedule begins.

    Raises InvalidInputError without a reason, NotFoundError when none is in force, ConflictError while the file is
    there on this machine.
    """
    problems = line_problems("reason", reason, longest=LONGEST_DESCRIPTION)
    if not reason.strip():
        problems.append("`reason` must say why the emergency is over.")
    require(problems)
    if switch.on:
        raise ConflictError(f"The emergency switch is still on: remove the file {switch.path}, then lift the stop.")
    async with database.connection() as connection:
        lifted = await store.lift(connection, reason=reason, actor=actor)
    if lifted is None:
        raise NotFoundError("No emergency stop is in force.")
    _log.warning("emergency_stop_lifted", by=actor, reason=reason)
    return lifted


async def in_force(database: Database) -> Declared | None:
    """Return the emergency stop that is in force, with how far it is; None when there is none."""
    async with database.connection() as connection:
        emergency = await store.in_force(connection)
    if emergency is None:
        return None
    return Declared(emergency, await wide_stop(database, emergency.wide_stop_id))


async def emergencies(database: Database, *, limit: int = 100) -> list[Emergency]:
    """Return the latest emergency stops, newest first."""
    async with database.connection() as connection:
        return await store.all_emergencies(connection, limit=limit)


async def keep(database: Database, engines: Engines, switch: EmergencySwitch) -> None:
    """Declare what the file asks for, and finish what a process that died has declared; ends by cancel."""
    complained = False
    while True:
        try:
            await _look(database, engines, switch)
        except (DatabaseUnavailableError, StopNotProvenError) as error:
            if not complained:
                _log.error("emergency_stop_waits", reason=error.message)
            complained = True
        else:
            complained = False
        await asyncio.sleep(LOOK_SECONDS)


async def _look(database: Database, engines: Engines, switch: EmergencySwitch) -> None:
    asked = switch.on
    async with database.connection() as connection:
        emergency = await store.in_force(connection)
        unfinished = emergency is not None and bool(await runs_store.live_runs(connection))
    if asked and emergency is None:
        await declare(database, engines, reason=f"the file {switch.path} is there", actor=FILE_ACTOR)
    elif unfinished and emergency is not None:
        # not declared once more: it may be lifted this moment
        await _stop_everything(database, engines, emergency, actor=emergency.declared_by, options=StopOptions())

"""Signed reports of stops: made when somebody asks for one or a process finds it missing, once, and kept.

A stop never waits for it. A report is made when it is complete: every call that was live at the stop has its end booked
or goes on as was asked; calls of a node that died are waited for, :data:`SETTLE` at most.

What nobody has asked for is signed in lots: the facts of several stops are read together, each report is made alone,
and those of a lot are kept in one transaction. Who asks for one is never kept waiting for a lot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from outdial import clock
from outdial.core.errors import ConflictError, ReportErasedError, StopReportNotReadyError
from outdial.core.model import Run, RunState
from outdial.secretbox import SecretBox
from outdial.services import report_document, report_facts, sealing, signing_keys
from outdial.services.report_facts import Facts
from outdial.services.signing_keys import Signer
from outdial.services.stop import StopReport
from outdial.store import runs as runs_store
from outdial.store import signed_reports as store
from outdial.store import signing_keys as keys_store
from outdial.store import stops as stops_store
from outdial.store.database import Connection, Database
from outdial.store.signed_reports import NewReport

SETTLE: Final = timedelta(seconds=30)
"""How long the ends of calls of nodes that died are waited for: others take them over some seconds after the lease."""

TRIES: Final = 20
"""How often the chain is sealed anew because something of the run was written meanwhile."""

LATELY: Final = timedelta(days=7)
"""How old a stop is at most whose report is signed without being asked for."""

IDLE_SECONDS: Final = 2.0
"""How long a signature may fall silent while it holds the locks of runs."""

LOT: Final = 25
"""Stops whose reports are made together. More would save little, and all of a lot are in memory at once."""

_log = structlog.get_logger()


async def signed_report(database: Database, secrets: SecretBox, run: Run) -> bytes:
    """Return the signed report of a run's stop, always the same bytes.

    Raises ConflictError when the run was not stopped, ReportErasedError, StopReportNotReadyError (ask again),
    DatabaseUnavailableError.
    """
    async with database.connection() as connection:
        kept = await store.read(connection, run.id)
    if kept == b"":
        raise ReportErasedError(
            f"The signed report of the stop of {run.instance_id} named a number whose person was erased, and went with "
            "it; history keeps the stop."
        )
    if kept is not None:
        return kept
    if run.state is not RunState.STOPPED:
        raise ConflictError(f"The run {run.instance_id} is {run.state}: only a run that was stopped has a report.")
    while True:
        facts = await _complete(database, run)
        made = _made(facts, await signing_keys.signer(database, secrets))
        async with database.transaction() as connection:
            await runs_store.limit_idle(connection, IDLE_SECONDS)
            # whoever counts late cancels holds it too: what is signed is what is stored, from here on for ever
            await runs_store.lock_run(connection, run.id)
            kept = await store.read(connection, run.id)
            if kept is not None:
                return kept
            if await _keep(connection, [made]):
                return made.new.document
        # somebody has counted again meanwhile, or the key was replaced


async def sign_missing(
    database: Database,
    secrets: SecretBox,
    *,
    limit: int = 100,
    on_failure: Callable[[int, Exception], None] | None = None,
) -> list[int]:
    """Seal what has happened and sign the reports that nobody has asked for yet, or whose signing was broken off.

    Returns their runs; those that are not complete yet, or that somebody holds just then, are left for the next time.
    One whose report cannot be made is told to ``on_failure``, or logged, and holds up no other. Raises
    WrongSecretKeyError, DatabaseUnavailableError.
    """
    # once for all of them
    await sealing.seal_some(database)
    async with database.connection() as connection:
        missing = await store.unsigned(connection, within=LATELY, limit=limit)
    signing = _Signing(database, secrets, on_failure or _tell)
    for first in range(0, len(missing), LOT):
        await signing.sign(missing[first : first + LOT])
    if signing.unsealed:
        # another process was sealing then, or something of these was written meanwhile
        await sealing.seal_all(database)
        unsealed, signing.unsealed = signing.unsealed, []
        for first in range(0, len(unsealed), LOT):
            await signing.sign(unsealed[first : first + LOT])
    return signing.signed


def _tell(run_id: int, error: Exception) -> None:
    _log.error("stop_report_not_signed", run_id=run_id, exc_info=error)


class _Signing:
    """Signs what is missing, lot by lot."""

    def __init__(self, database: Database, secrets: SecretBox, on_failure: Callable[[int, Exception], None]) -> None:
        self._database = database
        self._secrets = secrets
        self._on_failure = on_failure
        self.signed: list[int] = []
        self.unsealed: list[int] = []
        """Runs of which something is in no seal yet."""

    async def sign(self, run_ids: Sequence[int]) -> None:
        signer = await signing_keys.signer(self._database, self._secrets)
        async with self._database.snapshot() as connection:
            found = await report_facts.read(connection, run_ids)
        made = []
        for run_id, facts in found.items():
            if (one := self._made(run_id, facts, signer)) is not None:
                made.append(one)
            # stops and permits of this process come first
            await asyncio.sleep(0)
        if not made:
            return
        async with self._database.transaction() as connection:
            await runs_store.limit_idle(connection, IDLE_SECONDS)
            free = await runs_store.try_lock_runs(connection, [one.new.run_id for one in made])
            kept = await _keep(connection, [one for one in made if one.new.run_id in free])
        self.signed += [run_id for run_id in run_ids if run_id in kept]

    def _made(self, run_id: int, facts: Facts | None, signer: Signer) -> _Made | None:
        """Return a report, None where it is not to be made now."""
        if facts is None:
            self.unsealed.append(run_id)
            return None
        try:
            return None if _waits_for_calls(facts) else _made(facts, signer)
        except Exception as error:  # noqa: BLE001 - told; it must not keep the others from being signed
            self._on_failure(run_id, error)
            return None


async def _complete(database: Database, run: Run) -> Facts:
    """Seal what happened and read it all at one instant; raise StopReportNotReadyError when something is missing."""
    for _ in range(TRIES):
        await sealing.seal_all(database)
        async with database.snapshot() as connection:
            facts = (await report_facts.read(connection, [run.id]))[run.id]
        if facts is None:
            continue
        if waits := _waits_for_calls(facts):
            raise StopReportNotReadyError(
                f"The run is stopped, and its report is not complete yet: how {waits} calls ended is still to be "
                "booked. Ask again in some seconds."
            )
        return facts
    raise StopReportNotReadyError("The run is stopped, and what became of its calls is still being written: ask again.")


def _waits_for_calls(facts: Facts) -> int:
    """Return how many calls a report has to wait for."""
    return report_document.unsettled(facts) if facts.stop.age < SETTLE else 0


@dataclass(frozen=True, slots=True)
class _Made:
    """A report that was signed and is not kept yet."""

    facts: Facts
    new: NewReport
    key_id: str
    stored: StopReport | None
    """What is to be stored with the run; None: it is."""


def _made(facts: Facts, signer: Signer) -> _Made:
    document, signed_at = report_document.document_of(facts), clock.now()
    text = report_document.signed(document, signer, signed_at)
    final = report_document.final_report(facts, document)
    return _Made(
        facts=facts,
        new=NewReport(run_id=facts.stop.run.id, head=facts.head, document=text, signed_at=signed_at),
        key_id=signer.key.id,
        stored=None if report_document.is_stored(facts, final) else final,
    )


async def _keep(connection: Connection, made: Sequence[_Made]) -> frozenset[int]:
    """Keep reports that one key has signed, of runs whose locks are held, and return whose were kept: those that have
    none yet and whose stop has not been counted again since, and only while the key is in use."""
    if not made or not await keys_store.hold(connection, made[0].key_id):
        return frozenset()
    standing = await store.standing(connection, [one.new.run_id for one in made])
    good = [one for one in made if standing.get(one.new.run_id) == one.facts.stop.report]
    if not good:
        return frozenset()
    await stops_store.store_reports(connection, {one.new.run_id: one.stored for one in good if one.stored is not None})
    return await store.insert(connection, made[0].key_id, [one.new for one in good])

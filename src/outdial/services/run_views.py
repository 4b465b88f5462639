"""Runs as people look at them: which there were, what became of each, attempt by attempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from outdial.core.errors import BadRequestError, NotFoundError
from outdial.core.model import Attempt, Run, RunState
from outdial.core.paging import Page
from outdial.services import runs
from outdial.services.fields import is_storable
from outdial.services.runs import RunProgress
from outdial.services.stop import StopReport, report_of
from outdial.store import attempts as attempts_store
from outdial.store import campaigns as campaigns_store
from outdial.store import history, turns
from outdial.store import runs as store
from outdial.store.database import Connection, Database
from outdial.store.history import RunMove

__all__ = ["RunMove", "RunView", "attempts_page", "get_run", "held_by", "list_runs", "view_run"]

MOST_MOVES: Final = 1000
"""Changes of one run that are shown; each is a start, pause, resume, stop or completion."""


@dataclass(frozen=True, slots=True)
class RunView:
    """A run, whole."""

    progress: RunProgress
    moves: tuple[RunMove, ...]
    """Oldest first."""
    report: StopReport | None
    """Of its stop; None when it was not stopped."""
    held_by: str | None
    """What it waits for right now, a cap or its turn; None: nothing, as far as is known."""


async def list_runs(database: Database, *, iid: str, campaign_id: str, skip: int, limit: int) -> Page[Run]:
    """Return a campaign's runs, latest first. Raises NotFoundError."""
    async with database.snapshot() as connection:
        if await campaigns_store.by_id(connection, iid, campaign_id) is None:
            raise NotFoundError(f"There is no campaign with the id {campaign_id}.")
        found, total = await store.of_campaign(connection, campaign_id, skip=skip, limit=limit)
    return Page(items=tuple(found), skip=skip, limit=limit, total=total)


async def get_run(database: Database, *, iid: str, instance_id: str) -> Run:
    """Return a run, also one whose campaign is deleted; raise NotFoundError, alike for other tenants' runs."""
    async with database.connection() as connection:
        return await _found(connection, iid, instance_id)


async def view_run(database: Database, *, iid: str, instance_id: str) -> RunView:
    """Return a run with its progress, what happened to it, and the report of its stop. Raises NotFoundError."""
    async with database.connection() as connection:
        run = await _found(connection, iid, instance_id)
        moves = await history.moves_of_run(connection, run.id, limit=MOST_MOVES)
        held_by = await turns.held_by(connection, run.id) if run.state is RunState.ACTIVE else None
    progress = await runs.progress(database, run.id)
    stopped = progress.run.state is RunState.STOPPED
    report = await report_of(database, run.id) if stopped else None
    return RunView(progress, tuple(moves), report, held_by)


async def held_by(database: Database, run: Run) -> str | None:
    """Return what an active run waits for right now, a cap or its turn; None: nothing, as far as is known."""
    async with database.connection() as connection:
        return await turns.held_by(connection, run.id) if run.state is RunState.ACTIVE else None


async def attempts_page(
    database: Database, *, iid: str, instance_id: str, after: str | None, limit: int
) -> list[Attempt]:
    """Return some attempts of a run in the order they were made, from the one after ``after`` on.

    Raises NotFoundError, also when the run has no attempt ``after``, or none any more, and BadRequestError when
    ``after`` is no attempt's id.
    """
    if after is not None and not (is_storable(after) and after.isalnum()):
        raise BadRequestError("`after` must be the id of an attempt, as `next` of the page before says.")
    async with database.connection() as connection:
        run = await _found(connection, iid, instance_id)
        place = None if after is None else await attempts_store.place_of(connection, run, after)
        if after is not None and place is None:
            # an empty page would be taken for the end
            raise NotFoundError(f"The run has no attempt {after[:64]}, or none any more; begin anew without `after`.")
        return await attempts_store.page(connection, run, after=place, limit=limit)


async def _found(connection: Connection, iid: str, instance_id: str) -> Run:
    run = await store.by_instance(connection, iid, instance_id) if is_storable(instance_id) else None
    if run is None:
        raise NotFoundError(f"There is no run {instance_id}.")
    return run

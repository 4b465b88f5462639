"""The stop that somebody at the command line means."""

from __future__ import annotations

from outdial.core.errors import NotFoundError
from outdial.core.model import Run
from outdial.services import campaigns
from outdial.services.fields import is_storable
from outdial.store import runs as store
from outdial.store.database import Database


async def find_run(database: Database, text: str) -> Run:
    """Return the run with that id (``cid-…``), or the latest run of the campaign with that id or unique name.

    Raises NotFoundError, ConflictError when several campaigns have the name.
    """
    if is_storable(text):
        async with database.connection() as connection:
            run = await store.by_any_instance(connection, text)
        if run is not None:
            return run
    found = await campaigns.find_campaign(database, text)
    if found.run is None:
        raise NotFoundError(f"The campaign {found.name!r} has never run.")
    return found.run

"""A real dialer node beside the API under test."""

from __future__ import annotations

import asyncio
import contextlib
import uuid

from outdial.dialer import Dialer


@contextlib.asynccontextmanager
async def dialer(parts, engine):
    """Run one over the API's own database and engines."""
    node = Dialer(
        settings=parts.settings,
        database=parts.database,
        secrets=parts.secrets,
        engines=parts.engines,
        engine=engine,
        address=None,
        node_id=uuid.uuid4().hex,
    )
    task = asyncio.create_task(node.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

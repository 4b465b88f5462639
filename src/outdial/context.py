"""What one process works with, wired once and closed in the opposite order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from outdial.config import Settings
from outdial.embedded_postgres import EmbeddedPostgres
from outdial.secretbox import SecretBox, load_secret_box
from outdial.store import migrations
from outdial.store.database import Database, connect


@dataclass(frozen=True, slots=True)
class Context:
    """A process's settings and its open connections."""

    settings: Settings
    database: Database
    dsn: str = field(repr=False)
    """Address of the database, with its password."""
    secrets: SecretBox


@asynccontextmanager
async def open_context(settings: Settings, *, migrate: bool = False) -> AsyncIterator[Context]:
    """Open everything; on leaving, close it in the opposite order.

    Without ``database_url`` the data folder's own server is started, or joined when another process runs it already;
    the last process to leave stops it. ``migrate`` brings the schema up to date; without it a schema that is not
    current is refused, except that an embedded database that is still empty always gets one.
    Raises StartupError or DatabaseUnavailableError.
    """
    async with AsyncExitStack() as stack:
        secrets = load_secret_box(settings)
        if settings.database_url is not None:
            dsn = settings.database_url.get_secret_value()
        else:
            server = await EmbeddedPostgres.start(settings.data_dir)
            stack.push_async_callback(server.stop)
            await stack.enter_async_context(_running(server.keep_running(), name="embedded database"))
            dsn = server.dsn
            migrate = migrate or await _is_empty(dsn)
        if migrate:
            await migrations.upgrade(dsn)
        else:
            await migrations.require_current(dsn)
        database = await Database.open(dsn, pool_size=settings.database_pool_size)
        stack.push_async_callback(database.close)
        yield Context(settings=settings, database=database, dsn=dsn, secrets=secrets)


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None], *, name: str) -> AsyncIterator[None]:
    """Run the coroutine beside the block; it ends by cancel, never by itself."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _is_empty(dsn: str) -> bool:
    connection = await connect(dsn)
    try:
        return await migrations.current_revision(connection) is None
    finally:
        await connection.close()

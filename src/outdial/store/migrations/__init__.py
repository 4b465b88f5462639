"""Brings a database to the schema of this outdial: raw SQL files, forward only, in one transaction.

Each ``versions/NNNN_name.sql`` has a ``revision_NNNN.py`` beside it that tells alembic its place. Two processes may
race: the second waits for the first one's advisory lock and then finds nothing to do.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from outdial.core.errors import DatabaseUnavailableError, StartupError
from outdial.store import database

_LOCK: Final = 0x6F75_7464_6961_6C00  # "outdial\0"
_FOLDER: Final = Path(__file__).parent

MARK_SCHEMA: Final = "outdial_restore"
"""A schema that is there while a database is being restored (``store.restores``), or after that was cut off: what the
database holds then may be whole, and is not safe to dial by."""

_CUT_OFF: Final = (
    "This database is being restored, or a restore of it was cut off: let it end, or run `outdial restore` again."
)
_LOST: Final = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InterfaceError, OSError)


def _config() -> Config:
    config = Config()
    # ConfigParser reads % as the start of a reference
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def revisions() -> tuple[str, ...]:
    """Return the revisions this outdial knows, oldest first."""
    script = ScriptDirectory.from_config(_config())
    return tuple(reversed([revision.revision for revision in script.walk_revisions()]))


async def current_revision(connection: database.Connection) -> str | None:
    """Return the revision of the database, None when it is empty."""
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    return revision


async def is_marked(connection: database.Connection) -> bool:
    """Whether the database is being restored, or a restore of it was cut off."""
    marked: bool = await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", MARK_SCHEMA)
    return marked


async def upgrade(dsn: str, *, restoring: bool = False) -> int:
    """Apply what is missing and return how many revisions that was (0 = already current).

    All or nothing. Raises StartupError when the database is newer than this outdial, is being restored by somebody else
    (``restoring``: by us) or its account may not create tables, DatabaseUnavailableError when it cannot be reached.
    """

    async def connect() -> asyncpg.Connection[asyncpg.Record]:
        return await database.connect(dsn, application_name="outdial migrate")

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(partial(_upgrade, restoring=restoring))
    except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        cause = _root(error)
        if isinstance(cause, asyncpg.InsufficientPrivilegeError):
            raise StartupError(
                "The database's account may not create tables: make it the owner of the database, then run "
                "`outdial migrate` again."
            ) from error
        if isinstance(cause, _LOST):
            raise DatabaseUnavailableError("PostgreSQL was lost during the migration; nothing was changed.") from error
        raise
    finally:
        await engine.dispose()


def _root(error: BaseException) -> BaseException:
    """Return the driver's own error inside SQLAlchemy's wrappers."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _upgrade(connection: Connection, *, restoring: bool) -> int:
    # first, and transaction-scoped: it also opens the transaction that the raw scripts then run in
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    marked = connection.execute(text("SELECT to_regnamespace(:name) IS NOT NULL"), {"name": MARK_SCHEMA}).scalar()
    if marked and not restoring:
        raise StartupError(_CUT_OFF)
    before = _revision(connection)
    _refuse_unknown(before)
    known = revisions()
    missing = len(known) if before is None else len(known) - 1 - known.index(before)
    if missing:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return missing


def _revision(connection: Connection) -> str | None:
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar() is None:
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _refuse_unknown(revision: str | None) -> None:
    known = revisions()
    if revision is not None and revision not in known:
        raise StartupError(
            f"The database has schema {revision}, newer than this outdial knows (up to {known[-1]}): "
            "upgrade outdial on this machine."
        )


async def require_current(dsn: str) -> None:
    """Raise StartupError unless the database has exactly this outdial's schema."""
    connection = await database.connect(dsn)
    try:
        if await is_marked(connection):
            raise StartupError(_CUT_OFF)
        revision = await current_revision(connection)
    finally:
        await connection.close()
    _refuse_unknown(revision)
    newest = revisions()[-1]
    if revision != newest:
        have = "no schema yet" if revision is None else f"schema {revision}"
        raise StartupError(f"The database has {have}, this outdial needs {newest}: run `outdial migrate`.")

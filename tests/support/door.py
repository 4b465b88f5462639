"""A database a test can take away."""

from __future__ import annotations

import asyncpg

from outdial.core.errors import DatabaseUnavailableError
from outdial.store.database import Database


class Door:
    """A database that can be shut: connections are refused and those in use are cut."""

    def __init__(self, inner: Database, dsn: str) -> None:
        self._inner = inner
        self._dsn = dsn
        self.shut = False

    def __getattr__(self, name: str):
        found = getattr(self._inner, name)
        if name not in {"connection", "transaction", "snapshot"}:
            return found

        def guarded():
            if self.shut:
                raise DatabaseUnavailableError("The database is not available: the door is shut.")
            return found()

        return guarded

    async def slam(self) -> None:
        """Shut it, and cut every statement under way."""
        self.shut = True
        connection = await asyncpg.connect(self._dsn)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'node'"
        )
        await connection.close()

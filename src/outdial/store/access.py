"""Who uses outdial: accounts and their applications."""

from __future__ import annotations

from typing import Final

import asyncpg

from outdial.core.model import Application
from outdial.store.database import Connection

_APPLICATIONS: Final = """
SELECT p.iid, p.account_id, p.name, a.name AS account_name, p.max_concurrent_calls
  FROM applications p JOIN accounts a ON a.id = p.account_id
"""


def _application(row: asyncpg.Record) -> Application:
    return Application(
        iid=row["iid"],
        account_id=row["account_id"],
        name=row["name"],
        account_name=row["account_name"],
        max_concurrent_calls=row["max_concurrent_calls"],
    )


async def account_named(connection: Connection, name: str, *, new_id: str) -> str:
    """Return the id of the account of that name, made with ``new_id`` when there is none."""
    await connection.execute(
        "INSERT INTO accounts (id, name) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING", new_id, name
    )
    account_id: str = await connection.fetchval("SELECT id FROM accounts WHERE name = $1", name)
    return account_id


async def account_exists(connection: Connection, account_id: str) -> bool:
    """Whether there is an account of that id."""
    found = await connection.fetchval("SELECT true FROM accounts WHERE id = $1", account_id)
    return found is not None


async def insert_application(
    connection: Connection, *, iid: str, account_id: str, name: str, max_concurrent_calls: int | None
) -> bool:
    """Store an application; False when the account has one of that name."""
    inserted = await connection.fetchval(
        """
        INSERT INTO applications (iid, account_id, name, max_concurrent_calls) VALUES ($1, $2, $3, $4)
            ON CONFLICT (account_id, name) DO NOTHING
        RETURNING true
        """,
        iid,
        account_id,
        name,
        max_concurrent_calls,
    )
    return inserted is not None


async def application_by_iid(connection: Connection, iid: str) -> Application | None:
    """Return an application, None when there is none of that iid."""
    row = await connection.fetchrow(f"{_APPLICATIONS} WHERE p.iid = $1", iid)
    return None if row is None else _application(row)


async def applications(connection: Connection) -> list[Application]:
    """Return all applications, oldest first."""
    rows = await connection.fetch(f"{_APPLICATIONS} ORDER BY p.created_at, p.iid")
    return [_application(row) for row in rows]


async def change_application(connection: Connection, iid: str, *, name: str, max_concurrent_calls: int | None) -> bool:
    """Give an application a name and a ceiling; False when another one of its account has the name."""
    try:
        # a savepoint: the transaction goes on after the refusal
        async with connection.transaction():
            await connection.execute(
                "UPDATE applications SET name = $2, max_concurrent_calls = $3 WHERE iid = $1",
                iid,
                name,
                max_concurrent_calls,
            )
    except asyncpg.UniqueViolationError:
        return False
    return True

"""What is in the database, as digests: whether a request has changed anything."""

from __future__ import annotations

from outdial.store.database import Database

BOOKKEEPING = {"request_counts", "idempotency_keys", "used_tokens", "alembic_version"}
"""What requests leave behind whoever makes them."""


async def contents(database: Database, *, iid: str | None = None) -> dict[str, str]:
    """A digest of every table with tenants' data, or of one application's rows."""
    async with database.connection() as connection:
        tables = await connection.fetch(
            """
            SELECT table_name FROM information_schema.columns WHERE table_schema = 'public'
             GROUP BY table_name HAVING $1::text IS NULL OR 'iid' = ANY (array_agg(column_name::text))
            """,
            iid,
        )
        return {
            table: await connection.fetchval(
                f"SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {table} t "
                + ("WHERE $1::text IS NULL" if iid is None else "WHERE iid = $1"),
                iid,
            )
            for (table,) in tables
            if table not in BOOKKEEPING
        }

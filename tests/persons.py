"""The look for a number in every column of the database."""

from __future__ import annotations

from outdial.core.erasure import pattern_of
from outdial.store.database import Database

LOOKED_INTO = {"text", "jsonb", "json", "bytea", "ARRAY", "character varying", "uuid", "bigint", "numeric"}


async def places_of(database: Database, phone: str, *, whose: str | None = None) -> list[str]:
    """Every column in which the number's digits stand, as ``table.column``; with an account, of its rows alone where
    the table says whose they are."""
    found = []
    async with database.connection() as connection:
        columns = await connection.fetch(
            """
            SELECT c.table_name, c.column_name, c.data_type,
                   EXISTS (SELECT FROM information_schema.columns o WHERE o.table_schema = 'public'
                              AND o.table_name = c.table_name AND o.column_name = 'account_id') AS owned
              FROM information_schema.columns c
              JOIN information_schema.tables t USING (table_schema, table_name)
             WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'
             ORDER BY 1, 2
            """
        )
        for column in columns:
            if column["data_type"] not in LOOKED_INTO:
                continue
            name = f'"{column["column_name"]}"'
            text = f"encode({name}, 'escape')" if column["data_type"] == "bytea" else f"{name}::text"
            of = (
                "AND account_id = $2"
                if whose is not None and column["owned"]
                else "AND $2::text IS NOT DISTINCT FROM $2"
            )
            query = f'SELECT count(*) FROM "{column["table_name"]}" WHERE {text} ~ $1 {of}'
            if await connection.fetchval(query, pattern_of(phone), whose):
                found.append(f"{column['table_name']}.{column['column_name']}")
    return found

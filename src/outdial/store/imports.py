"""Imports of contacts: their rows are the referee between processes that would run one, and those who cancel it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import asyncpg

from outdial.core.contact_import import Import, ImportProgress, ImportState, RowError
from outdial.core.contact_list import ColumnUse, ImportedFile, ListFiles
from outdial.store.database import Connection

_IMPORTS: Final = """
SELECT id, iid, account_id, state, file_name, sheet, mapping, default_region, list_name, list_id, create_list,
       list_created, received_bytes, position, size, rows, added, duplicates, bad, beyond, on_dnc, numbers_left_out,
       failure, created_by, created_at, updated_at, ended_at
  FROM imports
"""

_FILES: Final = """
SELECT given.id,
       ARRAY(SELECT ROW(i.id, i.file_name, i.columns) FROM imports i WHERE i.list_id = given.id AND i.iid = $1
              ORDER BY i.created_at DESC, i.id DESC LIMIT $3) AS files,
       EXISTS (SELECT FROM imports i WHERE i.list_id = given.id AND i.iid = $1 AND i.state = 'running') AS running,
       EXISTS (SELECT FROM imports i WHERE i.list_id = given.id AND i.iid = $1 AND i.state = 'done') AS done
  FROM unnest($2::text[]) AS given (id)
"""

_PARTS_OF_USE: Final = 2


def _import(row: asyncpg.Record) -> Import:
    return Import(**{**row, "state": ImportState(row["state"])})


async def insert(
    connection: Connection,
    *,
    import_id: str,
    iid: str,
    account_id: str,
    file_name: str,
    sheet: str | None,
    mapping: Mapping[str, str],
    default_region: str | None,
    list_name: str,
    create_list: bool,
    actor: str,
) -> None:
    """Store an import whose file is yet to come."""
    await connection.execute(
        """
        INSERT INTO imports (id, iid, account_id, state, file_name, sheet, mapping, default_region, list_name,
                             create_list, created_by, changed_by)
        VALUES ($1, $2, $3, 'receiving', $4, $5, $6, $7, $8, $9, $10, $10)
        """,
        import_id,
        iid,
        account_id,
        file_name,
        sheet,
        dict(mapping),
        default_region,
        list_name,
        create_list,
        actor,
    )


async def by_id(connection: Connection, iid: str, import_id: str, *, lock: bool = False) -> Import | None:
    """Return an import of the application, None for an unknown or other tenant's one.

    ``lock`` keeps it as it is until commit.
    """
    row = await connection.fetchrow(
        f"{_IMPORTS} WHERE iid = $1 AND id = $2 {'FOR UPDATE' if lock else ''}", iid, import_id
    )
    return None if row is None else _import(row)


async def imports_of(connection: Connection, iid: str, *, skip: int, limit: int) -> list[Import]:
    """Return imports of the application, newest first."""
    rows = await connection.fetch(
        f"{_IMPORTS} WHERE iid = $1 ORDER BY created_at DESC, id OFFSET $2 LIMIT $3",
        iid,
        skip,
        limit,
    )
    return [_import(row) for row in rows]


async def imports_count(connection: Connection, iid: str) -> int:
    """Return how many imports the application has."""
    count: int = await connection.fetchval("SELECT count(*) FROM imports WHERE iid = $1", iid)
    return count


async def received(connection: Connection, import_id: str, received_bytes: int) -> None:
    """Note how much of the file of a locked import is there."""
    await connection.execute(
        "UPDATE imports SET received_bytes = $2, updated_at = clock_timestamp() WHERE id = $1",
        import_id,
        received_bytes,
    )


async def set_state(
    connection: Connection,
    import_id: str,
    *,
    before: ImportState,
    after: ImportState,
    actor: str,
    runner: str | None = None,
    failure: str = "",
) -> bool:
    """Move an import from one state to another; False when it is in another one, or another than ``runner`` (if
    given) runs it."""
    moved = await connection.fetchval(
        """
        UPDATE imports
           SET state = $3, changed_by = $4, change_reason = $6, failure = $6, runner = NULL, lease_until = NULL,
               updated_at = clock_timestamp(),
               ended_at = CASE WHEN $3 IN ('done', 'failed', 'cancelled') THEN clock_timestamp() END
         WHERE id = $1 AND state = $2 AND ($5::text IS NULL OR runner = $5)
        RETURNING true
        """,
        import_id,
        before,
        after,
        actor,
        runner,
        failure,
    )
    return moved is not None


async def waiting(connection: Connection, *, settled: timedelta) -> list[tuple[str, str]]:
    """Return ``(iid, id)`` of imports whose file is complete and which nobody runs, for at least so long; oldest
    first."""
    rows = await connection.fetch(
        """
        SELECT iid, id FROM imports
         WHERE state = 'running' AND updated_at < clock_timestamp() - $1::interval
           AND (lease_until IS NULL OR lease_until < clock_timestamp())
         ORDER BY created_at
        """,
        settled,
    )
    return [(row["iid"], row["id"]) for row in rows]


async def given_up(connection: Connection, *, since: timedelta) -> list[tuple[str, str]]:
    """Return ``(iid, id)`` of imports to whose file nothing has been added for so long."""
    rows = await connection.fetch(
        "SELECT iid, id FROM imports WHERE state = 'receiving' AND updated_at < clock_timestamp() - $1::interval",
        since,
    )
    return [(row["iid"], row["id"]) for row in rows]


async def claim(connection: Connection, import_id: str, *, runner: str, lease_seconds: float) -> bool:
    """Become the one who runs an import; False when it is not running, or somebody else's lease has not ended."""
    claimed = await connection.fetchval(
        """
        UPDATE imports SET runner = $2, lease_until = clock_timestamp() + $3 * interval '1 second'
         WHERE id = $1 AND state = 'running' AND (lease_until IS NULL OR lease_until < clock_timestamp())
        RETURNING true
        """,
        import_id,
        runner,
        lease_seconds,
    )
    return claimed is not None


async def release(connection: Connection, import_id: str, *, runner: str) -> None:
    """Let somebody else run the import at once."""
    await connection.execute(
        "UPDATE imports SET runner = NULL, lease_until = NULL WHERE id = $1 AND runner = $2", import_id, runner
    )


async def found_list(
    connection: Connection,
    import_id: str,
    *,
    runner: str,
    list_id: str,
    created: bool,
    size: int,
    columns: Sequence[ColumnUse],
) -> bool:
    """Note which list an import adds to, and what its file's columns hold; False when it is no longer the runner's.

    What was noted of the columns before stays: an erasure may have taken a number out of their names since.
    """
    noted = await connection.fetchval(
        """
        UPDATE imports SET list_id = $3, list_created = list_created OR $4, size = $5,
               columns = coalesce(columns, $6)
         WHERE id = $1 AND runner = $2 RETURNING true
        """,
        import_id,
        runner,
        list_id,
        created,
        size,
        [{"column": use.column, "field": use.field} for use in columns],
    )
    return noted is not None


async def files_of(connection: Connection, iid: str, list_ids: Sequence[str], *, most: int) -> dict[str, ListFiles]:
    """Return what files each of some lists of the application came from, of each the newest ``most``."""
    rows = await connection.fetch(_FILES, iid, list_ids, most)
    return {
        row["id"]: ListFiles(tuple(map(_file, reversed(row["files"]))), running=row["running"], done=row["done"])
        for row in rows
    }


def _file(row: asyncpg.Record) -> ImportedFile:
    import_id, name, columns = row
    # an erasure takes out what names the person's number, be it the name of a column
    uses = (ColumnUse(**one) for one in columns or () if len(one) == _PARTS_OF_USE)
    return ImportedFile(import_id, name, tuple(uses))


async def advance(
    connection: Connection, import_id: str, *, runner: str, before: int, lot: ImportProgress, lease_seconds: float
) -> bool:
    """Count a lot, in the transaction that adds it.

    False, and the lot must be rolled back, when the import is no longer the runner's or not ``before`` rows far.
    """
    counted = await connection.fetchval(
        """
        UPDATE imports
           SET rows = rows + $4, added = added + $5, duplicates = duplicates + $6, bad = bad + $7,
               beyond = beyond + $8, on_dnc = on_dnc + $9, position = $10, size = $11, updated_at = clock_timestamp(),
               lease_until = clock_timestamp() + $12 * interval '1 second', numbers_left_out = numbers_left_out + $13
         WHERE id = $1 AND state = 'running' AND runner = $2 AND rows = $3
        RETURNING true
        """,
        import_id,
        runner,
        before,
        lot.rows,
        lot.added,
        lot.duplicates,
        lot.bad,
        lot.beyond,
        lot.on_dnc,
        lot.position,
        lot.size,
        lease_seconds,
        lot.numbers_left_out,
    )
    return counted is not None


async def add_errors(connection: Connection, import_id: str, found: Sequence[RowError], *, most: int) -> None:
    """Keep why rows were not imported, until ``most`` are kept."""
    if found:
        await connection.execute(
            """
            INSERT INTO import_errors (import_id, line, reason)
            SELECT $1, line, reason FROM unnest($2::bigint[], $3::text[]) AS given (line, reason) ORDER BY line
             LIMIT greatest(0, $4 - (SELECT count(*) FROM import_errors WHERE import_id = $1))
            """,
            import_id,
            [each.line for each in found],
            [each.reason for each in found],
            most,
        )


async def errors(connection: Connection, import_id: str, *, skip: int, limit: int) -> list[RowError]:
    """Return kept errors in the order of lines."""
    rows = await connection.fetch(
        "SELECT line, reason FROM import_errors WHERE import_id = $1 ORDER BY line OFFSET $2 LIMIT $3",
        import_id,
        skip,
        limit,
    )
    return [RowError(**row) for row in rows]


async def errors_count(connection: Connection, import_id: str) -> int:
    """Return how many errors are kept."""
    count: int = await connection.fetchval("SELECT count(*) FROM import_errors WHERE import_id = $1", import_id)
    return count

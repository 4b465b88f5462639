"""Seals history: each row, once its transaction is committed, goes into the chain of its account.

One process at a time seals, whichever comes first; whoever writes history never waits for it. What is written is in a
seal some two seconds later, or at once where somebody asks for it (:func:`seal_all`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from outdial.core.errors import DatabaseUnavailableError
from outdial.core.history import HistoryRow, Seal, make_seal
from outdial.store import seals as store
from outdial.store.database import Connection, Database, server_time

LARGEST: Final = 500
"""Rows in one seal: less than 10 ms of this process's time."""

TRIES: Final = 50
"""How often the first round of a cluster is tried while others write, 0.2 s each."""


async def seal_all(database: Database) -> int:
    """Seal every row whose transaction is committed now; return how many there were.

    Waits for another process that is sealing. Raises DatabaseUnavailableError.
    """
    for _ in range(TRIES):
        sealed = await _round(database, wait=True)
        if sealed is not None:
            return sealed
    raise DatabaseUnavailableError("The history cannot be sealed while others keep writing to it without a pause.")


async def seal_some(database: Database) -> int:
    """Seal what there is, unless another process does; return how many rows that were. Raises
    DatabaseUnavailableError."""
    return await _round(database, wait=False) or 0


async def _round(database: Database, *, wait: bool) -> int | None:
    """Seal what a look at the database finds; None when this was no time for it."""
    async with database.transaction() as connection:
        if not await store.take_turn(connection, wait=wait):
            return None
        found = await store.progress(connection)
        if not found.here:
            begun = await store.begin_cluster(connection)
        elif not found.backlog:
            return await _seal(connection, found)
        else:
            begun = True
    if not begun:
        return None
    # that nobody writes must not last as long as the sealing of what there was
    async with database.transaction() as connection:
        if not await store.take_turn(connection, wait=wait):
            return None
        found = await store.progress(connection)
        old = await _seal(connection, found)
    if not found.backlog:
        return old
    new = await _round(database, wait=wait)
    return None if new is None else old + new


async def _seal(connection: Connection, found: store.Progress) -> int:
    chains = _Chains(connection, await server_time(connection))
    count = 0
    async for lot in store.unsealed(connection, found, lot=LARGEST):
        for account_id, row in lot:
            await chains.add(account_id, row)
        count += len(lot)
    await chains.close()
    if count or found.backlog:
        await store.sealed(connection, found)
    return count


class _Chains:
    """The chains of all accounts, as they grow in one round."""

    def __init__(self, connection: Connection, at: datetime) -> None:
        self._connection = connection
        self._at = at
        self._open: dict[str, list[HistoryRow]] = {}
        self._heads: dict[str, Seal | None] = {}

    async def add(self, account_id: str, row: HistoryRow) -> None:
        rows = self._open.setdefault(account_id, [])
        rows.append(row)
        if len(rows) == LARGEST:
            await self._seal({account_id: self._open.pop(account_id)})

    async def close(self) -> None:
        if self._open:
            await self._seal(self._open)

    async def _seal(self, rows: Mapping[str, Sequence[HistoryRow]]) -> None:
        """Append a seal to each account's chain, all of them in one go."""
        if unknown := rows.keys() - self._heads.keys():
            self._heads |= dict.fromkeys(unknown) | await store.heads(self._connection, unknown)
        made = []
        for account_id, of_account in rows.items():
            seal = make_seal(account_id, after=self._heads[account_id], rows=of_account, sealed_at=self._at)
            made.append((seal, [row.id for row in of_account]))
            self._heads[account_id] = seal
        await store.insert(self._connection, made)

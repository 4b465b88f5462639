"""What signed reports of stops are made of, read for several runs at once: each seal and each row is looked at once,
however many reports quote it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from outdial.core.canonical import Json
from outdial.core.history import HistoryRow, Seal
from outdial.store import seals
from outdial.store import signed_reports as store
from outdial.store.database import Connection
from outdial.store.signed_reports import CallAtStop, StoredStop

PAGE: Final = 200
"""Seals read at a time."""

ROWS: Final = 5_000
"""Rows of seals read at a time, and those of one seal more at most."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a report is made of, all of one instant."""

    stop: StoredStop
    since: tuple[HistoryRow, ...]
    """What happened to the run and its attempts from the commit of the stop on."""
    calls: tuple[CallAtStop, ...]
    contacts: store.ContactCounts
    last: store.LastOriginate | None
    head: Seal
    """The account's last seal."""
    seals: tuple[dict[str, Json], ...]
    """From the one with the commit of the stop on, as a report quotes them."""


async def read(connection: Connection, run_ids: Sequence[int]) -> dict[int, Facts | None]:
    """Return what a snapshot has of stopped runs, in that order; None where something of one is in no seal yet."""
    stops = await store.stops(connection, run_ids)
    since = await store.rows_since_stop(connection, run_ids)
    quoted = await _quoted(connection, {stop.run.id: stop.run.account_id for stop in stops}, since)
    calls = await store.calls_at_stop(connection, since)
    contacts = await store.contact_counts(connection, run_ids)
    last = await store.last_originates(connection, run_ids)
    found: dict[int, Facts | None] = {}
    for stop in stops:
        run, rows = stop.run, since.get(stop.run.id, [])
        chain = quoted.get(run.account_id)
        found[run.id] = None
        if chain is not None and chain.sealed.issuperset(row.id for row in rows):
            found[run.id] = Facts(
                stop=stop,
                since=tuple(rows),
                calls=tuple(calls.get(run.id, ())),
                contacts=contacts[run.id],
                last=last.get(run.id),
                head=chain.head,
                seals=chain.since(rows),
            )
    return found


@dataclass(slots=True)
class _Quote:
    """A seal, as reports quote it."""

    seal: dict[str, Json]
    rows: Sequence[HistoryRow]
    """What it holds, where a report is about any of it."""
    digests: dict[int, str] = field(default_factory=dict)

    def about(self, row_ids: Collection[int]) -> dict[str, Json]:
        """Return the seal with its rows, those in full and the others as digests; without where it has none of them."""
        if not any(row.id in row_ids for row in self.rows):
            return {"seal": self.seal, "entries": None}
        return {
            "seal": self.seal,
            "entries": [
                row.document() if row.id in row_ids and row.erased is None else self._digest(row) for row in self.rows
            ],
        }

    def _digest(self, row: HistoryRow) -> str:
        found = self.digests.get(row.id)
        if found is None:
            found = self.digests[row.id] = row.digest().hex()
        return found


@dataclass(slots=True)
class _Chain:
    """The end of an account's chain."""

    head: Seal
    quotes: list[_Quote] = field(default_factory=list)
    sealed: set[int] = field(default_factory=set)
    """Rows of those seals that hold any that was asked for."""

    def since(self, rows: Sequence[HistoryRow]) -> tuple[dict[str, Json], ...]:
        """Return the seals from the one that holds the first of some rows on, with those rows in full."""
        row_ids = {row.id for row in rows}
        about = [quote.about(row_ids) for quote in self.quotes]
        first = next((place for place, one in enumerate(about) if one["entries"] is not None), len(about))
        return tuple(about[first:])


async def _quoted(
    connection: Connection, accounts: Mapping[int, str], since: Mapping[int, Sequence[HistoryRow]]
) -> dict[str, _Chain]:
    """Return the chains of the runs' accounts, from the first seal on that holds any of the rows; both are by run."""
    heads = await seals.heads(connection, set(accounts.values()))
    chains = {account_id: _Chain(head) for account_id, head in heads.items()}
    firsts = await seals.numbers_of(connection, {rows[0].id: accounts[run_id] for run_id, rows in since.items()})
    starts: dict[str, int] = {}
    for run_id, rows in since.items():
        account_id, number = accounts[run_id], firsts.get(rows[0].id)
        if number is not None:
            starts[account_id] = min(number, starts.get(account_id, number))
    wanted = {row.id for rows in since.values() for row in rows}
    through = {account_id: (number, heads[account_id].number) for account_id, number in starts.items()}
    after = ("", 0)
    while page := await seals.further(connection, through, after=after, limit=PAGE):
        held = await _rows(connection, [ids for _, ids in page if not wanted.isdisjoint(ids)])
        for seal, ids in page:
            chain = chains[seal.account_id]
            rows_of_seal = [] if wanted.isdisjoint(ids) else [held[row_id] for row_id in ids if row_id in held]
            chain.quotes.append(_Quote(seal.document(), rows_of_seal))
            chain.sealed.update(row.id for row in rows_of_seal)
        if len(page) < PAGE:
            break
        after = (page[-1][0].account_id, page[-1][0].number)
    return chains


async def _rows(connection: Connection, lots: Sequence[Sequence[int]]) -> Mapping[int, HistoryRow]:
    """Return the rows of some seals, by id."""
    found: dict[int, HistoryRow] = {}
    asked: list[int] = []
    for place, ids in enumerate(lots):
        asked += ids
        if len(asked) >= ROWS or place == len(lots) - 1:
            found.update((row.id, row) for row in await seals.rows(connection, asked))
            asked = []
    return found

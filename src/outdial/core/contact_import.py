"""An import of contacts as a thing: its state machine, as a table, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from outdial.core.errors import IllegalMoveError


class ImportState(StrEnum):
    """Where an import stands. Moves: ``IMPORT_MOVES``."""

    RECEIVING = "receiving"
    """Its file is being uploaded."""
    RUNNING = "running"
    """Its file is complete; rows are added, by one process at a time, and after a crash from where it was."""
    DONE = "done"
    """Every row is added or told."""
    FAILED = "failed"
    """Its file is no table, its contact list is gone, or outdial met what it does not know; rows added before stay."""
    CANCELLED = "cancelled"
    """Somebody cancelled it; rows added before stay."""


class ImportAction(StrEnum):
    """What can be done to an import."""

    FINISH_UPLOAD = "finish_upload"
    COMPLETE = "complete"
    """The file is read to its end."""
    FAIL = "fail"
    CANCEL = "cancel"


IMPORT_MOVES: Final[Mapping[tuple[ImportState, ImportAction], ImportState]] = MappingProxyType(
    {
        (ImportState.RECEIVING, ImportAction.FINISH_UPLOAD): ImportState.RUNNING,
        (ImportState.RECEIVING, ImportAction.CANCEL): ImportState.CANCELLED,
        (ImportState.RUNNING, ImportAction.COMPLETE): ImportState.DONE,
        (ImportState.RUNNING, ImportAction.FAIL): ImportState.FAILED,
        (ImportState.RUNNING, ImportAction.CANCEL): ImportState.CANCELLED,
    }
)
"""Every move there is; what is not here is an error."""


def move(state: ImportState, action: ImportAction) -> ImportState:
    """Return the state after the action. Raises IllegalMoveError, whose sentence names what is possible instead."""
    after = IMPORT_MOVES.get((state, action))
    if after is None:
        possible = [one for one in ImportAction if (state, one) in IMPORT_MOVES]
        raise IllegalMoveError(
            f"An import that is {state} cannot do: {action}. Possible: {', '.join(possible) or 'nothing any more'}."
        )
    return after


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far reading a file is, or what one lot of its rows adds to that; all counts are of what is stored already."""

    rows: int = 0
    added: int = 0
    duplicates: int = 0
    bad: int = 0
    beyond: int = 0
    on_dnc: int = 0
    position: int = 0
    size: int = 0
    numbers_left_out: int = 0

    def plus(self, lot: ImportProgress) -> ImportProgress:
        """Return how far it is after one more lot."""
        return ImportProgress(
            rows=self.rows + lot.rows,
            added=self.added + lot.added,
            duplicates=self.duplicates + lot.duplicates,
            bad=self.bad + lot.bad,
            beyond=self.beyond + lot.beyond,
            on_dnc=self.on_dnc + lot.on_dnc,
            position=lot.position,
            size=lot.size,
            numbers_left_out=self.numbers_left_out + lot.numbers_left_out,
        )


@dataclass(frozen=True, slots=True)
class Import:
    """An import and how far it is; ``rows`` = ``added`` + ``duplicates`` + ``bad`` + ``beyond``."""

    id: str
    iid: str
    account_id: str
    state: ImportState
    file_name: str
    """As its owner calls it."""
    sheet: str | None
    """Of a workbook; None = the first."""
    mapping: Mapping[str, Any]
    """Fields and attributes, and the columns they are read from."""
    default_region: str | None
    list_name: str
    list_id: str | None
    """None until the first row; the list may be gone since."""
    create_list: bool
    """Whether the list is to be made where there is none."""
    list_created: bool
    received_bytes: int
    position: int
    """How much of the file is read, of ``size``: bytes of a CSV file, rows of a sheet."""
    size: int
    rows: int
    """Rows read and stored, or told, after the first, without empty ones."""
    added: int
    duplicates: int
    """Left out: the list does not allow duplicates and has their number, or the file has it twice."""
    bad: int
    """Left out: something is wrong with them."""
    beyond: int
    """Left out: the list or the account was full."""
    on_dnc: int
    """Of ``added`` and ``duplicates``, those on the account's do-not-call list when they were read. They are in the
    list like others; what is dialed is checked at every dial."""
    numbers_left_out: int
    """Other numbers of contacts that are wrong; their contacts are imported without them."""
    failure: str
    """Why it failed."""
    created_by: str
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None

    def progress(self) -> ImportProgress:
        """Return how far it is."""
        return ImportProgress(
            rows=self.rows,
            added=self.added,
            duplicates=self.duplicates,
            bad=self.bad,
            beyond=self.beyond,
            on_dnc=self.on_dnc,
            position=self.position,
            size=self.size,
            numbers_left_out=self.numbers_left_out,
        )


@dataclass(frozen=True, slots=True)
class RowError:
    """Why a row was not imported, or another number of its contact was not."""

    line: int
    """Where it starts in the file, or its row in the sheet, from 1."""
    reason: str

"""Lots of rows: whatever blocks a file is read in and wherever lots end, each row is read once, and resuming finds its
place."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from outdial.services import csv_source, import_rows
from outdial.services.contact_columns import columns_of
from outdial.services.csv_source import CsvSource
from outdial.services.import_rows import ErrorFile, Lot
from outdial.services.table_source import TableSource, open_table
from workbooks import row, workbook

TEXT = (
    "phone,note,n\n"
    "+15550100001,plain,1\n"
    "\n"
    "555 010 0002,national,2\n"
    ",,\n"
    "nobody,wrong,3\n"
    '+15550100004,"two\nlines",4\n'
    "+15550100005\n"
    '+15550100006,"open\n'
    "+15550100007,a,b,c\n"
    '+15550100008,"quoted ""word"", and comma",8\n'
    "+15550100009,é,9\n"
    " , ,\n"
    "x,y,z\n"
    "+15550100010,last,10\n"
)
FOUND = [2, 4, 7, 9, 12, 13, 16]
"""The lines on which contacts begin."""
WRONG = [6, 10, 11, 15]


def read(source: TableSource, *, skip: int = 0, error_file: Path | None = None) -> list[Lot]:
    """All lots of a table."""
    errors = ErrorFile(error_file, Path("/nowhere"), source.header)
    columns = columns_of(source.header, default_region="US")
    found = []
    lots = import_rows._lots(source, columns, errors, "US", skip)
    while (lot := next(lots)).count:
        found.append(lot)
    errors.close()
    source.close()
    return found


def told(lots: list[Lot]) -> tuple[list, list]:
    """The contacts of lots with their lines and cells, and the errors."""
    contacts = [
        (line, phone, text, cells)
        for lot in lots
        for line, phone, text, cells in zip(lot.lines, lot.rows.phones, lot.rows.lines, lot.cells, strict=True)
    ]
    return contacts, [(error.line, error.reason) for lot in lots for error in lot.errors]


@pytest.mark.parametrize("lot_rows", [1, 2, 3, 5, 10_000])
@pytest.mark.parametrize("block", [1, 30, 70, 1 << 17])
def test_every_row_is_in_one_lot_and_resuming_finds_its_place(tmp_path, monkeypatch, lot_rows, block):
    path = tmp_path / "people.csv"
    path.write_text(TEXT)
    whole = told(read(CsvSource(path)))
    assert [line for line, *_ in whole[0]] == FOUND
    assert [line for line, _ in whole[1]] == WRONG
    rows = sorted([*FOUND, *WRONG])
    monkeypatch.setattr(import_rows, "LOT_ROWS", lot_rows)
    monkeypatch.setattr(csv_source, "_BLOCK", block)
    monkeypatch.setattr(csv_source, "_ONE_BY_ONE", 2)
    for skip in range(len(rows) + 1):
        lots = read(CsvSource(path), skip=skip)
        left = rows[skip:]
        assert [lot.count for lot in lots[:-1]] == [lot_rows] * (len(lots) - 1)
        assert sum(lot.count for lot in lots) == len(left)
        contacts, errors = told(lots)
        assert contacts == [one for one in whole[0] if one[0] in left]
        assert errors == [one for one in whole[1] if one[0] in left]
        assert all(lot.count == lot.bad + len(lot.rows) for lot in lots)


def test_a_contact_s_cells_are_kept_as_they_were(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text(TEXT)
    errors = tmp_path / "errors.csv"
    (lot,) = read(CsvSource(path), error_file=errors)
    records = [lot.record(place) for place in range(len(lot.rows))]
    assert records[2].cells == ["+15550100004", "two\nlines", "4"]
    assert records[3].cells == ["+15550100005"]
    assert [record.line for record in records] == FOUND
    with errors.open(encoding="utf-8-sig", newline="") as file:
        assert [[line, *cells] for line, _, *cells in csv.reader(file)][1:] == [
            ["6", "nobody", "wrong", "3"],
            ["10", '+15550100006,"open'],
            ["11", "+15550100007", "a", "b", "c"],
            ["15", "x", "y", "z"],
        ]


def test_workbooks_are_read_the_same_way(tmp_path, monkeypatch):
    rows = [row(1, "phone", "city"), *(row(n, f"+1555{n:07}" if n % 7 else "x", "Bonn") for n in range(2, 60))]
    path = workbook(tmp_path / "people.xlsx", People=rows)
    whole = told(read(open_table(path)))
    assert [line for line, _ in whole[1]] == list(range(7, 60, 7))
    monkeypatch.setattr(import_rows, "LOT_ROWS", 8)
    lots = read(open_table(path), skip=20)
    assert [lot.count for lot in lots] == [8, 8, 8, 8, 6]
    contacts, errors = told(lots)
    assert contacts == [one for one in whole[0] if one[0] >= 22]
    assert errors == [one for one in whole[1] if one[0] >= 22]

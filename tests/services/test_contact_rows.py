"""The quick way of rows reads the same as the usual one, whatever is in it."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from outdial.core.errors import InvalidInputError
from outdial.services.contact_columns import columns_of
from outdial.services.contact_lists import checked
from outdial.services.contact_rows import RowReader
from outdial.services.csv_source import Record, Rows
from outdial.store.contact_text import contact_line

HEADER = ["phone", "tz", "uniqueId", "priority", "note", "city"]

texts = st.text(max_size=8) | st.sampled_from(["x" * 300, "x" * 301, "\x00", "\\u0000", "\ud800", " ", "", '"\\'])
phones = st.sampled_from(
    ["+15550100001", " +1 555 010 0001", "(212) 555-0100", "015112345678", "x", "", "+1555", "+" + "9" * 400]
)
zones = st.sampled_from(["", " ", "Europe/Paris", " America/New_York ", "Mars/Olympus"])
priorities = st.sampled_from(["", " ", "0", "5", " 7 ", "5.0", "9999", "32767", "32768", "-1", "high", "\u0665", "²"])
rows = st.tuples(phones | texts, zones | texts, texts, priorities | texts, texts, texts).map(list) | st.lists(
    texts, max_size=8
)


def usual(record: Record, columns, region: str | None):
    """What the usual way answers: the number and the line of the contact, or what is wrong with it."""
    try:
        row = checked(columns.contact(record.cells), default_region=region)
    except InvalidInputError as error:
        return error.problems
    return row.phone, contact_line(row)


def quick(rows: Rows, columns, region: str | None):
    """What reading all at once answers, for each row."""
    read = RowReader(columns, default_region=region).read(rows)
    contacts = read.contacts
    assert len(contacts.phones) == len(contacts.lines) == len(rows.lines)
    assert all(contacts.phones[place] == "" for place in read.wrong)
    return [
        read.wrong.get(place) or (phone, line)
        for place, (phone, line) in enumerate(zip(contacts.phones, contacts.lines, strict=True))
    ]


# the first call makes patterns of all numbering plans
@settings(deadline=None)
@given(table=st.lists(rows, min_size=1, max_size=6), region=st.sampled_from([None, "US", "DE", "XX"]))
@example(table=[["+15550100001", "Europe/Paris", "7", "3", "fine", "Nice"]], region=None)
@example(table=[["+15550100001", "", "", "", "a\\u0000", ""]], region=None)
@example(table=[["+15550100001", "", "", "", "a\x00", ""]], region=None)
@example(table=[["+15550100001", "", "\ud800", "", "\ud800", ""]], region=None)
@example(table=[["+15550100001", "", "\\N", "", "%s", "\\."], ["+15550100002", "", "a\tb\n", "", "", ""]], region=None)
@example(table=[["+15550100001", "", "", "", "", ""], ["+15550100002", "", "", "", "x", ""]], region=None)
@example(
    table=[["+15550100001"], ["+15550100002", "", "", "", "x", "", "", ""], ["1\n2", "", "", "", "", "", "y"]],
    region="US",
)
def test_both_ways_read_the_same(table, region):
    columns = columns_of(HEADER, default_region=None)
    records = [Record(line, cells, None) for line, cells in enumerate(table, 2)]
    expected = [usual(record, columns, region) for record in records]
    assert quick(Rows(range(2, 2 + len(table)), table), columns, region) == expected


@pytest.mark.parametrize("header", [["phone"], ["phone", '100 % "sure"', "a\\b", "{x}", "%s"]])
@pytest.mark.parametrize("value", ["", "v", "100 %"])
def test_both_ways_read_the_same_whatever_columns_are_called(header, value):
    columns = columns_of(header, default_region=None)
    cells = ["+15550100001", *([value] * (len(header) - 1))]
    assert quick(Rows([2], [cells]), columns, None) == [usual(Record(2, cells, None), columns, None)]


def test_attributes_that_may_be_too_large_together_take_the_usual_way():
    header = ["phone", *(f"column {number}" for number in range(149))]
    columns = columns_of(header, default_region=None)
    table = [["+15550100001", *(["\x01" * 290] * 149)], ["+15550100002", *(["x"] * 149)]]
    expected = [usual(Record(line, cells, None), columns, None) for line, cells in enumerate(table, 2)]
    assert "bytes; at most" in expected[0][0]
    assert quick(Rows([2, 3], table), columns, None) == expected


def test_plain_rows_take_the_quick_way():
    columns = columns_of(HEADER, default_region=None)
    table = [
        ["(212) 555-0100", "Europe/Paris", "7", "3", "fine", ""],
        ["+12125550101", "", "", "", "", "Zoë"],
        ["not a number", "", "", "", "", ""],
        ["+12125550102"],
    ]
    found = RowReader(columns, default_region="US")._plain(table)
    assert found is not None
    assert found.phones == ["+12125550100", "+12125550101", "", "+12125550102"]
    assert found.lines[:2] == [
        '+12125550100\t+12125550100\tEurope/Paris\t7\t3\t{"note":"fine"}',
        '+12125550101\t+12125550101\t\\N\t\\N\t0\t{"city":"Zoë"}',
    ]


def test_a_row_that_cannot_be_read_says_so():
    columns = columns_of(HEADER, default_region=None)
    wrong = Rows([2], [["+15550100001"]], "the quotes are wrong")
    assert quick(wrong, columns, None) == [("the quotes are wrong",)]

"""The quick way of a row reads the same as the usual one, whatever is in it."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from outdial.core.errors import InvalidInputError
from outdial.services.contact_columns import columns_of
from outdial.services.contact_lists import checked
from outdial.services.contact_rows import RowReader
from outdial.services.csv_source import Record
from outdial.store.contacts import NewContacts

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
    """What the usual way answers: the contact, or what is wrong with it."""
    try:
        row = checked(columns.contact(record.cells), default_region=region)
    except InvalidInputError as error:
        return error.problems
    return (*row[:4], bytes(row.attributes))


def quick(record: Record, columns, region: str | None):
    to = NewContacts()
    try:
        size = RowReader(columns, default_region=region).read(record, to)
    except InvalidInputError as error:
        assert len(to) == len(to.attributes) == 0
        return error.problems
    (phone,), (zone,), (unique,), (priority,), (attributes,) = (
        *(to.phones, to.time_zones, to.unique_ids, to.priorities, to.attributes),
    )
    assert size == len(bytes(attributes))
    return phone, zone, unique, priority, bytes(attributes)


@given(cells=rows, region=st.sampled_from([None, "US", "DE", "XX"]))
@example(cells=["+15550100001", "Europe/Paris", "7", "3", "fine", "Nice"], region=None)
@example(cells=["+15550100001", "", "", "", "a\\u0000", ""], region=None)
@example(cells=["+15550100001", "", "", "", "a\x00", ""], region=None)
@example(cells=["+15550100001", "", "\ud800", "", "\ud800", ""], region=None)
def test_both_ways_read_the_same(cells, region):
    columns = columns_of(HEADER, default_region=None)
    record = Record(2, cells, None)
    assert quick(record, columns, region) == usual(record, columns, region)


def test_plain_rows_take_the_quick_way():
    columns = columns_of(HEADER, default_region=None)
    record = Record(2, ["(212) 555-0100", "Europe/Paris", "7", "3", "fine", ""], None)
    found = RowReader(columns, default_region="US")._plain(record)
    assert found is not None
    assert found[:4] == ("+12125550100", "Europe/Paris", "7", 3)


def test_a_row_that_cannot_be_read_says_so():
    columns = columns_of(HEADER, default_region=None)
    assert quick(Record(2, ["+15550100001"], "the quotes are wrong"), columns, None) == ("the quotes are wrong",)

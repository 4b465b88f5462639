"""Reading CSV: every encoding, separator and line end people have; broken rows are told and swallow no others."""

from __future__ import annotations

import csv
import io
import os

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from outdial.core.errors import FileError, InvalidInputError
from outdial.services import csv_source
from outdial.services.csv_source import CsvSource
from outdial.services.table_source import open_table

TABLE = "phone,name\n+15550100001,Zoë\n"


@pytest.fixture
def read(tmp_path):
    opened = []

    def reader(content: str | bytes):
        path = tmp_path / "people.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        source = CsvSource(path)
        opened.append(source)
        return source.header, list(source.records())

    yield reader
    for source in opened:
        source.close()


def cells(records) -> list[list[str]]:
    assert all(record.problem is None for record in records)
    return [record.cells for record in records]


@pytest.mark.parametrize(
    "content",
    [
        TABLE.encode(),
        TABLE.encode("utf-8-sig"),
        TABLE.encode("utf-16"),
        b"\xfe\xff" + TABLE.encode("utf-16-be"),
        TABLE.encode("utf-16-le"),
        TABLE.encode("utf-16-be"),
        TABLE.encode("utf-32"),
        TABLE.encode("cp1252"),
        TABLE.encode("latin-1"),
    ],
)
def test_encodings(read, content):
    header, records = read(content)
    assert header == ["phone", "name"]
    assert cells(records) == [["+15550100001", "Zoë"]]


def test_windows_and_latin_1_are_told_apart_by_what_only_one_of_them_has(read):
    assert cells(read("phone,name\n1,€\n".encode("cp1252"))[1]) == [["1", "€"]]
    assert cells(read("phone,name\n1,é\x81\n".encode("latin-1"))[1]) == [["1", "é\x81"]]


def test_an_encoding_that_shows_only_at_the_end_of_a_long_file(read):
    rows = 200_000
    _, records = read(b"phone,name\n" + b"1,abcdef\n" * rows + "2,é\n".encode("cp1252"))
    assert len(records) == rows + 1
    assert records[-1].cells == ["2", "é"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_and_line_ends(read, separator, end):
    header, records = read(f"phone{separator}name{end}1{separator}a{end}2{separator}b")
    assert header == ["phone", "name"]
    assert cells(records) == [["1", "a"], ["2", "b"]]


def test_a_separator_within_quotes_is_none(read):
    header, records = read('"phone; of, this, person";name\n1;"a;b"\n')
    assert header == ["phone; of, this, person", "name"]
    assert cells(records) == [["1", "a;b"]]


def test_excel_s_separator_line(read):
    header, records = read("sep=|\r\nphone|a,b,c\r\n1|2\r\n")
    assert header == ["phone", "a,b,c"]
    assert [(record.line, record.cells) for record in records] == [(3, ["1", "2"])]


def test_quotes_line_breaks_in_cells_and_spaces_after_separators(read):
    _, records = read('phone,name\n1,"a ""b""\nc"\n2, "d, e"\n"3",f g \n')
    assert [(record.line, record.cells) for record in records] == [
        (2, ["1", 'a "b"\nc']),
        (4, ["2", "d, e"]),
        (5, ["3", "f g "]),
    ]


def test_empty_rows_are_none_and_count_as_lines(read):
    header, records = read("\n\nphone,name\n\n,\n , \n1,a\n\n")
    assert header == ["phone", "name"]
    assert [(record.line, record.cells) for record in records] == [(7, ["1", "a"])]


def test_a_header_alone(read):
    assert read("phone,name") == (["phone", "name"], [])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "people.csv is empty"),
        ("\n \n,,\n", "people.csv is empty"),
        ('"phone,name\n1,2\n', "first line of people.csv cannot be read: the quotes are wrong"),
    ],
)
def test_what_is_no_table(read, content, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        read(content)


def test_a_line_without_end(read, monkeypatch):
    monkeypatch.setattr(csv_source, "LONGEST_LINE", 100)
    with pytest.raises(InvalidInputError, match=r"Line 3 of people\.csv is too long"):
        read("phone,name\n1,a\n2," + "x" * 200 + "\n")


def test_a_missing_quote_costs_one_row_only(read):
    _, records = read('phone,name\n1,"a\n2,b\n3,"c"\n4,d\n')
    assert [(record.line, record.problem is None) for record in records] == [
        (2, False),
        (3, True),
        (4, True),
        (5, True),
    ]
    assert "quotes are wrong" in records[0].problem
    assert records[0].cells == ['1,"a']
    assert records[3].cells == ["4", "d"]


def test_a_missing_quote_far_from_the_end_costs_one_row_only(read):
    rows = "".join(f"{number},x\n" for number in range(1000))
    _, records = read(f'phone,name\n1,"a\n{rows}')
    assert sum(record.problem is not None for record in records) == 1
    assert len(records) == 1001
    assert records[-1].line == 1002


def test_every_row_lacks_a_quote(read):
    _, records = read("phone,name\n" + '1,"a\n' * 500)
    # a pair of them reads as one row whose quote ends in the middle of a cell
    assert all(record.problem is not None for record in records)
    assert [record.line for record in records] == list(range(2, 502))


def test_a_cell_longer_than_the_csv_module_reads(read):
    _, records = read('phone,name\n1,"' + "x" * 200_000 + '"\n2,b\n')
    assert [record.problem is None for record in records] == [False, True]


def test_files_that_cannot_be_read(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, reason in [(tmp_path / "none.csv", "no such file"), (tmp_path, "not a regular"), (pipe, "not a regular")]:
        with pytest.raises(FileError, match=reason):
            open_table(path)


def test_how_far_reading_is(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("phone\n" + "+15550100001\n" * 100_000)
    source = CsvSource(path)
    assert 0 < source.position < source.size == path.stat().st_size
    assert sum(1 for _ in source.records()) == 100_000
    assert source.position == source.size
    source.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00\ufeff")), min_size=2, max_size=2),
        max_size=8,
    ),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from([",", ";"]),
)
def test_what_the_csv_module_writes_is_read_back(read, table, encoding, separator):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, quoting=csv.QUOTE_ALL)
    writer.writerow(["phone", "name"])
    writer.writerows(table)
    _, records = read(out.getvalue().encode(encoding))
    assert cells(records) == [row for row in table if any(row)]


@given(st.binary(max_size=80))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_breaks_the_reader(read, content):
    try:
        header, _ = read(content)
    except InvalidInputError:
        return
    assert any(header)


def one_by_one(path) -> list[tuple]:
    """The rows of a file, each read by itself."""
    source = CsvSource.__new__(CsvSource)
    source._dialect = {"delimiter": ",", "strict": True, "skipinitialspace": True}
    with path.open(encoding="utf-8", newline="") as text:
        source._lines = csv_source._Lines(text, path.name)
        found = []
        while True:
            before = source._lines._count
            found += source._row()
            if source._lines._count == before:
                return [tuple(record) for record in found]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=400)
@given(
    text=st.text(alphabet='a,"\r\n ', max_size=60).map(lambda rest: f"h,i\n{rest}"),
    block=st.integers(1, 40),
    slowly=st.integers(1, 3),
)
@example(text='h,i\na,"\na,a\n"a,a\na,a', block=30, slowly=1)
@example(text='h,i\r\n"a\r\na",a\r\n', block=5, slowly=1)
@example(text="h,i\ra,a\r\n\ra,a", block=4, slowly=1)
def test_many_lines_at_once_read_as_one_by_one(tmp_path_factory, monkeypatch, text, block, slowly):
    path = tmp_path_factory.getbasetemp() / "blocks.csv"
    path.write_bytes(text.encode())
    with monkeypatch.context() as patch:
        patch.setattr(csv_source, "_BLOCK", block)
        patch.setattr(csv_source, "_ONE_BY_ONE", slowly)
        patch.setattr(csv_source, "MOST_LINES", 4)
        expected = one_by_one(path)
        source = CsvSource(path)
        assert [(1, source.header, None), *(tuple(record) for record in source.records())] == expected
        source.close()


def test_a_file_full_of_missing_quotes_is_read_in_good_time(read):
    _, records = read("phone,name\n" + '1,"a\n' * 20_000)
    assert [record.line for record in records] == list(range(2, 20_002))
    assert all(record.problem for record in records)

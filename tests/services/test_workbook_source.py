"""Excel workbooks: what Excel shows is what is read, and a hostile file ends in a sentence."""

from __future__ import annotations

import os
import resource
import zipfile
from datetime import date, datetime, time, timedelta
from pathlib import Path

import pytest

from outdial.core.errors import FileError, InvalidInputError
from outdial.services import workbook_reader, workbook_source
from outdial.services.csv_source import CsvSource
from outdial.services.table_source import open_table
from outdial.services.workbook_reader import text_of
from workbooks import DATE, DATE_TIME, TIME, cell, row, workbook


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "people.xlsx"


def read(path: Path, *, sheet: str | None = None) -> tuple[list[str], list[tuple[int, list[str]]]]:
    source = open_table(path, sheet=sheet)
    try:
        rows = [(record.line, record.cells) for record in source.records()]
        assert source.position == source.size
        return list(source.header), rows
    finally:
        source.close()


def refusal(path: Path, **options: str) -> str:
    with pytest.raises(InvalidInputError) as refused:
        read(path, **options)
    (problem,) = refused.value.problems
    assert len(problem) < 400
    return problem


def test_a_sheet_is_a_header_and_rows(path):
    workbook(path, People=[row(1, "phone", "name"), row(2, 15550100001, "Zoë & <Co>"), row(3, "+15550100002", None)])
    assert read(path) == (
        ["phone", "name"],
        [(2, ["15550100001", "Zoë & <Co>"]), (3, ["+15550100002"])],
    )


def test_empty_rows_and_columns_are_passed_over_and_lines_are_excel_s(path):
    workbook(path, People=[row(3, None, "phone", "name"), row(5, None, "1", "x"), row(9, None, None, "y")])
    assert read(path) == (["phone", "name"], [(5, ["1", "x"]), (9, ["", "y"])])


def test_cells_of_every_kind(path):
    cells = [
        cell("A2", 15550100001),
        '<c r="B2"><v>1.5550100001E10</v></c>',
        cell("C2", 1.5),
        cell("D2", 45000, style=DATE),
        cell("E2", 45000.5, style=DATE_TIME),
        cell("F2", 0.5, style=TIME),
        cell("G2", True),
        '<c r="H2" t="e"><v>#N/A</v></c>',
        '<c r="I2" t="str"><f>A1&amp;"x"</f><v>phonex</v></c>',
        cell("J2", -3),
    ]
    workbook(path, People=[row(1, *"abcdefghij"), f'<row r="2">{"".join(cells)}</row>'])
    (_, found) = read(path)[1][0]
    assert found == [
        *("15550100001", "15550100001", "1.5", "2023-03-15", "2023-03-15T12:00:00", "12:00:00", "TRUE", "", "phonex"),
        "-3",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (999_999_999_999_999.0, "999999999999999"),
        (1.5e25, "1.5e+25"),
        (0.1, "0.1"),
        (-0.0, "0"),
        (7, "7"),
        (False, "FALSE"),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),
        (time(3, 4), "03:04:00"),
        (timedelta(hours=30), "1 day, 6:00:00"),
        (float("inf"), "inf"),
    ],
)
def test_texts_of_cells(value, text):
    assert text_of(value) == text


def test_the_first_sheet_that_can_be_seen_or_the_named_one(path):
    workbook(path, Secret_=[row(1, "a")], People=[row(1, "phone")], Others=[row(1, "b")])
    assert read(path)[0] == ["phone"]
    assert read(path, sheet="Others")[0] == ["b"]
    assert read(path, sheet="Secret_")[0] == ["a"]
    assert refusal(path, sheet="Nobody") == "people.xlsx has no sheet Nobody; it has: Secret_, People, Others."


def test_a_workbook_without_rows_or_sheets(path):
    assert (
        refusal(workbook(path, People=[])) == "The sheet of people.xlsx is empty; its first row must name the columns."
    )
    assert "no sheet that can be seen" in refusal(workbook(path, Secret_=[row(1, "a")]))


def test_what_is_no_workbook(path):
    path.write_bytes(b"PK\x03\x04rest")
    assert refusal(path) == "people.xlsx is damaged or no Excel workbook (.xlsx)."
    path.write_bytes(b"hello")
    assert refusal(path) == "people.xlsx is damaged or no Excel workbook (.xlsx)."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("holiday.jpg", b"x")
    assert refusal(path) == "people.xlsx is an archive, but no Excel workbook (.xlsx)."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", b"<not xml")
    assert refusal(path) == "people.xlsx is damaged or no Excel workbook (.xlsx)."


def test_a_truncated_workbook(path):
    whole = workbook(path, People=[row(number, "phone", number) for number in range(1, 500)]).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "damaged" in refusal(path)


def test_workbooks_with_a_password_and_of_before_2007(path):
    path.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600) + "EncryptedPackage".encode("utf-16-le") + bytes(600))
    assert refusal(path) == "people.xlsx is protected by a password; save it without one."
    path.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    assert refusal(path) == "people.xlsx is an Excel workbook of before 2007; save it as .xlsx or CSV."


def test_an_archive_with_encrypted_parts(path):
    content = bytearray(workbook(path, People=[row(1, "phone")]).read_bytes())
    at = content.rfind(b"PK\x01\x02")
    content[at + 8] |= 1
    path.write_bytes(content)
    assert refusal(path) == "people.xlsx is encrypted; save it without a password."


def test_two_cells_at_the_ends_of_a_sheet_cannot_end_this_process(path):
    last = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    assert workbook(path, People=[row(1, "phone"), last]).stat().st_size < 3000
    assert refusal(path) == "people.xlsx needs more than 2048 MB to read; save it as CSV."


def test_a_zip_bomb_is_refused_by_what_it_says(path, monkeypatch):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", bytes(1 << 20))
        for at in range(3):
            archive.writestr(f"xl/{at}.xml", b"")
    content = bytearray(path.read_bytes())
    for _ in range(3):
        # the unpacked size in the table of contents
        at = content.rfind(b"PK\x01\x02")
        content[at + 24 : at + 28] = b"\xfe\xff\xff\xff"
        content[at : at + 4] = b"PK\x01\x03"
    path.write_bytes(content.replace(b"PK\x01\x03", b"PK\x01\x02"))
    assert "MB when unpacked; at most 4096 can be read" in refusal(path)


def test_ten_million_rows_end_within_limits(path):
    """320 MB unpacked, in a file of a few hundred kilobytes."""
    lot = "".join('<row><c t="b"><v>1</v></c></row>' for _ in range(100_000))
    workbook(path, People=[row(1, "phone"), *([lot] * 100)])
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    problem = refusal(path)
    assert "Excel's most are 1048576" in problem or "to read; save it as CSV" in problem
    spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert spent <= workbook_reader.CPU_SECONDS + 1


def test_a_reader_that_takes_too_long_is_ended(path, monkeypatch, tmp_path):
    script = tmp_path / "reader.py"
    script.write_text("import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 2))\nwhile True: pass\n")
    monkeypatch.setattr(workbook_reader, "__file__", str(script))
    assert "takes more than 120 seconds" in refusal(workbook(path, People=[row(1, "phone")]))


@pytest.mark.parametrize(
    ("code", "sentence"), [(3, "needs more than 2048 MB"), (1, "cannot be read as an Excel workbook")]
)
def test_a_reader_that_fails_after_some_rows(path, monkeypatch, tmp_path, code, sentence):
    script = tmp_path / "reader.py"
    script.write_text(f"import sys\nprint('3\\n[\"phone\"]\\n[\"1\"]\\n[', end='', flush=True)\nsys.exit({code})\n")
    monkeypatch.setattr(workbook_reader, "__file__", str(script))
    assert sentence in refusal(workbook(path, People=[row(1, "phone")]))


def test_a_file_that_is_too_large_is_not_opened(path, monkeypatch):
    monkeypatch.setattr(workbook_source, "LARGEST_WORKBOOK", 1 << 20)
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        os.ftruncate(file.fileno(), 3 << 20)
    assert refusal(path) == "people.xlsx has 3 MB; a workbook may have 1. Save it as CSV."


def test_closing_early_ends_the_reader(path):
    workbook(path, People=[row(number, "x" * 200, number) for number in range(1, 20_000)])
    source = open_table(path)
    source.close()
    assert source._reader.poll() is not None


def test_other_files(tmp_path):
    people = tmp_path / "people.csv"
    people.write_text("phone\n1\n")
    source = open_table(people)
    assert isinstance(source, CsvSource)
    source.close()
    with pytest.raises(InvalidInputError, match="no Excel workbook, so it has no sheet People"):
        open_table(people, sheet="People")
    with pytest.raises(FileError, match="no such file"):
        open_table(tmp_path / "none.csv")
    with pytest.raises(FileError, match="not a regular file"):
        open_table(tmp_path)

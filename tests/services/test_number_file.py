"""Numbers of a file, without a database; what commands make of them is in tests/cli/test_dnc.py."""

from __future__ import annotations

import contextlib
import os
import tempfile
from threading import Thread

import pytest

from outdial.core.contact_import import ImportProgress
from outdial.core.errors import FileError, InvalidInputError
from outdial.services import number_file
from outdial.services.number_file import MOST_TOLD, NumberFile, regular
from workbooks import row, workbook

PHONE = "+15550100001"


def test_it_tells_how_far_it_is_and_what_was_wrong(tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_text("\n".join(["phone", *[PHONE] * 1500, *["?"] * (MOST_TOLD + 500)]), encoding="utf-8")
    heard: list[ImportProgress] = []
    numbers = NumberFile(path)
    assert sum(1 for _ in numbers.numbers(heard.append)) == 1500
    numbers.close()
    assert (numbers.rows, numbers.unreadable, len(numbers.problems)) == (3000, 1500, MOST_TOLD)
    assert [each.rows for each in heard] == [1, 1001, 2001]
    assert [each.bad for each in heard] == [0, 0, 500]
    assert {each.size for each in heard} == {path.stat().st_size}
    assert [each.position for each in heard] == sorted(each.position for each in heard)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{PHONE}\n+1 (555) 010-0002\n", [PHONE, "+15550100002"]),
        (f"sep=;\nphone;x\n{PHONE};1\n", [PHONE]),
        (f"Gesperrt\n{PHONE}\n", [PHONE]),
        (f"mobile,name\n{PHONE},Anna\n", [PHONE]),
        (f"note,note,Home phone\nx,y,{PHONE}\n", [PHONE]),
        (f"\n\n{PHONE}\n", [PHONE]),
        (f"phone,who\n{PHONE}\n{PHONE},Anna,, \n", [PHONE, PHONE]),
    ],
    ids=["no names", "told separator", "one column of another name", "mobile", "names twice", "empty lines", "ragged"],
)
def test_where_the_numbers_are(tmp_path, text, found):
    path = tmp_path / "numbers.csv"
    path.write_text(text, encoding="utf-8")
    numbers = NumberFile(path)
    assert list(numbers.numbers()) == found
    numbers.close()
    assert (numbers.problems, numbers.unreadable) == ([], 0)


def read(path, **asked) -> tuple[list[str], NumberFile]:
    numbers = NumberFile(path, **asked)
    found = list(numbers.numbers())
    numbers.close()
    return found, numbers


@pytest.mark.parametrize(
    ("text", "columns", "found", "lines"),
    [
        (f"Anna,{PHONE}\nBob,+15550100002\n", ["column 2"], [PHONE, "+15550100002"], []),
        (f"{PHONE}\n+15550100002\n", ["column 1"], [PHONE, "+15550100002"], []),
        (f"Anna,+1555O100001\nBob,{PHONE}\n", ["column 2"], [PHONE], [1]),
        (f"who,Phone 2\nBob,{PHONE}\n", ["column 2"], [PHONE], []),
        (f"who,\nBob,{PHONE}\n", ["column 2"], [PHONE], []),
    ],
    ids=["no names", "one column", "mistyped", "a name with a digit", "no name"],
)
def test_the_first_line_is_a_row_where_the_column_holds_a_number_there(tmp_path, text, columns, found, lines):
    path = tmp_path / "numbers.csv"
    path.write_text(text, encoding="utf-8")
    got, numbers = read(path, columns=columns)
    assert got == found
    assert [int(each.split(":")[0].removeprefix("Line ")) for each in numbers.problems] == lines


@pytest.mark.parametrize(
    ("text", "region", "lines"),
    [
        (f"name,customer,phone\nDoe, John,2025550123,+15550100002\nRoe,1,{PHONE}\n", "US", ["Line 2"]),
        (f"phone\n+15550100002, Anna\n{PHONE}\n", None, ["Line 2"]),
        (f"name,phone\nAnna,{PHONE}\nBob,+15550100002,x\n", None, ["Line 3"]),
    ],
    ids=["shifted", "one column", "more"],
)
def test_a_row_with_more_than_the_first_line_is_told_and_nothing_of_it_taken(tmp_path, text, region, lines):
    path = tmp_path / "numbers.csv"
    path.write_text(text, encoding="utf-8")
    found, numbers = read(path, default_region=region)
    assert found == [PHONE]
    assert [each.partition(":")[0] for each in numbers.problems] == lines
    assert "needs quotes" in numbers.problems[0]


@pytest.mark.parametrize(
    "header", ["name,phone,mobile", "phone,phone,x", "phone,Phone 2,x", "Home phone,phone,x", "Telefon,Handy,x"]
)
def test_of_several_columns_that_fit_none_is_taken_unasked(tmp_path, header):
    path = tmp_path / "numbers.csv"
    path.write_text(f"{header}\n{PHONE},{PHONE},{PHONE}\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="Several columns") as refused:
        NumberFile(path)
    assert all(name in refused.value.message for name in header.split(",") if name not in {"name", "x"})


def test_several_columns_give_all_their_numbers(tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_text(
        f"who,phone,mobile\nA,{PHONE},+15550100002\nB,,+15550100003\nC,+15550100004,12\nD,,\n", encoding="utf-8"
    )
    found, numbers = read(path, columns=["mobile", "phone", "MOBILE"])
    assert found == ["+15550100002", PHONE, "+15550100003", "+15550100004"]
    assert [each.partition(":")[0] for each in numbers.problems] == ["Line 4", "Line 5"]
    assert "mobile: the phone number" in numbers.problems[0]


def test_what_a_column_is_called_twice_matters_only_where_it_is_asked_for(tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_text(f"phone,note,note\n{PHONE},x,y\n", encoding="utf-8")
    assert read(path, columns=["phone"])[0] == [PHONE]
    with pytest.raises(InvalidInputError, match="2 such columns") as refused:
        NumberFile(path, columns=["note", "what"])
    assert "what: the first line has no such column" in refused.value.message


def test_a_stray_quote_takes_no_rows_along_unheard(tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_text(
        f'phone,note\n{PHONE},"angry\n+15550100002,x\n+15550100003,"\n"+1555010\n0004",x\n', encoding="utf-8"
    )
    found, numbers = read(path)
    # what is certain is kept from being called
    assert found == [PHONE]
    assert (numbers.rows, numbers.unreadable) == (2, 2)
    assert [each.partition(":")[0] for each in numbers.problems] == ["Line 2", "Line 5"]
    assert all("more than one line" in each for each in numbers.problems)


def test_cells_of_a_workbook_may_have_several_lines(tmp_path):
    path = workbook(
        tmp_path / "numbers.xlsx",
        Sheet=row(1, "phone", "note") + row(2, PHONE, "one\ntwo") + row(3, "+1 555 010\n0002", "x"),
    )
    found, numbers = read(path)
    assert (found, numbers.unreadable) == ([PHONE], 1)
    assert numbers.problems[0].startswith("Line 3: ")


def test_the_line_up_to_which_all_numbers_were_taken(tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_text(f"phone,mobile\n{PHONE},+15550100002\n{PHONE},+15550100003\n", encoding="utf-8")
    numbers = NumberFile(path, columns=["phone", "mobile"])
    yielded = numbers.numbers()
    assert [(next(yielded), numbers.line) for _ in range(4)] == [
        (PHONE, 0),
        ("+15550100002", 2),
        (PHONE, 2),
        ("+15550100003", 3),
    ]
    numbers.close()


def pipe_of(tmp_path, content: bytes):
    """A pipe with a name, into which another thread writes."""
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def write() -> None:
        with contextlib.suppress(BrokenPipeError):
            path.write_bytes(content)

    Thread(target=write, daemon=True).start()
    return path


def test_a_pipe_is_read_once_and_leaves_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with regular(pipe_of(tmp_path, f"phone\n{PHONE}\n".encode("utf-16"))) as path:
        assert read(path, name="pipe")[0] == [PHONE]
        assert list(folder.iterdir()) == []


def test_a_workbook_of_a_pipe_is_read_by_the_other_process_too(tmp_path):
    content = workbook(
        tmp_path / "numbers.xlsx", First=row(1, "?"), Second=row(1, "phone") + row(2, PHONE)
    ).read_bytes()
    with regular(pipe_of(tmp_path, content)) as path:
        assert read(path, sheet="Second", name="pipe")[0] == [PHONE]
        with pytest.raises(InvalidInputError, match="pipe has no sheet Third; it has: First, Second"):
            read(path, sheet="Third", name="pipe")


def test_columns_are_asked_for_by_the_word_of_whoever_gave_the_file(tmp_path):
    path = tmp_path / "numbers.csv"
    for text, columns in ((f"who,what\nAnna,{PHONE}\n", ()), (f"phone,mobile\n{PHONE},\n", ()), ("a,b\n", ("c",))):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InvalidInputError) as refused:
            NumberFile(path, columns=columns, option="`column`")
        assert "`column`" in str(refused.value)
        assert "--column" not in str(refused.value)


def test_what_is_told_is_short_however_long_names_and_cells_are(tmp_path):
    path, long = tmp_path / "numbers.csv", "x" * 100_000
    path.write_text(f"phone {long},mobile\n{PHONE},{long}\n{long},{PHONE}\n", encoding="utf-8")
    found, numbers = read(path, columns=["column 1", "mobile"])
    assert found == [PHONE, PHONE]
    assert [each.partition(": ")[0] for each in numbers.problems] == ["Line 2", "Line 3"]
    assert max(map(len, numbers.problems)) < 300
    path.write_text(",".join([f"mobile {place}" for place in range(10_000)]), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="mobile 0, mobile 1, ") as refused:
        NumberFile(path)
    assert len(str(refused.value)) < 400


def test_what_no_pipe_may_give(tmp_path, monkeypatch):
    monkeypatch.setattr(number_file, "LARGEST_PIPE", 1 << 20)
    with pytest.raises(FileError, match="more than 1 MB"), regular(pipe_of(tmp_path, b"1" * (3 << 20))):
        pass
    with pytest.raises(FileError, match="No such file"), regular(tmp_path / "none"):
        pass


def test_a_workbook_without_names_and_its_lines(tmp_path):
    path = workbook(tmp_path / "numbers.xlsx", Sheet=row(2, PHONE) + row(4, "?") + row(5, "+15550100002"))
    numbers = NumberFile(path)
    assert list(numbers.numbers()) == [PHONE, "+15550100002"]
    numbers.close()
    (problem,) = numbers.problems
    assert problem.startswith("Line 4: '?': ")


def test_what_is_no_file_of_numbers(tmp_path):
    with pytest.raises(FileError, match="no such file"):
        NumberFile(tmp_path / "missing.csv")
    path = tmp_path / "numbers.csv"
    path.write_text(f"phone\n{PHONE}\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="no region"):
        NumberFile(path, default_region="us")
    with pytest.raises(FileError, match="error file"):
        NumberFile(path, error_file=tmp_path / "no folder" / "wrong.csv")

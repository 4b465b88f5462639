"""Numbers of a file, without a database; what commands make of them is in tests/cli/test_dnc.py."""

from __future__ import annotations

import pytest

from outdial.core.contact_import import ImportProgress
from outdial.core.errors import FileError, InvalidInputError
from outdial.services.number_file import MOST_TOLD, NumberFile
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
        (f"mobile,phone\n+15550100002,{PHONE}\n", [PHONE]),
        (f"\n\n{PHONE}\n", [PHONE]),
        (f"phone,who\n{PHONE}\n{PHONE},Anna,more\n", [PHONE, PHONE]),
    ],
    ids=["no names", "told separator", "one column of another name", "phone before mobile", "empty lines", "ragged"],
)
def test_where_the_numbers_are(tmp_path, text, found):
    path = tmp_path / "numbers.csv"
    path.write_text(text, encoding="utf-8")
    numbers = NumberFile(path)
    assert list(numbers.numbers()) == found
    numbers.close()
    assert (numbers.problems, numbers.unreadable) == ([], 0)


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

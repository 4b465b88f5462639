"""``outdial contacts import``: good rows kept, bad ones told, a bar where somebody looks."""

from __future__ import annotations

import csv
import io

import pytest
from rich.console import Console

from cli.test_remote import away, server
from outdial.cli import imports, output
from outdial.core.contact_import import ImportProgress
from workbooks import row, workbook

__all__ = ["away", "server"]


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("Phone Number,Name\n+15550100001,Ada\nnonsense,Bob\n+15550100002,Cy\n+15550100001,Ada again\n")
    return path


def test_good_rows_are_kept_and_bad_ones_told_in_a_file(outdial, created, people, tmp_path):
    done = outdial("contacts", "import", people, "--list", "Callers")
    assert done.code == 0
    assert done.stdout == "4 rows: 2 contacts added to Callers (new), 1 were there already, 1 are wrong.\n"
    assert "nonsense" not in done.stdout
    assert "3" in done.stderr.splitlines()[0], "the line of the bad row"
    assert str(tmp_path / "people.errors.csv") in done.stderr
    with (tmp_path / "people.errors.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 2
    assert "nonsense" in rows[1]


def test_as_json_with_a_file_of_ones_own(outdial, created, people, tmp_path):
    words = ("contacts", "import", people, "--list", "Callers", "--errors", tmp_path / "bad.csv", "--json")
    report = outdial(*words).json
    assert (report["rows"], report["added"], report["duplicates"], report["bad"]) == (4, 2, 1, 1)
    assert report["listId"].startswith("cl-")
    assert report["errorFile"] == str(tmp_path / "bad.csv")
    again = outdial(*words).json
    assert (again["added"], again["duplicates"], again["listCreated"]) == (0, 3, False)


def test_all_rows_wrong_is_a_failure(outdial, created, tmp_path):
    (tmp_path / "bad.csv").write_text("phone\nx\ny\n")
    done = outdial("contacts", "import", tmp_path / "bad.csv", "--list", "Callers")
    assert (done.code, done.stdout.partition(":")[0]) == (1, "2 rows")


def test_no_rows_is_no_failure(outdial, created, tmp_path):
    (tmp_path / "none.csv").write_text("phone\n")
    assert outdial("contacts", "import", tmp_path / "none.csv", "--list", "Callers").code == 0


def test_a_file_without_a_phone_column_is_a_sentence(outdial, created, tmp_path):
    (tmp_path / "other.csv").write_text("name,colour\nAda,red\n")
    done = outdial("contacts", "import", tmp_path / "other.csv", "--list", "Callers")
    assert (done.code, done.stdout) == (1, "")
    assert "phone" in done.stderr


def test_a_list_that_is_not_to_be_made_must_be_there(outdial, created, people):
    done = outdial("contacts", "import", people, "--list", "Callers", "--no-create")
    assert done.code == 1
    assert "Callers" in done.stderr


@pytest.mark.parametrize("how", ["option", "setting"])
def test_numbers_without_plus_are_read_by_their_country(outdial, created, tmp_path, monkeypatch, how):
    (tmp_path / "local.csv").write_text("phone\n(212) 555-0100\n")
    words = ["contacts", "import", tmp_path / "local.csv", "--list", "Callers", "--json"]
    if how == "option":
        words += ["--region", "US"]
    else:
        monkeypatch.setenv("OUTDIAL_DEFAULT_REGION", "US")
    assert outdial(*words).json["added"] == 1


def test_columns_are_mapped(outdial, created, tmp_path):
    (tmp_path / "de.csv").write_text("Rufnummer;Ort\n+15550100001;Bonn\n")
    words = ("contacts", "import", tmp_path / "de.csv", "--list", "Callers")
    assert outdial(*words, "--map", "phone=Rufnummer", "--map", "city=Ort", "--json").json["added"] == 1
    wrong = outdial(*words, "--map", "phone", "--map", "a=")
    assert (wrong.code, len(wrong.stderr.splitlines())) == (1, 2)
    assert "no such column" in outdial(*words, "--map", "phone=Telefon").stderr


def test_a_sheet_of_a_workbook(outdial, created, tmp_path):
    path = workbook(
        tmp_path / "people.xlsx",
        Notes=[row(1, "nothing here")],
        People=[row(1, "phone", "born"), row(2, 12125550100, 1.0), row(3, "x", None)],
    )
    words = ("contacts", "import", path, "--list", "Callers", "--region", "US", "--json")
    assert "no column for phone" in outdial(*words).stderr
    done = outdial(*words, "--sheet", "People")
    assert (done.json["added"], done.json["bad"]) == (1, 1)
    assert "Line 3" in done.stderr
    assert "it has: Notes, People" in outdial(*words, "--sheet", "Persons").stderr


def test_a_file_that_is_not_there_is_wrong_usage(outdial, created):
    assert outdial("contacts", "import", "missing.csv", "--list", "Callers").code == 2


def test_on_a_terminal_a_bar_shows_how_far_it_is(monkeypatch):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120)
    monkeypatch.setattr(output, "console", lambda **_: terminal)
    with imports.progress_bar("people.csv") as show:
        show(ImportProgress(rows=12_000, added=11_000, duplicates=900, bad=100, beyond=0, position=500, size=1000))
    text = terminal.file.getvalue()
    assert "people.csv" in text
    assert "50%" in text
    assert "12,000 rows, 100 wrong" in text


def test_elsewhere_there_is_no_bar(capsys):
    with imports.progress_bar("people.csv") as show:
        show(ImportProgress(rows=1, added=1, duplicates=0, bad=0, beyond=0, position=1, size=1))
    assert capsys.readouterr() == ("", "")


def test_a_contact_is_called_now(outdial, campaign):
    never = outdial("contacts", "call", "Spring calls", "+15550100002")
    assert (never.code, "has never run" in never.stderr) == (1, True)
    outdial("campaign", "start", campaign)
    done = outdial("contacts", "call", "Spring calls", "+15550100002")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout == ("+15550100002 will be called. It is called as soon as a line is free, before all others.\n")
    after = outdial("contacts", "call", campaign, "+15550100001")
    assert "1 that were asked for earlier come before it." in after.stdout
    told = outdial("contacts", "call", campaign, "+15550100001", "--json").json
    assert (told["answer"], told["aheadCount"]) == ("allowed", 1)


def test_a_contact_that_may_not_be_called_is_a_failure(outdial, campaign, away):
    outdial("campaign", "start", campaign)
    outdial("dnc", "add", "+15550100002")
    for ask in (outdial, away):
        done = ask("contacts", "call", "Spring calls", "+15550100002")
        assert (done.code, "is not called in this run. The number is on the account's" in done.stdout) == (1, True)
        assert ask("contacts", "call", "Spring calls", "nobody").code == 1
    allowed = away("contacts", "call", "Spring calls", "+15550100001")
    assert (allowed.code, "will be called" in allowed.stdout) == (0, True)

"""``outdial import``: what became of imports, going on with one, cancelling one."""

from __future__ import annotations

import pytest

from outdial.core.errors import DatabaseUnavailableError
from outdial.services import contact_lists, import_rows
from outdial.store import contacts as store


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("phone\n+15550100001\nx\n+15550100002\n")
    return path


@pytest.fixture
def broken(outdial, created, people, monkeypatch):
    """The id of an import that broke off after its first row."""
    insert, calls = store.insert, 0

    async def failing(*args, **options):
        nonlocal calls
        calls += 1
        if calls == 2:
            raise DatabaseUnavailableError("The database went away.")
        await insert(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(import_rows, "LOT_ROWS", 1)
        patch.setattr(store, "insert", failing)
        done = outdial("contacts", "import", people, "--list", "Callers")
    assert (done.code, done.stdout) == (1, "")
    (found,) = outdial("import", "list", "--json").json["items"]
    assert f"outdial import resume {found['id']}" in done.stderr
    assert "The database went away." in done.stderr
    return found["id"]


def test_what_became_of_one(outdial, created, people, tmp_path):
    assert outdial("import", "list").stderr == "There is no import.\n"
    report = outdial("contacts", "import", people, "--list", "Callers", "--json").json
    assert (report["state"], report["rows"], report["added"], report["onDnc"]) == ("done", 3, 2, 0)
    assert report["examples"][0].startswith("Line 3: the phone number contains letters")
    shown = outdial("import", "show", report["id"])
    assert "done" in shown.stdout
    assert "people.csv" in shown.stdout
    assert outdial("import", "show", report["id"], "--json").json["rows"] == 3
    assert report["id"] in outdial("import", "list").stdout
    errors = outdial("import", "errors", report["id"])
    assert errors.stdout.splitlines()[-1].split()[:2] == ["3", "the"]
    page = outdial("import", "errors", report["id"], "--json", "--limit", 1).json
    assert (page["total"], page["items"][0]["line"]) == (1, 3)
    assert list((tmp_path / "data" / "imports").iterdir()) == []


def test_other_numbers_that_are_wrong_are_told(outdial, created, people, tmp_path):
    people.write_text("phone,mobile\n+15550100001,nobody\n+15550100002,+15550100003\n")
    line = ("contacts", "import", people, "--list", "Callers", "--map", "phone2=mobile")
    done = outdial(*line, "--errors", tmp_path / "wrong.csv")
    assert done.code == 0, "nobody was left out"
    assert "2 contacts added" in done.stdout
    assert "1 other numbers are wrong; their contacts were imported without them." in done.stdout
    assert "Line 2: phone2 is left out: " in done.stderr
    assert "nobody" in (tmp_path / "wrong.csv").read_text()
    (found,) = outdial("import", "list", "--json").json["items"]
    assert (found["numbersLeftOut"], found["bad"]) == (1, 0)
    assert "numbers left out" in outdial("import", "show", found["id"]).stdout


def test_one_that_failed_says_why(outdial, created, people):
    people.write_text("name\nx\n")
    assert outdial("contacts", "import", people, "--list", "Callers").code == 1
    (found,) = outdial("import", "list", "--json").json["items"]
    assert found["state"] == "failed"
    assert "no column for phone" in outdial("import", "show", found["id"]).stdout


def test_one_that_broke_off_goes_on(outdial, broken, tmp_path):
    assert (tmp_path / "data" / "imports" / broken).exists()
    done = outdial("import", "resume", broken, "--errors", tmp_path / "wrong.csv", "--json")
    assert (done.code, done.json["rows"], done.json["added"], done.json["bad"]) == (0, 3, 2, 1)
    again = outdial("import", "resume", broken)
    assert (again.code, "nothing any more" in again.stderr) == (1, True)


def test_one_that_broke_off_is_cancelled(outdial, broken, tmp_path):
    done = outdial("import", "cancel", broken)
    assert done.stdout == "Cancelled; 1 contacts were added to Callers before and stay.\n"
    assert not (tmp_path / "data" / "imports" / broken).exists()
    assert outdial("import", "cancel", broken, "--json").code == 1
    assert outdial("import", "show", broken, "--json").json["state"] == "cancelled"


def test_unknown_ids(outdial, created):
    for word in ("show", "errors", "resume", "cancel"):
        done = outdial("import", word, "im-none")
        assert (done.code, done.stderr) == (1, "There is no import im-none.\n")


def test_rows_without_room_are_told(outdial, created, people, monkeypatch):
    monkeypatch.setattr(contact_lists, "LONGEST_LIST", 1)
    done = outdial("contacts", "import", people, "--list", "Callers")
    assert (done.code, done.stdout) == (
        0,
        "3 rows: 1 contacts added to Callers (new), 0 were there already, 1 are wrong, 1 had no room.\n",
    )
    assert "Line 4: the contact list Callers is full" in done.stderr


def test_numbers_on_the_do_not_call_list_are_told(outdial, created, people):
    assert outdial("dnc", "add", "+15550100001").code == 0
    assert "1 are on the do-not-call list" in outdial("contacts", "import", people, "--list", "Callers").stdout


def test_a_file_that_vanishes_during_the_upload_leaves_nothing_behind(outdial, created, people, monkeypatch, tmp_path):
    from outdial.cli import imports  # noqa: PLC0415 - patched here only

    async def failing(*_args, **_options):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(imports.imports, "append", failing)
    done = outdial("contacts", "import", people, "--list", "Callers")
    assert (done.code, done.stderr.splitlines()[-1]) == (1, f"{people} cannot be read: Input/output error.")
    (found,) = outdial("import", "list", "--json").json["items"]
    assert found["state"] == "cancelled"


def test_the_error_file_may_not_be_the_file_itself(outdial, created, people):
    before = people.read_text()
    done = outdial("contacts", "import", people, "--list", "Callers", "--errors", people)
    assert (done.code, "imported file itself" in done.stderr) == (1, True)
    assert people.read_text() == before

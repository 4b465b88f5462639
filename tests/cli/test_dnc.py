"""``outdial dnc``: the account's list and those that campaigns name."""

from __future__ import annotations

import asyncio
import csv
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import asyncpg
import pytest

from outdial.core.errors import InvalidInputError
from outdial.core.phone import parse_phone
from outdial.services.dnc import LOT
from waiting import until
from workbooks import row, workbook

PHONE, OTHER = "+15550100001", "+15550100002"


def test_numbers_are_added_once_listed_and_removed(outdial, created):
    done = outdial("dnc", "add", PHONE, OTHER, PHONE, "--reason", "asked by phone", "--json").json
    assert (done["changed"], done["problems"]) == (2, [])
    again = outdial("dnc", "add", PHONE)
    assert again.stdout == "0 added, 1 there already.\n"
    found = outdial("dnc", "list", "--json").json
    assert {each["phone"] for each in found} == {PHONE, OTHER}
    assert {each["reason"] for each in found} == {"asked by phone"}
    assert all(each["addedBy"].startswith("cli:") for each in found)
    assert outdial("dnc", "remove", PHONE).stdout == "1 removed, 0 not there.\n"
    assert OTHER in outdial("dnc", "list").stdout


def test_a_list_that_campaigns_name_is_another_one(outdial, created):
    outdial("dnc", "add", PHONE, "--list", "Complaints")
    assert [each["phone"] for each in outdial("dnc", "list", "--list", "Complaints", "--json").json] == [PHONE]
    assert outdial("dnc", "list", "--json").json == []


def test_good_numbers_are_kept_and_wrong_ones_told(outdial, created):
    done = outdial("dnc", "add", PHONE, "nonsense")
    assert (done.code, done.stdout) == (1, "1 added, 0 there already.\n")
    assert done.stderr.startswith("'nonsense': ")


def test_numbers_come_from_a_file_too(outdial, created, tmp_path):
    (tmp_path / "numbers.txt").write_text(f"\ufeff{PHONE}\r\n\r\n  {OTHER}\r\n", encoding="utf-8")
    assert outdial("dnc", "add", "--file", tmp_path / "numbers.txt").stdout == "2 added, 0 there already.\n"


def test_no_number_at_all_is_wrong_usage(outdial, created):
    assert outdial("dnc", "add").code == 2


def test_the_account_is_named_by_name_or_id_where_there_are_several(outdial, created):
    other = outdial("app", "create", "--account", "Other", "--name", "Alerts", "--json").json
    refused = outdial("dnc", "add", PHONE)
    assert refused.code == 1
    assert "--account" in refused.stderr
    assert outdial("dnc", "add", PHONE, "--account", "Other").code == 0
    assert [each["phone"] for each in outdial("dnc", "list", "--account", other["accountId"], "--json").json] == [PHONE]
    assert outdial("dnc", "list", "--account", "Acme", "--json").json == []
    assert outdial("dnc", "list", "--account", "Nobody").code == 1


def test_nothing_yet_is_said(outdial):
    done = outdial("dnc", "list")
    assert done.code == 1
    assert "outdial app create" in done.stderr


def test_what_an_agent_was_told_is_for_good_and_says_so(outdial, created):
    done = outdial("dnc", "add", PHONE, "nonsense", PHONE, "--source", "agent", "--reason", "told Ann", "--json")
    assert done.code == 1
    assert (done.json["changed"], done.json["unchanged"]) == (1, 1)
    assert done.stderr.startswith("'nonsense': ")
    outdial("dnc", "add", OTHER, "--source", "agent", "--list", "Complaints")
    (entry,) = outdial("dnc", "list", "--json").json
    assert (entry["phone"], entry["source"], entry["reason"]) == (PHONE, "agent", "told Ann")
    assert [
        (each["phone"], each["source"]) for each in outdial("dnc", "list", "--list", "Complaints", "--json").json
    ] == [(OTHER, "agent")]


def test_an_agent_tells_of_one_person_at_a_time_and_nobody_of_a_key(outdial, created):
    refused = outdial("dnc", "add", *(f"+1555010000{last}" for last in range(6)), "--source", "agent")
    assert refused.code == 1
    assert "at most 5 are allowed" in refused.stderr
    assert outdial("dnc", "add", PHONE, "--source", "key").code == 2
    assert outdial("dnc", "list", "--json").json == []


class TestFile:
    """Numbers of a file: one a line, CSV, Excel."""

    @pytest.fixture(autouse=True)
    def there(self, created) -> None:
        """An application."""

    @pytest.fixture
    def file(self, tmp_path) -> Path:
        return tmp_path / "complaints.csv"

    def listed(self, outdial) -> set[str]:
        return {each["phone"] for each in outdial("dnc", "list", "--json").json}

    def test_the_column_called_phone_or_the_like_is_taken(self, outdial, file):
        file.write_text(f"Name;Telefon\nAnna;{PHONE}\nBob;'{OTHER}\n", encoding="utf-16")
        done = outdial("dnc", "add", "--file", file)
        assert (done.code, done.stdout, done.stderr) == (0, "2 added, 0 there already.\n", "")
        assert self.listed(outdial) == {PHONE, OTHER}

    def test_or_the_one_that_is_named_with_the_region_of_its_numbers(self, outdial, file):
        file.write_text(f"phone,mobile\n{PHONE},0151 23456789\n,+49 (0)30 901820\n", encoding="utf-8")
        done = outdial("dnc", "add", "--file", file, "--column", "Mobile", "--region", "DE", "--json").json
        assert (done["changed"], done["rows"], done["leftOut"], done["problems"]) == (2, 2, 0, [])
        assert self.listed(outdial) == {"+4915123456789", "+4930901820"}

    def test_a_workbook(self, outdial, tmp_path):
        path = workbook(
            tmp_path / "complaints.xlsx",
            First=row(1, "phone") + row(2, PHONE),
            Second=row(1, "who", "phone")
            + row(2, "Anna", 15550100002)
            + row(3, "Bob", "x")
            + row(5, "C", "+15550100003"),
        )
        done = outdial("dnc", "add", "--file", path, "--sheet", "Second", "--region", "US")
        assert (done.code, done.stdout) == (1, "2 added, 0 there already.\n")
        assert done.stderr.startswith("Line 3: 'x': ")
        assert self.listed(outdial) == {OTHER, "+15550100003"}

    def test_what_cannot_be_read_is_told_by_its_line_and_written_down_and_nothing_good_is_lost(self, outdial, file):
        file.write_text(
            f'\nphone,who\n{PHONE},Anna\n12,Bob\n"broken,Carl\n\n,Dora\n{OTHER},Emil\nlast\n', encoding="utf-8"
        )
        errors = file.with_name("wrong.csv")
        done = outdial("dnc", "add", "--file", file, "--errors", errors, "nonsense", "+15550100003")
        assert (done.code, done.stdout) == (1, "3 added, 0 there already.\n")
        assert self.listed(outdial) == {PHONE, OTHER, "+15550100003"}
        told = done.stderr.splitlines()
        assert [line.partition(": ")[0] for line in told[:5]] == ["'nonsense'", "Line 4", "Line 5", "Line 7", "Line 9"]
        assert told[5:] == [f"All rows that could not be read, with line and reason: {errors}"]
        with errors.open(encoding="utf-8-sig", newline="") as written:
            rows = list(csv.reader(written))
        assert rows[0] == ["line", "reason", "phone", "who"]
        assert [each[0] for each in rows[1:]] == ["4", "5", "7", "9"]
        assert all(each[1] for each in rows[1:])
        assert rows[1][2:] == ["12", "Bob"]
        again = outdial("dnc", "add", "--file", file, "--errors", errors, "--json")
        assert (again.code, again.json["changed"], again.json["unchanged"], again.json["rows"]) == (1, 0, 2, 6)
        assert (again.json["leftOut"], again.json["errorFile"]) == (4, str(errors))
        assert len(again.json["problems"]) == 4

    def test_without_a_mistake_there_is_no_error_file(self, outdial, file):
        file.write_text(f"phone\n{PHONE}\n", encoding="utf-8")
        errors = file.with_name("wrong.csv")
        done = outdial("dnc", "add", "--file", file, "--errors", errors, "--json")
        assert (done.code, done.json["errorFile"]) == (0, None)
        assert not errors.exists()

    def test_a_line_without_names_above_is_a_number_even_if_it_is_mistyped(self, outdial, file):
        file.write_text(f"\n+1555O100001\n{PHONE}\n{OTHER}, Anna\n", encoding="utf-8")
        done = outdial("dnc", "add", "--file", file)
        assert (done.code, done.stdout) == (1, "1 added, 0 there already.\n")
        assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == ["Line 2", "Line 4"]
        assert "no first line names the columns" in done.stderr
        assert self.listed(outdial) == {PHONE}

    def test_many_more_than_one_transaction_takes(self, outdial, file):
        many = [f"+1555{number:07d}" for number in range(2_000_000, 2_006_000)]
        file.write_text("\n".join(["number", *many, *["?"] * 1500]), encoding="utf-8")
        done = outdial("dnc", "add", "--file", file)
        assert (done.code, done.stdout) == (1, "6000 added, 0 there already.\n")
        assert done.stderr.splitlines()[-1] == "1500 were left out in all; --errors FILE writes every one down."
        assert len(done.stderr.splitlines()) == 1001
        assert self.listed(outdial) == set(many)
        assert outdial("dnc", "remove", "--file", file, "--json").json["changed"] == 6000

    def test_until_an_instant(self, outdial, file):
        file.write_text(f"phone\n{PHONE}\n", encoding="utf-8")
        assert outdial("dnc", "add", "--file", file, OTHER, "--expires", "2099-01-31T10:30").code == 0
        found = outdial("dnc", "list", "--json").json
        assert {each["expiresAt"] for each in found} == {"2099-01-31T10:30:00.000Z"}
        # adding never shortens
        outdial("dnc", "add", PHONE)
        outdial("dnc", "add", PHONE, "--expires", "2099-01-01")
        kept = {each["phone"]: each["expiresAt"] for each in outdial("dnc", "list", "--json").json}
        assert kept == {PHONE: None, OTHER: "2099-01-31T10:30:00.000Z"}
        assert "2099-01-31" in outdial("dnc", "list").stdout
        past = outdial("dnc", "add", PHONE, "--expires", "2020-01-01")
        assert (past.code, past.stderr) == (1, "--expires is past; leave it out to keep the numbers for good.\n")

    @pytest.mark.parametrize(
        ("text", "words", "told"),
        [
            (f"who,what\nAnna,{PHONE}\n", [], "--column"),
            (f"who,what\nAnna,{PHONE}\n", ["--column", "mobile"], "no such column. It names: who, what"),
            (f"phone\n{PHONE}\n", ["--region", "XX"], "XX is no region"),
            (f"phone\n{PHONE}\n", ["--sheet", "People"], "no Excel workbook"),
            ("", [], "is empty"),
        ],
        ids=["no column", "another column", "region", "sheet", "empty"],
    )
    def test_what_cannot_be_understood_adds_nothing(self, outdial, file, text, words, told):
        file.write_text(text, encoding="utf-8")
        done = outdial("dnc", "add", "--file", file, *words)
        assert (done.code, done.stdout) == (1, "")
        assert told in " ".join(done.stderr.split())
        assert self.listed(outdial) == set()

    def test_the_file_is_not_written_over(self, outdial, file):
        file.write_text(f"phone\n{PHONE}\n", encoding="utf-8")
        done = outdial("dnc", "add", "--file", file, "--errors", file)
        assert done.code == 1
        assert file.read_text(encoding="utf-8") == f"phone\n{PHONE}\n"

    @pytest.mark.parametrize("words", [["--reason", "x" * 5000], ["--expires", "2020-01-01"], ["--column", "what"]])
    def test_an_error_file_stays_as_it_was_where_nothing_is_read(self, outdial, file, words):
        file.write_text(f"phone\n{PHONE}\n12\n", encoding="utf-8")
        errors = file.with_name("wrong.csv")
        errors.write_text("of before", encoding="utf-8")
        assert outdial("dnc", "add", "--file", file, "--errors", errors, *words).code == 1
        assert errors.read_text(encoding="utf-8") == "of before"

    @pytest.mark.parametrize("text", ["+49 (0)030 901820", "+49 (0)30 901820", "030 901820", "0030 901820"])
    def test_a_number_is_the_same_one_from_a_file_as_by_word_and_of_a_contact(self, outdial, file, text):
        file.write_text(f"phone\n{text}\n", encoding="utf-8")
        from_file = outdial("dnc", "add", "--file", file, "--region", "DE")
        listed = self.listed(outdial)
        outdial("dnc", "remove", *listed, "+15550100009")
        by_word = outdial("dnc", "add", text, "--region", "DE")
        assert (from_file.code, from_file.stdout) == (by_word.code, by_word.stdout)
        assert self.listed(outdial) == listed
        try:
            of_contact = {parse_phone(text, "DE")}
        except InvalidInputError:
            of_contact = set()
        assert listed == of_contact

    def test_several_columns(self, outdial, file):
        file.write_text(f"name,phone,mobile\nAnna,{PHONE},{OTHER}\n", encoding="utf-8")
        refused = outdial("dnc", "add", "--file", file)
        assert (refused.code, refused.stdout) == (1, "")
        assert "phone, mobile" in refused.stderr
        assert outdial("dnc", "add", "--file", file, "--column", "phone", "--column", "mobile").code == 0
        assert self.listed(outdial) == {PHONE, OTHER}

    def test_a_pipe(self, outdial, tmp_path):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        writer = Thread(target=pipe.write_text, args=(f"phone\n{PHONE}\n?\n",))
        writer.start()
        done = outdial("dnc", "add", "--file", pipe)
        writer.join()
        assert (done.code, done.stdout) == (1, "1 added, 0 there already.\n")
        assert done.stderr.startswith("Line 3: ")

    def test_only_rows_that_are_not_told_are_said_to_be_more(self, outdial, file):
        file.write_text("\n".join(["phone", *["?"] * 1001]), encoding="utf-8")
        done = outdial("dnc", "add", "--file", file, "x", "--errors", file.with_name("wrong.csv"))
        assert done.stderr.splitlines()[-1].startswith("All rows that could not be read")
        assert "--errors" not in done.stderr
        assert outdial("dnc", "add", "--file", file, "x").stderr.splitlines()[-1].startswith("1002 were left out")

    @pytest.mark.parametrize("option", ["--column", "--sheet", "--errors"])
    def test_options_of_files_need_one(self, outdial, option):
        assert outdial("dnc", "add", PHONE, option, "x").code == 2


class TestBrokenOff:
    """A long file that fails in the middle: what was done is told, and how far."""

    MANY = tuple(f"+1555{number:07d}" for number in range(2_000_000, 2_000_000 + LOT + 1000))

    @pytest.fixture(autouse=True)
    def there(self, created) -> None:
        """An application."""

    @pytest.fixture
    def file(self, tmp_path) -> Path:
        path = tmp_path / "complaints.csv"
        path.write_text("\n".join(["phone", *self.MANY, ""]), encoding="utf-8")
        return path

    def listed(self, outdial) -> int:
        return len(outdial("dnc", "list", "--json").json)

    @pytest.mark.parametrize("command", ["add", "remove"])
    def test_where_a_line_cannot_be_read_those_before_it_are_done(self, outdial, file, command):
        if command == "remove":
            outdial("dnc", "add", "--file", file)
        with file.open("a", encoding="utf-8") as more:
            more.write(f"{'x' * (1 << 20)}\n{PHONE}\n")
        done = outdial("dnc", command, "--file", file, "--json")
        count = len(self.MANY)
        assert (done.code, done.json["changed"], done.json["unchanged"]) == (3, count, 0)
        assert (done.json["finished"], done.json["line"]) == (False, count + 1)
        assert f"Line {count + 2} of complaints.csv is too long" in done.stderr
        assert self.listed(outdial) == (count if command == "add" else 0)
        again = outdial("dnc", command, "--file", file)
        beside = "there already" if command == "add" else "not there"
        verb = "added" if command == "add" else "removed"
        assert (again.code, again.stdout) == (
            3,
            f"0 {verb}, {count} {beside}, up to line {count + 1}; not finished: run the command again.\n",
        )

    def test_where_nothing_was_done_it_has_just_failed(self, outdial, file):
        file.write_text(f"phone\n{'x' * (1 << 20)}\n{PHONE}\n", encoding="utf-8")
        done = outdial("dnc", "add", "--file", file)
        assert (done.code, done.stdout) == (1, "")
        assert self.listed(outdial) == 0

    @pytest.mark.parametrize("how", ["terminated", "database lost"])
    def test_in_the_middle(self, outdial, file, dsn, how):
        outdial("dnc", "add", self.MANY[-1], "--expires", "2099-01-31")
        held, over = Event(), Event()

        async def interfere() -> None:
            holder, other = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
            try:
                async with holder.transaction():
                    # the second lot waits for this entry
                    await holder.execute("SELECT FROM dnc_entries WHERE phone = $1 FOR UPDATE", self.MANY[-1])
                    held.set()
                    pid, waiting = await holder.fetchval("SELECT pg_backend_pid()"), []

                    async def somebody_waits() -> bool:
                        waiting[:] = await other.fetch(
                            "SELECT pid FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))", pid
                        )
                        return bool(waiting)

                    await until(somebody_waits, seconds=60)
                    if how == "terminated":
                        os.kill(os.getpid(), signal.SIGTERM)
                    else:
                        await other.fetch("SELECT pg_terminate_backend($1)", waiting[0]["pid"])
                    await asyncio.to_thread(over.wait)
            finally:
                held.set()
                await holder.close()
                await other.close()

        with ThreadPoolExecutor(1) as threads:
            interfering = threads.submit(asyncio.run, interfere())
            held.wait()
            try:
                done = outdial("dnc", "add", "--file", file, "--json")
            finally:
                over.set()
            interfering.result()
        assert done.code == (143 if how == "terminated" else 3)
        assert (done.json["changed"], done.json["finished"], done.json["line"]) == (LOT, False, LOT + 1)
        assert self.listed(outdial) == LOT + 1

"""``outdial dnc``: the account's list and those that campaigns name."""

from __future__ import annotations

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

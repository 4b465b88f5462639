"""``outdial stop`` for more than one campaign, and ``outdial emergency-stop``."""

from __future__ import annotations

import os

CALLER_ID = "+15550200000"


def test_a_caller_id(outdial, campaign, created):
    assert outdial("campaign", "start", campaign).code == 0
    stopped = outdial("stop", "caller-id", CALLER_ID, "--iid", created["iid"])
    assert stopped.code == 0
    assert "1 of 1 stopped" in stopped.stdout
    assert f"caller id {CALLER_ID}" in stopped.stdout
    again = outdial("stop", "caller-id", CALLER_ID, "--iid", created["iid"], "--json").json
    assert (again["runs"], again["target"]["scope"]) == ([], "caller_id")


def test_a_list_and_an_account(outdial, campaign, created):
    assert outdial("campaign", "start", campaign).code == 0
    stopped = outdial("stop", "list", "Callers", "--iid", created["iid"], "--json").json
    assert len(stopped["runs"]) == 1
    assert outdial("campaign", "start", campaign).code == 0
    stopped = outdial("stop", "account", created["accountId"], "--json").json
    assert len(stopped["runs"]) == 1
    unknown = outdial("stop", "list", "Nobody", "--iid", created["iid"])
    assert (unknown.code, "Nobody" in unknown.stderr) == (1, True)


def test_a_number(outdial, campaign, created):
    assert outdial("campaign", "start", campaign).code == 0
    stopped = outdial("stop", "number", "+15550100001", "--account", created["accountId"])
    assert stopped.code == 0
    assert "contacts taken out" in stopped.stdout
    assert "+15550100001" in outdial("dnc", "list", "--account", created["accountId"]).stdout


def test_the_emergency_stop(outdial, campaign):
    assert "No emergency stop" in outdial("emergency-stop", "--show").stdout
    assert outdial("emergency-stop", "--show", "--json").json == {"inForce": False}
    assert outdial("campaign", "start", campaign).code == 0
    declared = outdial("emergency-stop", "--reason", "wrong recording")
    assert declared.code == 0
    assert "in force since" in declared.stdout
    assert "1 of 1 stopped" in declared.stdout
    refused = outdial("campaign", "start", campaign)
    assert (refused.code, "emergency stop is in force" in refused.stderr) == (1, True)
    shown = outdial("emergency-stop", "--show", "--json").json
    assert (shown["inForce"], shown["emergency"]["reason"]) == (True, "wrong recording")
    assert outdial("emergency-stop", "--lift").code == 1
    assert outdial("emergency-stop", "--lift", "--show").code == 1
    assert "Lifted" in outdial("emergency-stop", "--lift", "--reason", "replaced").stdout
    assert outdial("campaign", "start", campaign).code == 0


def test_without_a_database_the_file_is_written(outdial, monkeypatch, tmp_path):
    monkeypatch.setenv("OUTDIAL_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    failed = outdial("emergency-stop", "--reason", "smoke")
    path = tmp_path / "data" / "emergency-stop"
    assert failed.code == 1
    assert str(path) in failed.stderr
    assert path.read_text() == "smoke\n"
    monkeypatch.setenv("OUTDIAL_EMERGENCY_STOP_FILE", os.fspath(tmp_path / "elsewhere" / "stop"))
    assert outdial("emergency-stop").code == 1
    assert (tmp_path / "elsewhere" / "stop").exists()

"""``outdial stop report``, ``verify-stop``, ``history`` and ``keys``: from a stop to a proof on another machine."""

from __future__ import annotations

import csv
import json

import pytest

from support import reports
from support.commands import invoke


@pytest.fixture
def stopped(outdial, campaign) -> str:
    """The id of a run that was started and stopped."""
    run = outdial("campaign", "start", campaign, "--json").json["instanceId"]
    assert outdial("campaign", "stop", campaign).code == 0
    return run


def test_from_the_stop_to_its_proof_elsewhere(outdial, campaign, stopped, tmp_path, monkeypatch):
    text = outdial("stop", "report", "Spring calls")
    assert text.stdout.startswith(f"Stop of run {stopped}\n")
    assert "never reached      2" in text.stdout
    written = outdial("stop", "report", campaign, "--output", "stop.json")
    assert (written.code, written.stdout) == (0, "")
    assert "outdial verify-stop stop.json" in written.stderr
    assert outdial("stop", "report", stopped, "--json").stdout == (tmp_path / "stop.json").read_text()
    (tmp_path / "key.pem").write_text(outdial("keys", "show", "--pem").stdout)
    # another machine: no database, no data folder
    monkeypatch.setenv("OUTDIAL_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nowhere")
    monkeypatch.setenv("OUTDIAL_DATA_DIR", str(tmp_path / "elsewhere"))
    done = invoke("verify-stop", "stop.json", "--key", "key.pem")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"VALID: the stop of run {stopped}.\n")
    alone = invoke("verify-stop", "stop.json")
    assert alone.code == 0
    assert "taken from the report: compare its id" in alone.stdout
    found = invoke("verify-stop", "stop.json", "--key", "key.pem", "--json").json
    assert (found["valid"], found["instanceId"], found["keyGiven"], found["problems"]) == (True, stopped, True, [])
    assert not (tmp_path / "elsewhere").exists()


def test_what_was_changed_is_invalid_and_said(outdial, stopped, tmp_path):
    document = outdial("stop", "report", stopped, "--json").json
    document["request"]["by"] = "somebody else"
    (tmp_path / "stop.json").write_text(json.dumps(document))
    done = invoke("verify-stop", "stop.json")
    assert done.code == 1
    assert done.stdout.splitlines()[0] == "INVALID: do not rely on this report."
    assert "  signature: signature.value: " in done.stdout
    assert "  run: request.by: the chain says that cli:" in done.stdout
    found = invoke("verify-stop", "stop.json", "--json")
    assert (found.code, found.json["valid"]) == (1, False)
    assert [(one["check"], one["where"]) for one in found.json["problems"]] == [
        ("signature", "signature.value"),
        ("run", "request.by"),
    ]


@pytest.mark.parametrize("text", ["", "nothing", "[]", '{"a":1,"a":1}'])
def test_what_is_no_report_cannot_be_read(tmp_path, text):
    (tmp_path / "stop.json").write_text(text)
    done = invoke("verify-stop", "stop.json")
    assert (done.code, done.stdout) == (2, "")
    assert "no report of a stop" in done.stderr
    assert invoke("verify-stop", "stop.json", "--json").json["valid"] is False
    assert invoke("verify-stop", "nowhere.json").code == 2


def test_a_key_that_is_none_cannot_be_read(tmp_path):
    (tmp_path / "stop.json").write_bytes(reports.changed(lambda _: None))
    for text in ("", "key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        (tmp_path / "key.pem").write_text(text)
        done = invoke("verify-stop", "stop.json", "--key", "key.pem")
        assert (done.code, done.stdout) == (2, "")
        assert "no public key in PEM" in done.stderr


def test_there_is_no_report_of_what_was_not_stopped(outdial, campaign):
    assert "has never run" in outdial("stop", "report", campaign).stderr
    outdial("campaign", "start", campaign)
    refused = outdial("stop", "report", campaign)
    assert (refused.code, refused.stdout) == (1, "")
    assert "is active: only a run that was stopped has a report" in refused.stderr
    assert "no campaign with the id or name 'cid-1'" in outdial("stop", "report", "cid-1").stderr


def test_whom_a_stop_kept_from_being_called(outdial, stopped, tmp_path):
    done = outdial("stop", "never-reached", stopped, "people.csv.out")
    assert done.stdout == "2 contacts that were never attempted are in people.csv.out.\n"
    with (tmp_path / "people.csv.out").open(newline="") as file:
        found = list(csv.DictReader(file))
    # a cell that begins with + is written as text, for spreadsheets
    assert {one["phoneNumber"].lstrip("'") for one in found} == {"+15550100001", "+15550100002"}
    assert outdial("stop", "never-reached", stopped, "people.csv.out", "--json").json["contacts"] == 2
    refused = outdial("stop", "never-reached", stopped, "/nowhere/people.csv")
    assert (refused.code, refused.stderr) == (1, "/nowhere/people.csv cannot be written: No such file or directory.\n")


def test_history_from_the_database_to_a_file_that_proves_itself(outdial, campaign, created, stopped, tmp_path):
    for name, words in (
        ("account", ()),
        ("campaign", ("--campaign", "Spring calls")),
        ("run", ("--run", stopped)),
        ("named", ("--account", "Acme")),
    ):
        done = outdial("history", "export", *words, "--output", f"{name}.jsonl", "--json")
        lines = (tmp_path / f"{name}.jsonl").read_bytes().splitlines()
        assert done.json["lines"] == len(lines)
        found = invoke("history", "verify", f"{name}.jsonl", "--json").json
        assert (found["valid"], found["accountId"]) == (True, created["accountId"])
        assert found["instanceId"] == (stopped if name == "run" else None)
    told = outdial("history", "export", "--run", stopped)
    assert told.stdout.encode() == (tmp_path / "run.jsonl").read_bytes()
    done = invoke("history", "verify", "run.jsonl")
    assert done.stdout.startswith(f"The history of {stopped} holds: 3 rows in full")
    held = outdial("history", "verify")
    assert held.stdout.startswith(f"The chain of account {created['accountId']} holds: ")
    assert outdial("history", "verify", "--json").json["head"] == found["head"]
    refused = outdial("history", "export", "--run", stopped, "--campaign", campaign)
    assert (refused.code, "exclude one another" in refused.stderr) == (2, True)


def test_a_history_that_was_changed_does_not_hold(outdial, stopped, tmp_path):
    assert outdial("history", "export", "--output", "all.jsonl").code == 0
    text = (tmp_path / "all.jsonl").read_bytes()
    assert text.count(b'"to":"stopped"') == 1
    (tmp_path / "all.jsonl").write_bytes(text.replace(b'"to":"stopped"', b'"to":"stoppee"'))
    done = invoke("history", "verify", "all.jsonl")
    assert (done.code, done.stdout) == (1, "")
    assert "the rows of seal" in done.stderr
    found = invoke("history", "verify", "all.jsonl", "--json")
    assert (found.code, found.json["valid"]) == (1, False)
    assert found.json["where"].startswith("line ")
    (tmp_path / "all.jsonl").write_bytes(text[:-1])
    assert "not in canonical form" in invoke("history", "verify", "all.jsonl").stderr


def test_keys_are_shown_and_turn_over(outdial, created):
    (first,) = outdial("keys", "show", "--json").json
    shown = outdial("keys", "show").stdout
    assert shown.startswith(first["id"])
    assert "in use" in shown
    assert first["pem"].strip() in shown
    made = outdial("keys", "rotate", "--json").json
    assert [one["id"] for one in outdial("keys", "show", "--json").json] == [made["id"], first["id"]]
    assert outdial("keys", "show", "--key", first["id"][:8], "--pem").stdout == first["pem"]
    assert outdial("keys", "show", "--pem").stdout == made["pem"]
    assert made["id"] in outdial("keys", "show").stdout
    assert "Reports are signed by " in outdial("keys", "rotate").stdout
    refused = outdial("keys", "show", "--key", "zz")
    assert (refused.code, refused.stderr) == (1, "There is no signing key whose id begins with zz.\n")

"""``outdial trunk`` and ``outdial flow``."""

from __future__ import annotations

import pytest

from outdial.demo.sound import chime

FIXED = (
    *("--name", "Main", "--host", "127.0.0.1", "--port", "5080", "--transport", "udp"),
    *("--caller-id", "+15550200000", "--caller-id", "+15550200001", "--max-channels", "30", "--calls-per-second", "5"),
)


@pytest.fixture
def added(outdial, created):
    return outdial("trunk", "add", "--iid", created["iid"], *FIXED, "--json").json


@pytest.fixture
def audio(tmp_path):
    path = tmp_path / "chime.wav"
    path.write_bytes(chime())
    return path


class TestTrunks:
    def test_add_keeps_what_was_said(self, created, added):
        assert added["iid"] == created["iid"]
        assert (added["name"], added["host"], added["port"], added["transport"]) == ("Main", "127.0.0.1", 5080, "udp")
        assert added["callerIds"] == ["+15550200000", "+15550200001"]
        assert (added["maxChannels"], added["callsPerSecond"]) == (30, 5.0)

    def test_caps_of_caller_ids(self, outdial, added):
        (capped,) = outdial("trunk", "cap", "+15550200000", "--max-calls", 3, "--calls-per-day", 500, "--json").json
        assert capped["caps"] == {"maxConcurrentCalls": 3, "callsPerSecond": None, "callsPerDay": 500}
        listed = outdial("trunk", "caller-ids")
        assert "500" in listed.stdout
        assert [one["phone"] for one in outdial("trunk", "caller-ids", "--json").json] == added["callerIds"]
        (free,) = outdial("trunk", "cap", "+15550200000", "--json").json
        assert free["caps"]["callsPerDay"] is None
        unknown = outdial("trunk", "cap", "+15550200009", "--max-calls", 3)
        assert unknown.code == 1
        assert "There is no caller ID +15550200009." in unknown.stderr

    def test_the_only_application_needs_no_name(self, outdial, created):
        assert outdial("trunk", "add", *FIXED, "--json").json["iid"] == created["iid"]

    def test_of_several_applications_one_must_be_named(self, outdial, created):
        outdial("app", "create", "--account", "Other", "--name", "Alerts")
        done = outdial("trunk", "add", *FIXED)
        assert done.code == 1
        assert "--iid" in done.stderr
        assert created["iid"] in done.stderr

    def test_an_unknown_application_is_a_sentence(self, outdial, created):
        assert outdial("trunk", "add", "--iid", "st-unknown", *FIXED).code == 1

    def test_a_password_is_asked_for_and_never_shown(self, outdial, created):
        login = ("--name", "TLS", "--host", "sip.example.net", "--username", "acme", "--caller-id", "+15550200009")
        done = outdial("trunk", "add", *login, "--json", stdin="hush\n")
        assert done.code == 0
        assert "hush" not in done.stdout + done.stderr + outdial("trunk", "list", "--json").stdout
        assert "Password of the trunk" in done.stderr

    def test_a_password_may_come_from_the_environment(self, outdial, created, monkeypatch):
        monkeypatch.setenv("OUTDIAL_TRUNK_PASSWORD", "hush")
        login = ("--name", "TLS", "--host", "sip.example.net", "--username", "acme", "--caller-id", "+15550200009")
        assert outdial("trunk", "add", *login, "--json").json["username"] == "acme"

    def test_wrong_values_are_all_named(self, outdial, created):
        done = outdial("trunk", "add", "--name", "", "--host", "in valid", "--caller-id", "12")
        assert done.code == 1
        assert len(done.stderr.splitlines()) >= 3

    def test_list_and_remove(self, outdial, added):
        assert outdial("trunk", "list", "--json").json == [added]
        line = outdial("trunk", "list").stdout.splitlines()[-1]
        assert "127.0.0.1:5080" in line
        assert "+15550200000 +15550200001" in line
        assert outdial("trunk", "remove", "Main").stdout == "Trunk Main removed.\n"
        assert outdial("trunk", "list", "--json").json == []
        assert outdial("trunk", "remove", "Main").code == 1


class TestFlows:
    def test_add_and_list(self, outdial, created, audio):
        added = outdial("flow", "add", "--iid", created["iid"], "--name", "Chime", "--audio", audio, "--json").json
        assert (added["name"], added["iid"], added["durationSeconds"]) == ("Chime", created["iid"], 2.5)
        assert outdial("flow", "list", "--json").json == [added]
        assert "Chime" in outdial("flow", "list").stdout

    def test_a_file_that_is_no_wav_is_refused(self, outdial, created, tmp_path):
        (tmp_path / "text.wav").write_text("hello")
        done = outdial("flow", "add", "--name", "Chime", "--audio", tmp_path / "text.wav")
        assert done.code == 1
        assert "WAV" in done.stderr

    def test_a_name_comes_once(self, outdial, created, audio):
        assert (
            outdial("flow", "add", "--name", "Chime", "--audio", audio).stdout == "Flow Chime added, 2.5 s of sound.\n"
        )
        assert outdial("flow", "add", "--name", "Chime", "--audio", audio).code == 1

"""``outdial compliance export`` and ``outdial verify-archive``."""

from __future__ import annotations

import pytest


@pytest.fixture
def archive(outdial, campaign, tmp_path):
    outdial("campaign", "start", campaign)
    outdial("campaign", "stop", campaign)
    file = tmp_path / "evidence.tar"
    done = outdial("compliance", "export", "--campaign", "Spring calls", file)
    assert (done.code, str(file) in done.stdout) == (0, True)
    return file


def test_what_is_exported_is_valid_by_the_key_of_the_server(outdial, archive, tmp_path):
    key = tmp_path / "key.pem"
    key.write_text(outdial("keys", "show", "--pem").stdout)
    told = outdial("verify-archive", archive, "--key", key)
    assert (told.code, told.stdout.splitlines()[0].startswith("VALID: the evidence of cd-")) == (0, True)
    assert "That key was taken from the archive" not in told.stdout
    assert "That key was taken from the archive" in outdial("verify-archive", archive).stdout
    assert outdial("verify-archive", archive, "--key", key, "--json").json["keyGiven"] is True


def test_a_run_and_the_account(outdial, archive, tmp_path):
    for words in (("--run", "Spring calls"), ()):
        told = outdial("compliance", "export", *words, tmp_path / "other.tar", "--json").json
        assert told["bytes"] == (tmp_path / "other.tar").stat().st_size
        assert outdial("verify-archive", tmp_path / "other.tar", "--json").json["valid"]
    assert outdial("compliance", "export", "--run", "x", "--campaign", "y", tmp_path / "z").code == 2
    assert outdial("compliance", "export", tmp_path / "nowhere" / "z.tar").code == 1


def test_what_was_changed_is_named_and_what_is_no_archive_is_told(outdial, archive):
    data = archive.read_bytes()
    place = data.index(b"max_attempts")
    archive.write_bytes(data[:place] + b"MAX" + data[place + 3 :])
    told = outdial("verify-archive", archive)
    assert (told.code, told.stdout.splitlines()[0]) == (1, "INVALID: do not rely on this archive.")
    assert told.stdout.splitlines()[1].startswith("  runs.jsonl: ")
    assert outdial("verify-archive", archive, "--json").json["difference"]["where"] == "runs.jsonl"
    archive.write_bytes(b"nothing")
    done = outdial("verify-archive", archive)
    assert (done.code, done.stdout) == (2, "")
    assert outdial("verify-archive", archive, "--json").json["valid"] is False

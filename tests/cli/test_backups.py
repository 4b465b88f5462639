"""``outdial backup`` and ``outdial restore``: a file, the check of it, and what a person is told after a restore."""

from __future__ import annotations

import pytest

from support.backups import OTHER_KEY
from support.commands import invoke


@pytest.fixture
def made(outdial, campaign, tmp_path):
    """A backup of an installation whose campaign runs."""
    assert outdial("campaign", "start", campaign).code == 0
    assert outdial("dnc", "add", "+15550100002").code == 0
    return tmp_path / "monday.outdial"


@pytest.fixture
def elsewhere(empty_dsn, monkeypatch, tmp_path):
    """From here on commands are for another installation, an empty one."""

    def move() -> None:
        monkeypatch.setenv("OUTDIAL_DATABASE_URL", empty_dsn)
        monkeypatch.setenv("OUTDIAL_DATA_DIR", str(tmp_path / "new"))

    return move


def test_from_a_backup_to_an_installation_where_a_person_resumes(outdial, campaign, made, elsewhere):
    done = outdial("backup", made, "--with-key")
    assert (done.code, done.stderr) == (0, "")
    assert f"The backup {made} is whole: " in done.stdout
    assert "The secret key is in it" in done.stdout
    checked = outdial("backup", "verify", made)
    assert checked.stdout == done.stdout
    elsewhere()
    told = outdial("restore", made)
    assert (told.code, told.stderr) == (0, "")
    for words in (
        "0 calls were live and are unknown now: they are not made again.",
        "1 runs were active and are paused now, 0 were paused before.",
        "2 people are still to be called",
        "is called AGAIN if the run is resumed. Resume one with: outdial campaign resume CAMPAIGN",
        "(1 entries): add whoever has asked since, before anything is resumed.",
    ):
        assert words in told.stdout, words
    (shown,) = outdial("campaign", "list", "--json").json
    assert shown["id"] == campaign
    assert "paused" in outdial("campaign", "show", campaign).stdout.lower()
    assert outdial("campaign", "resume", campaign).code == 0
    assert outdial("history", "verify").code == 0
    # once it is there nothing takes its place by accident
    refused = outdial("restore", made)
    assert (refused.code, refused.stdout) == (1, "")
    assert "The database is not empty" in refused.stderr
    assert outdial("restore", made, "--replace", "--json").json["runs"][0]["wasActive"] is True


def test_for_scripts(outdial, made, elsewhere, tmp_path):
    folder = tmp_path / "backups"
    folder.mkdir()
    done = outdial("backup", "make", folder, "--json").json
    (file,) = folder.iterdir()
    assert (done["file"], done["withKey"], done["liveRuns"], done["leftOut"]) == (str(file), False, 1, [])
    assert done["rows"]["contacts"] == 2
    assert outdial("backup", "verify", file, "--json").json == {"valid": True, **done}
    elsewhere()
    refused = outdial("restore", file, "--json")
    assert (refused.code, refused.stdout) == (1, "")
    assert "The backup does not hold the secret key" in refused.stderr
    found = outdial("restore", file, "--without-key", "--json").json
    assert (found["manifestSha256"], found["withoutKey"], found["emergency"]) == (done["manifestSha256"], True, False)
    assert found["runs"][0]["openContacts"] == 2


def test_what_is_no_backup_is_told_apart_from_what_cannot_be_read(outdial, made, monkeypatch, tmp_path):
    assert outdial("backup", made).code == 0
    data = bytearray(made.read_bytes())
    data[600] ^= 1
    made.write_bytes(data)
    # no server, no database, no key
    monkeypatch.setenv("OUTDIAL_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nowhere")
    monkeypatch.setenv("OUTDIAL_SECRET_KEY", OTHER_KEY)
    done = invoke("backup", "verify", made)
    assert (done.code, done.stdout) == (1, "")
    assert "is not as it was made" in done.stderr
    assert invoke("backup", "verify", made, "--json").json["valid"] is False
    for command in ("verify", "make"):
        missing = invoke("backup", command, tmp_path / "no" / "where")
        assert missing.code == {"verify": 2, "make": 1}[command], missing.stderr
    restored = invoke("restore", made)
    assert (restored.code, restored.stdout) == (1, "")
    assert "is not as it was made" in restored.stderr


def test_the_group_alone_shows_its_help(outdial):
    assert "outdial backup" in invoke("backup").stdout
    assert "FILE|FOLDER" in invoke("backup", "make", "--help").stdout

"""The key: from the setting, from its file, made once, refused with a sentence."""

from __future__ import annotations

import base64
import os
import subprocess
import sys

import pytest
from pydantic import SecretStr

from outdial.config import Settings
from outdial.core.errors import StartupError
from outdial.secretbox import SecretBox, WrongSecretKeyError, keep_key, key_text, load_secret_box

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()


def settings(folder, key: str | None = None) -> Settings:
    return Settings(data_dir=folder, secret_key=None if key is None else SecretStr(key))


@pytest.mark.parametrize("text", ["", "hunter2", "päßwörd ☎", "x" * 10_000])
def test_what_goes_in_comes_out_and_does_not_show(secret_box, text):
    token = secret_box.encrypt(text)
    assert secret_box.decrypt(token) == text
    assert not text or text.encode() not in token
    assert secret_box.encrypt(text) != token


def test_another_key_or_a_changed_secret_is_refused(secret_box):
    token = secret_box.encrypt("hunter2")
    with pytest.raises(WrongSecretKeyError, match="set OUTDIAL_SECRET_KEY to the key in use when it was stored"):
        SecretBox(KEY).decrypt(token)
    with pytest.raises(WrongSecretKeyError):
        secret_box.decrypt(token[:-4] + b"AAA=")


def test_the_setting_wins_and_no_file_is_made(tmp_path):
    box = load_secret_box(settings(tmp_path, KEY + "\n"))
    assert SecretBox(KEY).decrypt(box.encrypt("x")) == "x"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["", "short", KEY[:-4], "ü" * 44])
def test_a_key_that_is_none_says_how_to_make_one(tmp_path, key):
    with pytest.raises(StartupError, match=r"must be 32 bytes in URL-safe base64\. Make one with: python3 -c"):
        load_secret_box(settings(tmp_path, key))


def test_the_advice_for_a_new_key_works():
    with pytest.raises(StartupError) as refusal:
        SecretBox("no")
    code = refusal.value.message.split('python3 -c "')[1].rstrip('"')
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert SecretBox(made).decrypt(SecretBox(made).encrypt("x")) == "x"


def test_the_file_is_made_once_for_its_owner_alone(tmp_path):
    folder = tmp_path / "deep" / "data"
    token = load_secret_box(settings(folder)).encrypt("x")
    assert load_secret_box(settings(folder)).decrypt(token) == "x"
    assert (folder / "secret.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == ["secret.key"]


def test_processes_that_make_it_at_once_agree(tmp_path):
    script = (
        "import sys; from pathlib import Path; from outdial import secretbox; sys.stdin.readline();"
        "print(secretbox._read_or_make(Path(sys.argv[1]) / 'secret.key'))"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script, tmp_path / "data"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(4)
    ]
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    keys = {racer.communicate(timeout=30)[0].strip() for racer in racers}
    assert len(keys) == 1
    assert len(keys.pop()) == 44


def test_a_damaged_file_and_a_place_that_cannot_be_written_are_said(tmp_path):
    (tmp_path / "secret.key").write_text("oops\n")
    with pytest.raises(StartupError, match="secret key is not valid"):
        load_secret_box(settings(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match=r"file/secret\.key cannot be used \(Not a directory\)"):
        load_secret_box(settings(tmp_path / "file"))


def test_a_key_can_be_kept_elsewhere_and_put_back(tmp_path):
    assert key_text(settings(tmp_path / "old")) is None
    box = load_secret_box(settings(tmp_path / "old"))
    key = key_text(settings(tmp_path / "old"))
    keep_key(settings(tmp_path / "new"), key)
    assert load_secret_box(settings(tmp_path / "new")).decrypt(box.encrypt("hunter2")) == "hunter2"
    assert (tmp_path / "new" / "secret.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["secret.key"]
    # one that is there is never replaced
    with pytest.raises(FileExistsError):
        keep_key(settings(tmp_path / "new"), KEY)
    assert key_text(settings(tmp_path / "new")) == key
    assert key_text(settings(tmp_path / "new", KEY)) == KEY
    with pytest.raises(StartupError, match="The secret key is not valid"):
        keep_key(settings(tmp_path / "third"), "half a key")
    assert not (tmp_path / "third").exists()


def test_what_is_remembered_is_this_boxs_own_and_bounded(secret_box, monkeypatch):
    tokens = [secret_box.encrypt(f"secret {number}") for number in range(4)]
    monkeypatch.setattr("outdial.secretbox.MOST_OPENED", 2)
    for _ in range(2):
        assert [secret_box.opened(token) for token in tokens] == [f"secret {number}" for number in range(4)]
        assert len(secret_box._opened) == 2
    for _ in range(2):
        with pytest.raises(WrongSecretKeyError):
            SecretBox(KEY).opened(tokens[0])

"""``outdial config``: values with their sources, secrets hidden."""

from __future__ import annotations

from outdial.config import Settings
from support.commands import invoke


def shown(**where):
    return {each["name"]: each for each in invoke("config", "--json").json}


def test_every_setting_is_there_with_its_meaning():
    found = shown()
    assert list(found) == [f"OUTDIAL_{name.upper()}" for name in Settings.model_fields]
    assert all(each["description"] for each in found.values())


def test_the_source_is_told_and_a_variable_overrules_the_file(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("OUTDIAL_HTTP_PORT=9001\noutdial_node_name=left\nOUTDIAL_LOG_LEVEL=debug\n")
    monkeypatch.setenv("outdial_log_level", "warning")
    found = shown()
    assert (found["OUTDIAL_HTTP_PORT"]["value"], found["OUTDIAL_HTTP_PORT"]["source"]) == (9001, ".env")
    assert (found["OUTDIAL_NODE_NAME"]["value"], found["OUTDIAL_NODE_NAME"]["source"]) == ("left", ".env")
    assert (found["OUTDIAL_LOG_LEVEL"]["value"], found["OUTDIAL_LOG_LEVEL"]["source"]) == ("warning", "environment")
    assert (found["OUTDIAL_HTTP_HOST"]["value"], found["OUTDIAL_HTTP_HOST"]["source"]) == ("127.0.0.1", "default")


def test_secrets_are_hidden(monkeypatch):
    monkeypatch.setenv("OUTDIAL_DATABASE_URL", "postgresql://me:hush@db/outdial")
    monkeypatch.setenv("OUTDIAL_ASTERISK_PASSWORD", "hush")
    for words in (["config"], ["config", "--json"]):
        done = invoke(*words)
        assert "hush" not in done.stdout + done.stderr
        assert "(hidden)" in done.stdout
    assert shown()["OUTDIAL_SECRET_KEY"]["value"] is None


def test_the_table_holds_the_same(monkeypatch):
    monkeypatch.setenv("OUTDIAL_HTTP_PORT", "9002")
    lines = invoke("config").stdout.splitlines()
    assert any("OUTDIAL_HTTP_PORT" in line and "9002" in line and "environment" in line for line in lines)

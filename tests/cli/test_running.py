"""How commands end: sentences instead of tracebacks, exit codes, Ctrl-C and SIGTERM."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import subprocess
import sys

import pytest
import typer

from outdial.cli import running
from outdial.config import Settings
from outdial.core.errors import InvalidInputError
from support.commands import invoke


def test_all_wrong_settings_are_named_without_their_values(monkeypatch):
    monkeypatch.setenv("OUTDIAL_HTTP_PORT", "99999")
    monkeypatch.setenv("OUTDIAL_ENGINE", "s3cret")
    with pytest.raises(InvalidInputError) as raised:
        running.load_settings()
    text = "\n".join(raised.value.messages)
    assert "OUTDIAL_HTTP_PORT is wrong: Input should be less than or equal to 65535." in text
    assert "OUTDIAL_ENGINE is wrong" in text
    assert "s3cret" not in text


def test_a_failure_is_a_sentence_on_standard_error(monkeypatch):
    monkeypatch.setenv("OUTDIAL_LOG_LEVEL", "loud")
    done = invoke("app", "list")
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.startswith("The setting OUTDIAL_LOG_LEVEL is wrong: ")
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_a_sentence_whoever_meets_it(monkeypatch):
    def full() -> Settings:
        raise OSError(errno.ENOSPC, "No space left on device", "/var/lib/outdial/x")

    monkeypatch.setattr(running, "load_settings", full)
    done = invoke("app", "list")
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr == "The disk is full (/var/lib/outdial/x): free some space, then try again.\n"


def test_a_mistake_of_the_program_is_not_hidden(monkeypatch):
    def broken() -> Settings:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(running, "load_settings", broken)
    with pytest.raises(OSError, match="Bad file descriptor"):
        invoke("app", "list")


@pytest.mark.parametrize("words", [["nonsense"], ["trunk", "add", "--port", "x"], ["flow", "add", "--audio", "no.wav"]])
def test_wrong_usage_is_exit_code_two(words):
    done = invoke(*words)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr


@pytest.mark.parametrize(("asked", "level"), [(None, "WARNING"), ("info", "INFO"), ("debug", "DEBUG")])
def test_commands_that_answer_and_end_log_warnings_only_unless_asked(monkeypatch, asked, level):
    if asked:
        monkeypatch.setenv("OUTDIAL_LOG_LEVEL", asked)
    running.prepare(quiet=True)
    assert logging.getLevelName(logging.getLogger().level) == level


def test_servers_log_as_the_settings_say():
    settings = running.prepare(quiet=False)
    assert logging.getLevelName(logging.getLogger().level) == settings.log_level.upper() == "INFO"


def test_each_setting_has_its_variable():
    assert running.variable("data_dir") == "OUTDIAL_DATA_DIR"
    assert all(running.variable(name).isupper() for name in Settings.model_fields)


def test_sigterm_cancels_the_work_which_closes_what_it_opened():
    closed = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            # a second one does not cut the closing short
            await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.01)
            closed.append(True)

    with pytest.raises(typer.Exit) as raised:
        running.run(work())
    assert raised.value.exit_code == 143
    assert closed == [True]


def test_a_cancel_of_its_own_is_not_taken_for_a_signal():
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        running.run(work())


@pytest.mark.parametrize("words", [["--version"], ["app", "--help"]])
def test_python_m_outdial_is_the_same_program(words):
    done = subprocess.run(
        [sys.executable, "-m", "outdial", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.strip().startswith("outdial 0.1.0") if words == ["--version"] else "outdial app" in done.stdout


def test_who_did_it_is_the_account_that_ran_the_command(monkeypatch):
    monkeypatch.setenv("LOGNAME", "olga")
    assert running.actor() == "cli:olga"

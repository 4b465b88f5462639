"""Commands run in this process, against a fresh database; logging, which is process-wide, is put back."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator

import pytest
import structlog

from support.commands import Outcome, invoke


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def settings_only_from_the_test(monkeypatch, tmp_path) -> None:
    """No variable of the machine and no .env of the working folder reaches a command."""
    for name in [name for name in os.environ if name.upper().startswith("OUTDIAL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OUTDIAL_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def outdial(dsn, monkeypatch) -> Callable[..., Outcome]:
    """Commands on a fresh database, already migrated."""
    monkeypatch.setenv("OUTDIAL_DATABASE_URL", dsn)
    return invoke


@pytest.fixture
def created(outdial) -> dict[str, str]:
    """The first application: accountId, iid, clientId, clientSecret."""
    return outdial("app", "create", "--account", "Acme", "--name", "Reminders", "--json").json

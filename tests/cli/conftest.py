"""Commands run in this process, against a fresh database; logging, which is process-wide, is put back."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from datetime import time

import pytest
import structlog

from outdial.core.model import CallingHours, CallingWindow, DialingMode, DialingOrder, DialingRules
from outdial.demo.sound import chime
from outdial.services.campaigns import CampaignDraft, create_campaign
from outdial.store.database import Database
from support.commands import Outcome, invoke

CALLER_ID = "+15550200000"
RULES = DialingRules(
    caller_id=CALLER_ID,
    calling_hours=CallingHours(tuple(CallingWindow(day, time.min, time.max) for day in range(7)), "UTC"),
    order=DialingOrder.FIFO,
    max_attempts=3,
    retry_seconds=600,
    ring_seconds=20,
)
DRAFT = CampaignDraft(
    name="Spring calls",
    description="",
    list_names=("Callers",),
    dnc_list_name=None,
    priority=5,
    mode=DialingMode.AGENTLESS,
    rules=RULES,
    flow_name="Chime",
    queue_name=None,
    max_skips=None,
    api_version=2,
)


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


@pytest.fixture
def campaign(outdial, created, dsn, tmp_path) -> str:
    """The id of a campaign that can be started."""
    (tmp_path / "people.csv").write_text("phone\n+15550100001\n+15550100002\n")
    (tmp_path / "chime.wav").write_bytes(chime())
    line = ("--host", "127.0.0.1", "--caller-id", CALLER_ID)
    assert outdial("contacts", "import", tmp_path / "people.csv", "--list", "Callers").code == 0
    assert outdial("flow", "add", "--name", "Chime", "--audio", tmp_path / "chime.wav").code == 0
    assert outdial("trunk", "add", "--name", "Main", *line).code == 0

    async def make() -> str:
        database = await Database.open(dsn, pool_size=2)
        try:
            owner = {"iid": created["iid"], "account_id": created["accountId"], "actor": "test"}
            return (await create_campaign(database, draft=DRAFT, **owner)).id
        finally:
            await database.close()

    return asyncio.run(make())

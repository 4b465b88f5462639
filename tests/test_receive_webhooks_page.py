"""The how-to page's receiver, word for word, against messages that outdial sends; and the page's numbers."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from outdial.core.webhook import (
    ANSWER_SECONDS,
    RETRIED_FOR,
    WebhookEvent,
    headers,
    pause_seconds,
    secret_bytes,
    secret_text,
)
from outdial.services import webhook_keeper
from outdial.store.webhook_deliveries import DEAD_COUNTED

PAGE = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "receive-webhooks.md"
OLD, NEW = secret_text(bytes(32)), secret_text(bytes(range(32)))
BODY = b'{"type":"run.started"}'


@pytest.fixture
def receives():
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(code.splitlines()) <= 15
    names: dict = {}
    exec(compile(code, str(PAGE), "exec"), names)  # the project's own page
    return names["is_from_outdial"]


def sent(*secrets: str, age: float = 0) -> dict[str, str]:
    return headers([secret_bytes(one) for one in secrets], "run_started_1", int(time.time() - age), BODY)


def test_it_takes_what_outdial_sends_and_either_secret_while_two_are_good(receives):
    assert receives(NEW, sent(NEW), BODY)
    assert receives(NEW, sent(NEW, OLD), BODY)
    assert receives(OLD, sent(NEW, OLD), BODY)


def test_it_refuses_everything_else(receives):
    assert not receives(OLD, sent(NEW), BODY)
    assert not receives(NEW, sent(NEW), BODY + b" ")
    assert not receives(NEW, sent(NEW, age=400), BODY)
    assert not receives(NEW, sent(NEW, age=-400), BODY)
    assert not receives(NEW, {**sent(NEW), "webhook-id": "run_started_2"}, BODY)
    assert not receives(NEW, {**sent(NEW), "webhook-signature": "v1,é"}, BODY)


def test_the_numbers_and_names_of_the_page():
    text = PAGE.read_text()
    assert all(f"`{event}`" in text for event in WebhookEvent)
    assert f"within {ANSWER_SECONDS:.0f} seconds" in text
    pauses = [pause_seconds(tries, asked=None, draw=0) for tries in range(1, 7)]
    assert [f"{pause:,.0f}" for pause in pauses] == ["5", "20", "80", "320", "1,280", "3,600"]
    assert RETRIED_FOR.days == 1
    assert webhook_keeper.DEAD_KEPT.days == 30
    assert f"{webhook_keeper.MOST_WAITING:,} messages" in text
    assert webhook_keeper.LANES == 8
    assert f"at most {webhook_keeper.BATCH} messages" in text
    assert f"counts to {DEAD_COUNTED:,}" in text
    assert webhook_keeper.LEASE_SECONDS == 30

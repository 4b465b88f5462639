"""`outdial engine`: the list, and the word that an engine is gone."""

from __future__ import annotations

import asyncio
import json

import pytest

from outdial.core.model import EngineKind
from outdial.store import engines
from outdial.store.database import connect


@pytest.fixture
def known(dsn, secret_box) -> None:
    """An engine that nobody uses now."""

    async def put() -> None:
        connection = await connect(dsn)
        await engines.put(
            connection,
            secret_box,
            engine_id="ast-1",
            kind=EngineKind.ASTERISK,
            url="http://127.0.0.1:1",
            username="outdial",
            password="of no concern",
        )
        await connection.close()

    asyncio.run(put())


def test_without_any_it_says_what_starts_one(outdial):
    assert "outdial serve" in outdial("engine", "list").stderr


def test_they_are_listed_without_their_passwords(outdial, known):
    shown = outdial("engine", "list")
    assert "ast-1" in shown.stdout
    assert "nobody" in shown.stdout
    (found,) = json.loads(outdial("engine", "list", "--json").stdout)
    assert found["id"] == "ast-1"
    assert found["retiredAt"] is None
    assert not [name for name in found if "password" in name.lower()]


def test_one_is_retired(outdial, known):
    assert "retired" in outdial("engine", "retire", "ast-1").stdout
    (found,) = json.loads(outdial("engine", "list", "--json").stdout)
    assert found["retiredAt"]
    assert found["retiredBy"]


def test_one_that_does_not_exist_is_told(outdial):
    answer = outdial("engine", "retire", "nothing")
    assert answer.code == 1
    assert "outdial engine list" in answer.stderr

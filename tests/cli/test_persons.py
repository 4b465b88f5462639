"""``outdial person`` and ``outdial retention``."""

from __future__ import annotations

import asyncio

import pytest

from outdial.store.database import Database
from persons import places_of


@pytest.fixture
def person(outdial, campaign, dsn) -> str:
    """A contact of a campaign that was started, and stopped."""
    outdial("campaign", "start", campaign)
    outdial("campaign", "stop", campaign)

    async def look() -> str:
        database = await Database.open(dsn, pool_size=2)
        try:
            async with database.connection() as connection:
                return await connection.fetchval("SELECT phone FROM contacts ORDER BY id LIMIT 1")
        finally:
            await database.close()

    return asyncio.run(look())


def places(dsn: str, phone: str) -> list[str]:
    async def look() -> list[str]:
        database = await Database.open(dsn, pool_size=2)
        try:
            return await places_of(database, phone)
        finally:
            await database.close()

    return asyncio.run(look())


def test_erase(outdial, person, dsn, tmp_path):
    before = tmp_path / "before.jsonl"
    assert outdial("history", "export", "--output", before).code == 0
    assert "Nobody was erased." in outdial("person", "erasures").stderr
    done = outdial("person", "erase", person, "--and-never-call")
    assert done.code == 0
    assert "1 contacts" in done.stdout
    assert person not in done.stdout
    assert places(dsn, person) == []
    (listed,) = outdial("person", "erasures", "--json").json
    assert listed["neverCall"] is True
    assert "numberHmac" not in listed
    assert "yes" in outdial("person", "erasures").stdout
    verified = outdial("history", "verify")
    assert verified.code == 0
    assert f"{listed['counts']['history']} more whose person was erased" in verified.stdout
    after = tmp_path / "after.jsonl"
    assert outdial("history", "export", "--output", after).code == 0
    for file, erased in ((before, 0), (after, listed["counts"]["history"])):
        assert outdial("history", "verify", file, "--json").json["erased"] == erased
    assert "more whose person was erased" in outdial("history", "verify", after).stdout
    archive = tmp_path / "evidence.tar"
    assert outdial("compliance", "export", archive).code == 0
    assert "rows are of persons who were erased" in outdial("verify-archive", archive).stdout
    again = outdial("person", "erase", person, "--json").json
    assert again["counts"]["contacts"] == 0
    assert outdial("person", "erase", "nobody").code == 1


def test_retention(outdial, campaign):
    assert outdial("retention", "show").stdout.count("for ever") == 3
    assert outdial("retention", "set").code == 2
    assert outdial("retention", "set", "--recordings-days", 30, "--attributes-days", 90).code == 0
    changed = outdial("retention", "set", "--recordings-days", 0, "--attempts-days", 60, "--json").json
    assert (changed["recordingsDays"], changed["attributesDays"], changed["attemptsDays"]) == (None, 90, 60)
    assert "90 days" in outdial("retention", "show").stdout
    assert outdial("retention", "set", "--recordings-days", 40000).code == 1
    assert outdial("retention", "set", "--attempts-days", 30).code == 1

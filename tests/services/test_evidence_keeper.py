"""The keeper: seals and signs by itself, goes on after trouble, and tells it once."""

from __future__ import annotations

import asyncio
import base64
import os

import pytest
from structlog.testing import capture_logs

from dialing import phones, set_stage
from outdial.secretbox import SecretBox
from outdial.services import evidence_keeper, runs, signing_keys
from outdial.services.engines import Engines
from outdial.services.stop import stop
from waiting import until


@pytest.fixture
async def stopped(database, secret_box):
    stage = await set_stage(database, secret_box, phones(3))
    owner = {"iid": stage.owner.iid, "campaign_id": stage.campaign_id, "actor": "anna"}
    await runs.start(database, secret_box, **owner)
    engines = Engines(database, secret_box, ttl_seconds=0.5)
    await stop(database, engines, **owner)
    await engines.close()


async def count(database, table: str) -> int:
    async with database.connection() as connection:
        return await connection.fetchval(f"SELECT count(*) FROM {table}")


async def test_it_seals_and_signs_and_makes_the_first_key(database, secret_box, stopped):
    keeping = asyncio.create_task(evidence_keeper.keep(database, secret_box))
    try:

        async def done() -> bool:
            return await count(database, "signed_reports") == 1

        await until(done)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    assert await count(database, "history_seals") >= 1
    assert await count(database, "signing_keys") == 1


async def test_trouble_is_told_once_and_tried_again(database, secret_box, stopped):
    await signing_keys.in_use(database, secret_box)
    other = SecretBox(base64.urlsafe_b64encode(os.urandom(32)).decode())
    keeper = evidence_keeper.EvidenceKeeper(database, other)
    with capture_logs() as logs:
        await keeper.look()
        await keeper.look()
    assert [one["event"] for one in logs] == ["evidence_not_kept"]
    assert "encrypted with another key" in logs[0]["reason"]
    # sealing goes on meanwhile
    assert await count(database, "history_seals") >= 1
    await evidence_keeper.EvidenceKeeper(database, secret_box).look()
    assert await count(database, "signed_reports") == 1


async def test_a_database_that_is_away_is_waited_for(dsn, database, secret_box, stopped):
    keeper = evidence_keeper.EvidenceKeeper(database, secret_box)
    await database.close()
    with capture_logs() as logs:
        await keeper.look()
        await keeper.look()
    assert [one["event"] for one in logs] == ["evidence_waits_for_database"]

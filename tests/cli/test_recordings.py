"""``outdial recording``: list, get, remove."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from outdial.store.database import Database
from support.recordings import SAID, recorded


@pytest.fixture
def recording(outdial, campaign, dsn, tmp_path) -> tuple[str, str, bytes]:
    """An attempt, its recording, and what that holds."""
    outdial("campaign", "start", campaign)

    async def make() -> tuple[str, str]:
        database = await Database.open(dsn, pool_size=2)
        try:
            async with database.connection() as connection:
                instance_id = await connection.fetchval("SELECT instance_id FROM runs")
            return await recorded(database, Path(tmp_path / "data"), instance_id=instance_id)
        finally:
            await database.close()

    return *asyncio.run(make()), SAID


def test_list_get_remove(outdial, recording, tmp_path):
    attempt_id, recording_id, audio = recording
    (listed,) = outdial("recording", "list", attempt_id, "--json").json
    assert (listed["id"], listed["step"], listed["attemptId"]) == (recording_id, "voice", attempt_id)
    assert recording_id in outdial("recording", "list", attempt_id).stdout
    said = tmp_path / "said.wav"
    assert outdial("recording", "get", recording_id, "--output", said).code == 0
    assert said.read_bytes() == audio
    assert outdial("recording", "get", recording_id, "--output", said, "--json").json == listed
    assert outdial("recording", "get", recording_id, "--json").code == 2
    removed = outdial("recording", "remove", recording_id)
    assert removed.stdout == f"Recording {recording_id} of the attempt {attempt_id} removed.\n"
    assert "Nothing was recorded" in outdial("recording", "list", attempt_id).stderr
    gone = outdial("recording", "get", recording_id)
    assert (gone.code, gone.stderr.strip()) == (1, f"There is no recording {recording_id}.")


def test_an_attempt_that_is_not_there(outdial, campaign):
    refused = outdial("recording", "list", "0" * 32)
    assert refused.code == 1
    assert "There is no attempt" in refused.stderr

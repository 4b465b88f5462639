"""Recordings over the API: listed with their attempt, downloaded, removed, and nobody else's."""

from __future__ import annotations

import hashlib

import pytest

from outdial.core import recording
from outdial.services import recordings
from support.native import Native
from support.recordings import SAID, ended_attempt, recorded
from support.wire import ever_open


@pytest.fixture
def native(tenant) -> Native:
    return Native(tenant)


@pytest.fixture
async def run(tenant) -> str:
    campaign_id = await tenant.create_campaign(ever_open(1))
    return (await tenant.trigger(campaign_id, "play")).json()["campaignInstanceId"]


@pytest.fixture
async def made(database, parts, run) -> tuple[str, str]:
    return await recorded(database, parts.settings.data_dir, instance_id=run)


async def test_it_is_listed_and_downloaded(native, made):
    attempt_id, recording_id = made
    (listed,) = (await native.done("GET", f"/attempts/{attempt_id}/recordings"))["results"]
    recorded_at = listed.pop("recordedAt")
    assert recorded_at.endswith("Z")
    assert listed == {
        "id": recording_id,
        "attemptId": attempt_id,
        "step": "voice",
        "durationSeconds": 0.5,
        "sizeBytes": len(SAID),
        "sha256": hashlib.sha256(SAID).hexdigest(),
    }
    answer = await native.ask("GET", f"/recordings/{recording_id}")
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["content-disposition"] == f'attachment; filename="{recording_id}.wav"'
    assert answer.content == SAID


async def test_an_attempt_without_one(native, database, run):
    attempt_id = await ended_attempt(database, run)
    assert (await native.done("GET", f"/attempts/{attempt_id}/recordings"))["results"] == []


async def test_a_long_one_comes_in_pieces_and_whole(native, database, parts, run):
    long = SAID + bytes(3 * recordings.CHUNK)
    _, recording_id = await recorded(database, parts.settings.data_dir, instance_id=run, audio=long)
    assert (await native.ask("GET", f"/recordings/{recording_id}")).content == long


async def test_removed_it_is_gone_and_history_has_it(native, made, database, parts):
    attempt_id, recording_id = made
    folder = parts.settings.data_dir.resolve() / recordings.FOLDER
    (path,) = folder.rglob("rc-*.wav")
    removed = await native.done("DELETE", f"/recordings/{recording_id}")
    assert removed["id"] == recording_id
    assert not path.exists()
    assert (await native.done("GET", f"/attempts/{attempt_id}/recordings"))["results"] == []
    for verb in ("GET", "DELETE"):
        failure = await native.refused(404, verb, f"/recordings/{recording_id}")
        assert failure["errorCode"] == "not_found"
    async with database.connection() as connection:
        moves = await connection.fetch("SELECT to_state FROM history WHERE action = 'recording' ORDER BY id")
    assert [move["to_state"] for move in moves] == ["added", "removed"]


async def test_removed_it_stays_gone_when_its_engine_still_has_it(native, made, database, parts):
    """A node that finds it there, or in its folder after a crash, must not bring it back."""
    attempt_id, recording_id = made
    folder, name = parts.settings.data_dir.resolve() / recordings.FOLDER, recording.name_of(attempt_id, 3, "voice")
    assert recording.id_of(name) == recording_id
    await native.done("DELETE", f"/recordings/{recording_id}")
    recordings.save(folder, name, SAID)
    await recordings.list_one(database, folder, name)
    assert list(folder.rglob("*.wav")) == []
    await native.refused(404, "GET", f"/recordings/{recording_id}")


async def test_what_a_crash_left_beside_it_is_removed_with_it(native, made, parts):
    attempt_id, recording_id = made
    folder = parts.settings.data_dir.resolve() / recordings.FOLDER
    recordings.save(folder, recording.name_of(attempt_id, 3, "voice"), SAID)
    recordings.save(folder, recording.name_of("0" * 32, 3, "voice"), SAID)
    await native.done("DELETE", f"/recordings/{recording_id}")
    assert [path.stem for path in folder.rglob("*.wav")] == [recording.name_of("0" * 32, 3, "voice")]


@pytest.mark.parametrize("verb", ["GET", "DELETE"])
async def test_a_file_on_another_machine_is_not_said_to_be_gone(native, made, database, parts, verb):
    attempt_id, recording_id = made
    async with database.connection() as connection:
        await connection.execute("UPDATE recordings SET host = 'node-7'")
    (path,) = (parts.settings.data_dir.resolve() / recordings.FOLDER).rglob("rc-*.wav")
    path.unlink()
    failure = await native.refused(409, verb, f"/recordings/{recording_id}")
    assert failure["errorCode"] == "file_elsewhere"
    assert "made on the machine node-7" in failure["errors"][0]["msg"]
    assert len((await native.done("GET", f"/attempts/{attempt_id}/recordings"))["results"]) == 1


async def test_a_file_that_cannot_be_removed_is_not_said_to_be_removed(native, made, parts):
    attempt_id, recording_id = made
    (path,) = (parts.settings.data_dir.resolve() / recordings.FOLDER).rglob("rc-*.wav")
    path.unlink()
    path.mkdir()
    assert (await native.ask("DELETE", f"/recordings/{recording_id}")).status_code >= 400
    assert len((await native.done("GET", f"/attempts/{attempt_id}/recordings"))["results"]) == 1

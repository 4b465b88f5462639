"""Flows: a recording becomes what the engine plays, once per machine."""

from __future__ import annotations

import asyncio
import io
import os
import wave

import pytest

from outdial.core.errors import ConflictError, FileError, InvalidInputError, NotFoundError
from outdial.services.flows import add_flow, audio_file, list_flows
from sounds import tone, wav
from tenants import make_tenants

RECORDING = wav(tone(440, rate=16_000, seconds=0.5), rate=16_000)


@pytest.fixture
async def tenants(database, secret_box):
    return await make_tenants(database, secret_box)


async def test_a_recording_becomes_a_flow(database, tenants, tmp_path):
    flow = await add_flow(database, tenants.one.iid, "Hello", RECORDING)
    assert flow.id.startswith("cf-")
    assert (flow.iid, flow.name, flow.duration_seconds) == (tenants.one.iid, "Hello", 0.5)
    assert await list_flows(database, tenants.one.iid) == [flow]
    path = await audio_file(database, flow.id, tmp_path / "sounds")
    with wave.open(io.BytesIO(path.read_bytes())) as file:
        assert (file.getframerate(), file.getnframes()) == (8000, 4000)


async def test_names_are_unique_within_the_application_only(database, tenants):
    await add_flow(database, tenants.one.iid, "Hello", RECORDING)
    with pytest.raises(ConflictError, match="flow named HELLO"):
        await add_flow(database, tenants.one.iid, "HELLO", RECORDING)
    await add_flow(database, tenants.sister.iid, "Hello", RECORDING)
    assert len(await list_flows(database, tenants.one.iid)) == 1
    assert len(await list_flows(database)) == 2
    assert await list_flows(database, tenants.other.iid) == []


async def test_name_and_file_wrong_at_once(database, tenants):
    with pytest.raises(InvalidInputError) as refused:
        await add_flow(database, tenants.one.iid, "", b"mp3")
    assert len(refused.value.problems) == 2
    with pytest.raises(InvalidInputError, match="name"):
        await add_flow(database, tenants.one.iid, "", RECORDING)


async def test_an_unknown_application(database):
    with pytest.raises(NotFoundError):
        await add_flow(database, "st-none", "Hello", RECORDING)


async def test_the_file_is_readable_by_all_and_written_once(database, tenants, tmp_path):
    flow = await add_flow(database, tenants.one.iid, "Hello", RECORDING)
    folder = tmp_path / "deep" / "sounds"
    previous = os.umask(0o077)
    try:
        paths = await asyncio.gather(*(audio_file(database, flow.id, folder) for _ in range(5)))
    finally:
        os.umask(previous)
    (path,) = set(paths)
    assert path.stat().st_mode & 0o777 == 0o644
    assert folder.stat().st_mode & 0o777 == 0o755
    assert [file.name for file in folder.iterdir()] == [f"{flow.id}.wav"]
    path.write_bytes(b"mine")
    assert (await audio_file(database, flow.id, folder)).read_bytes() == b"mine"


async def test_a_flow_that_is_not_there_and_a_folder_that_cannot_be(database, tenants, tmp_path):
    with pytest.raises(NotFoundError):
        await audio_file(database, "cf-none", tmp_path)
    assert list(tmp_path.iterdir()) == []
    flow = await add_flow(database, tenants.one.iid, "Hello", RECORDING)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be written"):
        await audio_file(database, flow.id, tmp_path / "file" / "sounds")

"""Flows: a recording becomes what the engine plays, once per machine."""

from __future__ import annotations

import asyncio
import io
import os
import wave
from pathlib import Path
from typing import Any

import pytest

from outdial.core.errors import (
    ConflictError,
    FileError,
    InUseError,
    InvalidInputError,
    NotFoundError,
    TooLargeError,
)
from outdial.services.flows import (
    LARGEST_DOCUMENT,
    MESSAGE_FILE,
    add_flow,
    add_flow_document,
    get_flow,
    list_flows,
    read_document,
    remove_flow,
    to_play,
)
from outdial.store import campaigns as campaigns_store
from outdial.store import flows as store
from runs import insert_campaign, insert_run, waits_for_a_lock
from sounds import tone, wav
from tenants import make_tenants
from waiting import until

RECORDING = wav(tone(440, rate=16_000, seconds=0.5), rate=16_000)


async def audio_file(database, flow_id: str, folder: Path) -> Path:
    """Where the one recording of a flow is."""
    return (await to_play(database, flow_id, folder)).files[MESSAGE_FILE][0]


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
    assert [file.name for file in folder.iterdir()] == [path.name]
    assert path.name.startswith(f"{flow.id}-")
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


async def remove(database, flow, *, iid: str | None = None):
    return await remove_flow(database, iid=iid or flow.iid, flow_id=flow.id, actor="test")


async def test_a_removed_flow_is_gone_and_its_recording_too(database, tenants, tmp_path):
    flow = await add_flow(database, tenants.one.iid, "Hello", RECORDING)
    assert await remove(database, flow) == flow
    assert await list_flows(database, flow.iid) == []
    for call in (
        get_flow(database, flow.iid, flow.id),
        audio_file(database, flow.id, tmp_path),
        remove(database, flow),
    ):
        with pytest.raises(NotFoundError):
            await call
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM flow_sounds") == 0
        # runs of old still say what they played
        assert await store.by_id(connection, flow.id) == flow
        rows = await connection.fetch("SELECT to_state, actor FROM history WHERE action = 'flow' ORDER BY id")
    assert [tuple(row) for row in rows] == [("added", "operator"), ("removed", "test")]


async def test_only_its_owner_removes_a_flow(database, tenants):
    flow = await add_flow(database, tenants.one.iid, "Hello", RECORDING)
    for stranger in (tenants.other, tenants.sister):
        with pytest.raises(NotFoundError):
            await remove(database, flow, iid=stranger.iid)
    assert await get_flow(database, flow.iid, flow.id) == flow


async def test_a_live_run_keeps_its_flow_also_when_its_campaign_has_another(database, tenants, secret_box):
    flow = await add_flow(database, tenants.one.iid, "Hello", RECORDING)
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO trunks (id, iid, name, host, port, transport, max_channels, calls_per_second) "
            "VALUES ('tr-1', $1, 't', 'h', 1, 'udp', 1, 1)",
            flow.iid,
        )
        run_id = await insert_run(connection, tenants.one, trunk_id="tr-1")
        await connection.execute("UPDATE runs SET flow_id = $2 WHERE id = $1", run_id, flow.id)
    with pytest.raises(InUseError, match="Spring"):
        await remove(database, flow)


async def test_a_campaign_that_is_being_made_keeps_its_flow(database, tenants):
    flow = await add_flow(database, tenants.one.iid, "Hello", RECORDING)
    async with database.transaction() as connection:
        assert await campaigns_store.flow_named(connection, flow.iid, "Hello") == flow.id
        removing = asyncio.create_task(remove(database, flow))
        await until(lambda: waits_for_a_lock(database))
        await insert_campaign(connection, tenants.one, flow_id=flow.id)
    with pytest.raises(InUseError, match="Spring"):
        await removing


async def test_a_flow_that_is_being_removed_is_found_by_no_campaign(database, tenants):
    flow = await add_flow(database, tenants.one.iid, "Hello", RECORDING)

    async def find() -> str | None:
        async with database.transaction() as connection:
            return await campaigns_store.flow_named(connection, flow.iid, "Hello")

    async with database.transaction() as connection:
        assert await store.of_application_by_id(connection, flow.iid, flow.id, lock=True) == flow
        finding = asyncio.create_task(find())
        await until(lambda: waits_for_a_lock(database))
        await store.mark_removed(connection, flow.id)
    assert await finding is None


# Several steps

MENU: dict[str, Any] = {
    "start": "ask",
    "sounds": {"ask": {"en": "ask-en.wav", "es": "ask-es.wav"}},
    "steps": {
        "ask": {"gather": {"play": "ask"}, "choices": {"1": "yes", "9": "leave"}},
        "yes": {"result": "yes"},
        "leave": {"opt_out": "account"},
    },
}
SOUNDS = {"ask-en.wav": RECORDING, "ask-es.wav": wav(tone(660, rate=8000, seconds=0.25), rate=8000)}


async def test_a_document_becomes_a_flow_with_its_recordings(database, tenants, tmp_path):
    flow = await add_flow_document(database, tenants.one.iid, "Menu", MENU, SOUNDS)
    assert (flow.document, flow.duration_seconds) == (MENU, 0.75)
    assert await get_flow(database, tenants.one.iid, flow.id) == flow
    played = await to_play(database, flow.id, tmp_path / "sounds")
    assert set(played.plan.steps) == {"ask", "yes", "leave"}
    assert {file: seconds for file, (_, seconds) in played.files.items()} == {"ask-en.wav": 0.5, "ask-es.wav": 0.25}
    frames = {}
    for file, (path, _) in played.files.items():
        with wave.open(str(path)) as opened:
            frames[file] = opened.getnframes()
    assert frames == {"ask-en.wav": 4000, "ask-es.wav": 2000}


async def test_all_that_is_wrong_with_a_flow_is_said_at_once(database, tenants):
    sounds = {"ask-en.wav": b"mp3", "more.wav": RECORDING}
    with pytest.raises(InvalidInputError) as refused:
        await add_flow_document(database, tenants.one.iid, "", MENU, sounds)
    name, *files = refused.value.problems
    assert "name" in name
    assert [problem.partition(":")[0] for problem in files] == [
        "The file ask-es.wav is missing",
        "The file more.wav belongs to no sound of the flow.",
        "ask-en.wav",
    ]
    with pytest.raises(InvalidInputError, match="`start` is missing"):
        await add_flow_document(database, tenants.one.iid, "", {}, {})
    assert await list_flows(database, tenants.one.iid) == []


@pytest.mark.parametrize(
    ("verb", "value"),
    [
        ("record", {"say": "One?"}),
        ("transfer", "+15550100001"),
        ("agent", "ws://agent.example/"),
        ("webhook", "http://crm.example/"),
    ],
)
async def test_every_step_can_be_added(database, tenants, verb, value):
    document = {"start": "a", "steps": {"a": {verb: value}}}
    assert (await add_flow_document(database, tenants.one.iid, "Flow", document, {})).document == document


class TestDocuments:
    def test_may_be_yaml(self):
        assert read_document("start: a\nsteps: {a: {say: Hello}}") == {"start": "a", "steps": {"a": {"say": "Hello"}}}

    def test_may_be_json(self):
        assert read_document('{"start": "a"}') == {"start": "a"}

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("start: [a", "neither YAML nor JSON in line 1, column 10"),
            ("a: b: c", "neither YAML nor JSON in line 1, column 5"),
            ("!!python/object/apply:os.system [ls]", "neither YAML nor JSON in line 1, column 1"),
            ("a: \x00", "neither YAML nor JSON"),
            ("[" * 5000, "neither YAML nor JSON"),
            ("a: 2026-13-45", "neither YAML nor JSON"),
        ],
    )
    def test_say_where_they_are_none(self, text, sentence):
        with pytest.raises(InvalidInputError, match=sentence):
            read_document(text)

    def test_are_bounded(self):
        with pytest.raises(TooLargeError, match="256 thousand"):
            read_document(" " * (LARGEST_DOCUMENT + 1))


async def test_a_document_has_a_size(database, tenants):
    document = {"start": "a", "steps": {"a": {"say": "x"}}, "more": "x" * LARGEST_DOCUMENT}
    with pytest.raises(TooLargeError, match="256 thousand"):
        await add_flow_document(database, tenants.one.iid, "Flow", document, {})

"""Recordings whose folder several processes share, and what crashes leave in it."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from dialing import phones, set_stage
from outdial.core import recording as core
from outdial.dialer import recordings as module
from outdial.dialer.recordings import Recordings
from outdial.services import recordings as service
from outdial.services import runs
from support.recordings import SAID, ended_attempt
from waiting import until

LEFT = core.name_of("0" * 32, 1, "voice")


@pytest.fixture
async def instance_id(database, secret_box) -> str:
    stage = await set_stage(database, secret_box, phones(2))
    begun = await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
    return begun.run.instance_id


@pytest.fixture
async def name(database, instance_id) -> str:
    return core.name_of(await ended_attempt(database, instance_id), 2, "voice")


def files(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def row(database):
    async with database.connection() as connection:
        return await connection.fetchrow("SELECT * FROM recordings")


async def test_who_comes_late_finds_it_in_its_place(database, tmp_path, name, monkeypatch):
    """Two nodes found one file; the faster one has listed it and taken it out of the unlisted ones."""
    service.save(tmp_path, name, SAID)
    whose, listed = service.store.whose, []

    async def slowly(connection, attempt_id):
        found = await whose(connection, attempt_id)
        if not listed:
            listed.append(name)
            await service.list_one(database, tmp_path, name)
        return found

    monkeypatch.setattr(service.store, "whose", slowly)
    await service.list_one(database, tmp_path, name)
    kept = await row(database)
    assert files(tmp_path) == [kept["file"]]
    assert (tmp_path / kept["file"]).read_bytes() == SAID


async def test_many_at_once_leave_one_whole_file(database, tmp_path, name):
    await asyncio.gather(*(asyncio.to_thread(service.save, tmp_path, name, SAID) for _ in range(8)))
    await asyncio.gather(*(service.list_one(database, tmp_path, name) for _ in range(8)))
    kept = await row(database)
    assert files(tmp_path) == [kept["file"]]
    assert (tmp_path / kept["file"]).read_bytes() == SAID


def test_drafts_are_removed_when_they_are_old(tmp_path):
    service.save(tmp_path, LEFT, SAID)
    young, old = (tmp_path / service.UNLISTED / f"{place}.part" for place in ("young", "old"))
    for draft in (young, old):
        draft.write_bytes(SAID[:100])
    hours_ago = time.time() - 7200
    os.utime(old, (hours_ago, hours_ago))
    service.tidy(tmp_path, older_than=timedelta(hours=1))
    assert files(tmp_path / service.UNLISTED) == [f"{LEFT}.wav", "young.part"]


async def test_one_that_cannot_be_listed_is_told_once_and_tried_again(database, tmp_path, name, monkeypatch):
    """A full disk, say. The node goes on, and so do the other recordings."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    placed, troubles = service._placed, []

    def full_at_first(source, target):
        if len(troubles) < 3:
            troubles.append(target)
            raise ZeroDivisionError("nobody foresaw this")
        return placed(source, target)

    monkeypatch.setattr(service, "_placed", full_at_first)
    recordings = Recordings(database, _Engine(), tmp_path)
    service.save(tmp_path / service.FOLDER, name, SAID)
    with capture_logs() as logs:
        task = asyncio.create_task(recordings.run())
        try:

            async def listed() -> bool:
                return await row(database) is not None

            await until(listed)
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert len(troubles) == 3
    assert [one["reason"] for one in logs if one["event"] == "recording_not_listed"] == ["nobody foresaw this"]


class _Engine:
    """One without recordings."""

    async def recordings(self) -> list[str]:
        return []

"""The managed Asterisk leaves nothing behind, also when its start is given up half-way, on either event loop."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from outdial.config import Settings
from outdial.telephony import managed_files
from outdial.telephony.managed import ManagedAsterisk
from support.asterisk import require_asterisk
from support.programs import end_all_of, processes_of


@pytest.fixture(autouse=True, scope="module")
def _asterisk_is_there():
    require_asterisk(Settings(_env_file=None))


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.04, 0.08, 0.16, 0.24])
async def test_nothing_is_left(tmp_path, seconds):
    managed = ManagedAsterisk(Settings(data_dir=tmp_path, _env_file=None))
    start = asyncio.create_task(managed.start())
    # the moment is what the test is about
    await asyncio.sleep(seconds)
    start.cancel()
    await asyncio.gather(start, return_exceptions=True)
    await managed.stop()
    left = processes_of(tmp_path)
    end_all_of(tmp_path)
    assert not left


async def test_one_that_others_use_goes_on(tmp_path):
    settings = Settings(data_dir=tmp_path, _env_file=None)
    first, second = ManagedAsterisk(settings), ManagedAsterisk(settings)
    await first.start()
    try:
        start = asyncio.create_task(second.start())
        await asyncio.sleep(0.005)
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)
        await second.stop()
        assert await first._answers(0.0)
    finally:
        await first.stop()
    assert not processes_of(tmp_path)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_long_path_works_and_leaves_no_socket_folder(tmp_path, run, monkeypatch):
    folder = tmp_path / ("a" * 80) / ("b" * 80)
    # where temporary files go may be as long
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    sockets = managed_files._run_path(folder / "asterisk")
    assert tmp_path not in sockets.parents

    async def use() -> None:
        managed = ManagedAsterisk(Settings(data_dir=folder, _env_file=None))
        await managed.start()
        try:
            assert (sockets / "asterisk.ctl").exists()
            assert await managed._answers(0.0)
        finally:
            await managed.stop()

    run(use())
    assert not sockets.exists()
    assert not processes_of(folder)

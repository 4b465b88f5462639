"""A start of Asterisk that is given up half-way leaves no process behind."""

from __future__ import annotations

import asyncio

import pytest

from outdial.config import Settings
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

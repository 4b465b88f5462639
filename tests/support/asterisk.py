"""A real Asterisk for tests: one managed instance per test run, in a folder of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from outdial.config import Settings
from outdial.core.errors import StartupError
from outdial.telephony.asterisk import AsteriskEngine
from outdial.telephony.managed import ManagedAsterisk
from outdial.telephony.program import find_asterisk
from support.programs import free_port


def require_asterisk(settings: Settings) -> None:
    """Skip with the reason where no Asterisk can be run; in CI fail."""
    try:
        asyncio.run(find_asterisk(settings))
    except StartupError as error:
        if os.environ.get("CI"):
            pytest.fail(error.message)
        pytest.skip(error.message)


@pytest.fixture(scope="session")
def asterisk(tmp_path_factory) -> Iterator[ManagedAsterisk]:
    """A managed Asterisk that runs for the whole session; leave it as you found it."""
    yield from _managed(tmp_path_factory.mktemp("asterisk"))


@pytest.fixture(scope="module")
def module_asterisk(tmp_path_factory) -> Iterator[ManagedAsterisk]:
    """One for the tests of a module that imports it: to pytest the same fixture imported twice is two; those of a
    session live until its end, and the ranges of RTP ports are few."""
    yield from _managed(tmp_path_factory.mktemp("asterisk"))


@pytest.fixture(scope="module")
def watched_asterisk(tmp_path_factory) -> Iterator[tuple[ManagedAsterisk, Settings]]:
    """One that tells a watchdog what it sends, and the settings both share."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("asterisk"), watchdog_port=free_port(), _env_file=None)
    for managed in _managed(settings.data_dir, watchdog_port=settings.watchdog_port):
        yield managed, settings


def _managed(folder: Path, **more: object) -> Iterator[ManagedAsterisk]:
    settings = Settings(data_dir=folder, _env_file=None, **more)
    require_asterisk(settings)
    managed = ManagedAsterisk(settings)
    asyncio.run(managed.start())
    yield managed
    asyncio.run(managed.stop())


@asynccontextmanager
async def connected_engine(managed: ManagedAsterisk, stasis_app: str, **options) -> AsyncIterator[AsteriskEngine]:
    """An engine of its own application, started and up."""
    address = managed.address
    engine = AsteriskEngine(
        engine_id=address.engine_id,
        username=address.username,
        password=address.password,
        stasis_app=stasis_app,
        **{"url": address.url, "records": managed.call_record} | options,
    )
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()

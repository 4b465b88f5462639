"""A real Asterisk for tests: one managed instance per test run, in a folder of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from outdial.config import Settings
from outdial.core.errors import StartupError
from outdial.telephony.asterisk import AsteriskEngine
from outdial.telephony.managed import ManagedAsterisk
from outdial.telephony.program import find_asterisk


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
    settings = Settings(data_dir=tmp_path_factory.mktemp("asterisk"), _env_file=None)
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

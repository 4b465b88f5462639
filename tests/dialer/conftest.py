"""A simulated engine and what reaches it; the database is real."""

from __future__ import annotations

import pytest

from engines import TTL_SECONDS, simulated
from outdial.services.engines import Engines


@pytest.fixture
async def engine():
    async with simulated() as opened:
        yield opened


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=TTL_SECONDS)
    yield opened
    await opened.close()

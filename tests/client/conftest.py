"""The real application, without a socket and behind the real HTTP server, asked by the clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn

from api.conftest import bare, http, other, parts, settings, tenant
from outdial.api.app import create_app
from outdial.client import AsyncClient
from waiting import until

__all__ = ["bare", "http", "other", "parts", "settings", "tenant"]


@pytest.fixture
def access(tenant) -> dict[str, str]:
    """What a client is made with, besides the address."""
    told = tenant.credentials
    return {
        "iid": told.iid,
        "client_id": told.client_id,
        "client_secret": told.client_secret,
        "account_id": told.account_id,
    }


@pytest.fixture
async def client(parts, http, access) -> AsyncIterator[AsyncClient]:
    """A client of the application, without a socket."""
    transport = httpx.ASGITransport(create_app(parts), raise_app_exceptions=False)
    async with AsyncClient("http://api", transport=transport, **access) as made:
        yield made


@pytest.fixture
async def url(parts) -> AsyncIterator[str]:
    """The address of the application behind the real HTTP server."""
    server = uvicorn.Server(uvicorn.Config(create_app(parts), port=0, log_config=None, lifespan="on"))
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await task

"""The real application on a real database, spoken to without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from outdial.api.app import ApiParts, create_app
from outdial.config import Settings
from outdial.services import access, dnc
from outdial.services.engines import Engines
from support.wire import Tenant, furnish


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(_env_file=None, data_dir=tmp_path, rate_limit_per_minute=0, permit_ttl_seconds=0.5)


@pytest.fixture
async def parts(settings, database, secret_box) -> AsyncIterator[ApiParts]:
    engines = Engines(database, secret_box, ttl_seconds=settings.permit_ttl_seconds)
    yield ApiParts(settings=settings, database=database, secrets=secret_box, engines=engines)
    await engines.close()


@pytest.fixture
async def http(parts) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(parts)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api") as client,
    ):
        yield client


@pytest.fixture
async def bare(http, database, secret_box) -> Tenant:
    """An application that has nothing yet."""
    return Tenant(http, await access.create_application(database, secret_box, account="Acme", name="Support"))


@pytest.fixture
async def tenant(bare, database, secret_box) -> Tenant:
    """An application with a flow, a trunk, a DNC list, and a contact list of three."""
    await furnish(database, secret_box, bare.iid)
    await dnc.add_numbers(
        database,
        account_id=bare.account_id,
        iid=bare.iid,
        list_name="Never Call",
        phones=["+15550109999"],
        actor="test",
    )
    await bare.create_list()
    await bare.add_contacts("+15550100101", "+15550100102", "+15550100103")
    return bare


@pytest.fixture
async def other(http, database, secret_box) -> Tenant:
    """An application of another account."""
    made = Tenant(http, await access.create_application(database, secret_box, account="Other", name="Support"))
    await furnish(database, secret_box, made.iid)
    await made.create_list()
    return made


@pytest.fixture
async def sibling(http, tenant, database, secret_box) -> Tenant:
    """Another application of the same account."""
    return Tenant(http, await access.create_application(database, secret_box, account="Acme", name="Sales"))

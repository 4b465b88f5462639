"""What every test may ask for: a real PostgreSQL, a fresh database, a secret box; and what no test may leave behind."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

import external_postgres as external_postgres_server
from outdial.embedded_postgres import EmbeddedPostgres
from outdial.secretbox import SecretBox
from outdial.store import migrations
from outdial.store.database import Database

TEMPLATE = "outdial_template"


def pytest_configure() -> None:
    """Let programs under test hear Ctrl-C also when this run was started in the background, where shells ignore it
    for all that follow."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = (
            f"CI must not skip: {report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr}"
        )
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    if report.outcome == "skipped" and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"CI must not skip: {report.longrepr}"
    return report


def named(dsn: str, database: str) -> str:
    """The same server and role, another database."""
    return urlsplit(dsn)._replace(path=f"/{database}").geturl()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory) -> Iterator[EmbeddedPostgres]:
    """A server of its own for this test run, without the waits that make it safe against power cuts."""
    server = asyncio.run(_started(tmp_path_factory.mktemp("postgres")))
    yield server
    asyncio.run(server.stop())


async def _started(folder: Path) -> EmbeddedPostgres:
    server = await EmbeddedPostgres.start(folder, durable=False)
    await _execute(server.admin_dsn, f"CREATE DATABASE {TEMPLATE}")
    await migrations.upgrade(named(server.admin_dsn, TEMPLATE))
    return server


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def dsn(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """A fresh, migrated database."""
    name = f"test_{uuid.uuid4().hex}"
    # 20 ms; the other strategy writes every page to the log and takes 120
    await _execute(postgres.admin_dsn, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
    yield named(postgres.admin_dsn, name)
    await _execute(postgres.admin_dsn, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def empty_dsn(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """A fresh database without a schema."""
    name = f"test_{uuid.uuid4().hex}"
    await _execute(postgres.admin_dsn, f"CREATE DATABASE {name} STRATEGY FILE_COPY")
    yield named(postgres.admin_dsn, name)
    await _execute(postgres.admin_dsn, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def external_postgres(tmp_path_factory) -> Iterator[str]:
    """The superuser's address of a PostgreSQL reached over TCP, the system's (15 or newer) where there is one."""
    with external_postgres_server.running(tmp_path_factory.mktemp("external")) as address:
        yield address


@pytest.fixture
async def external_dsn(external_postgres: str) -> AsyncIterator[str]:
    """A fresh database without a schema on that server."""
    name = f"test_{uuid.uuid4().hex}"
    await _execute(external_postgres, f"CREATE DATABASE {name}")
    yield named(external_postgres, name)
    await _execute(external_postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """An open pool on a fresh database."""
    opened = await Database.open(dsn, pool_size=10)
    yield opened
    await opened.close()


@pytest.fixture
def secret_box() -> SecretBox:
    """A box with a key of its own."""
    return SecretBox(base64.urlsafe_b64encode(os.urandom(32)).decode())


@pytest.fixture(autouse=True)
def no_leaked_tasks(request: pytest.FixtureRequest) -> None:
    """Fail an async test that leaves a task behind; set up first, so it looks last."""
    if request.node.get_closest_marker("asyncio"):
        request.getfixturevalue("_leaked_tasks")


@pytest.fixture
async def _leaked_tasks() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = [task for task in asyncio.all_tasks() - before if task is not asyncio.current_task() and not task.done()]
    assert not left, f"the test leaves tasks behind: {left}"

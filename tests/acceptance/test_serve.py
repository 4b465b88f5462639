"""``outdial serve`` and ``outdial dialer`` as processes: ready, beside commands, ended in order, refused."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from typing import Any

import aiohttp
import pytest

from outdial.config import Settings
from support.asterisk import require_asterisk
from support.programs import Program, end_all_of, free_port, processes_of
from waiting import until

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def data(tmp_path):
    yield tmp_path / "data"
    end_all_of(tmp_path / "data")


@pytest.fixture
def asterisk_is_there() -> None:
    require_asterisk(Settings(_env_file=None))


async def status(url: str) -> int | None:
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status
    except aiohttp.ClientError:
        return None


async def answer(*words: object, **settings: object) -> Any:
    """What a command prints as JSON."""

    def run() -> Program:
        with Program(*words, "--json", **settings) as program:
            assert program.end() == 0, program.stderr
            return program

    return json.loads((await asyncio.to_thread(run)).stdout)


async def test_it_serves_beside_commands_and_ends_in_order(data, asterisk_is_there):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with Program("serve", data_dir=data, http_port=port) as server:
        await until(lambda: is_status(f"{url}/ready", 200), seconds=60)
        assert f"outdial is ready: API at {url}" in server.stderr
        assert "Asterisk" in server.stderr
        made = await answer("app", "create", "--account", "Acme", "--name", "A", data_dir=data)
        assert made["iid"].startswith("st-")
        assert [each["iid"] for each in await answer("app", "list", data_dir=data)] == [made["iid"]]
        server.send(signal.SIGTERM)
        assert await asyncio.to_thread(server.end) == 0
        assert server.stdout == ""
        assert "Traceback" not in server.stderr
    assert not processes_of(data)
    assert [each["iid"] for each in await answer("app", "list", data_dir=data)] == [made["iid"]]
    assert not processes_of(data), "a command leaves no database behind either"


async def is_status(url: str, wanted: int) -> bool:
    return await status(url) == wanted


async def test_without_a_dialer_it_is_not_ready_until_one_runs_elsewhere(data):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with Program("serve", "--no-dialer", data_dir=data, http_port=port) as server:
        await until(lambda: is_status(f"{url}/health", 200), seconds=60)
        assert await status(f"{url}/ready") == 503
        with Program("dialer", data_dir=data, engine="simulated") as node:
            await until(lambda: is_status(f"{url}/ready", 200), seconds=60)
            assert "calls by" in node.stderr
            node.send(signal.SIGINT)
            assert await asyncio.to_thread(node.end) == 0
        await until(lambda: is_status(f"{url}/ready", 503), seconds=20)
        server.send(signal.SIGINT)
        assert await asyncio.to_thread(server.end) == 0
    assert not processes_of(data)


def test_a_taken_port_is_a_sentence_and_nothing_is_started(data):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Program("serve", data_dir=data, http_port=port) as server:
            assert server.end() == 1
        assert server.stdout == ""
        assert server.stderr.startswith(f"Port {port} on 127.0.0.1 is taken")
        assert server.stderr.count("\n") == 1
    assert not data.exists()


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with Program("serve", data_dir=tmp_path / "file" / "data", http_port=free_port()) as server:
        assert server.end() == 1
    assert "OUTDIAL_DATA_DIR" in server.stderr
    assert "Traceback" not in server.stderr


def test_no_asterisk_to_be_had_is_a_sentence(data):
    with Program("serve", data_dir=data, http_port=free_port(), asterisk_command="/nowhere/asterisk") as server:
        assert server.end() == 1
    assert "make install" in server.stderr
    assert "Traceback" not in server.stderr
    assert not processes_of(data)


def test_an_old_schema_is_refused_and_migrate_mends_it(data):
    with Program("migrate", data_dir=data) as program:
        assert program.end() == 0
    assert program.stdout.startswith("The database has schema ")
    with Program("migrate", "--json", data_dir=data) as program:
        assert program.end() == 0
    assert json.loads(program.stdout)["schema"]

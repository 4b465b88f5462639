"""``outdial watchdog`` as a stranger runs it: beside a server, ended by a signal, refused with a remedy."""

from __future__ import annotations

import asyncio
import json
import signal
import socket

import aiohttp
import pytest

from outdial.config import Settings
from support.asterisk import require_asterisk
from support.programs import Program, end_all_of, free_port, processes_of
from waiting import until

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def data(tmp_path):
    yield tmp_path / "data"
    end_all_of(tmp_path / "data")


async def get(url: str) -> tuple[int, str]:
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, await response.text()
    except aiohttp.ClientError:
        return 0, ""


@pytest.fixture
def asterisk_here() -> None:
    # not within the test: it runs a loop of its own
    require_asterisk(Settings(_env_file=None))


async def test_it_watches_beside_a_server_tells_and_ends(data, asterisk_here):
    port, api = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        Program("serve", data_dir=data, http_port=api, watchdog_port=port) as server,
        Program("watchdog", "--json", data_dir=data, watchdog_port=port) as watchdog,
    ):

        async def ready() -> bool:
            assert server.running, server.stderr
            assert watchdog.running, watchdog.stderr
            return (await get(f"{url}/ready"))[0] == 200 and (await get(f"http://127.0.0.1:{api}/ready"))[0] == 200

        await until(ready, seconds=120)
        assert f"hears HEP on UDP 127.0.0.1 port {port}" in watchdog.stderr
        # what an engine sends bears the key that both have made of the secret key: a call over ARI, past the dialer
        state = json.loads((data / "asterisk" / "state.json").read_text())
        auth = {"Authorization": aiohttp.encode_basic_auth("outdial", state["password"])}
        ari = f"http://127.0.0.1:{state['ports']['http']}/ari"
        target = f"PJSIP/outdial-carrier/sip:+15550000110@127.0.0.1:{state['ports']['carrier']}"
        async with aiohttp.ClientSession(headers=auth) as session:
            query = {"endpoint": target, "extension": "1", "context": "nowhere", "priority": "1", "timeout": "5"}
            async with session.post(f"{ari}/channels", params=query) as response:
                assert response.status == 200, await response.text()
        await until(lambda: watchdog.stdout.count("\n") == 1)
        alarm = json.loads(watchdog.stdout)
        assert alarm["breaches"] == ["no_permit"]
        assert alarm["number"] == "+15550000110"
        assert 'outdial_watchdog_alarms_total{breach="no_permit"} 1.0' in (await get(f"{url}/metrics"))[1]
        assert "+15550000110" not in watchdog.stderr
        assert "watchdog_alarm" in watchdog.stderr

        def listed() -> Program:
            with Program("alarms", "--json", data_dir=data) as command:
                assert command.end() == 0, command.stderr
                return command

        assert json.loads((await asyncio.to_thread(listed)).stdout) == [alarm]
        watchdog.send(signal.SIGTERM)
        assert await asyncio.to_thread(watchdog.end) == 0
        assert "Traceback" not in watchdog.stderr
        server.send(signal.SIGTERM)
        assert await asyncio.to_thread(server.end) == 0
    assert not processes_of(data)


def test_without_a_port_it_says_which_setting(data):
    with Program("watchdog", data_dir=data) as watchdog:
        assert watchdog.end(60) == 1
    assert "set OUTDIAL_WATCHDOG_PORT to a free port" in watchdog.stderr
    assert "Traceback" not in watchdog.stderr


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_port_that_is_taken_is_said(data, kind):
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        with Program("watchdog", data_dir=data, watchdog_port=port) as watchdog:
            assert watchdog.end(120) == 1
    protocol = "UDP" if kind is socket.SOCK_DGRAM else "TCP"
    assert f"{protocol} port {port} on 127.0.0.1 is taken by another program" in watchdog.stderr
    assert "Traceback" not in watchdog.stderr


def test_a_key_that_asterisk_could_not_read_is_refused(data):
    with Program("watchdog", data_dir=data, watchdog_port=free_port(), watchdog_key="a;b") as watchdog:
        assert watchdog.end(60) == 1
    assert "OUTDIAL_WATCHDOG_KEY is wrong" in watchdog.stderr
    assert "a;b" not in watchdog.stderr

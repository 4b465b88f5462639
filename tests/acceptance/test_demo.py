"""The demo as a stranger runs it: real Asterisk, real API, nothing left behind whatever happens."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import signal
import time
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest

from outdial.config import Settings
from support.asterisk import require_asterisk
from support.programs import Program, end_all_of, processes_of
from waiting import until

pytestmark = pytest.mark.timeout(180)

READY_SECONDS = 60


@pytest.fixture
def place(tmp_path):
    """Where demos put their temporary folders."""
    folder = tmp_path / "t"
    folder.mkdir()
    yield folder
    end_all_of(folder)


@pytest.fixture(autouse=True, scope="module")
def _asterisk_is_there():
    require_asterisk(Settings(_env_file=None))


def nothing_is_left(place: Path) -> bool:
    return not processes_of(place) and not list(place.iterdir())


def demo(place: Path, *words: object, **options) -> Program:
    return Program("demo", *words, TMPDIR=place, folder=place, **options)


class TestUnattended:
    def test_it_prints_one_object_and_no_call_left_after_the_stop(self, place):
        with demo(place, "--contacts", 60, "--stop-after", 3, "--json") as program:
            code = program.end(90)
        found = json.loads(program.stdout)
        assert program.stdout.count("\n") == 1
        assert code == 0, (found, program.stderr)
        assert found["new_calls_after_stop"] == 0
        assert 20 <= found["placed"] <= 60
        assert 1 <= found["answered"] <= found["placed"]
        assert 0 < found["stop_ms"] < 5000
        assert "Asterisk" in found["engine"]
        assert program.stderr == ""
        assert nothing_is_left(place)

    @pytest.mark.parametrize(
        "setting", [{"engine": "simulated"}, {"asterisk_command": "/nowhere/asterisk"}], ids=["asked", "none to be had"]
    )
    def test_simulated_it_does_the_same(self, place, setting):
        with demo(place, "--contacts", 60, "--stop-after", 2, "--json", **setting) as program:
            code = program.end(90)
        found = json.loads(program.stdout)
        assert (code, found["new_calls_after_stop"]) == (0, 0)
        assert found["placed"] >= 20
        assert "simulated" in found["engine"].lower()
        assert nothing_is_left(place)

    def test_a_campaign_that_completes_before_the_stop_proves_nothing_and_says_so(self, place):
        # the last two digits of the only number are 00: it answers and is done
        with demo(place, "--contacts", 1, "--stop-after", 60, "--json", engine="simulated") as program:
            assert program.end(90) == 1
        assert program.stdout == ""
        assert "completed before it could be stopped" in program.stderr
        assert nothing_is_left(place)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("seconds", [0.6, 1.2, 2.0, 3.0, 5.0])
    def test_ended_at_any_moment_it_leaves_nothing(self, place, number, seconds):
        with demo(place, "--contacts", 300, "--stop-after", 60, "--json") as program:
            # the moment is what the test is about
            time.sleep(seconds)
            program.send(number)
            code = program.end(60)
        # before anything was opened the signal ends the interpreter itself
        assert code in {130, -number}
        assert program.stdout == ""
        assert "Traceback" not in program.stderr
        assert nothing_is_left(place)


class TestAttended:
    async def test_enter_stops_it_ctrl_c_ends_it(self, place):
        with demo(place, "--contacts", 100, terminal=True) as program:
            await until(lambda: "Press Enter" in program.stdout, seconds=READY_SECONDS)
            await until(lambda: re.search(r"placed", program.stdout), seconds=READY_SECONDS)
            program.type(b"\n")
            await until(lambda: "new calls" in program.stdout, seconds=30)
            assert re.search(r"Stopped in \d+ ms", program.stdout)
            assert "0 new calls" in program.stdout
            assert "CALLS ARE SIMULATED" not in program.stdout
            await until(lambda: "Ctrl-C ends it" in program.stdout)
            program.type(b"\x03")
            assert await asyncio.to_thread(program.end) == 0
        assert "Traceback" not in program.stdout
        assert nothing_is_left(place)

    async def test_the_printed_curl_stops_it_and_the_demo_sees_that(self, place):
        with demo(place, "--contacts", 100) as program:
            await until(lambda: "-d '{}'" in program.stdout, seconds=READY_SECONDS)
            status, body = await send(next(line for line in program.stdout.splitlines() if line.startswith("curl ")))
            assert (status, body["status"], body["message"]) == (200, "Stopped", "Campaign Stopped")
            assert list(body) == ["status", "message", "updatedAt", "campaignInstanceId"]
            await until(lambda: "0 new calls" in program.stdout, seconds=30)
            await until(lambda: "The server goes on" in program.stdout)
            again, _ = await send(next(line for line in program.stdout.splitlines() if line.startswith("curl ")))
            assert again == 200
            program.send(signal.SIGTERM)
            assert await asyncio.to_thread(program.end) == 0
        assert nothing_is_left(place)

    async def test_without_asterisk_it_says_so_loudly_and_what_to_install(self, place):
        with demo(place, "--contacts", 20, "--stop-after", 1, asterisk_command="/nowhere/asterisk") as program:
            await until(lambda: "The server goes on" in program.stdout, seconds=READY_SECONDS)
            assert "CALLS ARE SIMULATED" in program.stdout
            assert "make install" in program.stdout
            program.send(signal.SIGINT)
            assert await asyncio.to_thread(program.end) == 0
        assert nothing_is_left(place)

    async def test_a_data_folder_that_was_named_is_kept_and_nothing_goes_on_dialing_in_it(self, place, tmp_path):
        kept = tmp_path / "kept"
        with demo(place, "--contacts", 100, data_dir=kept, engine="simulated") as program:
            await until(lambda: "active: placed" in program.stdout, seconds=READY_SECONDS)
            program.send(signal.SIGINT)
            assert await asyncio.to_thread(program.end) == 0
        assert nothing_is_left(place)
        assert not processes_of(kept)
        with Program("campaign", "list", "--json", data_dir=kept) as program:
            assert program.end() == 0
        assert [each["status"] for each in json.loads(program.stdout)] == ["Stopped"]


async def send(curl: str) -> tuple[int, dict]:
    """Do what a pasted curl does."""
    words = shlex.split(curl)
    assert words[:3] == ["curl", "-X", "POST"]
    headers = dict(word.split(": ", 1) for before, word in pairwise(words) if before == "-H")
    body = words[words.index("-d") + 1]
    async with aiohttp.ClientSession() as session, session.post(words[3], data=body, headers=headers) as response:
        return response.status, await response.json()

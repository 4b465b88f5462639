"""Commands beside running processes: a dialer of its own, and a supervisor at the command line."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from typing import Any

import pytest

from dialing import phones, set_stage, with_rules
from outdial.config import Settings
from outdial.context import open_context
from support.programs import Program, end_all_of
from waiting import until

pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def data(tmp_path):
    yield tmp_path / "data"
    end_all_of(tmp_path / "data")


class Desk:
    """A supervisor's terminal."""

    def __init__(self, data) -> None:
        self._data = data

    async def type(self, *words: object, code: int = 0) -> Program:
        def run() -> Program:
            with Program(*words, data_dir=self._data, permit_ttl_seconds=1.0) as program:
                assert program.end(60) == code, (words, program.stdout, program.stderr)
                return program

        return await asyncio.to_thread(run)

    async def ask(self, *words: object) -> Any:
        return json.loads((await self.type(*words, "--json")).stdout)


@pytest.fixture
async def desk(data):
    """A campaign that outlasts all typing, a dialer with the simulated engine that is up, and a terminal."""
    with Program("dialer", data_dir=data, engine="simulated", permit_ttl_seconds=1.0, node_name="night") as dialer:
        await until(lambda: "outdial is ready" in dialer.stderr, seconds=60)
        async with open_context(Settings(_env_file=None, data_dir=data)) as context:
            await set_stage(
                context.database,
                context.secrets,
                phones(1500),
                rules=with_rules(max_attempts=1),
                calls_per_second=30.0,
            )
        yield Desk(data)
        if dialer.running:
            dialer.send(signal.SIGTERM)
            assert await asyncio.to_thread(dialer.end, 40) in {0, 143}


async def placed(desk) -> int:
    shown = (await desk.type("campaign", "show", "Spring")).stdout
    return int(re.search(r"placed\s+(\d+) calls", shown)[1])


async def test_a_supervisor_starts_watches_pauses_and_stops(desk):
    assert "started" in (await desk.type("campaign", "start", "Spring")).stdout

    async def some() -> bool:
        return await placed(desk) > 3

    await until(some, seconds=60)
    (listed,) = await desk.ask("campaign", "list")
    assert listed["name"] == "Spring"
    assert "paused" in (await desk.type("campaign", "pause", "Spring")).stdout
    before = await placed(desk)
    assert await placed(desk) == before
    assert "resumed" in (await desk.type("campaign", "resume", "Spring")).stdout
    stopped = await desk.type("campaign", "stop", "Spring")
    # each step of the wait, then what was done
    for words in (
        "The stop is committed",
        "No engine accepts",
        "dialer nodes have dropped",
        "no further call can leave",
    ):
        assert words in stopped.stderr, stopped.stderr
    assert re.search(r"night \((acknowledged|not_answering)\)", stopped.stdout), stopped.stdout
    before = await placed(desk)
    report = await desk.ask("campaign", "stop", "Spring")
    (node,) = report["nodes"]
    # on a busy machine it may be later than it is waited for
    assert (node["name"], node["outcome"]) in {("night", "acknowledged"), ("night", "not_answering")}
    assert await placed(desk) == before


async def test_what_cannot_be_done_is_a_sentence_and_exit_code_1(desk):
    for words, sentence in (
        (("campaign", "stop", "Spring"), "never been started"),
        (("campaign", "pause", "Spring"), "never been started"),
        (("campaign", "start", "Summer"), "outdial campaign list"),
    ):
        told = await desk.type(*words, code=1)
        assert sentence in told.stderr
        assert told.stdout == ""
        assert "Traceback" not in told.stderr


async def test_the_engine_and_its_node_are_shown(desk):
    (engine,) = await desk.ask("engine", "list")
    assert engine["kind"] == "simulated"
    assert engine["nodeNames"] == ["night"]
    assert engine["retiredAt"] is None

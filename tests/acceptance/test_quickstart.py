"""The quickstart, word for word: the page's own shell lines against a server started as it says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from outdial.config import Settings
from sounds import tone, wav
from support.asterisk import require_asterisk
from support.programs import COMMAND, Program, end_all_of, environment, free_port
from waiting import until

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("curl") is None, reason="the page uses curl"),
]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "quickstart" / "first-campaign.md"


@pytest.fixture
def data(tmp_path):
    require_asterisk(Settings(_env_file=None))
    yield tmp_path / "data"
    end_all_of(tmp_path / "data")


def blocks() -> list[str]:
    """The page's indented blocks, in order."""
    found = re.findall(r"(?:^    .*\n(?:^\s*\n(?=    ))?)+", PAGE.read_text(), re.MULTILINE)
    return [re.sub(r"(?m)^    ", "", block) for block in found]


class Shell:
    """Runs lines as a person in the second terminal would."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder = folder
        programs = folder / "bin"
        programs.mkdir()
        wrapper = programs / "outdial"
        wrapper.write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
        wrapper.chmod(0o755)
        self.environment = environment(data_dir=data)
        self.environment["PATH"] = f"{programs}:{Path(sys.executable).parent}:{self.environment['PATH']}"
        self.before = ""

    def run(self, lines: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", f"{self.before}\n{lines}"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, (lines, done.stdout, done.stderr)
        return done.stdout


def test_the_page_has_the_blocks_this_test_follows():
    assert any("outdial serve" in block for block in blocks())
    assert any("outdial trunk add" in block for block in blocks())
    assert any("outdial campaign stop First" in block for block in blocks())


async def test_every_step_works_as_written(data, tmp_path):
    port = free_port()
    with Program("serve", data_dir=data, http_port=port) as server:
        await until(lambda: "A loopback carrier for trying out" in server.stderr, seconds=90)
        assert f"outdial is ready: API at http://127.0.0.1:{port}" in server.stderr
        carrier = re.search(r"loopback carrier for trying out: host 127\.0\.0\.1, port (\d+)", server.stderr)[1]
        shell = Shell(tmp_path, data)
        # the page shows what people see; the test reads the same as JSON
        made = json.loads(shell.run("outdial app create --account Acme --name Reminders --json"))
        shell.before = f"export IID={made['iid']} ACCOUNT={made['accountId']} CLIENT={made['clientId']}"
        (tmp_path / "hello.wav").write_bytes(wav(tone(440, rate=8000, seconds=0.5), rate=8000))
        (furnish,) = [block for block in blocks() if "outdial trunk add" in block]
        lines = [line for line in furnish.splitlines() if not line.startswith("export IID")]
        shell.run("\n".join(lines).replace("--port PORT", f"--port {carrier}"))
        (create,) = [block for block in blocks() if "TOKEN=$(outdial token" in block]
        steps, campaign = create.split("\n\n", 1)
        answer = json.loads(shell.run(steps.replace("127.0.0.1:8080", f"127.0.0.1:{port}")))
        assert "data" in answer, answer
        begin, show, stop = campaign.strip().splitlines()
        assert "started" in shell.run(begin)

        def placed() -> bool:
            found = re.search(r"placed\s+(\d+) calls", shell.run(show))
            return found is not None and int(found[1]) >= 2

        await until(placed, seconds=40)
        told = shell.run(stop)
        assert "ringing calls cancelled" in told
        assert "contacts never reached" in told
        report = json.loads(shell.run(f"{stop} --json"))
        # on a busy machine one may be later than it is waited for
        assert {node["outcome"] for node in report["nodes"]} <= {"acknowledged", "not_answering"}

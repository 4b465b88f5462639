"""The how-to page's shell lines, word for word, against a run that was stopped."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from outdial.core.stop_proof import CHECKS
from support.programs import COMMAND, environment

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "verify-a-stop.md"

pytestmark = pytest.mark.timeout(180)


def test_every_line_does_what_the_page_says(outdial, campaign, dsn, tmp_path):
    run = outdial("campaign", "start", campaign, "--json").json["instanceId"]
    assert outdial("campaign", "stop", campaign).code == 0
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "outdial").write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    (programs / "outdial").chmod(0o755)
    lines = re.findall(r"^    (.+)$", PAGE.read_text(), re.MULTILINE)
    commands = [line for line in lines if line.startswith("outdial ")]
    assert len(commands) == 9
    settings = environment(database_url=dsn, data_dir=tmp_path / "data", RUN=run)
    settings["PATH"] = f"{programs}:{Path(sys.executable).parent}:{settings['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", "\n".join(commands)],
        cwd=tmp_path,
        env=settings,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    (promised,) = [line for line in lines if line.startswith("VALID: ")]
    assert promised.replace("cid-…", run) in done.stdout.splitlines()
    assert f"The history of {run} holds: 3 rows in full" in done.stdout
    assert "2 contacts that were never attempted are in never-reached.csv." in done.stdout
    assert "Reports are signed by " in done.stdout
    # as the page says: the report's last seal is in the export, with the same hash; and no phone number in the report
    report = (tmp_path / "stop.json").read_text()
    head = re.search(r'"head":"([0-9a-f]{64})"', report)[1]
    assert head in (tmp_path / "run.jsonl").read_text()
    assert "+1555" not in report


def test_the_page_names_every_check():
    assert tuple(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)) == CHECKS

"""The page on answering machines says what is built: the dialplan, the timings and their bounds."""

from __future__ import annotations

import re
from pathlib import Path

from outdial.core.machine import USUAL_TIMINGS, MachineVerdict
from outdial.services.dialing_rules import TIMING_BOUNDS
from outdial.telephony.detection_context import DETECTION, MODULES

PAGE = (Path(__file__).parents[1] / "docs" / "how-to" / "answering-machines.md").read_text()


def test_the_dialplan_is_the_managed_one():
    (shown,) = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)
    assert shown == DETECTION
    for module in MODULES:
        assert module.removesuffix(".so") in PAGE


def test_the_timings_are_those_there_are():
    rows = re.findall(r"^\| `([a-z-]+)` \| ([0-9.]+)(?: s)? \| ([0-9.]+)–([0-9.]+) \|", PAGE, re.MULTILINE)
    said = {name: (float(usual), float(least), float(most)) for name, usual, least, most in rows}
    assert said == {
        name.removesuffix("_seconds").replace("_", "-"): (getattr(USUAL_TIMINGS, name), *bounds)
        for name, bounds in TIMING_BOUNDS.items()
    }


def test_every_verdict_is_explained():
    assert set(re.findall(r"^\| `([a-z_]+)` \| .* \| a (?:person|machine) \|$", PAGE, re.MULTILINE)) == set(
        MachineVerdict
    )

"""What `docs/how-to/plan-a-campaign.md` lists is what the commands print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "plan-a-campaign.md"


AREAS = ("+1212555", "+1213555", "+3314555")
WHERE = (0, 0, 1, 0, 1, 0, 0, 1, 0, 2)
"""Of ten people in a row, six are in New York, three in Los Angeles and one in France."""


def people() -> str:
    """The page's list of a thousand."""
    return "phone\n" + "".join(f"{AREAS[WHERE[place % 10]]}{place:04d}\n" for place in range(1000))


def test_the_page_lists_what_is_printed(outdial, campaign, tmp_path):
    (tmp_path / "people.csv").write_text(people())
    assert outdial("contacts", "import", tmp_path / "people.csv", "--list", "Callers").code == 0
    assert outdial("dnc", "add", "+12125550000", "+12125550001").code == 0
    blocks = re.findall(r"^```\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    played = 0
    for block in blocks:
        first, _, printed = block.partition("\n")
        words = shlex.split(first.removeprefix("$ outdial "))
        done = outdial(*words)
        assert done.code == 0, (words, done.stderr)
        if words[0] != "simulate" or not printed:
            continue
        played += 1
        assert [line.rstrip() for line in done.stdout.splitlines()] == [line.rstrip() for line in printed.splitlines()]
    assert played == 2

"""The how-to page's code, word for word, against a real server."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from outdial.client import operations, steps

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "use-the-python-client.md"
ADDRESS = "http://127.0.0.1:8080"


async def test_every_block_does_what_the_page_says(url, access, monkeypatch, tmp_path):
    # the page writes a file
    monkeypatch.chdir(tmp_path)
    for name in ("iid", "client_id", "client_secret"):
        monkeypatch.setenv(f"OUTDIAL_{name.upper()}", access[name])
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 7
    lines: list[str] = []
    # a print of its own: the server's log goes to the same standard output
    names: dict = {"__name__": "page", "print": lambda *words: lines.append(" ".join(map(str, words)))}

    def run() -> None:
        for block in blocks:
            exec(compile(block.replace(ADDRESS, url), str(PAGE), "exec"), names)  # the project's own page

    await asyncio.to_thread(run)
    assert lines[0].startswith("2 `data[2].phoneNumber` cannot be dialed")
    assert lines[1] == "Active"
    assert lines[2].startswith("cid-")
    assert lines[-2].startswith("1 (\"Line 3: 'nonsense': ")
    assert lines[-1] == "Spring calls 0"


def test_the_numbers_of_the_page():
    text = PAGE.read_text()
    assert f"for `within_seconds` ({operations.STOP_SECONDS:.0f})" in text
    assert f"`within_seconds` ({operations.FILE_SECONDS:.0f})" in text
    assert steps.MOST_TRIES == 3
    assert steps.TOKEN_SECONDS == 5 * 60

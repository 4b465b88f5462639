"""The client and the rest of outdial leave each other alone."""

from __future__ import annotations

import subprocess
import sys

import pytest


def loaded(statement: str) -> set[str]:
    """The modules a fresh interpreter has after a statement."""
    script = f"import sys; {statement}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_client_loads_nothing_else_of_outdial():
    mine = {name for name in loaded("import outdial.client") if name.partition(".")[0] == "outdial"}
    assert {name for name in mine if not name.startswith("outdial.client")} == {"outdial"}


@pytest.mark.parametrize("module", ["outdial.cli.commands", "outdial.serve"])
def test_commands_and_server_do_not_load_the_client(module):
    found = loaded(f"import {module}")
    assert not {name for name in found if name == "httpx" or name.startswith("outdial.client")}

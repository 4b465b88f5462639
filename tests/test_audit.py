"""The dependency audit: what fails it, what does not, and that it never passes without having looked."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "audit.py"


@pytest.fixture
def audit():
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CLEAN = {"name": "clean", "version": "1.0", "vulns": []}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found"}
BROKEN = {
    "name": "broken",
    "version": "2.0",
    "vulns": [
        {"id": "PYSEC-2026-1", "fix_versions": ["2.1", "3.0"], "aliases": [], "description": ""},
        {"id": "GHSA-x", "fix_versions": [], "aliases": [], "description": ""},
    ],
}


@pytest.mark.parametrize(
    ("dependencies", "required", "code", "lines"),
    [
        ([CLEAN], True, 0, ["Dependency audit: 1 pinned packages, none with a known vulnerability."]),
        (
            [CLEAN, BROKEN],
            False,
            1,
            [
                "broken 2.0: PYSEC-2026-1, fixed in 2.1, 3.0",
                "broken 2.0: GHSA-x, not fixed yet",
                "Dependency audit: 2 pinned packages, 1 with a known vulnerability.",
            ],
        ),
        (
            [CLEAN, UNKNOWN],
            False,
            0,
            [
                "Not audited, since the service does not know them: unknown.",
                "Dependency audit: 1 pinned packages, none with a known vulnerability.",
            ],
        ),
        (
            [CLEAN, UNKNOWN],
            True,
            1,
            [
                "Not audited, since the service does not know them: unknown.",
                "Dependency audit: 1 pinned packages, none with a known vulnerability.",
            ],
        ),
    ],
)
def test_the_verdict(audit, dependencies, required, code, lines):
    assert audit.judge(dependencies, required=required) == (code, lines)


@pytest.mark.parametrize(("required", "code"), [("0", 0), ("1", 1)])
def test_without_a_network_it_says_so_and_does_not_claim_to_have_looked(required, code, tmp_path):
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, SCRIPT],
        env={
            **os.environ,
            **nowhere,
            "AUDIT_REQUIRED": required,
            "HOME": str(tmp_path),
            "XDG_CACHE_HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert done.stdout.startswith("Dependency audit left out: no advisory service can be asked from here (pypi: ")
    assert done.stdout.count("\n") == 1
    assert "vulnerability" not in done.stdout


def test_a_pin_without_its_hash_fails(audit, tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "LOCK", tmp_path / "dev.lock")
    audit.LOCK.write_text("aiodns==4.0.4\n")
    with pytest.raises(SystemExit, match=r"requirement aiodns==4\.0\.4 does not contain a hash"):
        audit.main()

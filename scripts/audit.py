"""Ask an advisory service whether a pinned dependency has a known vulnerability; for ``make check``.

A known vulnerability fails. When no service can be asked, one line says so and the check passes, since one must be
able to test without a network; with ``AUDIT_REQUIRED=1``, as for a release, that fails too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "dev.lock"

SERVICES = ("pypi", "osv")
"""Asked in this order; the second only when the first does not know a single package or does not answer."""

_UNREACHABLE = ("requests.exceptions.", "urllib3.exceptions.", "ERROR:pip_audit._cli:Could not connect")
"""How the last line begins when the service did not answer; anything else is a mistake of ours, such as a lost hash."""

SECONDS_PER_REQUEST = 10
SECONDS_PER_SERVICE = 120


def main() -> int:
    """Audit the lock file; return the exit code."""
    reasons = []
    for service in SERVICES:
        dependencies, reason = ask(service)
        if dependencies:
            code, lines = judge(dependencies, required=_required())
            print("\n".join(lines))
            return code
        reasons.append(f"{service}: {reason}")
    print(f"Dependency audit left out: no advisory service can be asked from here ({'; '.join(reasons)}).")
    return 1 if _required() else 0


def ask(service: str) -> tuple[list[dict[str, Any]], str]:
    """Return what the service says of each package; an empty list and the reason when it cannot be asked.

    A package mirror without advisories answers too, that it knows no package at all: that is no audit either.
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--require-hashes", "--disable-pip"]
    options = ["--vulnerability-service", service, "--format", "json", "--progress-spinner", "off"]
    limit = ["--timeout", str(SECONDS_PER_REQUEST)]
    try:
        done = subprocess.run(
            [*command, *options, *limit], capture_output=True, text=True, timeout=SECONDS_PER_SERVICE, check=False
        )
    except subprocess.TimeoutExpired:
        return [], f"no answer within {SECONDS_PER_SERVICE} s"
    try:
        dependencies: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip() or "pip-audit said nothing").splitlines()[-1]
        if not last.startswith(_UNREACHABLE):
            sys.exit(f"Dependency audit failed: {last}")
        return [], last.partition(":")[0]
    if all("skip_reason" in dependency for dependency in dependencies):
        return [], "knows none of the packages"
    return dependencies, ""


def judge(dependencies: Sequence[dict[str, Any]], *, required: bool) -> tuple[int, list[str]]:
    """Return the exit code and what to print; a package that could not be audited fails only when required."""
    lines = [
        f"{dependency['name']} {dependency['version']}: {found['id']}, "
        + (f"fixed in {', '.join(found['fix_versions'])}" if found.get("fix_versions") else "not fixed yet")
        for dependency in dependencies
        for found in dependency.get("vulns", ())
    ]
    skipped = [dependency["name"] for dependency in dependencies if "skip_reason" in dependency]
    checked = len(dependencies) - len(skipped)
    if skipped:
        lines.append(f"Not audited, since the service does not know them: {', '.join(skipped)}.")
    vulnerable = sum(bool(dependency.get("vulns")) for dependency in dependencies)
    lines.append(f"Dependency audit: {checked} pinned packages, {vulnerable or 'none'} with a known vulnerability.")
    return int(bool(vulnerable) or (required and bool(skipped))), lines


def _required() -> bool:
    return os.environ.get("AUDIT_REQUIRED") == "1"


if __name__ == "__main__":
    sys.exit(main())

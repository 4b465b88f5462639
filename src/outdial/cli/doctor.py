"""``outdial doctor``: is everything there that calls need?"""

from __future__ import annotations

import typer

from outdial.cli import output
from outdial.cli.options import Json
from outdial.cli.running import FAILED, prepare, run
from outdial.doctor import Finding, examine


def doctor(*, as_json: Json = False) -> None:
    """Check PostgreSQL, Asterisk, ARI, clocks, and each trunk by SIP OPTIONS; say how to mend what is wrong.

    Works beside a running server. Exit code 1 when something is wrong.
    """
    findings: list[Finding] = []

    def found(finding: Finding) -> None:
        findings.append(finding)
        if not as_json:
            _tell(finding)

    run(examine(prepare(quiet=True), found))
    if as_json:
        output.print_json(findings)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(FAILED)


def _tell(finding: Finding) -> None:
    mark = typer.style("ok  ", fg="green") if finding.ok else typer.style("FAIL", fg="red", bold=True)
    output.say(f"{mark} {finding.check}: {finding.detail}")
    if not finding.ok and finding.remedy:
        output.say(f"     {finding.remedy}")

"""Commands run in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from outdial.cli.commands import app


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The one line of JSON it printed."""
        assert self.stdout.count("\n") == 1, self.stdout
        return json.loads(self.stdout)


def invoke(*words: object, stdin: str = "") -> Outcome:
    """Run a command; whatever it raises unexpectedly fails the test."""
    result = CliRunner().invoke(app, [str(word) for word in words], input=stdin, prog_name="outdial")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)

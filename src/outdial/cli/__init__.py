"""The command line, one module per noun.

Exit codes are the same everywhere: 0 done, 1 failed (a sentence on standard error says why and how to mend it),
2 wrong usage, 130 interrupted by Ctrl-C, 143 ended by SIGTERM. Standard output holds what was asked for and nothing
else.
"""

from __future__ import annotations

import sys
from typing import Final

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as shells expect it."""


def main() -> None:
    """Run the command that the process's arguments name, and exit."""
    try:
        # half a second of imports: Ctrl-C ends it without a traceback too
        from outdial.cli.commands import app  # noqa: PLC0415

        app(prog_name="outdial")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)

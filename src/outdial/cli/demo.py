"""``outdial demo``: what ``make run`` runs."""

from __future__ import annotations

from typing import Annotated

import typer
import uvloop

from outdial.cli import INTERRUPTED, output
from outdial.cli.options import Json
from outdial.cli.running import FAILED, prepare
from outdial.demo.run import DEFAULT_CONTACTS, MOST_CONTACTS, attended, unattended

DEFAULT_STOP_AFTER_SECONDS = 5.0
"""When an unattended demo stops, where that was not said."""


def demo(
    *,
    contacts: Annotated[
        int, typer.Option(min=1, max=MOST_CONTACTS, help="How many phones to call.")
    ] = DEFAULT_CONTACTS,
    stop_after: Annotated[
        float | None,
        typer.Option(
            min=0.0, metavar="SECONDS", help="Stop by itself this long after the start. [default with --json: 5]"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Try it: dial phones that do not exist, watch, stop.

    Starts everything in a folder of its own that it removes at the end (OUTDIAL_DATA_DIR names one that is kept), makes
    an account, a trunk to the loopback carrier, a flow and contacts, starts a campaign over the HTTP API, shows it
    dialing, and stops it on Enter or by the curl it prints. The server goes on until Ctrl-C.

    With --json it is unattended and ends by itself: prints one object with `placed`, `answered`, `stop_ms` (the stop
    request's wall time) and `new_calls_after_stop` (by the engine's own records). Exit code 1 when that is not 0.
    """
    settings = prepare(quiet=True)
    if not as_json:
        silent = uvloop.run(attended(settings, contacts=contacts, stop_after_seconds=stop_after))
        raise typer.Exit(FAILED if silent is False else 0)
    seconds = DEFAULT_STOP_AFTER_SECONDS if stop_after is None else stop_after
    outcome = uvloop.run(unattended(settings, contacts=contacts, stop_after_seconds=seconds))
    if outcome is None:
        raise typer.Exit(INTERRUPTED)
    output.print_json({name: getattr(outcome, name) for name in outcome.__dataclass_fields__})
    if outcome.new_calls_after_stop:
        raise typer.Exit(FAILED)

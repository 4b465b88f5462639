"""``outdial serve``, ``outdial dialer``, ``outdial migrate``."""

from __future__ import annotations

from typing import Annotated

import typer
import uvloop

from outdial.cli import output
from outdial.cli.options import Json
from outdial.cli.running import in_context, prepare
from outdial.context import Context
from outdial.serve import Serving
from outdial.serve import serve as serve_until_asked
from outdial.store import migrations


def serve(
    *,
    no_dialer: Annotated[
        bool, typer.Option("--no-dialer", help="Only the API: no engine, no calls; `outdial dialer` runs elsewhere.")
    ] = False,
) -> None:
    """Run everything in one process: API, dialer, database, engine. Ctrl-C or SIGTERM ends it in order."""
    uvloop.run(serve_until_asked(prepare(quiet=False), dialer=not no_dialer, api=True, on_ready=_tell))


def dialer() -> None:
    """Run a dialer node without the API; any number of them may serve one database."""
    uvloop.run(serve_until_asked(prepare(quiet=False), dialer=True, api=False, on_ready=_tell))


def _tell(serving: Serving) -> None:
    what = [f"API at {serving.url}, its reference at {serving.url}/docs"] if serving.url is not None else []
    if serving.engine_label is not None:
        what.append(f"calls by {serving.engine_label}")
    output.note(f"outdial is ready: {'; '.join(what)}. Ctrl-C ends it.")
    if serving.managed is not None:
        carrier = serving.managed.loopback_trunk_address
        output.note(f"A loopback carrier for trying out: host {carrier.host}, port {carrier.port}.")


def migrate(*, as_json: Json = False) -> None:
    """Bring the database to this outdial's schema; does nothing when it is there already."""

    async def work(context: Context) -> str | None:
        async with context.database.connection() as connection:
            return await migrations.current_revision(connection)

    revision = in_context(work, migrate=True)
    if as_json:
        output.print_json({"schema": revision})
    else:
        output.say(f"The database has schema {revision}, the newest this outdial knows.")

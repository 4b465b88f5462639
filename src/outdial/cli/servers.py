"""``outdial migrate``."""

from __future__ import annotations

from outdial.cli import output
from outdial.cli.options import Json
from outdial.cli.running import in_context
from outdial.context import Context
from outdial.store import migrations


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

"""Runs a whole SQL script on the connection of the migration under way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import op
from sqlalchemy.util import await_only


def run(name: str) -> None:
    """Run ``versions/<name>`` in the migration's transaction.

    Past SQLAlchemy, straight to the driver: a script holds many statements and function bodies, which prepared
    statements cannot carry.
    """
    script = (Path(__file__).parent / "versions" / name).read_text(encoding="utf-8")
    driver: Any = op.get_bind().connection.driver_connection
    await_only(driver.execute(script))

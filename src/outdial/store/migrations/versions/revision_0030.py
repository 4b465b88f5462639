"""Columns of imported files."""

from outdial.store.migrations import script

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    """Apply the script."""
    script.run("0030_import_columns.sql")

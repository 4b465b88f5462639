"""Columns of imported files."""

from outdial.store.migrations import script

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    """Apply the script."""
    script.run("0031_import_columns.sql")

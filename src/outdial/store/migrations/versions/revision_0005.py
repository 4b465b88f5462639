"""Limits of accounts, imports."""

from outdial.store.migrations import script

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Apply the script."""
    script.run("0005_limits.sql")

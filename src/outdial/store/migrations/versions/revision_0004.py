"""Permits with keys of their own; reserving and booking, mended."""

from outdial.store.migrations import script

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Apply the script."""
    script.run("0004_permits.sql")

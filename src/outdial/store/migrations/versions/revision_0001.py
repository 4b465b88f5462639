"""The first schema."""

from outdial.store.migrations import script

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Apply the script."""
    script.run("0001_first.sql")

"""Recordings of what people said on calls, and calls placed for them."""

from outdial.store.migrations import script

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Apply the script."""
    script.run("0020_flow_steps.sql")

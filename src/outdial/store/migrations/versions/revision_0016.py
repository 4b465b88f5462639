"""Flows of several steps, and what came of them."""

from outdial.store.migrations import script

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Apply the script."""
    script.run("0016_flows.sql")

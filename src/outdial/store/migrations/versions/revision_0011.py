"""Stops of more than one campaign, and the emergency stop."""

from outdial.store.migrations import script

revision = "0011"
down_revision = "0009"


def upgrade() -> None:
    """Apply the script."""
    script.run("0011_wide_stops.sql")

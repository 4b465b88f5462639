"""Alarms of the watchdog."""

from outdial.store.migrations import script

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Apply the script."""
    script.run("0012_watchdog.sql")

"""Schedules, their occurrences, scrubs."""

from outdial.store.migrations import script

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Apply the script."""
    script.run("0003_schedules.sql")

"""Months of old attempts."""

from __future__ import annotations

from outdial.store.migrations import script

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    """Apply the script."""
    script.run("0030_months.sql")

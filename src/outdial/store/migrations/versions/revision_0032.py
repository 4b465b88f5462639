"""Phones that may ring on after a call whose end nobody knows."""

from outdial.store.migrations import script

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    """Apply the script."""
    script.run("0032_may_ring.sql")

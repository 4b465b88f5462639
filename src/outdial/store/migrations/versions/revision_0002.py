"""Reserving and booking attempts, each in one round trip."""

from outdial.store.migrations import script

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply the script."""
    script.run("0002_reserve_and_book.sql")

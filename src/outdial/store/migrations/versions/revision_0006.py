"""Clients whose secrets turn over, requests carried out once, counted requests, removed flows."""

from outdial.store.migrations import script

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Apply the script."""
    script.run("0006_access.sql")

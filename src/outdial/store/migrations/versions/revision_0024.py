"""Contacts that are called by hand."""

from outdial.store.migrations import script

revision = "0024"
down_revision = "0022"


def upgrade() -> None:
    """Apply the script."""
    script.run("0024_numbers.sql")

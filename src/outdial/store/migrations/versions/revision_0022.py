"""Erasure of a person, do-not-call entries without a number, retention of recordings and of contacts' attributes."""

from outdial.store.migrations import script

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Apply the script."""
    script.run("0022_erasure.sql")

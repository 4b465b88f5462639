"""Verdicts about who has answered that are kept for review."""

from outdial.store.migrations import script

revision = "0027"
down_revision = "0024"


def upgrade() -> None:
    """Apply the script."""
    script.run("0027_machine_reviews.sql")

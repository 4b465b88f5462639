"""Webhooks."""

from outdial.store.migrations import script

revision = "0018"
down_revision = "0016"


def upgrade() -> None:
    """Apply the script."""
    script.run("0018_webhooks.sql")

"""History that only grows, in a chain; signed reports of stops."""

from outdial.store.migrations import script

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Apply the script."""
    script.run("0009_evidence.sql")

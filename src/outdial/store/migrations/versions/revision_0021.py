"""Who has answered a call."""

from outdial.store.migrations import script

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Apply the script."""
    script.run("0021_detection.sql")

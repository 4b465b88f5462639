"""Call-backs and the pre-call fetch."""

from outdial.store.migrations import script

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Apply the script."""
    script.run("0008_callbacks.sql")

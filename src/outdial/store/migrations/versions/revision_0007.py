"""The index of call details."""

from outdial.store.migrations import script

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Apply the script."""
    script.run("0007_call_details.sql")

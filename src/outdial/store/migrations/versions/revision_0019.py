"""Fair shares of trunks, and caps of caller IDs."""

from outdial.store.migrations import script

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Apply the script."""
    script.run("0019_shares.sql")

"""Old attempts."""

from outdial.store.migrations import script

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    """Apply the script."""
    script.run("0029_old_attempts.sql")

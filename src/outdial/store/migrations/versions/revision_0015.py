"""The gate: decisions with their reasons, attempt limits, and what goes with them."""

from outdial.store.migrations import script

revision = "0015"
down_revision = "0013"


def upgrade() -> None:
    """Apply the script."""
    script.run("0015_gate.sql")

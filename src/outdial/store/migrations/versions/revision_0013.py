"""Courtesy messages, wider stops that go on by themselves, stop reports that stay as they were signed."""

from outdial.store.migrations import script

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Apply the script."""
    script.run("0013_stop_edges.sql")

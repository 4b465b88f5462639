"""Other numbers of a contact."""

from outdial.store.migrations import script

revision = "0026"
down_revision = "0024"


def upgrade() -> None:
    """Apply the script."""
    script.run("0026_other_numbers.sql")

"""Other numbers of a contact."""

from outdial.store.migrations import script

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Apply the script."""
    script.run("0028_other_numbers.sql")

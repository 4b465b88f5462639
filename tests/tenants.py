"""Two applications of two accounts, to show that neither sees the other."""

from __future__ import annotations

from dataclasses import dataclass

from outdial.secretbox import SecretBox
from outdial.services.access import Credentials, create_application
from outdial.store.database import Database


@dataclass(frozen=True)
class Tenants:
    """``one`` acts, ``other`` must see nothing of it; ``sister`` is another application of the account of ``one``."""

    one: Credentials
    sister: Credentials
    other: Credentials


async def make_tenants(database: Database, secrets: SecretBox) -> Tenants:
    """Create them."""
    return Tenants(
        one=await create_application(database, secrets, account="Acme", name="one"),
        sister=await create_application(database, secrets, account="Acme", name="sister"),
        other=await create_application(database, secrets, account="Other", name="one"),
    )

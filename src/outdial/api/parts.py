"""What the API works with; it opens and closes none of it."""

from __future__ import annotations

from dataclasses import dataclass

from outdial.config import Settings
from outdial.secretbox import SecretBox
from outdial.services.engines import Engines
from outdial.store.database import Database


@dataclass(frozen=True, slots=True)
class ApiParts:
    """Settings and open connections."""

    settings: Settings
    database: Database
    secrets: SecretBox
    engines: Engines

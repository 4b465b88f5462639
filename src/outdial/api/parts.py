"""What the API works with; it opens and closes none of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from outdial.config import Settings
from outdial.secretbox import SecretBox
from outdial.services.engines import Engines
from outdial.services.webhook_keeper import WebhookCounts
from outdial.store.database import Database


@dataclass(frozen=True, slots=True)
class ApiParts:
    """Settings and open connections."""

    settings: Settings
    database: Database
    secrets: SecretBox
    engines: Engines
    webhook_counts: WebhookCounts = field(default_factory=WebhookCounts)
    """What the keeper of webhooks beside the API counts."""
